"""The main job on the real switch: true numbers, and nothing left behind however it ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import nvbench
from nvbench.hosts import LocalHost
from nvbench.journal import ended
from tests.lab.conftest import running
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.usefixtures("as_found")

ONE_CASE = ("-s", "traffic.frame_bytes=512", "-s", "datapath.queues=1")
NVBENCH = (sys.executable, "-m", "nvbench")


def command(results: Path, *words: str) -> list[str]:
    return [*NVBENCH, "run", "10ge-forwarding", "--quick", "--results", str(results), *words]


def run(results: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(results, *words), capture_output=True, text=True, timeout=600, check=False)


def only_run(results: Path) -> Path:
    (path,) = (entry for entry in results.iterdir() if entry.is_dir())
    return path


@contextmanager
def started(results: Path) -> Iterator[subprocess.Popen[str]]:
    """A run whose first trials through the switch are stored."""
    child = subprocess.Popen(
        command(results, *ONE_CASE, "-s", "ceiling=false", "-s", "tests.throughput.final_s=30"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: child.poll() is not None or list(results.glob("*/trials/*.parquet")), 120.0)
        assert child.poll() is None, f"ended early: {child.communicate()[1]}"
        yield child
    finally:
        child.send_signal(signal.SIGINT)
        child.communicate(timeout=120)


def undisturbed(tmp_path: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A run whose every question got an answer; a host that takes cores away may need some."""
    for attempt in range(3):
        done = run(tmp_path / f"{attempt}", *words, "-s", "tests.throughput.budget_s=20.0")
        assert done.returncode == 0, done.stderr
        path = only_run(tmp_path / f"{attempt}")
        rows = nvbench.open_results(path).results().to_pylist()
        if len(rows) == 2 and all(row["rate_pps"] for row in rows):
            return done, path
    pytest.skip("the host disturbed three runs")


def test_a_run_from_start_to_table(tmp_path):
    done, path = undisturbed(tmp_path, "-s", "traffic.frame_bytes=1518", "-s", "datapath.queues=2")
    assert "Traceback" not in done.stderr
    assert "1518" in done.stdout
    assert str(path) in done.stdout.replace("\n", "")
    results = nvbench.open_results(path)
    throughput, latency = results.results().to_pylist()
    assert throughput["rate_pps"] > 10_000
    assert throughput["ceiling_pps"] >= throughput["rate_pps"]
    assert throughput["quick"] is True
    assert throughput["simulated"] is False
    assert 0 < latency["latency_min_us"] <= latency["latency_p50_us"] <= latency["latency_max_us"]
    record = json.loads((path / "run.json").read_text())
    assert record["state"] == "finished"
    assert record["fingerprint"]["hosts"]["local"]["versions"]["ovs"]
    assert any("ovs-vswitchd" in word for argv in record["commands"] for word in argv)
    for trial in results.trials().to_pylist():
        assert trial["asked_frames"] == trial["sent_frames"] + trial["late_frames"] + trial["refused_frames"]
        assert trial["lost_frames"] == max(0, trial["sent_frames"] - trial["received_frames"])
    metrics = set(results.samples().column("metric").to_pylist())
    assert {"processing_cycles", "idle_cycles", "rx_packets", "tx_dropped"} <= metrics


def test_interrupted_it_cleans_up_keeps_what_it_measured_and_says_so_and_until_then_a_second_is_refused(tmp_path):
    with started(tmp_path / "first") as child:
        second = run(tmp_path / "second", *ONE_CASE)
        assert second.returncode == 3
        assert f"testbed local: in use by process {child.pid}" in second.stderr
        assert len(second.stderr.strip().splitlines()) == 1
        child.send_signal(signal.SIGINT)
        _, complaint = child.communicate(timeout=120)
    assert child.returncode == 130, complaint
    assert complaint.rstrip().splitlines()[-1].startswith("nvbench: interrupted")
    assert "Traceback" not in complaint
    assert nvbench.open_results(only_run(tmp_path / "first")).trials().num_rows >= 1


def test_killed_it_stops_sending_and_clean_removes_the_rest(tmp_path):
    with started(tmp_path) as child:
        generators = running("nvgen-")
        assert generators
        child.kill()
        child.communicate(timeout=60)
    # The generator does not outlive its master; its memory is free once all of its threads have gone.
    wait_until(lambda: all(ended(LocalHost(), pid) for pid in generators))
    done = subprocess.run([*NVBENCH, "clean"], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "local: as it was found" in done.stdout
    assert nvbench.open_results(only_run(tmp_path)).trials().num_rows >= 1


@pytest.mark.parametrize(
    ("victim", "words"),
    [("nvgen-", "nvgen ended"), ("ovs-vswitchd-dpdk", "has gone; ovs-vswitchd.log ends")],
)
def test_a_part_that_dies_in_the_middle_is_named_and_what_was_measured_is_kept(tmp_path, victim, words):
    with started(tmp_path) as child:
        (pid,) = running(victim)
        os.kill(pid, signal.SIGKILL)
        _, complaint = child.communicate(timeout=120)
    assert child.returncode == 4, complaint
    assert words in complaint.rstrip().splitlines()[-1]
    assert "Traceback" not in complaint
    results = nvbench.open_results(only_run(tmp_path))
    assert results.trials().num_rows >= 1
    assert json.loads((only_run(tmp_path) / "run.json").read_text())["state"] == "broke"


BED = """
name: no-such-nic
link_gbps: 10
generator: {{ports: [{{vdev: net_null0}}, {{vdev: net_null1}}]}}
switch: {{ports: [{{{port}0}}, {{{port}1}}]}}
"""


def test_a_port_that_is_not_there_is_told_before_anything_starts(tmp_path):
    (tmp_path / "bed.yaml").write_text(BED.format(port="pci: 0000:ff:1f."))
    done = run(tmp_path / "results", *ONE_CASE, "--testbed", str(tmp_path / "bed.yaml"))
    assert done.returncode == 3
    assert done.stderr.splitlines()[-1].startswith("nvbench: host local: switch.ports.0, 0000:ff:1f.0, is not there")


def test_an_ovs_that_does_not_come_up_shows_the_end_of_its_log(tmp_path):
    (tmp_path / "bed.yaml").write_text(BED.format(port="vdev: net_nothing"))
    done = run(tmp_path / "results", *ONE_CASE, "--testbed", str(tmp_path / "bed.yaml"))
    assert done.returncode == 4
    assert "net_nothing0" in done.stderr
    assert "ovs-vswitchd.log ends:" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
