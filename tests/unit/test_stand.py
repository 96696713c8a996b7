"""What a stand sees to on real hosts before anything is brought up."""

from contextlib import ExitStack
from importlib import import_module
from types import SimpleNamespace

import pytest

from nvbench.doctor import Check, State
from nvbench.errors import DatapathError, NotPossibleError, NotReadyError
from nvbench.journal import Journal
from nvbench.stands import BRIDGE, OVS, SRIOV, Stand, Wish
from nvbench.testbed import read_testbed

MODULE = import_module("nvbench.stands.stand")
BED = """\
name: one
hosts: {{near: {{address: local}}, far: {{address: local}}}}
generator: {{host: near, ports: [{{device: eth2}}, {{device: eth3}}]}}
switch: {{host: far, {sriov}ports: [{{{first}}}, {{device: eth9}}]}}
"""
BOUND = 'pci: "0000:3b:00.0", bind: vfio-pci'


class FakeHost:
    """A host that has the programs that it is said to have."""

    def __init__(self, name: str, *programs: str) -> None:
        self.name, self.programs = name, programs

    def remove(self, path: str) -> None:
        pass


def examined(host, uses):
    return [Check(use, State.MISSING, f"no {use}") for use in sorted(uses) if use not in host.programs]


class FakeSwitch:
    """A switch that does not come up."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def missing(self) -> str:
        return ""

    def up(self, journal: Journal) -> None:
        self.log.append("up")
        raise DatapathError("far enough")

    def down(self) -> None:
        pass


@pytest.fixture
def log(monkeypatch) -> list[str]:
    """What was done; nothing is, but for that."""
    did: list[str] = []
    monkeypatch.setattr(MODULE, "examine", examined)
    monkeypatch.setattr(MODULE, "make_datapath", lambda *how, **more: FakeSwitch(did))
    monkeypatch.setattr(MODULE, "make_ports_ready", lambda *which, sides: did.append(f"ports of {sides[0]}"))
    return did


def bench(tmp_path, first=BOUND, sriov="", near=("ping",)):
    bed = read_testbed("one.yaml", BED.format(first=first, sriov=sriov).encode())
    everything = ("namespaces", "ping", "ovs-dpdk", "hugepages")
    hosts = {"near": FakeHost("near", *near), "far": FakeHost("far", *(everything if near else everything[:1]))}
    return SimpleNamespace(
        testbed=bed,
        hosts=hosts,
        generator_host=hosts["near"],
        switch_host=hosts["far"],
        journal=Journal(tmp_path / "journal", hosts),
        placement=SimpleNamespace(pmd_cores=(1,), switch_housekeeping_core=0),
        new_name=lambda: "nv1",
        reserve=lambda host, sizes_mb: None,
    )


def bring_up(bench, path):
    with ExitStack() as stack:
        Stand(bench, path, Wish(guest="namespace"), stack)


def test_a_port_is_dpdks_before_the_switch_takes_it(tmp_path, log):
    with pytest.raises(DatapathError, match="far enough"):
        bring_up(bench(tmp_path), OVS)
    assert log == ["ports of switch", "up"]


def test_a_port_that_dpdk_cannot_have(tmp_path, log, monkeypatch):
    def refuse(*which, **more):
        raise NotReadyError("is eth0, which has an address", place="host far", remedy="free it")

    monkeypatch.setattr(MODULE, "make_ports_ready", refuse)
    with pytest.raises(NotPossibleError, match=r"^host far: is eth0, which has an address \(free it\)$"):
        bring_up(bench(tmp_path), OVS)
    assert log == []


def test_a_port_of_the_kernel_stays_its_own(tmp_path, log):
    with pytest.raises(DatapathError, match="far enough"):
        bring_up(bench(tmp_path, first="device: eth8"), BRIDGE)
    assert log == ["up"]


def test_the_host_of_the_peer_needs_its_programs_too(tmp_path, log):
    with pytest.raises(NotPossibleError, match=r"^host near: ping: no ping$"):
        bring_up(bench(tmp_path, near=("tcpdump",)), OVS)


def test_guests_that_are_namespaces_have_the_programs_of_the_nics_host(tmp_path, log):
    with pytest.raises(NotPossibleError, match=r"^host far: ping: no ping$"):
        bring_up(bench(tmp_path, sriov="sriov: eth7, ", near=()), SRIOV)
    assert log == []
