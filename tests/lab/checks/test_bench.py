"""Checks of the bench itself: what is amiss is seen, and what is not is not."""

import subprocess
import time
from contextlib import contextmanager
from unittest.mock import Mock

import pytest

from nvbench import doctor
from nvbench.campaign import Campaign
from nvbench.checking import Conductor
from nvbench.checks import interrupts, noise
from nvbench.checks.description import DESCRIPTION
from nvbench.checks.hugepages import HUGEPAGES
from nvbench.checks.interrupts import INTERRUPTS
from nvbench.checks.noise import NOISE
from nvbench.checks.versions import VERSIONS
from tests.lab.checks.conftest import Outcome


@contextmanager
def running(*argv: str):
    """A program runs meanwhile."""
    program = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(0.1)
    try:
        yield
    finally:
        program.kill()
        program.wait()


def test_what_is_installed_is_new_enough(on_bench, look_at):
    verdict = look_at(VERSIONS, on_bench)
    assert verdict.outcome is Outcome.PASS
    assert [row[0] for row in verdict.grids[0].rows][:1] == ["local: kernel"]


def test_a_switch_that_is_too_old(on_bench, look_at, monkeypatch):
    monkeypatch.setitem(doctor.MINIMUM, "ovs", "99.0")
    verdict = look_at(VERSIONS, on_bench)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told.endswith("below 99.0")
    assert "Open vSwitch" in verdict.quote


def test_the_bench_is_described(on_bench, look_at):
    verdict = look_at(DESCRIPTION, on_bench)
    assert verdict.outcome is Outcome.PASS
    rows = dict(verdict.grids[0].rows)
    assert rows["sockets"].isdigit()
    assert "online" in rows["cores"]


def test_a_bench_that_hides_its_processor(on_bench, look_at, monkeypatch):
    whole = on_bench.bench.fingerprint()
    hosts = {
        name: {key: value for key, value in found.items() if key != "cpu"} for name, found in whole["hosts"].items()
    }
    monkeypatch.setattr(on_bench.bench, "fingerprint", lambda: {"hosts": hosts})
    verdict = look_at(DESCRIPTION, on_bench)
    assert verdict.outcome is Outcome.FAIL
    assert "unknown: CPU" in verdict.told


def test_every_campaign_tells_of_its_bench(on_bench, tmp_path):
    campaign = Campaign.begin(tmp_path, "local", on_bench.bench.fingerprint(), ())
    done = Conductor(on_bench.bench, campaign, Mock()).run([])
    assert [grid.title for grid in done.bench] == ["Set-up of host local"]
    assert Campaign.read(done.path).bench == done.bench


def test_hugepages_are_had_and_given_back(on_bench, look_at):
    verdict = look_at(HUGEPAGES, on_bench)
    assert verdict.outcome is Outcome.PASS
    assert verdict.told.startswith("host local has 1024 MB for the switch in hugepages")


def test_more_hugepages_than_there_is_memory(on_bench, look_at, monkeypatch):
    testbed = on_bench.bench.testbed
    greedy = testbed.switch.model_copy(update={"socket_memory_mb": 1 << 20})
    monkeypatch.setattr(on_bench.bench, "testbed", testbed.model_copy(update={"switch": greedy}))
    verdict = look_at(HUGEPAGES, on_bench)
    assert verdict.outcome is Outcome.FAIL
    assert "cannot have 1048576 MB for the switch" in verdict.told
    assert "MemAvailable" in verdict.quote


def test_a_disk_that_interrupts_a_polling_core(on_bench, look_at, monkeypatch, tmp_path):
    """One that is read past its cache raises thousands of interrupts a second, on whichever core takes them."""
    file = tmp_path / "read"
    file.write_bytes(bytes(8 << 20))
    read = ["dd", f"if={file}", "of=/dev/null", "bs=4k", "iflag=direct"]
    if subprocess.run(read, check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this file system has no disk that is read past its cache")
    monkeypatch.setattr(interrupts, "polling_cores", lambda _bench: {"local": (0, 1)})
    monkeypatch.setattr(interrupts, "MOST_HZ", 300.0)  # a busy machine reads more slowly
    with running("sh", "-c", f"while :; do {' '.join(read)}; done"):
        verdict = look_at(INTERRUPTS, on_bench)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told.endswith("more than 300 are borne")


def test_a_core_that_hardly_anybody_interrupts(on_bench, look_at, monkeypatch):
    monkeypatch.setattr(interrupts, "MOST_HZ", 20_000.0)  # of whatever else runs here meanwhile
    verdict = look_at(INTERRUPTS, on_bench)
    assert verdict.outcome is Outcome.PASS
    assert verdict.grids[0].columns == ("what", "core 1")
    assert any("isolcpus=1" in advice for advice in verdict.advice)


def test_a_core_that_somebody_else_is_on(on_bench, look_at):
    with running("nice", "-n", "-20", "taskset", "-c", "1", "sh", "-c", "while :; do :; done"):
        verdict = look_at(NOISE, on_bench)
    assert verdict.outcome is Outcome.FAIL
    failed = [seen.told for seen in verdict.observations if not seen.holds]
    assert any(told.startswith("core 1 of host local is taken from what polls there") for told in failed)


def test_cores_that_are_let_be(on_bench, look_at, monkeypatch):
    monkeypatch.setattr(noise, "MOST_AWAY", 0.95)  # a neighbour of the machine's may take much of it
    monkeypatch.setattr(noise, "MOST_UNSEEN", 10.0)
    verdict = look_at(NOISE, on_bench)
    assert verdict.outcome is Outcome.PASS
    assert "differences in throughput from" in verdict.told
    assert [row[0] for row in verdict.grids[0].rows] == ["core 0", "core 1"]
