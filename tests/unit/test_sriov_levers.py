"""What levers of SR-IOV do where a NIC refuses, or resets what it sets up."""

import json
import time
from types import SimpleNamespace

import pytest

from nvbench.errors import DatapathError, NotPossibleError
from nvbench.hosts import Completed
from nvbench.journal import Journal
from nvbench.stands.sriov import SriovLevers

VFS = ("nvv0", "nvv1")


class FakeNic:
    """A host with a port `pf0` and two virtual functions, which are members of the same machine.

    Attributes:
        refuses: Words of settings that its driver does not know.
        resets: For how many looks at it a virtual function has no carrier once it was set up otherwise.
    """

    name = "fake"

    def __init__(self) -> None:
        self.refuses: tuple[str, ...] = ()
        self.resets = 0
        self.paths = {f"/sys/class/net/pf0/device/virtfn{number}" for number in range(len(VFS))}
        self.lacking = dict.fromkeys((*VFS, "peer0"), 0)
        self.did: list[str] = []

    def run(self, argv, *, check=True, **how) -> Completed:
        line = " ".join(argv)
        vfs = [{"vf": number, "address": "", "vlan_list": [{}], "trust": False} for number in range(len(VFS))]
        told = json.dumps([{"ifname": "pf0", "mtu": 1500, "vfinfo_list": vfs}]) if "show" in argv else ""
        refused = "set" in argv and any(word in argv for word in self.refuses)
        if "set" in argv:
            self.did.append(line)
        if "vf" in argv and not refused:
            device = VFS[int(argv[argv.index("vf") + 1])]
            self.lacking[device] = max(self.lacking[device], self.resets)
        done = Completed(tuple(argv), 2 * refused, told, "RTNETLINK answers: not supported" * refused, 0.0)
        return done.checked(self.name) if check else done

    def read(self, path: str) -> str:
        device = path.split("/")[4]
        self.lacking[device] = max(0, self.lacking[device] - 1)
        return "0\n" if self.lacking[device] else "1\n"

    def exists(self, path: str) -> bool:
        return path in self.paths


@pytest.fixture
def nic(monkeypatch):
    clock = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: None)
    monkeypatch.setattr("nvbench.stands.sriov.time", clock)
    return FakeNic()


@pytest.fixture
def levers(nic, tmp_path):
    members = {}
    for name, device, link in (("vm1", "nvv0", "nvv0"), ("vm2", "nvv1", "nvv1"), ("peer", "peer0", "pf0")):
        guest = SimpleNamespace(host=nic)
        members[name] = SimpleNamespace(
            name=name, guest=guest, host=nic, device=device, link=SimpleNamespace(name=link)
        )
    place = SimpleNamespace(host=nic, namespace="", links=tuple(SimpleNamespace(name=name) for name in VFS))
    journal = Journal(tmp_path / "journal", {"fake": nic})
    stand = SimpleNamespace(
        path="sriov", pf="pf0", host=nic, place=place, journal=journal, member=members.get, members=(*members.values(),)
    )
    return SriovLevers(stand)


def entries(levers):
    return levers._stand.journal.entries


@pytest.mark.parametrize(
    ("word", "lever"),
    [
        ("trust", lambda levers: levers.trusted("vm1", "vm2")),
        ("max_tx_rate", lambda levers: levers.limited("vm1", "out", 10**8, 10**4)),
        ("vlan", lambda levers: levers.access({"vm1": 100})),
        ("state", lambda levers: levers.port_down("vm1")),
    ],
)
def test_nothing_is_left_to_undo_by_a_driver_that_knows_no_such_setting(nic, levers, word, lever):
    nic.refuses = (word,)
    with pytest.raises(NotPossibleError, match=f"^sriov: ip link set dev pf0 vf 0 {word} .* is so already, is refused"):
        lever(levers).__enter__()
    assert entries(levers) == []


def test_a_setting_is_forgotten_with_its_virtual_function(nic, levers):
    with pytest.raises(DatapathError, match="trust off"), levers.trusted("vm1"):
        nic.refuses = ("trust",)
    assert len(entries(levers)) == 1
    nic.paths.clear()
    assert levers._stand.journal.undo_since() == []


def test_members_that_their_nic_resets_are_waited_for(nic, levers):
    nic.resets = 3
    with levers.access({"vm1": 100, "vm2": 101}):
        assert nic.lacking == {"nvv0": 0, "nvv1": 0, "peer0": 0}
    assert nic.lacking == {"nvv0": 0, "nvv1": 0, "peer0": 0}
    assert nic.did[-1] == "ip link set dev pf0 vf 0 vlan 0 qos 0 proto 802.1q"


def test_a_member_that_does_not_come_back(nic, levers, monkeypatch):
    monkeypatch.setattr("nvbench.stands.sriov.LINK_PATIENCE_S", 0.0)
    nic.resets = 1000
    with pytest.raises(DatapathError, match=r"^sriov: vm1 has no carrier after 0 s$"), levers.access({"vm1": 100}):
        pass


def test_that_a_link_stays_down_is_for_the_check_to_see(nic, levers, monkeypatch):
    monkeypatch.setattr("nvbench.stands.sriov.LINK_PATIENCE_S", 0.0)
    with levers.port_down("vm1"):
        nic.resets = 1000
    with levers.uplink_down():
        nic.lacking["peer0"] = 1000
    assert entries(levers) == []


def test_who_had_no_carrier_is_not_waited_for(nic, levers, monkeypatch):
    monkeypatch.setattr("nvbench.stands.sriov.LINK_PATIENCE_S", 0.0)
    nic.lacking["nvv1"] = 1000
    with levers.access({"vm1": 100, "vm2": 101}):
        pass
