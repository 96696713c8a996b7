"""The search finds rates on simulated devices of every kind, believes no disturbed trial, and says what limits them."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvbench.generators.devices import Device
from nvbench.generators.simulated import SimulatedGenerator
from nvbench.search import Answer, Goal, Limits, Outcome, search
from nvbench.tables import LimitedBy
from nvbench.traffic import Direction, Traffic
from nvbench.trial import AbortRule, Counters, Trial, Validity

FINAL_S = 10.0
NDR = Goal.rfc2544(0.0, FINAL_S)
PDR = Goal.rfc2544(0.005, FINAL_S)
LINE = Limits(top_pps=14_880_952, bottom_pps=14_881, short_s=0.5)


def measure(seed: int = 1, **device):
    return SimulatedGenerator(Device(**device), seed).trial


def found(*goals: Goal, limits: Limits = LINE, seed: int = 1, **device) -> Outcome:
    return search(measure(seed, **device), goals or (NDR,), limits)


def only(outcome: Outcome) -> Answer:
    [answer] = outcome.answers
    return answer


# -- what it finds ---------------------------------------------------------------------------------------------


def test_two_goals_take_two_full_length_trials_and_little_more():
    outcome = found(NDR, PDR)
    ndr, pdr = outcome.answers
    assert ndr.rate_pps == pytest.approx(2.5e6, rel=0.002)
    assert pdr.rate_pps == pytest.approx(2.5e6 / 0.995, rel=0.002)
    assert sum(trial.duration_s == FINAL_S for trial in outcome.trials) == 2
    assert outcome.seconds < 2 * FINAL_S + 3


def test_bounds_are_as_close_as_asked_for():
    for answer in found(NDR, PDR).answers:
        assert answer.upper is not None
        assert answer.rate_pps >= answer.upper.intended_pps * (1 - answer.goal.width)
        assert answer.goal.failed(answer.upper)
        assert answer.limited_by is LimitedBy.SUT
        assert not answer.warnings


def test_a_device_that_takes_all_needs_one_full_length_trial_for_all_goals():
    outcome = found(NDR, PDR, capacity_pps=50e6)
    assert [answer.rate_pps for answer in outcome.answers] == pytest.approx([LINE.top_pps] * 2, rel=1e-6)
    assert {answer.limited_by for answer in outcome.answers} == {LimitedBy.LINE_RATE}
    assert sum(trial.duration_s == FINAL_S for trial in outcome.trials) == 1


def test_a_slow_generator_limits_and_is_not_taken_for_the_device():
    answer = only(found(capacity_pps=50e6, ceiling_pps=3e6))
    assert answer.limited_by is LimitedBy.GENERATOR
    assert answer.rate_pps == pytest.approx(3e6, rel=0.002)
    assert answer.upper is None


def test_a_trial_ends_early_once_it_cannot_pass():
    outcome = found(NDR, queue_shares=(0.4, 0.3, 0.3), buffer_frames=50_000)
    failed = [trial for trial in outcome.trials if trial.duration_s == FINAL_S and NDR.failed(trial)]
    assert failed
    assert all(trial.aborted for trial in failed)


CURVES = {
    "buffered": ({"buffer_frames": 100_000}, 1 + 100_000 / FINAL_S / 2.5e6),
    "queue skew": ({"queue_shares": (0.4, 0.3, 0.3)}, 1 / 3 / 0.4),
    "livelock": ({"livelock": 0.7}, 1.0),
    "cold": ({"cold_share": 0.3, "warm_s": 2.0}, 1.0),
    "slow to warm": ({"cold_share": 0.1, "warm_s": 8.0}, 1.0),
    "rare loss": ({"background_loss": 1e-10}, 1.0),
    "rare stalls": ({"stalls_per_s": 0.02, "stall_s": 0.002}, 1.0),
    "drift": ({"drift_per_s": -1e-5}, 1.0),
    "two of them": ({"queue_shares": (0.4, 0.3, 0.3), "cold_share": 0.2, "warm_s": 1.5}, 1 / 3 / 0.4),
}


@pytest.mark.parametrize("kind", CURVES)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_throughput_is_found_whatever_the_curve(kind, seed):
    device, share = CURVES[kind]
    assert only(found(seed=seed, **device)).rate_pps == pytest.approx(2.5e6 * share, rel=0.005)


def test_a_cold_start_is_not_taken_for_the_device():
    answer = only(found(cold_share=0.3, warm_s=2.0))
    assert answer.rate_pps == pytest.approx(2.5e6, rel=0.0025)
    assert any("warmed up" in warning for warning in answer.warnings)


NOISY = {
    "by trial": {"capacity_noise": 0.003},
    "by second": {"second_noise": 0.002},
    "two bands": {"slow_share": 0.05, "slow_probability": 0.25},
    "livelock as well": {"capacity_noise": 0.003, "livelock": 0.4},
}


@pytest.mark.parametrize("kind", NOISY)
def test_a_noisy_device_is_found_most_of_the_time_and_called_noisy(kind):
    answers = [only(found(seed=seed, **NOISY[kind])) for seed in range(12)]
    near = [abs(answer.rate_pps / 2.5e6 - 1) <= 0.0075 for answer in answers]
    assert sum(near) >= 10
    if kind == "by trial":
        assert sum("device is noisy" in warning for answer in answers for warning in answer.warnings) >= 6


def test_background_loss_is_told_with_its_size_and_a_tolerance():
    ndr, pdr = found(NDR, PDR, background_loss=1e-6).answers
    assert ndr.rate_pps < 0.2 * 2.5e6
    [warning] = [warning for warning in ndr.warnings if warning.startswith("background loss")]
    assert 1e-7 < float(warning.split()[2].rstrip(":")) < 1e-5
    assert "a goal of" in warning
    assert pdr.rate_pps == pytest.approx(2.5e6 / 0.995, rel=0.005)
    assert not pdr.warnings


@pytest.mark.parametrize("loss", [0.01, 0.1, 1.0])
def test_a_device_that_loses_at_any_load_gets_zero(loss):
    answer = only(found(background_loss=loss))
    assert answer.nothing_passes
    assert answer.rate_pps == 0.0
    assert answer.carriers == ()
    assert answer.limited_by is LimitedBy.SUT


# -- how it is asked -------------------------------------------------------------------------------------------


def test_prior_knowledge_narrows_the_start_and_never_the_verdict():
    near = found(replace(NDR, expected_pps=2.45e6))
    assert max(trial.intended_pps for trial in near.trials) < 3e6
    for expectation in (2.45e6, 0.3e6, 12e6):
        answer = only(found(replace(NDR, expected_pps=expectation)))
        assert answer.rate_pps == pytest.approx(2.5e6, rel=0.002)


@pytest.mark.parametrize(("goal", "passes"), [(Goal.tst009(0.0, FINAL_S), 1), (Goal.csit(), 11)])
def test_stricter_goals_decide_by_more_than_one_trial(goal, passes):
    answer = only(found(goal))
    assert len(answer.carriers) == passes
    assert answer.rate_pps == pytest.approx(2.5e6, rel=0.005)


def test_loss_verification_forgives_a_load_one_fail():
    forgiving = sum(
        only(found(Goal.tst009(0.0, FINAL_S), seed=seed, background_loss=2e-8)).rate_pps for seed in range(8)
    )
    assert forgiving / 8 > 2.3e6


@pytest.mark.parametrize("budget_s", [1, 5, 12, 25, 60])
def test_a_budget_is_kept_and_what_it_allowed_is_told(budget_s):
    outcome = found(NDR, PDR, limits=replace(LINE, budget_s=budget_s, overhead_s=0.1))
    assert outcome.seconds + 0.1 * len(outcome.trials) <= budget_s
    ended = any("its limit" in warning for answer in outcome.answers for warning in answer.warnings)
    assert ended == (budget_s < 20)


def test_a_budget_for_one_full_length_trial_serves_the_strictest_goal_and_with_it_all():
    outcome = found(NDR, PDR, limits=replace(LINE, budget_s=14))
    assert [answer.rate_pps for answer in outcome.answers] == pytest.approx([2.5e6] * 2, rel=0.005)


def test_directions_are_counted_together_and_told_apart():
    generator = SimulatedGenerator(Device(capacity_pps=4e6), 1)
    generator.configure(Traffic(64, direction=Direction.BIDIRECTIONAL))
    answer = only(search(generator.trial, [PDR], replace(LINE, directions=2)))
    assert answer.rate_pps == pytest.approx(2e6 / 0.995, rel=0.002)


# -- what it does not believe ----------------------------------------------------------------------------------


def test_disturbed_trials_are_repeated_and_move_no_bound():
    outcome = found(pause_probability=0.4, seed=3)
    assert any(not trial.valid for trial in outcome.trials)
    assert only(outcome).rate_pps == pytest.approx(2.5e6, rel=0.005)
    assert only(outcome).upper_pps >= 2.5e6


def test_a_bench_that_disturbs_every_trial_gets_no_answer_but_a_reason():
    answer = only(found(pause_probability=1.0))
    assert answer.carrier is None
    assert not answer.nothing_passes
    assert answer.limited_by is LimitedBy.UNKNOWN
    assert any("no trial was valid" in warning for warning in answer.warnings)


def test_a_generator_that_sends_nothing_proves_nothing():
    def silent(load_pps: float, duration_s: float, _abort: AbortRule) -> Trial:
        return Trial(load_pps, duration_s, duration_s, (Counters(),))

    answer = only(search(silent, [NDR], LINE))
    assert answer.carrier is None
    assert not answer.nothing_passes


def test_high_loads_that_are_always_disturbed_bar_the_way_up():
    device = measure()

    def shaky(load_pps: float, duration_s: float, abort: AbortRule) -> Trial:
        trial = device(load_pps, duration_s, abort)
        return replace(trial, validity=Validity.STALLED, reason="away") if load_pps > 2e6 else trial

    answer = only(search(shaky, [NDR], LINE))
    assert answer.disturbed
    assert 1.4e6 < answer.rate_pps <= 2e6
    assert answer.limited_by is LimitedBy.UNKNOWN


# -- whatever the device ---------------------------------------------------------------------------------------

DEVICES = st.builds(
    Device,
    capacity_pps=st.floats(1e4, 4e7),
    capacity_noise=st.sampled_from([0.0, 0.0, 0.002, 0.02]),
    second_noise=st.sampled_from([0.0, 0.0, 0.003]),
    background_loss=st.sampled_from([0.0, 0.0, 1e-8, 1e-6, 1e-3]),
    buffer_frames=st.sampled_from([0, 0, 1000, 1_000_000]),
    stalls_per_s=st.sampled_from([0.0, 0.0, 0.05]),
    stall_s=st.just(0.002),
    cold_share=st.sampled_from([0.0, 0.0, 0.3]),
    warm_s=st.sampled_from([0.5, 5.0]),
    queue_shares=st.sampled_from([(1.0,), (0.4, 0.3, 0.3)]),
    livelock=st.sampled_from([0.0, 0.0, 0.5]),
    drift_per_s=st.sampled_from([0.0, 0.0, -1e-4, 1e-4]),
    slow_share=st.just(0.1),
    slow_probability=st.sampled_from([0.0, 0.0, 0.3]),
    pause_probability=st.sampled_from([0.0, 0.0, 0.2]),
    ceiling_pps=st.sampled_from([1e6, 2e7]),
)
GOALS = st.sampled_from([(NDR,), (PDR,), (NDR, PDR), (NDR, Goal.tst009(0.001, FINAL_S)), (Goal.csit(), PDR)])


@settings(max_examples=120)
@given(device=DEVICES, goals=GOALS, budget_s=st.sampled_from([30.0, 150.0, 1000.0]), seed=st.integers(0, 1000))
def test_every_rate_has_passed_and_nothing_at_or_below_it_failed_later(device, goals, budget_s, seed):
    limits = replace(LINE, budget_s=budget_s)
    outcome = search(SimulatedGenerator(device, seed).trial, goals, limits)
    assert outcome.seconds <= budget_s
    assert len(outcome.trials) <= limits.max_trials
    for goal, answer in zip(goals, outcome.answers, strict=True):
        assert answer.goal == goal
        if answer.carrier is None:
            assert answer.rate_pps == 0.0
            continue
        assert all(goal.passed(trial) and goal.full(trial) for trial in answer.carriers)
        assert answer.rate_pps <= LINE.top_pps * 1.001
        later = outcome.trials[outcome.trials.index(answer.carrier) + 1 :]
        assert not [
            t for t in later if goal.full(t) and goal.failed(t) and t.intended_pps <= answer.carrier.intended_pps
        ]
        if answer.upper is not None:
            assert answer.upper.intended_pps > answer.carrier.intended_pps


@settings(max_examples=25)
@given(device=DEVICES, seed=st.integers(0, 1000))
def test_the_same_seed_gets_the_same_answer(device, seed):
    first, second = (search(SimulatedGenerator(device, seed).trial, (NDR, PDR), LINE) for _ in range(2))
    assert [answer.rate_pps for answer in first.answers] == [answer.rate_pps for answer in second.answers]
    assert len(first.trials) == len(second.trials)
