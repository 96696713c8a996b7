"""The conductor, on a simulated device: what it stores, and what it holds against a trial."""

from dataclasses import replace

import pytest

import nvbench
from nvbench.bench import bench
from nvbench.collectors import Absence
from nvbench.plan import make_plan
from nvbench.profile import load_profile
from nvbench.session import Session, held_against
from nvbench.store import RunHeader, RunWriter
from nvbench.testbed import load_testbed
from nvbench.trial import AbortRule, Counters, Trial, Validity

SIMULATED = ("datapath.kind=simulated", "generator=simulated", "datapath.queues=1")


class Silent:
    def stage(self, text): ...
    def live(self, where, load_pps, duration_s, live): ...
    def trial(self, where, trial): ...
    def result(self, row): ...


def run(tmp_path, *overrides):
    plan = make_plan(load_profile("10ge-forwarding", (*SIMULATED, *overrides), True), load_testbed("simulated"))
    with bench(plan.testbed) as held, RunWriter.create(tmp_path, RunHeader("p", "simulated")) as store:
        Session(plan, held, store, Silent()).run()
    return nvbench.open_results(store.path)


def test_each_case_gets_its_answers_and_each_answer_its_trials(tmp_path):
    results = run(tmp_path, "traffic.frame_bytes=[64,1518]", "datapath.capacity_mpps=2.5")
    rows = results.results().to_pylist()
    assert [(row["frame_bytes"], row["test"]) for row in rows] == [
        (64, "throughput"),
        (64, "latency"),
        (1518, "throughput"),
        (1518, "latency"),
    ]
    small, _, large, _ = rows
    assert small["rate_pps"] == pytest.approx(2.5e6, rel=0.005)
    assert small["limited_by"] == "sut_limited"
    assert large["rate_pps"] == pytest.approx(812_744, rel=0.001)
    assert large["limited_by"] == "line_rate"
    assert all(row["simulated"] and row["quick"] for row in rows)
    trials = {row["trial_id"]: row for row in results.trials().to_pylist()}
    carrier = trials[small["trial_ids"][0]]
    assert carrier["lost_frames"] == carrier["refused_frames"] == 0
    assert carrier["intended_pps"] == pytest.approx(small["rate_pps"], rel=1e-4)
    assert len(trials) == sum(row["trials"] for row in rows)


def test_a_device_that_passes_nothing_is_a_result(tmp_path):
    rows = run(tmp_path, "traffic.frame_bytes=64", "datapath.background_loss=0.1").results().to_pylist()
    assert [(row["test"], row["rate_pps"], row["verdict"]) for row in rows] == [("throughput", 0.0, "nothing passes")]


def test_disturbed_trials_are_stored_and_not_believed(tmp_path):
    results = run(tmp_path, "traffic.frame_bytes=64", "datapath.pause_probability=0.3", "seed=5")
    row = results.results().to_pylist()[0]
    assert row["invalid_trials"] > 0
    assert row["rate_pps"] == pytest.approx(2.5e6, rel=0.005)
    stored = [trial["validity"] for trial in results.trials().to_pylist()]
    assert "stalled" in stored


def lossy(lost: int) -> Trial:
    return Trial(1e6, 1.0, 1.0, (Counters(sent=1_000_000, received=1_000_000 - lost),))


AWAY = Absence(waited_s=0.005, longest_s=0.004)


def test_loss_that_an_absence_of_the_switch_explains_is_no_loss_of_the_device():
    trial = held_against(lossy(4000), AWAY, AbortRule(0))
    assert trial.validity is Validity.STALLED
    assert "5.0 ms" in trial.reason


def test_loss_beyond_what_the_absence_explains_is_the_devices_own():
    assert held_against(lossy(9000), AWAY, AbortRule(0)).valid
    assert held_against(lossy(9000), AWAY, AbortRule(4500)).validity is Validity.STALLED


def test_many_short_absences_excuse_no_loss():
    assert held_against(lossy(10), Absence(waited_s=0.05, longest_s=0.0005), AbortRule(0)).valid


def test_a_generator_that_misses_a_load_far_below_its_ceiling_was_disturbed():
    missed = replace(lossy(0), validity=Validity.UNDERSENT, reason="sent 0.90 of 1.00 Mpps")
    assert held_against(missed, Absence(), AbortRule(0), ceiling_pps=7e6).validity is Validity.PAUSED
    assert held_against(missed, Absence(), AbortRule(0), ceiling_pps=1e6).validity is Validity.UNDERSENT
    assert held_against(missed, Absence(), AbortRule(0)).validity is Validity.UNDERSENT


def test_a_trial_without_loss_needs_no_excuse():
    assert held_against(lossy(0), Absence(waited_s=0.5), AbortRule(0)).valid
