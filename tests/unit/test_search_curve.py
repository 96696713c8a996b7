"""What few trials with loss tell of the loads between them."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvbench.search.curve import (
    Point,
    buffer_frames,
    lower_median,
    median_error,
    parted,
    point,
    root,
    usual_slope,
    usual_spread,
    warming_s,
)
from nvbench.trial import Counters, Trial

BOTTOM = 1000.0


def forwarded(load_pps: float, seconds: float, frames: float) -> Trial:
    return Trial(load_pps, seconds, seconds, (Counters(sent=round(load_pps * seconds), received=round(frames)),))


@given(capacity=st.floats(1e5, 1e7), slope=st.floats(0.1, 3), ratio=st.sampled_from([0.0, 0.001, 0.02]))
def test_two_lossy_trials_on_a_straight_piece_tell_where_the_goal_is_met(capacity, slope, ratio):
    points = [Point(x * capacity, slope * (x - 1) * capacity) for x in (1.1, 1.3)]
    met = root(points, ratio, BOTTOM)
    assert slope * (met - capacity) == pytest.approx(ratio * met, abs=1e-3 * capacity)


def test_one_lossy_trial_is_taken_for_one_full_queue():
    assert root([Point(3e6, 1e6)], 0.0, BOTTOM) == pytest.approx(2e6)
    assert root([Point(3e6, 1e6)], 0.01, BOTTOM) == pytest.approx(2e6 / 0.99)
    assert root([Point(3e6, 0.0)], 0.0, BOTTOM) is None


def test_a_knee_is_never_below_what_lost_nothing():
    livelock = [Point(2e6, 0.0), Point(8e6, 7e6)]
    assert root(livelock, 0.0, BOTTOM) == pytest.approx(math.sqrt(2e6 * 8e6))


def test_a_buffer_hides_the_first_frames_and_less_of_a_long_trial():
    short, long = forwarded(3e6, 0.5, 1e6 + 50_000), forwarded(3e6, 1.0, 2e6 + 50_000)
    assert buffer_frames(short, long) == pytest.approx(50_000, rel=1e-3)
    full_length = point(short, 50_000, final_s=50.0)
    assert full_length.lost_pps == pytest.approx(3e6 - 2e6 - 50_000 / 50)


@given(tau=st.floats(1, 20), cold=st.floats(0.05, 0.5))
def test_the_time_to_warm_up_follows_from_three_rates(tau, cold):
    def rate(seconds: float) -> float:
        return 1e6 * (1 - cold * math.exp(-seconds / tau))

    wanted_s = warming_s([rate(2), rate(6), rate(14)], 4.0, 5e-4)
    if 0 < wanted_s < math.inf:
        assert rate(14 + wanted_s) == pytest.approx(1e6, rel=1e-3)
    else:
        assert wanted_s == 0.0
        assert rate(14) == pytest.approx(1e6, rel=1e-3)


def test_rates_that_do_not_near_a_limit_have_no_time():
    assert warming_s([1e6, 1.1e6, 1.4e6], 1.0, 5e-4) == math.inf
    assert warming_s([1e6, 1.1e6, 1.1e6], 1.0, 5e-4) == 0.0


def test_two_speeds_are_not_taken_for_a_precise_one():
    two_speeds = [1.0] * 5 + [0.9] * 3
    assert usual_spread(two_speeds) < 0.08
    assert median_error(two_speeds) == pytest.approx(0.05)
    assert median_error([1.0] * 8) == 0.0


def test_the_median_of_a_sample_is_as_near_as_it_says_nine_times_in_ten():
    source = random.Random(1)  # noqa: S311
    inside = 0
    for _ in range(400):
        sample = [source.gauss(0, 1) for _ in range(25)]
        inside += abs(lower_median(sample)) <= 2 * median_error(sample)
    assert inside >= 360


def test_what_is_further_up_counts_for_a_median():
    assert lower_median([1.0, math.inf]) == 1.0
    assert lower_median([1.0, math.inf, math.inf]) is None
    assert lower_median([]) is None


def test_a_slope_between_noisy_trials_is_the_usual_one():
    near = [Point(1.01e6, 10_000.0)] * 3 + [Point(1.01e6, 60_000.0)]
    far = [Point(1.04e6, 40_000.0)] * 3 + [Point(1.04e6, 90_000.0)]
    assert parted([*near, *far]) == (near, far)
    assert usual_slope(near, far, 0.0) == pytest.approx(1.0)
    assert usual_slope(near[:2], far, 0.005) == 0.995
