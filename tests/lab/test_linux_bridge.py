"""The kernel's bridge between two namespaces: it forwards, counts, learns, says what it cannot, and leaves nothing."""

from __future__ import annotations

import ctypes
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import pytest

from nvbench.cabling import make_namespace, make_veth
from nvbench.datapaths.base import Place
from nvbench.datapaths.linux_bridge import LinuxBridge, LinuxBridgeParameters
from nvbench.endpoint import Link, LinkKind
from nvbench.errors import DatapathError
from nvbench.hosts import LocalHost, NamespaceHost
from nvbench.journal import locked
from tests.lab.waiting import PATIENCE_S

HOST = LocalHost("local")
PORTS = ("nv0", "nv1")


@dataclass
class Bench:
    """A bridge that is up, with a namespace at each of its ports."""

    bridge: LinuxBridge
    switch: NamespaceHost
    ends: tuple[NamespaceHost, NamespaceHost]

    def send(self, size: int, count: int = 1, patience_s: float = PATIENCE_S) -> int:
        """Frames of `size` bytes without FCS that the second end receives of those that the first one sends."""
        frame = bytes.fromhex("02000000000202000000000188b5").ljust(size, b"\0")
        receiver = _in_namespace(self.ends[1], _open)
        sender = _in_namespace(self.ends[0], _open)
        got = 0
        with receiver, sender:
            for _ in range(count):
                with suppress(OSError):  # the cable's other end does not take frames above its MTU
                    sender.send(frame)
            receiver.settimeout(patience_s)
            with suppress(TimeoutError):
                while got < count:
                    got += receiver.recv(65536) == frame
        return got


def _open() -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88B5))
    opened.bind(("e0", 0x88B5))
    return opened


def _in_namespace(namespace: NamespaceHost, action: Callable[[], socket.socket]) -> socket.socket:
    """What is opened inside stays there, whoever reads from it."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    other = os.open(f"/run/netns/{namespace.namespace}", os.O_RDONLY)
    try:
        _setns(other)
        return action()
    finally:
        _setns(own)
        os.close(own)
        os.close(other)


def _setns(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")


def place(namespace: str, *, steer: bool = False) -> Place:
    links = Link(LinkKind.VETH, PORTS[0]), Link(LinkKind.VETH, PORTS[1])
    return Place(HOST, "/run/nvbench/lab-bridge", (1,), 0, 0, (links,), namespace=namespace, steer=steer)


@contextmanager
def bench(*, steer: bool = False, **options: object) -> Iterator[Bench]:
    parameters = LinuxBridgeParameters.model_validate(options)
    with locked("lab-bridge", {"local": HOST}) as journal:
        switch = make_namespace(HOST, journal, "nvlab-sw")
        ends = tuple(make_namespace(HOST, journal, f"nvlab-{name}") for name in "ab")
        for port, end, last in zip(PORTS, ends, (1, 2), strict=True):
            make_veth(switch, port, end, "e0", queues=parameters.queues)
            end.run(["ip", "link", "set", "e0", "address", f"02:00:00:00:00:0{last}", "mtu", str(parameters.mtu), "up"])
        bridge = LinuxBridge(place("nvlab-sw", steer=steer), parameters)
        assert bridge.missing() == ""
        bridge.up(journal)
        try:
            bridge.attach()
            yield Bench(bridge, switch, ends)
        finally:
            bridge.down()


def reading(bridge: LinuxBridge, source: str, metric: str) -> float:
    (found,) = [each.value for each in bridge.readings() if (each.source, each.metric) == (source, metric)]
    return found


@pytest.mark.usefixtures("as_found")
def test_frames_pass_and_are_counted_on_both_ports():
    with bench() as made:
        before = reading(made.bridge, "port nv1", "tx_packets")
        assert made.send(60, count=100) == 100
        assert reading(made.bridge, "port nv0", "rx_packets") >= 100
        assert reading(made.bridge, "port nv1", "tx_packets") - before >= 100
        assert made.bridge.crashed() == ""
        made.switch.run(["ip", "link", "delete", "nvbr0"])
        assert made.bridge.crashed() == "the bridge nvbr0 has gone"


@pytest.mark.usefixtures("as_found")
def test_frames_of_its_mtu_pass():
    with bench(mtu=4000) as made:
        assert made.send(14 + 4000) == 1
    with bench(mtu=1500) as made:
        made.ends[0].run(["ip", "link", "set", "e0", "mtu", "4000"])
        assert made.send(14 + 1500) == 1
        assert made.send(14 + 4000, patience_s=0.3) == 0


@pytest.mark.usefixtures("as_found")
def test_it_learns_forgets_and_keeps_its_own_addresses():
    with bench() as made:
        assert made.bridge.learned_addresses() == 0
        made.send(60)
        assert made.bridge.learned_addresses() == 1
        made.bridge.forget_addresses()
        assert made.bridge.learned_addresses() == 0
        assert '"permanent"' in made.switch.run(["bridge", "-j", "fdb", "show", "br", "nvbr0"]).stdout
        assert made.send(60) == 1


@pytest.mark.usefixtures("as_found")
def test_options_reach_the_kernel():
    with bench(qdisc="pfifo", mcast_snooping=True, port_offloads=False, netfilter=False, queues=2, steer=True) as made:
        told = json.loads(made.switch.run(["ip", "-j", "-d", "link", "show", "nvbr0"]).stdout)[0]
        assert told["linkinfo"]["info_data"]["mcast_snooping"] == 1
        assert told["linkinfo"]["info_data"]["stp_state"] == 0
        features = made.switch.run(["ethtool", "-k", "nv0"]).stdout
        assert "tcp-segmentation-offload: off" in features
        assert "generic-receive-offload: off" in features
        assert made.switch.read("/sys/class/net/nv1/queues/rx-1/rps_cpus").strip() == "2"
        assert reading(made.bridge, "qdisc nv0", "drops") == 0
        assert made.bridge.findings == []


@pytest.mark.usefixtures("as_found")
def test_what_cannot_be_is_told():
    with pytest.raises(DatapathError, match="port nv0: has 1 queues, not 4"):
        with bench() as made:
            LinuxBridge(place("nvlab-sw"), LinuxBridgeParameters(queues=4)).attach()
    with pytest.raises(DatapathError, match="there is no network device nv0"):
        with bench() as made:
            made.switch.run(["ip", "link", "delete", "nv0"])
            made.bridge.attach()


@pytest.mark.usefixtures("as_found")
def test_a_bridge_of_somebody_else_is_not_touched():
    with locked("lab-bridge", {"local": HOST}) as journal:
        HOST.run(["ip", "link", "add", "nvbr0", "type", "bridge"])
        try:
            bridge = LinuxBridge(place(""), LinuxBridgeParameters())
            with pytest.raises(DatapathError, match="nvbr0 is there already and is not ours: hands off"):
                bridge.up(journal)
            bridge.down()
            assert HOST.exists("/sys/class/net/nvbr0")
        finally:
            HOST.run(["ip", "link", "delete", "nvbr0"])


@pytest.mark.usefixtures("as_found")
def test_a_device_that_was_there_gets_everything_back():
    """In the host's own namespace, without `down`: as after a kill, the journal alone puts things back."""

    def told(device: str) -> tuple[object, ...]:
        row = json.loads(HOST.run(["ip", "-j", "-d", "link", "show", device]).stdout)[0]
        features = HOST.run(["ethtool", "-k", device]).stdout
        steering = HOST.read(f"/sys/class/net/{device}/queues/rx-0/rps_cpus")
        return row["mtu"], row.get("master"), "UP" in row["flags"], row["qdisc"], features, steering

    links = Link(LinkKind.DEVICE, "nvlab0"), Link(LinkKind.DEVICE, "nvlab1")
    where = Place(HOST, "/run/nvbench/lab-bridge", (1,), 0, 0, (links,), steer=True)
    HOST.run(["ip", "link", "add", "nvlab0", "mtu", "1400", "up", "type", "veth", "peer", "name", "nvlab1"])
    try:
        HOST.run(["ip", "link", "set", "nvlab1", "up"])
        HOST.run(["ip", "link", "set", "nvlab1", "down"])
        before = told("nvlab0"), told("nvlab1")
        with locked("lab-bridge", {"local": HOST}) as journal:
            bridge = LinuxBridge(where, LinuxBridgeParameters(mtu=2000, qdisc="pfifo", port_offloads=False))
            bridge.up(journal)
            bridge.attach()
            assert told("nvlab0")[:4] == (2000, "nvbr0", True, "pfifo")
            assert told("nvlab0") != before[0]
        assert (told("nvlab0"), told("nvlab1")) == before
        assert not HOST.exists("/sys/class/net/nvbr0")
    finally:
        HOST.run(["ip", "link", "delete", "nvlab0"])


@pytest.mark.usefixtures("as_found")
def test_it_is_up_and_down_again_in_no_time():
    times = []
    with locked("lab-bridge", {"local": HOST}) as journal:
        switch = make_namespace(HOST, journal, "nvlab-sw")
        for port in PORTS:
            switch.run(["ip", "link", "add", port, "type", "veth", "peer", "name", f"{port}x"])
        for _ in range(3):
            began = time.monotonic()
            bridge = LinuxBridge(place("nvlab-sw"), LinuxBridgeParameters())
            bridge.up(journal)
            bridge.attach()
            bridge.down()
            times.append(time.monotonic() - began)
    assert min(times) < 2.0
