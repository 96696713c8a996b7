"""Which paths a bench can have, and why not the others: known from what is written down, before anything starts."""

import pytest

from nvbench.axes import Path
from nvbench.datapaths import PARAMETERS
from nvbench.datapaths.direct import DirectParameters
from nvbench.endpoint import LinkKind
from nvbench.errors import NotPossibleError, UsageError
from nvbench.generators.nvgen import NVGEN
from nvbench.plan import make_plan
from nvbench.profile import load_profile, read_profile
from nvbench.testbed import load_testbed, read_testbed
from nvbench.topology import Topology, forwarders, guests, outer_ports, segments
from nvbench.wiring import link_kinds

VHOST, VETH, TAP, DEVICE, PCI = (
    LinkKind.VHOST_USER,
    LinkKind.VETH,
    LinkKind.TAP,
    LinkKind.DEVICE,
    LinkKind.PCI,
)
LOCAL = load_testbed("local")


def wired(kind, topology="P2P", guest="", *, streams=False, testbed=LOCAL, **options):
    parameters = PARAMETERS[kind].model_validate(options)
    return link_kinds(Path(kind, Topology(topology), guest, options), parameters, testbed, None if streams else NVGEN)


def refusal(*args, **named):
    with pytest.raises(NotPossibleError) as caught:
        wired(*args, **named)
    return str(caught.value)


def test_each_topology_has_its_ends():
    counts = {each.value: (len(segments(each)), guests(each), outer_ports(each), forwarders(each)) for each in Topology}
    assert counts == {
        "P2P": (1, 0, 2, ()),
        "PVP": (2, 1, 2, (0,)),
        "PVVP": (3, 2, 2, (0, 1)),
        "VM-to-VM": (1, 2, 0, ()),
        "NIC-to-VM": (1, 1, 1, ()),
    }


@pytest.mark.parametrize(
    ("kind", "kinds"),
    [
        ("ovs_dpdk", (VHOST, VHOST)),
        ("testpmd", (VHOST, VHOST)),
        ("linux_bridge", (VETH, VETH)),
        ("ovs_kernel", (VETH, VETH)),
    ],
)
def test_the_generator_takes_the_link_that_the_datapath_is_at_its_best_with(kind, kinds):
    assert wired(kind) == (kinds,)


def test_guests_are_joined_by_what_they_can_have():
    assert wired("ovs_dpdk", "PVP", "qemu") == ((VHOST, VHOST), (VHOST, VHOST))
    assert wired("ovs_dpdk", "PVP", "namespace") == ((VHOST, VETH), (VETH, VHOST))
    assert wired("linux_bridge", "VM-to-VM", "qemu", streams=True) == ((TAP, TAP),)
    assert wired("ovs_dpdk", "NIC-to-VM", "qemu", streams=True) == ((VETH, VHOST),)


def test_no_switch_is_one_cable():
    assert wired("direct", streams=True) == ((VETH, DEVICE),)
    assert wired("direct") == ((VHOST, VHOST),)
    assert link_kinds(Path("direct", Topology.P2P, "", {}), DirectParameters(cable="veth"), LOCAL, NVGEN) == (
        (VETH, DEVICE),
    )


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (
            {"kind": "ovs_dpdk", "topology": "VM-to-VM", "guest": "qemu"},
            "the generator has two ports, VM-to-VM has room",
        ),
        ({"kind": "direct", "topology": "PVP", "guest": "namespace"}, "direct joins two ends, PVP has 4"),
        (
            {"kind": "sriov", "topology": "VM-to-VM", "guest": "namespace", "streams": True},
            "names no physical function",
        ),
        (
            {"kind": "linux_bridge", "topology": "VM-to-VM", "guest": "ssh", "streams": True},
            "needs 2 machines, the testbed",
        ),
        ({"kind": "linux_bridge", "topology": "PVP", "guest": "ssh"}, "can be an end, not forward"),
    ],
)
def test_what_does_not_go_together_is_told_with_the_reason(asked, why):
    assert why in refusal(asked.pop("kind"), **asked)


MACHINES = """\
name: t
hosts: {a: {address: local}, vm1: {address: root@vm1}, vm2: {address: root@vm2}}
generator: {host: a, ports: [{virtual: true}, {virtual: true}]}
switch: {host: a, ports: [{virtual: true}, {virtual: true}]}
guests: {machines: [{host: vm1, device: eth1, port: tap1}, {host: vm2, device: eth1, port: tap2}]}
"""


def test_machines_that_are_there_already_are_joined_where_they_stand():
    bed = read_testbed("t.yaml", MACHINES.encode())
    assert wired("linux_bridge", "VM-to-VM", "ssh", streams=True, testbed=bed) == ((DEVICE, DEVICE),)
    with pytest.raises(UsageError, match=r"guests\.machines\.1\.host: no host is called 'vm3'"):
        read_testbed("t.yaml", MACHINES.replace("host: vm2,", "host: vm3,").encode())


REFLECTING = """\
name: t
generator: {ports: [{virtual: true}, {virtual: true}]}
switch: {ports: [{virtual: true}, {virtual: true}]}
guests: {forwarder: testpmd, memory_mb: 384}
"""


def test_a_machine_whose_testpmd_forwards_stands_where_frames_pass():
    bed = read_testbed("t.yaml", REFLECTING.encode())
    assert wired("ovs_dpdk", "PVP", "qemu", testbed=bed) == ((VHOST, VHOST), (VHOST, VHOST))
    assert wired("linux_bridge", "PVVP", "qemu", testbed=bed)[1] == (TAP, TAP)
    assert wired("ovs_dpdk", "PVP", "testpmd", testbed=bed) == ((VHOST, VHOST), (VHOST, VHOST))
    assert wired("ovs_dpdk", testbed=bed) == ((VHOST, VHOST),)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"topology": "PVP", "guest": "namespace"}, "forwarder: testpmd is for guests of kind qemu, not namespace"),
        ({"topology": "VM-to-VM", "guest": "qemu", "streams": True}, "is no end of a stream, as VM-to-VM asks"),
        (
            {"topology": "PVP", "guest": "qemu", "queues": 8, "mtu": 9000},
            "8 queue(s) and an MTU of 9000 needs 422 MiB of memory, guests.memory_mb is 384",
        ),
    ],
)
def test_where_none_can_forward_by_testpmd_the_reason_is_told(asked, why):
    assert why in refusal("ovs_dpdk", testbed=read_testbed("t.yaml", REFLECTING.encode()), **asked)


PHYSICAL = """\
name: t
hosts: {a: {address: local}, b: {address: root@b}}
generator: {host: a, ports: [{pci: "0000:01:00.0"}, {device: eth1}]}
switch: {host: b, ports: [{pci: "0000:02:00.0"}, {pci: "0000:02:00.1"}]}
"""


def test_physical_ports_are_taken_as_they_are():
    bed = read_testbed("t.yaml", PHYSICAL.encode())
    assert wired("ovs_dpdk", testbed=bed) == ((PCI, PCI),)
    assert "linux_bridge cannot use the port 0000:02:00.0" in refusal("linux_bridge", testbed=bed)
    assert "an endpoint needs a device of the kernel" in refusal("ovs_dpdk", testbed=bed, streams=True)


def test_a_matrix_keeps_what_can_be_had_and_tells_the_rest():
    plan = make_plan(load_profile("all-paths", quick=True), LOCAL)
    cases = {case.case_id for case in plan.cases}
    reasons = {each.case.case_id: each.reason for each in plan.impossible}
    assert "ovs_dpdk-PVP-namespace-1q-512B" in cases
    assert "linux_bridge-1q-512B" in cases
    assert reasons["direct-PVP-namespace-1q-512B"] == "direct joins two ends, PVP has 4"
    assert "names no physical function" in reasons["sriov-1q-512B"]
    assert len(cases) + len(reasons) == 6 * 5


def test_frames_that_fit_one_mtu_of_a_sweep_and_not_another():
    plan = make_plan(load_profile("mtu-sweep", quick=True), LOCAL)
    reasons = {each.case.case_id: each.reason for each in plan.impossible}
    assert reasons["ovs_dpdk-1q-4018B"] == "a frame of 4018 bytes does not fit the MTU of 1500"
    assert "ovs_dpdk-1q-9018B-mtu9000" in {case.case_id for case in plan.cases}


def test_a_profile_of_which_nothing_can_be_had_is_refused():
    text = b"name: x\nlink_gbps: 10\ndatapath: {kind: sriov}\ntraffic: {frame_bytes: 64}\ntests: {throughput: {}}\n"
    with pytest.raises(UsageError, match="sriov-1q-64B: not possible here: the testbed local names no physical"):
        make_plan(read_profile("x.yaml", text), LOCAL)
