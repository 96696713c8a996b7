"""The conductor, on a simulated device: what it stores, and what it holds against a trial."""

import time
from contextlib import nullcontext
from dataclasses import replace

import pytest

import nvbench
from nvbench.bench import bench
from nvbench.collectors import Absence, PollerWatch
from nvbench.errors import DatapathError, LostConnectionError
from nvbench.framing import OnCase, Wire
from nvbench.generators.base import Live
from nvbench.generators.capture import capture
from nvbench.hosts import LocalHost
from nvbench.measurer import Measurer, Restart, StandingRig, held_against
from nvbench.plan import make_plan
from nvbench.profile import load_profile
from nvbench.reading import throughputs
from nvbench.rfc2544 import TESTS
from nvbench.rigs import Rig
from nvbench.session import Session
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import Subject
from nvbench.testbed import load_testbed
from nvbench.traffic import Traffic
from nvbench.trial import AbortRule, Counters, Trial, Validity

SIMULATED = ("datapath.kind=simulated", "generator=simulated", "datapath.queues=1")


class Silent:
    def stage(self, text): ...
    def live(self, where, load_pps, duration_s, live): ...
    def trial(self, where, trial): ...
    def result(self, row): ...


def run(tmp_path, *overrides, profile="10ge-forwarding"):
    plan = make_plan(load_profile(profile, (*SIMULATED, *overrides), True), load_testbed("simulated"))
    with (
        bench(plan.testbed) as held,
        RunWriter.create(tmp_path, RunHeader("p", "simulated", plan.profile.resolved())) as store,
    ):
        Session(plan, held, store, Silent()).run()
    return nvbench.open_results(store.path)


def test_each_case_gets_its_answers_and_each_answer_its_trials(tmp_path):
    results = run(tmp_path, "traffic.frame_bytes=[64,1518]", "datapath.capacity_mpps=2.5")
    rows = results.results().to_pylist()
    found = {(row["frame_bytes"], row["test"]): row for row in rows}
    assert set(found) == {(size, test) for size in (64, 1518) for test in ("throughput", "latency")}
    small, large = found[64, "throughput"], found[1518, "throughput"]
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


def test_a_device_that_passes_nothing_is_a_result_of_every_test(tmp_path):
    rows = run(tmp_path, "traffic.frame_bytes=64", "datapath.capacity_mpps=1e-12").results().to_pylist()
    assert [(row["test"], row["rate_pps"], row["verdict"]) for row in rows] == [
        ("throughput", 0.0, "nothing passes"),
        ("latency", None, "not possible here: no throughput to take a share of was found"),
    ]


@pytest.mark.parametrize("profile", ["rfc2544-full", "10ge-quality"])
def test_every_test_of_a_profile_has_a_result_in_every_case(tmp_path, profile):
    results = run(tmp_path, profile=profile)
    rows = results.results().to_pylist()
    asked = {test for test, section in results.runs[0].record["profile"]["tests"].items() if section is not None}
    for case in {row["case_id"] for row in rows}:
        assert {row["test"] for row in rows if row["case_id"] == case} == asked
    assert all(row["verdict"] and row["line_rate_pps"] for row in rows)


def test_mixed_sizes_are_a_case_with_their_mean(tmp_path):
    row = run(tmp_path, "traffic.frame_bytes=imix:aag").results().to_pylist()[0]
    mean = (64 + 64 + 1518) / 3
    assert (row["imix"], row["frame_bytes"], row["case_id"]) == ("aag", 549, "simulated-1q-imix_a2g")
    assert row["line_rate_pps"] == pytest.approx(10e9 / 8 / (mean + 20))
    assert row["rate_bps_l1"] == pytest.approx(row["rate_pps"] * 8 * (mean + 20))


def test_the_frames_of_a_file_are_a_case_of_their_own(tmp_path):
    file = tmp_path / "two-way.pcap"
    file.write_bytes(capture([bytes(60), bytes(6) + b"\2" * 6 + bytes(1502)]))
    results = run(tmp_path / "runs", f"traffic.pcap={file}", "datapath.address_table=10")
    row, mean = results.results().to_pylist()[0], (64 + 1518) / 2
    digest = row["case_id"].removeprefix("simulated-1q-pcap_two_way_").partition("-")[0]
    assert {"name": "pcap", "value": f"two-way@{digest}"} in row["settings"]
    assert (row["frame_bytes"], row["imix"]) == (791, "")
    assert row["line_rate_pps"] == pytest.approx(10e9 / 8 / (mean + 20))
    assert results.runs[0].record["profile"]["traffic"] == {"pcap": [str(file)], "direction": ["unidirectional"]}


def test_disturbed_trials_are_stored_and_not_believed(tmp_path):
    results = run(tmp_path, "traffic.frame_bytes=64", "datapath.pause_probability=0.5", "seed=1")
    row = results.results().to_pylist()[0]
    assert row["invalid_trials"] > 0
    assert row["rate_pps"] == pytest.approx(2.5e6, rel=0.005)
    stored = [trial["validity"] for trial in results.trials().to_pylist()]
    assert "stalled" in stored


def test_every_test_is_made_on_a_simulated_device(tmp_path):
    device = "{kind: simulated, mtu: 9000, buffer_frames: 20000, restart_s: 0.5, address_table: 1000}"
    overrides = (f"datapath={device}", "generator=simulated", "traffic.frame_bytes=['imix:aaaaaaaddddg']")
    plan = make_plan(load_profile("rfc2544-full", overrides, True), load_testbed("simulated"))
    with bench(plan.testbed) as held, RunWriter.create(tmp_path, RunHeader("p", "simulated")) as store:
        Session(plan, held, store, Silent()).run()
    rows = nvbench.open_results(store.path).results().to_pylist()
    assert list(dict.fromkeys(row["test"] for row in rows)) == [test.name for test in TESTS]
    assert not [row["verdict"] for row in rows if "not possible" in row["verdict"]]
    answers = {row["test"]: row for row in rows}
    assert answers["throughput"]["imix"] == "aaaaaaaddddg"
    assert answers["reset"]["outage_s"] == pytest.approx(0.5, abs=0.05)
    assert answers["learning"]["addresses"] == 1000
    assert answers["soak"]["events"] == []
    assert answers["mrr"]["rate_pps"] == pytest.approx(2.5e6, rel=0.02)


def test_an_earlier_run_narrows_the_start_and_not_the_verdict(tmp_path):
    plan = make_plan(
        load_profile("10ge-forwarding", (*SIMULATED, "traffic.frame_bytes=64"), True), load_testbed("simulated")
    )
    [case] = plan.cases
    for number, prior_pps in enumerate((2.4e6, 1e5)):
        with (
            bench(plan.testbed) as held,
            RunWriter.create(tmp_path / f"{number}", RunHeader("p", "simulated")) as store,
        ):
            Session(plan, held, store, Silent(), {case.case_id: {0.0: prior_pps}}).run()
        results = nvbench.open_results(store.path)
        first = results.trials().to_pylist()[0]
        assert first["intended_pps"] == pytest.approx(1.1 * prior_pps)
        assert throughputs(results)[case.case_id][0.0] == pytest.approx(2.5e6, rel=0.005)


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


def test_more_frames_than_were_sent_cannot_be_this_devices():
    trial = held_against(lossy(-5), Absence(), AbortRule(0))
    assert trial.validity is Validity.FOREIGN
    assert trial.reason == "1000005 frames came back of 1000000 sent"


def test_a_trial_without_loss_needs_no_excuse():
    assert held_against(lossy(0), Absence(waited_s=0.5), AbortRule(0)).valid


# -- a restart in the midst of a trial -----------------------------------------------------------------------------


class Datapath:
    """Counts what is done to it."""

    version = "fake"
    restarts = True

    def __init__(self, does_not_start: bool = False) -> None:
        self.does_not_start, self.restarted, self.watched = does_not_start, [], 0

    def restart(self, down_s):
        self.restarted.append(down_s)
        if self.does_not_start:
            raise DatapathError("the switch does not start")

    def readings(self):
        if self.does_not_start:
            raise DatapathError("the switch has gone")
        return ()

    def watch(self):
        self.watched += 1
        return self


class Generator:
    """Reports live ten times a second, and waits for nobody."""

    name = version = "fake"
    simulated = True

    def __init__(self) -> None:
        self.loaded: list[Traffic] = []

    def configure(self, traffic):
        self.loaded.append(traffic)

    def learn(self): ...

    def trial(self, load_pps, duration_s, abort, on_live=None, *, then=None, detail=False):
        for tenth in range(round(duration_s * 10)):
            on_live(Live(tenth / 10, Counters()))
        return replace(lossy(0), intended_pps=load_pps)


def restarting(tmp_path, datapath, at_s=0.5):
    """A trial of 1 s in which a datapath is restarted; and the generator that made it."""
    generator = Generator()

    def bring_up():
        return nullcontext(Rig(datapath, generator, datapath.watch))

    with RunWriter.create(tmp_path, RunHeader("p", "t")) as store, StandingRig(bring_up) as standing:
        subject = Subject("c", "reset", "fake", "fake", 64)
        measurer = Measurer(standing, store, Silent(), subject, "restart", Traffic(64), restart=Restart(at_s, 2.0))
        trials = [measurer(1e6, 1.0, AbortRule(), detail=True) for _ in range(2)]
        standing.renew()
        standing.load(Traffic(64))
    return trials, generator


def test_the_program_is_restarted_while_traffic_flows_and_watched_anew(tmp_path):
    datapath = Datapath()
    trials, generator = restarting(tmp_path, datapath)
    assert [trial.validity for trial in trials] == [Validity.VALID] * 2
    assert datapath.restarted == [2.0, 2.0]
    assert datapath.watched == 4  # two rigs came up, and two programs were started
    assert len(generator.loaded) == 3  # a switch that was started anew has learned nothing


def test_a_program_that_does_not_start_again_is_told_by_the_trial(tmp_path):
    trials, _ = restarting(tmp_path, Datapath(does_not_start=True))
    assert trials[0].validity is Validity.GONE
    assert trials[0].reason == "the switch does not start"


def test_a_trial_that_ends_before_the_restart_shows_nothing(tmp_path):
    datapath = Datapath()
    trials, _ = restarting(tmp_path, datapath, at_s=5.0)
    assert not trials[0].valid
    assert datapath.restarted == []


class OverSsh(Generator):
    """Its host cannot be heard in the first trial."""

    def __init__(self) -> None:
        super().__init__()
        self.trials = 0

    def trial(self, load_pps, duration_s, abort, on_live=None, *, then=None, detail=False):
        self.trials += 1
        if self.trials == 1:
            raise LostConnectionError("the SSH connection was lost", place="host sender")
        return replace(lossy(0), intended_pps=load_pps, started_at=1000.0)


def test_a_trial_whose_host_is_lost_is_kept_as_invalid_and_the_next_has_a_new_rig(tmp_path):
    generator, rigs = OverSsh(), []

    def bring_up():
        rigs.append(Rig(Datapath(), generator, lambda: PollerWatch(LocalHost(), None, ()), clock_ahead_s=2.5))
        return nullcontext(rigs[-1])

    began = time.time()
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as store, StandingRig(bring_up) as standing:
        measurer = Measurer(standing, store, Silent(), Subject("c", "mrr", "fake", "fake", 64), "x", Traffic(64))
        lost, good = (measurer(1e6, 1.0, AbortRule()) for _ in range(2))
    assert (lost.validity, lost.reason) == (Validity.GONE, "host sender: the SSH connection was lost")
    assert good.valid
    assert len(rigs) == 2
    kept = nvbench.open_results(store.path).trials().to_pylist()
    assert [row["validity"] for row in kept] == ["gone", "valid"]
    assert good.started_at == 997.5  # by this machine's clock, not by the host's
    assert lost.started_at == pytest.approx(began, abs=1.0)


def test_addresses_are_those_of_the_rig_that_stands_now(tmp_path):
    class Learner:
        restarts = False

        def __init__(self, addresses):
            self.addresses = addresses

        def learned_addresses(self):
            return self.addresses

        def learning(self):
            return nullcontext(self.addresses)

    plan = make_plan(load_profile("10ge-forwarding", SIMULATED, True), load_testbed("simulated"))
    rigs = iter([Learner(100), Learner(200)])
    standing = StandingRig(lambda: nullcontext(Rig(next(rigs), Generator(), lambda: None)))
    with standing, RunWriter.create(tmp_path, RunHeader("p", "simulated")) as store:
        scene = OnCase(plan.profile, store, Silent(), standing, plan.cases[0]).scene(Wire(), {})
        assert scene.addresses.learned() == 100
        scene.renew()  # one test found that the switch did not come back
        assert scene.addresses.learned() == 200
        with scene.addresses.learning() as learner:
            assert learner == 200


def test_two_simulated_runs_do_not_stand_in_each_others_way(tmp_path):
    with bench(load_testbed("simulated")):
        assert run(tmp_path, "traffic.frame_bytes=1518").results().num_rows == 2
