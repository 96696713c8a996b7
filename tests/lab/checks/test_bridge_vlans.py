"""The bridge's VLANs, on a kernel that filters by them: that of a virtual machine."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from nvbench.stands import BRIDGE, PEER
from nvbench.stands.bridge import BridgeLevers

NAMES = ("vm1", "vm2", PEER)


@pytest.fixture
def inner(on_sriov):
    """A bridge with three members inside the machine that has the NIC."""
    host = on_sriov.host
    host.run(["ip", "link", "add", "nvbr0", "up", "type", "bridge", "forward_delay", "0", "mcast_snooping", "0"])
    members = {name: SimpleNamespace(name=name, port=f"nv{index}") for index, name in enumerate(NAMES)}
    for index, (name, member) in enumerate(members.items()):
        host.run(["ip", "netns", "add", f"in-{name}"])
        far_end = ["peer", "name", "eth0", "netns", f"in-{name}"]
        host.run(["ip", "link", "add", member.port, "type", "veth", *far_end])
        host.run(["ip", "link", "set", member.port, "master", "nvbr0", "up"])
        lines = f"link set eth0 up\naddress add 10.98.0.{index + 1}/24 dev eth0\n"
        host.run(["ip", "-n", f"in-{name}", "-batch", "-"], stdin=lines)
    place = SimpleNamespace(host=on_sriov.place.host, namespace="")
    yield SimpleNamespace(
        path=BRIDGE,
        host=host,
        place=place,
        journal=on_sriov.journal,
        members=tuple(members.values()),
        member=members.__getitem__,
    )
    for name in NAMES:
        host.run(["ip", "netns", "delete", f"in-{name}"])
    host.run(["ip", "link", "delete", "nvbr0"])


def reaches(inner, name, number, patience_s=20):
    ping = ["ping", "-c", "1", "-w", str(patience_s), f"10.98.0.{number}"]
    return inner.host.run(["ip", "netns", "exec", f"in-{name}", *ping], check=False).ok


def misses(inner, name, number):
    return not reaches(inner, name, number, patience_s=1)


@contextmanager
def tagging_peer(inner, protocol):
    """The peer answers as 10.98.0.9, in VLAN 100 alone."""
    ip = ["ip", "-n", f"in-{PEER}", "-batch", "-"]
    device = f"link add link eth0 name tagged type vlan proto {protocol} id 100\nlink set tagged up\n"
    inner.host.run(ip, stdin=f"{device}address delete 10.98.0.3/24 dev eth0\naddress add 10.98.0.9/24 dev tagged\n")
    yield
    inner.host.run(ip, stdin="link delete tagged\naddress add 10.98.0.3/24 dev eth0\n")


def test_access_ports(inner):
    levers = BridgeLevers(inner)
    before = levers.state()
    with levers.access({"vm1": 100, "vm2": 100}):
        assert reaches(inner, "vm1", 2)
        assert misses(inner, "vm1", 3)
        with tagging_peer(inner, "802.1Q"):
            assert reaches(inner, "vm1", 9)
    with levers.access({"vm1": 100, "vm2": 101}):
        assert misses(inner, "vm1", 2)
    assert levers.state() == before
    assert reaches(inner, "vm1", 2)
    assert reaches(inner, "vm1", 3)


def test_a_service_vlan(inner):
    levers = BridgeLevers(inner)
    before = levers.state()
    with levers.tunnelled(100, "vm1"):
        assert misses(inner, "vm1", 2)
        with tagging_peer(inner, "802.1ad"):
            assert reaches(inner, "vm1", 9)
    assert levers.state() == before
    assert reaches(inner, "vm1", 2)
