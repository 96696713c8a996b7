"""Throughput: a row a goal, and what a test knows before it begins."""

import pytest
from pydantic import ValidationError

from nvbench.generators.devices import Device
from nvbench.rfc2544 import throughput as module
from nvbench.rfc2544.throughput import GoalWanted, ThroughputTest
from nvbench.search import Answer, Goal, Outcome
from tests.unit.test_rfc2544_scene import LINE_PPS, only, scene


def test_each_goal_is_a_row_of_one_search():
    stage = scene(Device(capacity_pps=2e6))
    test = ThroughputTest(goals=(GoalWanted(), GoalWanted(loss_ratio=0.05)), final_s=2, search_s=0.2)
    none, some = test.rows(stage)
    assert (none.goal_loss_ratio, some.goal_loss_ratio) == (0.0, 0.05)
    assert none.rate_pps == pytest.approx(2e6, rel=0.006)
    assert some.rate_pps == pytest.approx(2e6 / 0.95, rel=0.006)
    assert some.loss_ratio <= 0.05
    assert none.trials == some.trials
    assert stage.answers_pps == {0.0: none.rate_pps, 0.05: some.rate_pps}
    assert stage.throughput_pps == none.rate_pps


def test_a_device_that_passes_nothing_has_a_throughput_of_nothing():
    stage = scene(Device(capacity_pps=1e-9))
    row = only(ThroughputTest(final_s=1).rows(stage))
    assert (row.rate_pps, row.verdict, stage.throughput_pps) == (0.0, "nothing passes", 0.0)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer(Goal(), disturbed=True), "too disturbed for an answer"),
        (Answer(Goal(), warnings=("the search ended after 60 trials",)), "no load passed before the search ended"),
    ],
)
def test_no_answer_is_no_rate_and_says_why(monkeypatch, answer, verdict):
    monkeypatch.setattr(module, "search", lambda measure, goals, limits: Outcome((answer,), ()))
    stage = scene()
    row = only(ThroughputTest().rows(stage))
    assert (row.rate_pps, row.verdict, row.warnings) == (None, verdict, answer.warnings)
    assert stage.throughput_pps is None


@pytest.fixture
def asked(monkeypatch):
    """What the search is asked, in place of searching."""
    found = []

    def search(measure, goals, limits):
        found.append((tuple(goals), limits))
        return Outcome(tuple(Answer(goal) for goal in goals), ())

    monkeypatch.setattr(module, "search", search)
    return found


def test_the_neighbouring_frame_size_tells_where_to_begin(asked):
    for neighbour_pps, expected_pps in ((3e6, 3e6), (2 * LINE_PPS, LINE_PPS), (0.0, None)):
        test = ThroughputTest(goals=(GoalWanted(), GoalWanted(loss_ratio=0.01)))
        list(test.rows(scene(expected_pps={0.0: neighbour_pps})))
        goals, _ = asked.pop()
        assert [goal.expected_pps for goal in goals] == [expected_pps, None]


def test_strictness_chooses_the_rule_of_the_goal(asked):
    goals = tuple(
        GoalWanted(loss_ratio=ratio, strictness=rule)
        for ratio, rule in ((0.0, "rfc2544"), (0.1, "tst009"), (0.2, "csit"))
    )
    list(ThroughputTest(goals=goals, final_s=30, width=0.01).rows(scene()))
    assert asked[0][0] == (Goal.rfc2544(0.0, 30, 0.01), Goal.tst009(0.1, 30, 0.01), Goal.csit(0.2, 0.01))


def test_limits_are_shares_of_the_line_rate_and_seconds(asked):
    list(ThroughputTest(min_load=0.1, max_load=0.5, budget_s=600, final_s=30).rows(scene(drain_s=2.0)))
    limits = asked[0][1]
    assert (limits.bottom_pps, limits.top_pps) == (0.1 * LINE_PPS, 0.5 * LINE_PPS)
    assert (limits.budget_s, limits.overhead_s) == (600, 2.0)


def test_shorter_trials_than_the_rfc_asks_for_stay_a_warning():
    warning = "trials of 1 s, RFC 2544 section 24 asks for at least 60 s"
    assert warning in only(ThroughputTest(final_s=1).rows(scene(quick=False))).warnings
    assert warning not in only(ThroughputTest(final_s=1).rows(scene(quick=True))).warnings


def test_what_passed_can_be_sent_whatever_the_ceiling_looked_like():
    stage = scene(Device(capacity_pps=20e6), ceiling_pps=1e6)
    row = only(ThroughputTest(final_s=1).rows(stage))
    assert row.ceiling_pps == stage.ceiling_pps == pytest.approx(LINE_PPS)


@pytest.mark.parametrize(
    "contradiction",
    [
        {"goals": [{"loss_ratio": 0.1}, {"loss_ratio": 0.1, "strictness": "csit"}]},
        {"goals": []},
        {"min_load": 0.5, "max_load": 0.4},
        {"final_s": 60.0, "budget_s": 59.0},
        {"width": 0.0},
    ],
)
def test_what_contradicts_itself_is_refused(contradiction):
    with pytest.raises(ValidationError):
        ThroughputTest.model_validate(contradiction)
