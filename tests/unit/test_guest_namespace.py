"""A network namespace as a guest: what it makes, what it lends, and in which order that is taken back."""

import json

import pytest

from nvbench.endpoint import Link, LinkKind
from nvbench.errors import GuestError, LostConnectionError, NotPossibleError
from nvbench.guests import GuestPlace, Nic
from nvbench.guests.namespace import Namespace
from nvbench.hosts import Completed
from nvbench.journal import RemoveNamespace, ReturnLink, RunBack


class Host:
    name = "b"

    def __init__(self, **files):
        self.files, self.ran = files, []
        self.address = {"addr_info": [{"family": "inet6", "local": "fe80::1"}]}

    def run(self, argv, *, timeout_s=30.0, stdin="", check=True):
        self.ran.append(" ".join(argv))
        told = json.dumps([self.address]) if "-j" in argv else "6.1.0\n"
        return Completed(tuple(argv), 0, told, "", 0.0)

    def read(self, path):
        return self.files.get(path)

    def exists(self, path):
        return path in self.files


class Journal:
    def __init__(self):
        self.written = []

    def mark(self):
        return len(self.written)

    def record(self, host, undo):
        self.written.append(undo)


def guest(host, *links, namespace="", **nic):
    place = GuestPlace(host, "/run/nvbench/nv1-1", namespace, (0,))
    nics = [Nic(link, f"52:54:00:00:00:0{index}", **nic) for index, link in enumerate(links)]
    return Namespace("vm1", place, nics)


def test_a_veth_pair_joins_it_to_the_datapaths_namespace():
    host, journal = Host(), Journal()
    made = guest(host, Link(LinkKind.VETH, "nv0"), namespace="nv1-1", address="10.99.0.1/24", mtu=4000, queues=2)
    made.up(journal)
    assert journal.written == [RemoveNamespace("nv1-1-vm1")]
    pair = next(line for line in host.ran if "type veth" in line)
    assert pair.startswith("ip netns exec nv1-1 ip link add nv0 numtxqueues 2 numrxqueues 2")
    assert "netns nv1-1-vm1" in pair
    assert "ip netns exec nv1-1-vm1 ip link set eth0 mtu 4000 up" in host.ran
    assert host.ran[-2].endswith("ip address add 10.99.0.1/24 dev eth0")
    assert made.devices == ("eth0",)
    assert not [line for line in host.ran if "ethtool" in line]


def test_behind_a_switch_that_carries_no_offloads_it_has_none():
    host = Host()
    guest(host, Link(LinkKind.VETH, "nv0"), namespace="nv1-1", offloads=False).up(Journal())
    assert "ip netns exec nv1-1-vm1 ethtool -K eth0 tx off" in host.ran


def test_a_device_of_the_hosts_own_is_lent_and_gets_its_mtu_back_last():
    files = {"/sys/class/net/eth2/mtu": "9000\n", "/sys/class/net/eth2/flags": "0x1003\n"}
    host, journal = Host(**files), Journal()
    made = guest(host, Link(LinkKind.DEVICE, "eth2"))
    made.up(journal)
    back = ("ip", "link", "set", "dev", "eth2", "mtu", "9000", "up")
    named = RemoveNamespace("nv1-1-vm1"), ReturnLink("eth2", "nv1-1-vm1")
    assert journal.written == [RunBack(back, needs="/sys/class/net/eth2"), *named]
    assert made.devices == ("eth2",)
    assert not [line for line in host.ran if "address 52:54" in line]  # its own address stays


@pytest.mark.parametrize(
    ("told", "use"),
    [
        ({"addr_info": [{"family": "inet", "local": "192.0.2.2"}]}, r"192\.0\.2\.2"),
        ({"addr_info": [], "master": "bond0"}, "bond0"),
    ],
)
def test_hands_off_a_device_that_is_in_use(told, use):
    host, journal = Host(**{"/sys/class/net/eth2/mtu": "1500\n"}), Journal()
    host.address = told
    with pytest.raises(NotPossibleError, match=rf"host b: eth2 is in use \({use}\)"):
        guest(host, Link(LinkKind.DEVICE, "eth2")).up(journal)
    assert journal.written == []


def test_a_connection_that_is_lost_meanwhile_is_no_fault_of_the_guest(monkeypatch):
    def lost(*_argv, **_options):
        raise LostConnectionError("the SSH connection to b was lost")

    monkeypatch.setattr(Host, "run", lost)
    with pytest.raises(LostConnectionError):
        guest(Host(), Link(LinkKind.VETH, "nv0")).up(Journal())


def test_a_device_that_is_not_there_is_told_before_anything_is_made():
    host = Host()
    with pytest.raises(GuestError, match="b: eth9: there is no such device"):
        guest(host, Link(LinkKind.DEVICE, "eth9")).up(Journal())
    assert host.ran == []


def test_what_is_put_back_is_passed_over_where_it_has_gone():
    host = Host()
    RunBack(("ip", "link", "set", "dev", "nvv0", "up"), needs="/sys/class/net/nvv0").undo(host)
    assert host.ran == []
