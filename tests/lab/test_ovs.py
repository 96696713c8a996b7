"""The real switch: how it dies, comes back, learns and drops a known share; kernel devices; builds side by side."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from nvbench.bench import bench
from nvbench.cabling import make_namespace, make_veth
from nvbench.datapaths.base import Place
from nvbench.datapaths.ovs_dpdk import OvsDpdk
from nvbench.datapaths.ovs_options import POLICER_BURST_BYTES, OvsDpdkParameters
from nvbench.endpoint import Link, LinkKind
from nvbench.errors import DatapathError
from nvbench.fingerprint import memory
from nvbench.hosts import LocalHost, NamespaceHost
from nvbench.journal import Journal, Restore, ended, locked
from nvbench.plan import make_plan
from nvbench.profile import load_profile
from nvbench.rigs import Rig, frame_rig
from nvbench.testbed import load_testbed
from nvbench.traffic import Direction, FlowField, Traffic
from nvbench.trial import AbortRule, Trial
from tests.lab.waiting import until, wait_until

pytestmark = pytest.mark.usefixtures("as_found")

ATTEMPTS = 3
NO_ABORT = AbortRule()


@contextmanager
def rig(**options: object) -> Iterator[Rig]:
    """A switch with these options, nvgen at both of its ports."""
    asked = {"datapath.queues": 1, "traffic.frame_bytes": 1518} | {f"datapath.{key}": options[key] for key in options}
    profile = load_profile(
        "10ge-forwarding", [f"{key}={json.dumps(value)}" for key, value in asked.items()], quick=True
    )
    plan = make_plan(profile, load_testbed("local"))
    with bench(plan.testbed) as held:
        chosen = held.make_ready(plan)
        with frame_rig(held, next(plan.setups), chosen.kind, drain_s=0.1) as made:
            yield made


def lossless(trial: Trial) -> bool:
    return trial.total.received == trial.total.offered > 0


DOWN_S = 0.3
STARTS_S = (2.2, 6.0, 12.0)
"""For so long a trial goes on: an OVS-DPDK starts in about 0.8 s, on a busy host it takes some times longer."""

SOON_S = 3.0
"""Of a switch that has started; a host that stops meanwhile makes it late, the first time and hardly every time."""


@pytest.mark.parametrize("flow_set", ["explicit", "normal"])
def test_traffic_comes_back_by_itself_after_a_restart(flow_set):
    with rig(flow_set=flow_set, queues=2) as made, ThreadPoolExecutor() as pool:
        made.generator.configure(Traffic(64, direction=Direction.BIDIRECTIONAL))
        made.generator.learn()
        until(lossless, lambda: made.generator.trial(10_000, 0.3, NO_ABORT))
        for start_s in STARTS_S:
            told = after_restart(made, pool, start_s)
            if told.back_s is not None and told.back_s < SOON_S and told.share > 0.8:
                break
        else:
            pytest.fail(f"frames do not come back: {told}")
        until(lossless, lambda: made.generator.trial(10_000, 0.3, NO_ABORT))


@dataclass(frozen=True)
class After:
    """What was seen of a restart: how long after the start frames passed again, and in which share of the looks."""

    back_s: float | None
    share: float = 0.0


def after_restart(made, pool, start_s: float) -> After:
    """Restart the switch under traffic that lasts until so long after."""
    generator, switch = made.generator, made.datapath
    seen: list[tuple[float, int]] = []
    sending = pool.submit(
        generator.trial,
        10_000,
        DOWN_S + start_s,
        NO_ABORT,
        lambda live: seen.append((time.monotonic(), live.total.received)),
    )
    wait_until(lambda: sending.done() or any(count for _, count in seen))
    before, began = switch.poller(), time.monotonic()
    switch.restart(DOWN_S)
    started = time.monotonic()
    trial = sending.result()
    assert switch.poller() not in (before, None)
    forwarding = [now for (_, earlier), (now, count) in pairwise(seen) if count > earlier]
    back = min((now for now in forwarding if now > began + DOWN_S), default=None)
    if back is None:
        return After(None)
    assert trial.total.lost + trial.total.refused > 0
    looks = [now for now, _ in seen if now > back]
    return After(back - started, len([now for now in forwarding if now > back]) / max(1, len(looks)))


def test_addresses_are_learned_up_to_the_tables_size_and_forgotten():
    with rig(flow_set="normal", mac_table_size=150) as made:
        generator, switch = made.generator, made.datapath
        for sources, learned in ((100, 100), (200, 150)):
            generator.configure(Traffic(64, flows=sources, vary=(FlowField.MAC_SRC,)))
            wait_until(lambda: forgotten(switch))
            until(
                lambda trial, all_of=sources: trial.total.received > all_of,
                lambda: generator.trial(5_000, 0.3, NO_ABORT),
            )
            wait_until(lambda most=learned: switch.learned_addresses() >= most)
            assert switch.learned_addresses() == learned
        # Frames to an address that nobody has sent from go to every port; two ports make that the other one.
        wait_until(lambda: forgotten(switch))
        generator.learn()
        wait_until(lambda: switch.learned_addresses() == 2)


def forgotten(switch) -> bool:
    """Have it forget all addresses; a frame that came late may have it learn one again."""
    switch.forget_addresses()
    return switch.learned_addresses() == 0


@pytest.mark.parametrize("every", [1, 4])
def test_every_nth_frame_is_dropped_and_no_other(every):
    with rig(drop_every=every) as made:
        made.generator.configure(Traffic(64, flows=4 * every, direction=Direction.BIDIRECTIONAL))

        def exact(trial: Trial) -> bool:
            # The first of each n is dropped, that of a round begun as well.
            expected = [each.sent - (each.sent + every - 1) // every for each in trial.directions]
            received = [each.received for each in trial.directions]
            assert all(count <= most for count, most in zip(received, expected, strict=True)), "too few were dropped"
            return received == expected

        until(exact, lambda: made.generator.trial(10_000, 0.5, NO_ABORT))


def test_the_egress_policer_passes_its_bucket_and_its_rate():
    """It counts frames without FCS and Ethernet header. Its rate is so low that a disturbed host overloads it, too."""
    counted, cir = 64 - 4 - 14, 115_000
    with rig(egress_policer_bytes_per_s=cir) as made:
        made.generator.configure(Traffic(64))

        def measure() -> Trial:
            time.sleep(POLICER_BURST_BYTES / cir)  # fills the bucket
            return made.generator.trial(10_000, 2.0, NO_ABORT)

        def policed(trial: Trial) -> bool:
            passed = (POLICER_BURST_BYTES + cir * trial.elapsed_s) / counted
            return trial.total.received == pytest.approx(passed, rel=0.01)

        until(policed, measure)


def test_a_socket_that_the_switch_served_is_in_its_way_when_it_comes_back():
    """Why `vhost_mode: client` is the default: a server that was killed cannot bind to the socket that it left."""
    with rig(vhost_mode="server") as made:
        made.generator.configure(Traffic(64))
        until(lossless, lambda: made.generator.trial(10_000, 0.3, NO_ABORT))
        made.datapath.restart(0.1)
        assert made.generator.trial(10_000, 0.3, NO_ABORT).total.received == 0
        assert made.datapath.crashed() == ""


# -- kernel devices ------------------------------------------------------------------------------------------------

HOST = LocalHost()
SEGMENT = ((Link(LinkKind.VETH, "nv0"), Link(LinkKind.VETH, "nv1")),)
MEMORY_MB = 128


@dataclass(frozen=True)
class Lab:
    """Two endpoints with an address each, and the place of the switch that joins them."""

    journal: Journal
    place: Place
    ends: tuple[NamespaceHost, NamespaceHost]

    def offloads(self, state: str) -> None:
        """Whether the endpoints leave checksums and segmentation to their devices."""
        for end in self.ends:
            end.run(["ethtool", "-K", "eth0", "tx", state])

    @contextmanager
    def switch(self, **options: Any) -> Iterator[OvsDpdk]:
        """A switch that is up."""
        made = OvsDpdk(self.place, OvsDpdkParameters(**options))
        assert made.missing() == ""
        try:
            made.up(self.journal)
            made.attach()
            yield made
        finally:
            made.down()

    def tcp_bps(self, seconds: int = 1, patience_s: int = 15) -> float:
        """Goodput from the first to the second, or 0 if it hangs."""
        server = self.ends[1].spawn(["iperf3", "-s", "-1"])
        try:
            wait_until(lambda: ":5201 " in self.ends[1].run(["ss", "-Hltn"]).stdout)
            argv = ["timeout", str(seconds + patience_s), "iperf3", "-J", "-c", "10.99.0.2", "-t", str(seconds)]
            done = self.ends[0].run(argv, check=False)
            return json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"] if done.ok else 0.0
        finally:
            server.kill()


@contextmanager
def lab(count: int = 1) -> Iterator[list[Lab]]:
    """Places that have nothing in common but the machine."""
    with locked("lab-ovs", {HOST.name: HOST}) as journal:
        found = memory(HOST)
        pages = count * (MEMORY_MB * 1024 // found["Hugepagesize"] + 4)
        path = f"/sys/kernel/mm/hugepages/hugepages-{found['Hugepagesize']}kB/nr_hugepages"
        journal.record(HOST, Restore(path, HOST.read(path) or ""))
        HOST.write(path, str(found["HugePages_Total"] + pages))
        yield [_lab(journal, f"nvl{os.getpid()}-{index}") for index in range(count)]


def _lab(journal: Journal, name: str) -> Lab:
    middle, first, second = (make_namespace(HOST, journal, f"{name}{end}") for end in ("", "a", "b"))
    for index, end in enumerate((first, second)):
        make_veth(middle, f"nv{index}", end, "eth0")
        end.run(["ip", "address", "add", f"10.99.0.{index + 1}/24", "dev", "eth0"])
        end.run(["ip", "link", "set", "eth0", "up"])
    cores = sorted(os.sched_getaffinity(0))
    place = Place(HOST, f"/run/nvbench/{name}", cores[-1:], cores[0], MEMORY_MB, SEGMENT, namespace=name)
    return Lab(journal, place, (first, second))


needs_iperf3 = pytest.mark.skipif(not shutil.which("iperf3"), reason="needs iperf3")


@needs_iperf3
@pytest.mark.parametrize("kernel_ports", ["system", "af_packet", "afxdp"])
def test_tcp_passes_kernel_devices(kernel_ports):
    with lab() as (made,):
        made.offloads("off")
        with made.switch(kernel_ports=kernel_ports, flow_set="normal", pmd_maxsleep_us=500) as ovs:
            assert made.tcp_bps() > 0
            assert ovs.findings == []
            assert ovs.learned_addresses() == 2
            readings = {(each.source, each.metric): each.value for each in ovs.readings()}
            poller = "main thread" if kernel_ports == "system" else f"pmd core {made.place.pmd_cores[0]}"
            passed = readings[poller, "packets_received"]
            misses = readings["datapath", "lookups_missed"]
            assert 0 < misses < passed


@needs_iperf3
def test_checksums_that_the_ends_leave_open_pass_with_userspace_tso_alone():
    with lab() as (made,):
        with made.switch():
            assert made.tcp_bps(patience_s=2) == 0.0  # it hangs: segments arrive without their checksums
            made.offloads("off")
            whole = made.tcp_bps()
        made.offloads("on")
        with made.switch(userspace_tso=True) as ovs:
            assert ovs.findings == []
            tries = (made.tcp_bps() for _ in range(ATTEMPTS))  # a host that stops may spoil one
            assert any(bps > 1.5 * whole > 0 for bps in tries)


def test_a_crash_is_noticed_as_soon_as_the_switch_has_ended():
    with lab() as (made,), made.switch() as ovs:
        assert ovs.crashed() == ""
        pid = ovs.poller()
        os.kill(pid, signal.SIGSEGV)
        wait_until(lambda: ended(HOST, pid))
        assert "has gone; ovs-vswitchd.log ends: " in ovs.crashed()


def test_a_refused_port_is_told_in_the_switchs_words():
    absent = (Link(LinkKind.VDEV, "net_af_packet9,iface=nv9"), SEGMENT[0][1])
    with lab() as (made,), pytest.raises(DatapathError, match=r"port nvp0: .*net_af_packet9"):
        with replace(made, place=replace(made.place, segments=(absent,))).switch():
            pass


def test_two_builds_run_side_by_side(tmp_path):
    for folder, programs in {
        "bin": ("ovs-vsctl", "ovs-appctl", "ovs-ofctl", "ovsdb-tool"),
        "sbin": ("ovsdb-server", "ovs-vswitchd"),
    }.items():
        (tmp_path / folder).mkdir()
        for program in programs:
            shutil.copy(Path("/usr", folder, program), tmp_path / folder)
    shutil.copy("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk", tmp_path / "sbin" / "ovs-vswitchd")
    shutil.copytree("/usr/share/openvswitch", tmp_path / "share" / "openvswitch")
    with lab(2) as (first, second), ExitStack() as stack:
        other = replace(second, place=replace(second.place, prefix=str(tmp_path)))
        switches = [stack.enter_context(each.switch()) for each in (first, other)]
        programs = [str(Path(f"/proc/{each.poller()}/exe").readlink()) for each in switches]
        assert programs == ["/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk", f"{tmp_path}/sbin/ovs-vswitchd"]
        assert [each.crashed() for each in switches] == ["", ""]
