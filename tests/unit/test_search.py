"""The search finds a rate on simulated devices, believes no disturbed trial, and says what limits it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvbench.generators.devices import Device
from nvbench.generators.simulated import SimulatedGenerator
from nvbench.search import Answer, Goal, Limits, search
from nvbench.tables import LimitedBy
from nvbench.trial import Trial

GOAL = Goal.rfc2544(0.0, final_s=5.0, width=0.005)
LINE = Limits(top_pps=14_880_952, bottom_pps=14_881, short_s=0.5, max_trials=60)


def found(device, goal: Goal = GOAL) -> Answer:
    return search(device, [goal], LINE).answers[0]


def measure(seed: int = 1, **device: float):
    return SimulatedGenerator(Device(**device), seed).trial


def test_finds_the_capacity_within_the_width():
    outcome = search(measure(capacity_pps=2.5e6), [GOAL], LINE)
    [answer] = outcome.answers
    assert answer.rate_pps == pytest.approx(2.5e6, rel=0.005)
    assert answer.upper_pps is not None
    assert answer.rate_pps <= 2.5e6 <= answer.upper_pps


def test_a_trial_ends_early_once_it_cannot_pass():
    outcome = search(measure(capacity_pps=2.5e6), [GOAL], LINE)
    failed = [trial for trial in outcome.trials[1:] if trial.loss_ratio]
    assert failed
    assert all(trial.aborted for trial in failed)


def test_the_line_rate_is_an_answer():
    answer = found(measure(capacity_pps=50e6))
    assert answer.limited_by is LimitedBy.LINE_RATE
    assert answer.rate_pps == pytest.approx(LINE.top_pps, rel=1e-6)


def test_a_slow_generator_limits_and_is_not_taken_for_the_device():
    answer = found(measure(capacity_pps=50e6, ceiling_pps=3e6))
    assert answer.limited_by is LimitedBy.GENERATOR
    assert answer.rate_pps == pytest.approx(3e6, rel=0.006)
    assert answer.upper_pps is None


def test_a_device_that_loses_at_any_load_gets_no_rate():
    answer = found(measure(capacity_pps=2.5e6, background_loss=0.01))
    assert answer.carrier is None
    assert answer.rate_pps == 0.0
    assert answer.limited_by is LimitedBy.SUT
    assert "do not meet the goal" in answer.warnings[-1]


def test_a_goal_that_allows_loss_finds_more():
    answer = found(measure(capacity_pps=2.5e6), Goal.rfc2544(0.01, 5.0))
    assert answer.rate_pps == pytest.approx(2.5e6 / 0.99, rel=0.005)


def test_disturbed_trials_are_repeated_and_move_no_bound():
    outcome = search(measure(capacity_pps=2.5e6, pause_probability=0.3), [GOAL], LINE)
    [answer] = outcome.answers
    assert any(not trial.valid for trial in outcome.trials)
    assert answer.rate_pps == pytest.approx(2.5e6, rel=0.005)
    assert answer.upper_pps is not None
    assert answer.upper_pps >= 2.5e6


def test_a_bench_that_disturbs_every_trial_gets_no_answer_but_a_reason():
    answer = found(measure(capacity_pps=2.5e6, pause_probability=1.0))
    assert answer.carrier is None
    assert answer.limited_by is LimitedBy.UNKNOWN
    assert any("no valid trial" in warning for warning in answer.warnings)


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
    outcome = search(measure(seed, **device), [GOAL], LINE)
    [answer] = outcome.answers
    assert len(outcome.trials) <= LINE.max_trials
    if answer.carrier is not None:
        assert GOAL.passed(answer.carrier)
        assert answer.carrier.duration_s == GOAL.final_s
        assert not [trial for trial in outcome.trials if _contradicts(trial, answer.carrier)]
    assert found(measure(seed, **device)).rate_pps == answer.rate_pps


def _contradicts(trial: Trial, carrier: Trial) -> bool:
    """Failed at full length, at no more than the answer's load."""
    full = trial.duration_s >= GOAL.final_s
    return full and trial.valid and not GOAL.passed(trial) and trial.intended_pps <= carrier.intended_pps
