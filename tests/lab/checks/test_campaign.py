"""Campaigns on the real bench: whatever happens in the middle, the next case runs, and the bench is as it was found."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nvbench.campaign import Campaign, Outcome
from nvbench.checking import NO_ROOM, Conductor, all_cases
from nvbench.generators.frames import Captured
from nvbench.stands import BRIDGE, OVS, SRIOV, Check
from tests.lab.conftest import leaves_no_trace, running
from tests.lab.waiting import wait_until

NVBENCH = (sys.executable, "-m", "nvbench")
BED = """\
name: campaign
generator: {ports: [{virtual: true}, {virtual: true}]}
switch: {ports: [{virtual: true}, {virtual: true}]}
"""

Conduct = Callable[..., Campaign]


class Silent:
    """An observer that remembers the stages."""

    def __init__(self) -> None:
        self.stages: list[str] = []

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def begins(self, case: object) -> None:
        pass

    def verdict(self, verdict: object) -> None:
        print(verdict)


@pytest.fixture
def conduct(held, stands, tmp_path) -> Conduct:
    """A campaign of these checks, after which nothing is up."""

    def conducted(*checks: Check, root: Path = tmp_path) -> Campaign:
        stands.close()
        with leaves_no_trace():
            begun = Campaign.begin(root, "local", {}, (BRIDGE, OVS))
            observer = Silent()
            done = Conductor(held, begun, observer).run(all_cases(checks))
        assert held.journal.entries == []
        assert observer.stages.count("bringing up linux_bridge") <= 2
        return Campaign.read(done.path)

    return conducted


def check(name, act, path=BRIDGE, **more) -> Check:
    return Check(name, name, {path: ""}, act, **more)


def reaches(stand, record, patience_s=20) -> None:
    words = ["ping", "-c", "1", "-w", str(patience_s), stand.member("vm2").address]
    done = stand.member("vm1").host.run(words, check=False)
    record.observe(done.ok, "vm1 reaches vm2" if done.ok else "vm1 does not reach vm2", done.stdout[-80:])


AFTER = check("after", reaches)


def outcomes(campaign: Campaign) -> list[Outcome]:
    return [verdict.outcome for verdict in campaign.verdicts]


def test_a_guest_that_vanishes_in_the_middle(conduct):
    def act(stand, record):
        stand.bench.switch_host.run(["ip", "netns", "delete", f"{stand.name}-vm2"])
        reaches(stand, record, patience_s=2)

    done = conduct(check("vanish", act), AFTER)
    assert outcomes(done) == [Outcome.ERROR, Outcome.PASS]
    assert done.verdicts[0].told.startswith("gone meanwhile: ")


def test_a_check_that_hangs(conduct):
    def act(stand, record):
        stand.member("vm1").host.run(["sleep", "77.5"], timeout_s=90)

    done = conduct(check("hang", act, limit_s=0.5), AFTER)
    assert outcomes(done) == [Outcome.ERROR, Outcome.PASS]
    assert done.verdicts[0].told == "took more than 0.5 s and was given up"
    assert done.verdicts[0].seconds < 60
    assert "[vm1] $ sleep 77.5\n(was given up)" in (done.evidence(done.verdicts[0]) / "commands.txt").read_text()
    wait_until(lambda: not running("sleep 77.5"))


def test_a_check_that_leaves_something_behind(conduct):
    def act(stand, record):
        port = stand.member("vm2").port
        stand.host.run(["ip", "link", "set", port, "nomaster"])
        record.observe(True, "it holds")

    done = conduct(check("litter", act), AFTER)
    assert outcomes(done) == [Outcome.PASS, Outcome.PASS]
    assert done.verdicts[0].advice[0].startswith("the check left something behind: ")


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_capture_that_fills_the_disk(conduct, tmp_path):
    def act(stand, record):
        record.keep("before.txt", "what came before\n")
        record.capture("all.pcap", [Captured(float(number), bytes(1500)) for number in range(400)])
        record.observe(True, "everything came")

    with small_disk(tmp_path / "disk") as disk:
        done = conduct(check("flood", act), AFTER, root=disk)
        assert outcomes(done) == [Outcome.ERROR, Outcome.PASS]
        assert "the disk is full" in done.verdicts[0].told
        assert NO_ROOM in done.verdicts[0].advice
        assert not done.evidence(done.verdicts[0]).exists()
        assert done.finished
        assert (done.evidence(done.verdicts[1]) / "commands.txt").is_file()


def test_a_virtual_machine_that_is_killed_in_the_middle(conduct):
    def act(stand, record):
        reaches(stand, record)
        [pid] = running(f"/{stand.name}-vm2/")
        os.kill(pid, signal.SIGKILL)
        reaches(stand, record, patience_s=2)

    done = conduct(check("vanish", act, OVS), check("after", reaches, OVS))
    assert outcomes(done) == [Outcome.ERROR, Outcome.PASS]
    assert "vm2" in done.verdicts[0].told
    assert [seen.holds for seen in done.verdicts[0].observations] == [True, False]


# -- as a command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def bed(tmp_path) -> Path:
    """A bench like `local` that no other test holds."""
    file = tmp_path / "campaign.yaml"
    file.write_text(BED)
    return file


@contextmanager
def started(bed: Path, results: Path) -> Iterator[subprocess.Popen[str]]:
    """A campaign whose first check acts."""
    argv = [*NVBENCH, "check", "connectivity", "linux_bridge", "ovs_dpdk", "-t", str(bed), "--results", str(results)]
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 180
        while not list(results.glob("*/evidence/*/commands.txt")):
            assert child.poll() is None, f"ended early: {child.communicate()[1]}"
            assert time.monotonic() < deadline, "nothing was looked at within three minutes"
            time.sleep(0.02)
        yield child
    finally:
        child.kill()
        child.communicate(timeout=180)


def kept(results: Path) -> Campaign:
    [path] = results.iterdir()
    return Campaign.read(path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_is_kept_unfinished_and_the_bench_restored(bed, tmp_path, number):
    results = tmp_path / "results"
    with leaves_no_trace(), started(bed, results) as child:
        child.send_signal(number)
        told, complaint = child.communicate(timeout=180)
    assert child.returncode == 130, complaint
    assert complaint.rstrip().splitlines()[-1].startswith("nvbench: interrupted")
    assert "Traceback" not in complaint
    assert "Unfinished: what was looked at until then." in told
    assert not kept(results).finished


def test_killed_it_is_cleaned_up_after(bed, tmp_path):
    results = tmp_path / "results"
    with leaves_no_trace():
        with started(bed, results) as child:
            child.kill()
            child.communicate(timeout=180)
        done = subprocess.run([*NVBENCH, "clean", str(bed)], capture_output=True, text=True, check=False)
    assert done.stdout == "campaign: as it was found\n", done.stderr
    assert not kept(results).finished


def test_a_role_that_the_testbed_lacks_is_told(tmp_path):
    names = [f"nvtest{number}" for number in range(4)]
    (tmp_path / "bed.yaml").write_text(
        f"name: cabled\ngenerator: {{ports: [{{device: {names[0]}}}, {{device: {names[2]}}}]}}\n"
        f"switch: {{ports: [{{device: {names[1]}}}, {{device: {names[3]}}}]}}\n"
    )
    argv = [*NVBENCH, "check", "connectivity", "sriov", "-t", str(tmp_path / "bed.yaml"), "--format", "json"]
    with leaves_no_trace():
        for near, far in (names[:2], names[2:]):
            subprocess.run(["ip", "link", "add", near, "type", "veth", "peer", "name", far], check=True)
        try:
            done = subprocess.run([*argv, "--results", str(tmp_path)], capture_output=True, text=True, check=False)
        finally:
            for near in (names[0], names[2]):
                subprocess.run(["ip", "link", "delete", near], check=True)
    assert done.returncode == 0, done.stderr
    [verdict] = json.loads(done.stdout)["verdicts"]
    assert verdict["outcome"] == "BLOCKED"
    assert verdict["told"] == "the testbed cabled names no physical function (switch.sriov)"
    assert verdict["path"] == SRIOV
