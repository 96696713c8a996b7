"""Faults put into the real switch on purpose, and the cause that is named for each.

A host that keeps the generator from sending proves nothing: such trials are made again, then the test is skipped. Where
it keeps the switch from its core, that is the cause for once: what is told of a trial has to be right in one of some.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar
from unittest.mock import Mock

import pytest

from nvbench import rising
from nvbench.bench import bench, placed
from nvbench.datapaths.base import dpdk_files
from nvbench.diagnosis import Cause, Diagnosis, diagnose
from nvbench.errors import NotReadyError
from nvbench.fingerprint import memory
from nvbench.guests import GuestPlace, Nic
from nvbench.guests.namespace import Namespace
from nvbench.hosts import Host, LocalHost
from nvbench.journal import Journal, Restore
from nvbench.measurer import Measurer, StandingRig
from nvbench.plan import make_plan
from nvbench.profile import load_profile
from nvbench.reading import open_results
from nvbench.rigs import Rig, frame_rig
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import Subject
from nvbench.testbed import load_testbed
from nvbench.traffic import FlowField, Traffic
from nvbench.trial import AbortRule
from tests.lab.waiting import wait_until

pytestmark = pytest.mark.usefixtures("as_found")

ATTEMPTS = 4
HOST = LocalHost()
SMALL = Traffic(64)


@dataclass
class Lab:
    """A switch, and a run that keeps the trials that are made through it."""

    standing: StandingRig
    run: RunWriter
    topology: str
    pmd_core: int
    told: list[str] = field(default_factory=list)

    @property
    def switch(self) -> Any:
        return self.standing.rig.datapath

    def measure(self, traffic: Traffic, load_pps: float, seconds: float = 1.0) -> Diagnosis:
        """A trial, stored with its samples, read again and explained."""
        subject = Subject("case", "throughput", "ovs_dpdk", "nvgen", traffic.frame_bytes, topology=self.topology)
        measure = Measurer(self.standing, self.run, Mock(), subject, "search", traffic)
        trial = measure(load_pps, seconds, AbortRule())
        [diagnosis] = diagnose(open_results(self.run.path), "case", trial.trial_id)
        self.told.append(diagnosis.headline)
        return diagnosis

    def until(
        self,
        fit: Callable[[Diagnosis], bool],
        *measured: Any,
        check: Callable[[Diagnosis], None] = lambda found: None,
    ) -> Diagnosis:
        """The first of some trials that is fit to be judged, and passes the check; fails where none of the fit does."""
        wrong = None
        for _ in range(ATTEMPTS):
            if not fit(found := self.measure(*measured)):
                continue
            try:
                check(found)
            except (AssertionError, LookupError) as error:
                wrong = error
            else:
                return found
        if wrong is not None:
            raise wrong
        return pytest.skip(f"the host disturbed {ATTEMPTS} trials: {self.told}")


@contextmanager
def lab(tmp_path, **options: object) -> Iterator[Lab]:
    """A switch with these options, nvgen at its outer ports."""
    asked = {"queues": 1, **options}
    words = [f"datapath.{key}={json.dumps(value)}" for key, value in asked.items()]
    profile = load_profile("10ge-forwarding", [*words, "traffic.frame_bytes=1518"], quick=True)
    plan = make_plan(profile, load_testbed("local"))
    pmd_core = placed(plan.testbed, {HOST.name: HOST}).pmd_cores[0]

    @contextmanager
    def up() -> Iterator[Rig]:
        with bench(plan.testbed) as held:
            chosen = held.make_ready(plan)
            with frame_rig(held, next(plan.setups), chosen.kind, drain_s=0.1) as made:
                yield made

    with RunWriter.create(tmp_path, RunHeader("faults", "local")) as run, StandingRig(up) as standing:
        yield Lab(standing, run, str(asked.get("topology", "P2P")), pmd_core)


def lossy(found: Diagnosis) -> bool:
    return found.ledger is not None and found.ledger.lost > 0


def evidence(found: Diagnosis) -> dict[tuple[str, str], float]:
    """By how much each counter went on that the first finding quotes."""
    return {(each.source, each.metric): each.change for each in found.findings[0].evidence}


def test_where_nothing_is_wrong_each_hop_passes_on_what_it_got(tmp_path):
    def check(found: Diagnosis) -> None:
        assert found.ledger is not None
        assert {(hop.entered, hop.left) for hop in found.ledger.hops[1:]} == {(found.offered, found.offered)}
        assert [hop.name for hop in found.ledger.hops] == ["generator", "queue of nvp0", "lookup", "nvp1, out", "back"]
        assert 0 < next(load.share for load in found.loads if load.what == "busy") < 1

    with lab(tmp_path) as made:
        made.until(lambda found: not lossy(found), SMALL, 50_000, check=check)


@contextmanager
def stumbling(pid: int) -> Iterator[None]:
    """The switch is stopped for some milliseconds now and then: longer than a tiny queue holds, and not a usual one."""
    over = threading.Event()

    def run() -> None:
        while not over.wait(0.1):
            os.kill(pid, signal.SIGSTOP)
            time.sleep(0.01)
            os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_a_tiny_queue(tmp_path):
    def check(found: Diagnosis) -> None:
        assert found.cause is Cause.TINY_QUEUE
        assert "a queue of 64 descriptors holds 3.2 ms of 20 kpps" in found.findings[0].text
        assert evidence(found)["trial", "refused_frames"] == found.findings[0].frames > 0

    with lab(tmp_path, descriptors=64) as made, stumbling(made.switch.poller()):
        made.until(lossy, SMALL, 20_000, check=check)


@pytest.mark.parametrize(
    ("option", "value", "counter"),
    [
        ("ingress_policing_kbps", 20_000, ("port nvp0", "rx_dropped")),
        ("egress_policer_bytes_per_s", 2_000_000, ("port nvp1", "ovs_tx_qos_drops")),
    ],
)
def test_a_policer(tmp_path, option, value, counter):
    def check(found: Diagnosis) -> None:
        assert found.cause is Cause.POLICER
        assert evidence(found) == {counter: found.findings[0].frames}
        assert found.findings[0].frames > 0.5 * found.offered
        assert found.sum.startswith("It adds up")

    with lab(tmp_path, **{option: value}) as made:
        made.until(lambda found: lossy(found) and not found.ledger.gaps, Traffic(1518), 100_000, check=check)


@contextmanager
def busy(core: int) -> Iterator[None]:
    """Somebody else who wants that core as much as the switch does."""
    spin = "import os; os.nice(-20)\nwhile True: pass"
    with subprocess.Popen(["taskset", "-c", str(core), "python3", "-c", spin]) as child:
        try:
            time.sleep(0.2)
            yield
        finally:
            child.kill()


def test_a_polling_core_that_is_shared(tmp_path):
    def check(found: Diagnosis) -> None:
        assert found.cause is Cause.SHARED_CORE
        waited = {each.metric: each for each in found.findings[0].evidence}["waited_s"]
        assert waited.source.startswith("task switch pmd-")
        assert waited.change > 0.1

    with lab(tmp_path) as made, busy(made.pmd_core):
        made.until(lossy, SMALL, 1e6, check=check)


def test_an_upcall_storm(tmp_path):
    """A MAC address a flow: with NORMAL each is a megaflow of its own, and more than the switch keeps."""

    def check(found: Diagnosis) -> None:
        assert found.cause is Cause.UPCALLS
        counted = {each.metric: each.change for each in found.findings[0].evidence}
        assert counted["lookups_missed"] + counted.get("lookups_lost", 0) > 0.1 * counted["packets_received"]

    many = Traffic(64, flows=100_000, vary=(FlowField.MAC_SRC,))
    with lab(tmp_path, flow_set="normal") as made:
        made.until(lossy, many, 200_000, check=check)


def test_an_mtu_that_is_too_small(tmp_path):
    def check(found: Diagnosis) -> None:
        assert found.cause is Cause.MTU
        assert evidence(found) == {("port nvp1", "ovs_tx_mtu_exceeded_drops"): found.offered}

    with lab(tmp_path) as made:
        ovs = made.switch.control
        ovs.vsctl("set", "Interface", "nvp1", "mtu_request=1000")
        wait_until(lambda: ovs.vsctl("get", "Interface", "nvp1", "mtu").strip() == "1000")
        made.until(lambda found: lossy(found) and not found.ledger.gaps, Traffic(1518), 10_000, 0.5, check=check)


class StandIn:
    """What a virtual machine is to a switch: a virtio driver at the other end of its sockets; it can be stopped."""

    kind: ClassVar[str] = Namespace.kind
    emulated = False
    version = "dpdk-testpmd"
    host: Host = HOST
    devices: tuple[str, ...] = ()
    made: ClassVar[list[StandIn]] = []

    def __init__(self, number: int, place: GuestPlace, nics: Sequence[Nic]) -> None:
        self.name = f"vm{number + 1}"
        self._nics, self._place = nics, place
        self.made.append(self)

    def up(self, journal: Journal) -> None:
        prefix = f"nvtd{os.getpid()}"
        journal.record(HOST, dpdk_files(prefix))
        found = memory(HOST)
        path = f"/sys/kernel/mm/hugepages/hugepages-{found['Hugepagesize']}kB/nr_hugepages"
        journal.record(HOST, Restore(path, HOST.read(path) or ""))
        HOST.write(path, str(found["HugePages_Total"] + 136 * 1024 // found["Hugepagesize"]))
        sockets = enumerate(nic.link.name for nic in self._nics)
        vdevs = [f"--vdev=net_virtio_user{index},path={path},server=1,queue_size=256" for index, path in sockets]
        cores = f"0@{self._place.cores[0]},1@{self._place.cores[0]}"
        eal = [f"--lcores={cores}", "--in-memory", "--single-file-segments", "--socket-mem=128", "--no-telemetry"]
        own = ["--total-num-mbufs=8192", "--auto-start", "--forward-mode=io", "--no-lsc-interrupt"]
        self.process = subprocess.Popen(
            ["dpdk-testpmd", *eal, "--no-pci", f"--file-prefix={prefix}", *vdevs, "--", *own],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def ready(self) -> None:
        assert self.process.poll() is None

    def forward(self) -> None: ...

    def check_alive(self) -> None:
        assert self.process.poll() is None

    def down(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_a_guest_that_leaves_its_receive_ring_full(tmp_path, monkeypatch):
    def check(found: Diagnosis) -> None:
        assert found.cause is Cause.GUEST_RING
        assert evidence(found)["port nvp1", "ovs_tx_failure_drops"] == found.findings[0].frames > 0.5 * found.offered

    monkeypatch.setattr(rising, "make_guest", lambda kind, number, place, nics, side: StandIn(number, place, nics))
    try:
        with lab(tmp_path, topology="PVP", guest="qemu") as made:
            made.until(lambda found: not lossy(found), SMALL, 1000, 0.2)
            StandIn.made[-1].check_alive()
            StandIn.made[-1].process.send_signal(signal.SIGSTOP)
            made.until(lossy, SMALL, 20_000, 0.5, check=check)
    except NotReadyError as lacking:
        pytest.skip(str(lacking))
