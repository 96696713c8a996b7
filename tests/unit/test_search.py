"""The search finds a rate on simulated devices, believes no disturbed trial, and says what limits it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvbench.generators.simulated import Device, SimulatedGenerator
from nvbench.rfc2544 import throughput
from nvbench.search import Goal, Limits, search
from nvbench.tables import LimitedBy
from nvbench.trial import Trial

GOAL = Goal(loss_ratio=0.0, search_s=0.5, final_s=5.0, width=0.005)
LINE = Limits(top_pps=14_880_952, bottom_pps=14_881)


def measure(seed: int = 1, **device: float):
    return SimulatedGenerator(Device(**device), seed).trial


def test_finds_the_capacity_within_the_width():
    answer = search(measure(capacity_pps=2.5e6), GOAL, LINE)
    assert answer.rate_pps == pytest.approx(2.5e6, rel=0.005)
    assert answer.upper_pps is not None
    assert answer.rate_pps <= 2.5e6 <= answer.upper_pps


def test_a_trial_ends_early_once_it_cannot_pass():
    answer = search(measure(capacity_pps=2.5e6), GOAL, LINE)
    failed = [trial for trial in answer.trials[1:] if trial.loss_ratio]
    assert failed
    assert all(trial.aborted for trial in failed)


def test_the_line_rate_is_an_answer():
    found = throughput(measure(capacity_pps=50e6), GOAL, LINE)
    assert found.limited_by is LimitedBy.LINE_RATE
    assert found.answer.rate_pps == pytest.approx(LINE.top_pps, rel=1e-6)


def test_a_slow_generator_limits_and_is_not_taken_for_the_device():
    found = throughput(measure(capacity_pps=50e6, ceiling_pps=3e6), GOAL, LINE)
    assert found.limited_by is LimitedBy.GENERATOR
    assert found.answer.rate_pps == pytest.approx(3e6, rel=0.006)
    assert found.answer.upper_pps is None


def test_a_device_that_loses_at_any_load_gets_no_rate():
    found = throughput(measure(capacity_pps=2.5e6, background_loss=0.01), GOAL, LINE)
    assert found.answer.carrier is None
    assert found.answer.rate_pps == 0.0
    assert found.limited_by is LimitedBy.SUT
    assert "do not meet the goal" in found.answer.warnings[-1]


def test_a_goal_that_allows_loss_finds_more():
    answer = search(measure(capacity_pps=2.5e6), Goal(0.01, 0.5, 5.0, 0.005), LINE)
    assert answer.rate_pps == pytest.approx(2.5e6 / 0.99, rel=0.005)


def test_disturbed_trials_are_repeated_and_move_no_bound():
    answer = search(measure(capacity_pps=2.5e6, pause_probability=0.3), GOAL, LINE)
    assert any(not trial.valid for trial in answer.trials)
    assert answer.rate_pps == pytest.approx(2.5e6, rel=0.005)
    assert answer.upper_pps is not None
    assert answer.upper_pps >= 2.5e6


def test_a_bench_that_disturbs_every_trial_gets_no_answer_but_a_reason():
    found = throughput(measure(capacity_pps=2.5e6, pause_probability=1.0), GOAL, LINE)
    assert found.answer.carrier is None
    assert found.limited_by is LimitedBy.UNKNOWN
    assert any("no valid trial" in warning for warning in found.answer.warnings)


@settings(max_examples=60, deadline=None)
@given(
    capacity=st.floats(1e4, 4e7),
    noise=st.sampled_from([0.0, 0.002, 0.02]),
    background=st.sampled_from([0.0, 1e-6, 1e-3]),
    pauses=st.sampled_from([0.0, 0.2]),
    ceiling=st.sampled_from([1e6, 2e7]),
    seed=st.integers(0, 1000),
)
def test_whatever_the_device_the_answer_has_passed_at_full_length(capacity, noise, background, pauses, ceiling, seed):
    device = {
        "capacity_pps": capacity,
        "capacity_noise": noise,
        "background_loss": background,
        "pause_probability": pauses,
        "ceiling_pps": ceiling,
    }
    answer = search(measure(seed, **device), GOAL, LINE)
    assert len(answer.trials) <= LINE.max_trials
    if answer.carrier is not None:
        assert GOAL.passed(answer.carrier)
        assert answer.carrier.duration_s == GOAL.final_s
        assert not [trial for trial in answer.trials if _contradicts(trial, answer.carrier)]
    assert search(measure(seed, **device), GOAL, LINE).rate_pps == answer.rate_pps


def _contradicts(trial: Trial, carrier: Trial) -> bool:
    """Failed at full length, at no more than the answer's load."""
    full = trial.duration_s >= GOAL.final_s
    return full and trial.valid and not GOAL.passed(trial) and trial.intended_pps <= carrier.intended_pps
