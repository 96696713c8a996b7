"""TCP between two endpoints over real datapaths: what is measured, what is explained, what is survived."""

import os
import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

import nvbench
from nvbench.attribution import explain
from nvbench.bench import bench
from nvbench.errors import RunBrokeError
from nvbench.plan import make_plan
from nvbench.profile import load_profile, read_profile
from nvbench.session import Session
from nvbench.store import RunHeader, RunWriter
from nvbench.testbed import load_testbed
from tests.lab.conftest import running as processes
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.usefixtures("as_found")

SHORT = ("tests.tcp_stream.duration_s=0.6", "tests.tcp_stream.warmup_s=0", "tests.tcp_stream.tool=iperf3")


class Watcher:
    """Hears what is done, and may act on it."""

    def __init__(self, on_stage=lambda text: None):
        self.stage = on_stage

    def live(self, where, load_pps, duration_s, live): ...
    def trial(self, where, trial): ...
    def result(self, row): ...


@contextmanager
def session(tmp_path, plan, on_stage=lambda text: None):
    with bench(plan.testbed) as held, RunWriter.create(tmp_path, RunHeader("p", "local")) as store:
        yield Session(plan, held, store, Watcher(on_stage)), store.path


def measured(tmp_path, profile, *overrides):
    plan = make_plan(load_profile(profile, (*SHORT, *overrides), True), load_testbed("local"))
    with session(tmp_path, plan) as (running, path):
        running.run()
    return nvbench.open_results(path)


def test_the_five_paths_are_measured_side_by_side(tmp_path):
    results = measured(tmp_path, "netperf-paths", "tests.tcp_stream.repeats=1")
    rows = results.results().to_pylist()
    assert len(rows) == 5
    assert {row["verdict"] for row in rows} == {"measured"}
    best = {row["datapath"]: row["value_max"] for row in rows}
    assert best["direct"] > 1.5 * best["ovs_dpdk"]
    assert best["linux_bridge"] > 1.5 * best["ovs_dpdk"]
    sizes = {row["datapath"]: row["packet_bytes"] for row in rows}
    assert sizes["linux_bridge"] > 10_000  # segments before their segmentation
    assert sizes["ovs_dpdk"] < 1600
    streams = results.table("streams").to_pylist()
    assert len([stream for stream in streams if stream["valid"]]) == 5
    flags = {each["name"]: each["value"] for each in streams[0]["client_offloads"]}
    assert flags["large-receive-offload"].endswith("[fixed]")


def test_the_gap_between_two_paths_is_explained_and_the_trap_is_told(tmp_path):
    switches = (
        "endpoints.tx_checksum=[true, false]",
        "endpoints.sg=true",
        "endpoints.tso=[true, false]",
        "endpoints.gro=null",
    )
    results = measured(tmp_path, "offload-tso", "endpoints.gso=null", *switches, "tests.tcp_stream.repeats=2")
    rows = results.results().to_pylist()
    assert len(rows) == 3 * 3
    silent = [row for row in rows if row["verdict"].startswith("TCP does not pass")]
    assert {row["datapath"] for row in silent} == {"ovs_dpdk"}
    assert len(silent) == 2  # with checksums left to the device and no userspace TSO
    assert any("passes them on unfilled" in warning for warning in results.runs[0].warnings)
    explanation = explain(results.table("streams").to_pylist())
    assert explanation.gap_factor > 1.5
    assert "TSO" in explanation.sentence
    assert sum(effect.share for effect in explanation.effects) == pytest.approx(1.0)


TWO_FLOW_SETS = b"""\
name: crash
datapath: {kind: ovs_dpdk, topology: VM-to-VM, guest: namespace, userspace_tso: true}
endpoints: {tso: [true, false]}
tests: {tcp_stream: {tool: iperf3, duration_s: 4.0, warmup_s: 0.0, repeats: 1}}
"""


def test_a_switch_that_crashes_costs_one_case(tmp_path):
    plan = make_plan(read_profile("crash.yaml", TWO_FLOW_SETS), load_testbed("local"))
    killed = []

    def kill() -> None:
        """While a stream runs."""
        wait_until(lambda: processes("iperf3 -c"))
        time.sleep(0.3)
        for pidfile in Path("/run/nvbench").glob("nv*/ovs-vswitchd.pid"):
            killed.append(int(pidfile.read_text()))
            os.kill(killed[-1], signal.SIGSEGV)

    killer = threading.Thread(target=kill)

    def on_stage(text):
        if "1 of 1" in text and killer.ident is None:
            killer.start()

    with session(tmp_path, plan, on_stage) as (running, path), pytest.raises(RunBrokeError, match="1 case broke"):
        running.run()
    killer.join()
    rows = nvbench.open_results(path).results().to_pylist()
    assert len(killed) == 1
    assert sorted(row["verdict"].partition(":")[0] for row in rows) == ["broke", "measured"]
    (broke,) = (row["verdict"] for row in rows if row["verdict"].startswith("broke"))
    assert "ovs-vswitchd" in broke


def test_two_virtual_machines_with_two_queues(tmp_path):
    results = measured(
        tmp_path,
        "netperf-paths",
        "datapath=[{kind: ovs_dpdk, topology: VM-to-VM, guest: qemu, queues: 2}]",
        "tests.tcp_stream.repeats=1",
        "tests.tcp_stream.parallel=2",
    )
    (row,) = results.results().to_pylist()
    assert row["verdict"] == "measured"
    assert row["value_max"] > 1e6
    assert (row["queues"], row["guest"]) == (2, "qemu")
    assert row["emulated"] == any("not a performance figure" in text for text in results.runs[0].warnings)
    flags = {each["name"]: each["value"] for each in results.table("streams").to_pylist()[0]["client_offloads"]}
    assert flags["tcp-segmentation-offload"].startswith("off")  # as a guest finds it behind OVS without userspace TSO
