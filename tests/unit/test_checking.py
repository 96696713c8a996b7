"""The conductor of checks: whatever comes of a case, the next one is looked at, on a stand that is sound."""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

import pytest

from nvbench import checking
from nvbench.campaign import Campaign, Outcome, is_campaign, resolve_campaign
from nvbench.checking import Case, Conductor, all_cases, check_expectations, chosen
from nvbench.errors import GuestError, NotPossibleError, StoreError, UsageError
from nvbench.hosts import Completed
from nvbench.journal import Journal
from nvbench.stands import BENCH, BRIDGE, OVS, SRIOV, Check, Record, Wish
from nvbench.stands.record import COMMANDS, WitnessedHost
from nvbench.testbed import read_testbed
from tests.unit.test_testbed import local


@dataclass
class Ground:
    """A stand of which nothing is real."""

    path: str
    wish: Wish
    setting: str = "as it was"
    gone: list[str] = field(default_factory=list)

    def witnessed(self, record: Record | None) -> None:
        pass

    def state(self) -> str:
        return f"port a\n{self.setting}"

    def faults(self) -> list[str]:
        return self.gone


class Told:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def begins(self, case: Case) -> None:
        self.stages.append(f"{case.name} begins")

    def verdict(self, verdict: object) -> None:
        pass


class Lab:
    """A bench whose stands are made of nothing, and what was done with it."""

    def __init__(self, tmp_path, expect: str = "") -> None:
        self.log: list[str] = []
        self.told = Told()
        self.refusals: list[Exception] = []
        bed = read_testbed("t.yaml", (local() + expect).encode())
        self.bench = SimpleNamespace(testbed=bed, journal=Journal(tmp_path / "journal", {}), hosts={})
        self.campaign = Campaign.begin(tmp_path, bed.name, {}, (BRIDGE, OVS, SRIOV))

    @contextmanager
    def raised(self, bench: object, path: str, wish: Wish) -> Iterator[Ground]:
        if self.refusals:
            self.log.append(f"refused {path}")
            raise self.refusals[0]
        self.log.append(f"up {path}")
        yield Ground(path, wish)
        self.log.append(f"down {path}")

    def run(self, *checks: Check) -> Campaign:
        conductor = Conductor(self.bench, self.campaign, self.told, self.raised)
        done = conductor.run(all_cases(checks))
        kept = Campaign.read(done.path)
        assert replace(kept, started_at=done.started_at) == done
        return done


@pytest.fixture
def lab(tmp_path) -> Lab:
    return Lab(tmp_path)


def check(name, act, *paths, **more) -> Check:
    return Check(name, f"the title of {name}", dict.fromkeys(paths or (BRIDGE,), ""), act, **more)


def passes(ground, record) -> None:
    record.observe(True, "it holds", "a line")


def fails(ground, record) -> None:
    record.observe(True, "one holds")
    record.observe(False, "one does not", "what a tool said")
    record.observe(False, "nor does another")


def outcomes(campaign: Campaign) -> list[str]:
    return [str(verdict.outcome) for verdict in campaign.verdicts]


# -- order, sharing, choosing ------------------------------------------------------------------------------------------


def test_checks_share_a_stand_and_each_stand_is_brought_up_once(lab):
    lab.run(
        check("one", passes, BRIDGE, OVS),
        check("two", passes, OVS, wish=Wish(options={"queues": 4})),
        check("three", passes, BRIDGE, OVS),
        check("four", passes, BENCH),
        check("five", passes, BRIDGE, wish=Wish(alone=True)),
    )
    assert lab.log == [f"{what} {path}" for path in (BRIDGE, OVS, OVS) for what in ("up", "down")]
    assert [verdict.key for verdict in Campaign.read(lab.campaign.path).verdicts] == [
        *("four@bench", "one@linux_bridge", "three@linux_bridge", "five@linux_bridge"),
        *("one@ovs_dpdk", "three@ovs_dpdk", "two@ovs_dpdk"),
    ]


def test_every_case_has_a_name_of_its_own():
    names = Counter(name for case in all_cases() for name in {case.name, f"{case.check.name}@{case.path}"})
    assert [name for name, count in names.items() if count > 1] == []


def test_words_choose_and_paths_narrow_down():
    cases = all_cases([check("mtu", passes, BRIDGE, OVS, tags=("size",)), check("ping", passes, OVS)])
    assert [case.name for case in chosen(["mtu"], cases)] == ["mtu@linux_bridge", "mtu@ovs_dpdk"]
    assert [case.name for case in chosen(["size", "ovs_dpdk"], cases)] == ["mtu@ovs_dpdk"]
    assert len(chosen([], cases)) == 3
    with pytest.raises(UsageError, match=r"no case, check or tag is called 'mut'.*did you mean `mtu`"):
        chosen(["mut"], cases)
    with pytest.raises(UsageError, match="ping linux_bridge: no case is all of that"):
        chosen(["ping", "linux_bridge"], cases)


# -- expectations ------------------------------------------------------------------------------------------------------


def test_what_is_expected_is_no_surprise(tmp_path):
    lab = Lab(
        tmp_path, "expect: {4.1: FAIL, known@linux_bridge: FAIL, mends: FAIL}\n".replace("mends", "mends@linux_bridge")
    )
    numbered = Check("restart", "it comes back", {BRIDGE: "4.1"}, fails)
    done = lab.run(numbered, check("known", fails), check("mends", passes), check("new", fails))
    assert [verdict.expected for verdict in done.verdicts] == [Outcome.FAIL, Outcome.FAIL, Outcome.FAIL, None]
    assert [verdict.check for verdict in done.surprises] == ["mends", "new"]


def test_an_expectation_of_nothing_is_refused_where_it_stands():
    bed = read_testbed("t.yaml", (local() + "expect:\n  4.1: FAIL\n  mtu@sriof: PASS\n").encode())
    cases = all_cases([check("mtu", passes, SRIOV), Check("restart", "", {BRIDGE: "4.1"}, fails)])
    with pytest.raises(UsageError, match=r"t\.yaml:8: expect: there is no case 'mtu@sriof' \(did you mean `mtu@sriov`"):
        check_expectations(bed, cases)
    with pytest.raises(UsageError, match=r"t\.yaml:7: .*must be one of PASS, FAIL, BLOCKED; not 'FIAL'.*`FAIL`"):
        read_testbed("t.yaml", (local() + "expect:\n  4.1: FIAL\n").encode())


# -- what can come of a check ------------------------------------------------------------------------------------------


def test_the_first_thing_that_does_not_hold_decides(lab):
    [verdict] = lab.run(check("one", fails)).verdicts
    assert (verdict.outcome, verdict.told, verdict.quote) == (Outcome.FAIL, "one does not", "what a tool said")
    assert len(verdict.observations) == 3


def test_what_the_bench_cannot_do_is_blocked(lab):
    def act(ground, record):
        raise NotPossibleError("ports cannot be put into VLANs")

    done = lab.run(check("one", act), check("two", passes))
    assert outcomes(done) == ["BLOCKED", "PASS"]
    assert done.verdicts[0].told == "ports cannot be put into VLANs"
    assert lab.log == ["up linux_bridge", "down linux_bridge"]
    assert not done.surprises


def test_what_has_failed_before_the_bench_could_not_go_on_is_a_failure(lab):
    def act(ground, record):
        record.observe(False, "vm1 does not reach vm2")
        raise NotPossibleError("ports cannot be put into VLANs")

    [verdict] = lab.run(check("one", act)).verdicts
    assert (verdict.outcome, verdict.told) == (Outcome.FAIL, "vm1 does not reach vm2")
    assert verdict.advice == ("the rest could not be looked at: ports cannot be put into VLANs",)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ZeroDivisionError("by nothing"), "the check is at fault: ZeroDivisionError: by nothing"),
        (GuestError("has gone", place="guest vm1"), "guest vm1: has gone"),
        (AssertionError(), "the check is at fault: AssertionError: "),
    ],
)
def test_whatever_a_check_raises_the_next_one_has_a_new_stand(lab, error, told):
    def act(ground, record):
        record.keep("notes.txt", "so far")
        raise error

    done = lab.run(check("one", act), check("two", passes))
    assert outcomes(done) == ["ERROR", "PASS"]
    assert done.verdicts[0].told == told
    assert done.verdicts[0].files == ("notes.txt",)
    assert lab.log == ["up linux_bridge", "down linux_bridge"] * 2


def test_a_check_that_saw_nothing_is_at_fault(lab):
    [verdict] = lab.run(check("one", lambda ground, record: None)).verdicts
    assert (verdict.outcome, verdict.told) == (Outcome.ERROR, "the check is at fault: it has observed nothing")


def test_a_check_that_hangs_is_given_up(lab):
    put_back = []

    def act(ground, record):
        record.observe(True, "so far so good")
        try:
            time.sleep(60)
        except Exception:  # noqa: BLE001 - a check may be written like this
            record.observe(True, "not seen")
        finally:
            put_back.append("the MTU")

    done = lab.run(check("one", act, limit_s=0.05), check("two", passes))
    assert outcomes(done) == ["ERROR", "PASS"]
    assert done.verdicts[0].told == "took more than 0.05 s and was given up"
    assert len(done.verdicts[0].observations) == 1
    assert put_back == ["the MTU"]
    assert lab.log == ["up linux_bridge", "down linux_bridge"] * 2


def test_a_check_that_hangs_where_it_puts_back_is_given_up_too(lab, monkeypatch):
    monkeypatch.setattr(checking, "GRACE_S", 0.05)

    def act(ground, record):
        try:
            time.sleep(60)
        finally:
            time.sleep(60)

    assert outcomes(lab.run(check("one", act, limit_s=0.05), check("two", passes))) == ["ERROR", "PASS"]


def test_what_a_check_leaves_behind_is_told_and_goes(lab):
    def act(ground, record):
        ground.setting = "mtu 4000"
        record.observe(True, "it holds")

    done = lab.run(check("one", act), check("two", passes))
    assert outcomes(done) == ["PASS", "PASS"]
    [advice] = done.verdicts[0].advice
    assert advice.startswith("the check left something behind: mtu 4000 where there was as it was")
    assert lab.log == ["up linux_bridge", "down linux_bridge"] * 2


def test_who_has_gone_meanwhile_makes_what_was_seen_worthless(lab):
    def act(ground, record):
        ground.gone.append("guest vm1: its process has ended")
        record.observe(False, "vm1 does not reach vm2")

    done = lab.run(check("one", act), check("two", passes))
    assert outcomes(done) == ["ERROR", "PASS"]
    assert done.verdicts[0].told == "gone meanwhile: guest vm1: its process has ended, so that nothing is known"
    assert lab.log == ["up linux_bridge", "down linux_bridge"] * 2


def test_a_stand_that_does_not_say_how_it_is_does_not_end_the_campaign(lab):
    def act(ground, record):
        ground.faults = lambda: {}["vm1"]
        record.observe(True, "it holds")

    done = lab.run(check("one", act), check("two", passes))
    assert outcomes(done) == ["ERROR", "PASS"]
    assert "KeyError" in done.verdicts[0].told


# -- stands that do not come up ----------------------------------------------------------------------------------------


def test_a_path_that_cannot_be_had_blocks_its_cases_and_is_asked_for_once(lab):
    lab.refusals = [NotPossibleError("the testbed lab names no physical function (switch.sriov)")]
    done = lab.run(check("one", passes, SRIOV), check("two", passes, SRIOV))
    assert outcomes(done) == ["BLOCKED", "BLOCKED"]
    assert {verdict.told for verdict in done.verdicts} == {"the testbed lab names no physical function (switch.sriov)"}
    assert lab.log == ["refused sriov"]


def test_a_stand_that_does_not_come_up_is_tried_twice(lab):
    lab.refusals = [GuestError("does not boot", place="guest vm1")]
    done = lab.run(*(check(name, passes) for name in ("one", "two", "three", "four")))
    assert outcomes(done) == ["ERROR"] * 4
    assert {verdict.told for verdict in done.verdicts} == {"the stand does not come up: guest vm1: does not boot"}
    assert lab.log == ["refused linux_bridge"] * 2


def test_a_stand_that_does_not_go_down_does_not_end_the_campaign(lab):
    @contextmanager
    def stuck(bench, path, wish):
        yield Ground(path, wish)
        raise GuestError("does not end", place="guest vm1")

    conductor = Conductor(lab.bench, lab.campaign, lab.told, stuck)
    done = conductor.run(all_cases([check("one", passes, BRIDGE, OVS)]))
    assert outcomes(done) == ["PASS", "PASS"]
    assert "taking down: guest vm1: does not end" in lab.told.stages


# -- evidence ----------------------------------------------------------------------------------------------------------


class Full(Record):
    """A record whose disk is full after so many bytes."""

    room = 100

    def _write(self, name: str, data: bytes) -> str:
        Full.room -= len(data)
        if Full.room < 0:
            self.full = True
            raise StoreError("the disk is full", place="results")
        return super()._write(name, data)


def test_a_full_disk_is_told_and_the_evidence_makes_room(lab, monkeypatch):
    monkeypatch.setattr(checking, "Record", Full)

    def act(ground, record):
        record.keep("small.txt", "x" * 50)
        record.keep("large.txt", "x" * 500)

    done = lab.run(check("one", act), check("two", passes))
    assert outcomes(done) == ["ERROR", "PASS"]
    assert done.verdicts[0].told == "results: the disk is full"
    assert done.verdicts[0].files == ()
    assert checking.NO_ROOM in done.verdicts[0].advice
    assert not list(done.path.glob("evidence/*/*"))


def test_a_verdict_that_does_not_fit_pushes_its_evidence_out(lab, monkeypatch):
    save, refused = Campaign.save, []

    def saved(campaign: Campaign) -> None:
        if campaign.verdicts and not refused:
            refused.append(campaign)
            raise StoreError("the disk is full", place="results")
        save(campaign)

    monkeypatch.setattr(Campaign, "save", saved)

    def act(ground, record):
        record.keep("notes.txt", "a line\n")
        record.observe(True, "it holds")

    done = lab.run(check("one", act))
    assert outcomes(done) == ["PASS"]
    assert done.verdicts[0].files == ()
    assert not list(done.path.glob("evidence/*"))


def test_evidence_is_bounded_and_says_so(tmp_path):
    record = Record(tmp_path, most_bytes=100)
    record.keep("a b.txt", "x" * 60)
    record.keep("large.txt", "x" * 60)
    assert record.files == ["a-b.txt"]
    assert record.advice == ["large.txt is not whole: evidence is bounded"]


class Answering:
    """A host that answers, hangs, or is interrupted."""

    name = "vm1"
    answer: BaseException | None = None

    def run(self, argv, **options):
        if self.answer:
            raise self.answer
        return Completed(tuple(argv), 1, "", "no such device", 0.1)

    def spawn(self, argv):
        return None


@pytest.mark.parametrize("answer", [GuestError("took more than 30 s"), KeyboardInterrupt()])
def test_a_command_without_an_answer_is_kept_too(tmp_path, answer):
    host, record = Answering(), Record(tmp_path)
    seen = WitnessedHost(host, "vm1")
    seen.record = record
    seen.run(["ip", "link"], check=False)
    host.answer = answer
    seen.spawn(["tcpdump", "-i", "eth 0"])
    with pytest.raises(type(answer)):
        seen.run(["ping", "10.0.0.1"])
    told = (tmp_path / COMMANDS).read_text()
    assert "[vm1] $ ip link\nno such device\n(status 1)\n" in told
    assert "[vm1] $ tcpdump -i 'eth 0'\n(in the background)\n" in told
    assert f"[vm1] $ ping 10.0.0.1\n({str(answer) or 'was given up'})\n" in told


def test_an_interrupted_campaign_is_kept_unfinished(lab):
    def act(ground, record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lab.run(check("one", passes), check("two", act), check("three", passes))
    kept = Campaign.read(lab.campaign.path)
    assert (outcomes(kept), kept.state) == (["PASS"], "unfinished")
    assert lab.log == ["up linux_bridge", "down linux_bridge"]


# -- campaigns on the disk ---------------------------------------------------------------------------------------------


def test_a_campaign_is_found_by_what_people_call_it(tmp_path):
    first, second = (Campaign.begin(tmp_path, name, {}, ()).path for name in ("one", "two"))
    assert is_campaign(first)
    assert not is_campaign(tmp_path)
    assert not is_campaign(tmp_path / ("x" * 300))
    assert resolve_campaign(tmp_path, str(first)) == first
    assert resolve_campaign(tmp_path, second.name) == second
    assert resolve_campaign(tmp_path, "latest-check") == max(first, second)
    assert resolve_campaign(tmp_path, "latest-check~1") == min(first, second)
    for spec, told in {
        "latest-check~2": "of 2 campaigns latest-check~2 is none",
        "2": "2 campaigns begin with '2'",
        "x": "no campaign",
    }.items():
        with pytest.raises(UsageError, match=told):
            resolve_campaign(tmp_path, spec)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": 1}', '{"version": 2}'])
def test_what_is_no_campaign_is_told(tmp_path, text):
    campaign = Campaign.begin(tmp_path, "one", {}, ())
    (campaign.path / "campaign.json").write_text(text)
    with pytest.raises(StoreError, match=r"campaign\.json"):
        Campaign.read(campaign.path)
