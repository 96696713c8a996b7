"""Testbeds and where cores go: named ones stay, automatic ones keep apart what they can."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nvbench.axes import Path
from nvbench.datapaths.sriov import SriovParameters
from nvbench.endpoint import LinkKind
from nvbench.errors import NotReadyError, UsageError
from nvbench.placement import place_cores
from nvbench.testbed import load_testbed, packaged_testbeds, read_testbed
from nvbench.topology import Topology
from nvbench.wiring import link_kinds

LOCAL = load_testbed("local")
TWO = """\
name: two
hosts:
  near: {address: local}
  far: {address: root@192.0.2.2}
generator:
  host: near
  ports: [{pci: "0000:3b:00.0"}, {pci: "0000:3b:00.1"}]
switch:
  host: far
  ports: [{pci: "0000:18:00.0"}, {vdev: "net_af_packet0,iface=veth0"}]
"""


def refused(text: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        read_testbed("t.yaml", text.encode())
    return str(caught.value).splitlines()


def one_node(count: int) -> Mapping[int, int]:
    return dict.fromkeys(range(count), 0)


def local(generator: str = "", switch: str = "") -> str:
    ports = "ports: [{virtual: true}, {virtual: true}]"
    return f"name: one\ngenerator:\n  {ports}\n{generator}switch:\n  {ports}\n{switch}"


def test_packaged_testbeds_are_named_after_their_files_and_described() -> None:
    assert set(packaged_testbeds()) == {"local", "simulated", "sriov", "two-arm-servers", "two-servers"}
    for name, description in packaged_testbeds().items():
        assert load_testbed(name).name == name
        assert description


def test_the_local_testbed_joins_two_sides_of_one_machine() -> None:
    assert (LOCAL.one_host, LOCAL.virtual, LOCAL.simulated) == (True, True, False)
    assert LOCAL.switch_host.local


def test_the_example_has_two_machines() -> None:
    testbed = load_testbed("two-servers")
    assert (testbed.one_host, testbed.virtual, testbed.link_gbps) == (False, False, 10.0)
    assert [port.name for port in testbed.switch.ports] == ["0000:18:00.0", "0000:18:00.1"]


def test_the_example_of_arm_servers_forwards_on_eight_cores_and_leaves_its_nics_to_their_driver() -> None:
    testbed = load_testbed("two-arm-servers")
    assert testbed.switch.pmd_cores == tuple(range(32, 40))
    assert sum(1 << core for core in testbed.switch.pmd_cores) == 0xFF00000000
    assert {port.bind for port in (*testbed.generator.ports, *testbed.switch.ports)} == {None}
    placement = place_cores(testbed, one_node(46), one_node(46))
    assert placement.warnings == ()


def test_the_example_of_virtual_functions_is_one_machine_and_can_have_their_path() -> None:
    testbed = load_testbed("sriov")
    assert (testbed.one_host, testbed.virtual) == (True, True)
    path = Path("sriov", Topology.VM_TO_VM, "namespace", {})
    assert link_kinds(path, SriovParameters(), testbed, None) == ((LinkKind.DEVICE, LinkKind.DEVICE),)


def test_the_simulated_testbed_needs_nothing() -> None:
    testbed = load_testbed("simulated")
    assert testbed.simulated
    assert testbed.generator.ports == ()


def test_a_pci_address_is_one_however_it_is_written() -> None:
    testbed = read_testbed("t.yaml", TWO.replace("0000:3b:00.0", "0000:3B:00.0").encode())
    assert testbed.generator.ports[0].pci == "0000:3b:00.0"


@pytest.mark.parametrize(
    ("was", "becomes", "line"),
    [
        ("host: far", "host: fra", "t.yaml:9: switch.host: no host is called 'fra' (did you mean `far`?)"),
        ("address: local", "adress: local", "(did you mean `address`?)"),
        (
            "root@192.0.2.2",
            "-oProxyCommand=x",
            "t.yaml:4: hosts.far.address: must be `local` or user@host, not '-oProxyCommand=x'",
        ),
        (
            "address: local",
            "address: local, port: 22",
            "hosts.near.port: means nothing for this machine (drop it)",
        ),
        (
            "3b:00.1",
            "3b:00.0",
            "t.yaml:7: generator.ports.1: 0000:3b:00.0 is generator.ports.0 already",
        ),
        ('"0000:3b:00.1"', "3b:00.1", "generator.ports.1.pci: must be like 0000:3b:00.0, not '3b:00.1'"),
        (', {pci: "0000:3b:00.1"}', "", "t.yaml:7: generator.ports: needs two ports, has 1"),
        (
            'pci: "0000:3b:00.1"',
            'pci: "0000:3b:00.1", virtual: true',
            "a port is exactly one of pci, device, vdev and `virtual: true`",
        ),
        (
            'pci: "0000:3b:00.1"',
            "virtual: true",
            "t.yaml:10: switch.ports.1: the other end, generator.ports.1, is a virtual link "
            "(make both ends virtual, or neither)",
        ),
        (
            'vdev: "net_af_packet0,iface=veth0"',
            "device: eth1, bind: vfio-pci",
            "switch.ports.1: only a port named by its PCI address can be bound",
        ),
        ("host: near", "host: near\n  cores: all", "must be `auto` or a list of cores, not 'all'"),
        ("host: near", "host: near\n  cores: [2, 2]", "t.yaml:7: generator.cores: names a core twice"),
        (
            "name: two",
            "name: two\nsimulated: true",
            "t.yaml:8: generator.ports: a simulated testbed has no ports (drop them)",
        ),
    ],
)
def test_a_bad_testbed_says_where_and_what(was: str, becomes: str, line: str) -> None:
    assert any(told.endswith(line) for told in refused(TWO.replace(was, becomes, 1)))


def test_a_virtual_link_needs_one_host() -> None:
    text = local("  host: a\n", "  host: b\n") + "hosts: {a: {address: local}, b: {address: h}}\n"
    assert refused(text) == [
        "t.yaml:7: switch.host: a virtual link needs generator and switch on one host (set it to a)"
    ]


@pytest.mark.parametrize(
    ("count", "housekeeping", "generator", "pmds", "warned"),
    [
        (1, 0, (0,), (0,), "share core 0: this shows that the bench works"),
        (2, 0, (0,), (1,), "The generator shares core 0 with everything else"),
        (3, 0, (1,), (2,), ""),
        (4, 0, (1, 2), (3,), ""),
        (8, 0, (5, 6), (7,), ""),
        (46, 0, (43, 44), (45,), ""),
    ],
)
def test_cores_are_kept_apart_as_far_as_they_reach(
    count: int, housekeeping: int, generator: tuple[int, ...], pmds: tuple[int, ...], warned: str
) -> None:
    placement = place_cores(LOCAL, one_node(count))
    assert placement.housekeeping_core == placement.switch_housekeeping_core == housekeeping
    assert (placement.generator_cores, placement.pmd_cores) == (generator, pmds)
    assert len(placement.warnings) == bool(warned)
    assert all(warned in warning for warning in placement.warnings)


def test_a_placement_says_itself_in_one_sentence() -> None:
    assert place_cores(LOCAL, one_node(8)).describe() == (
        "The switch polls on core 7, the generator on cores 5-6, everything else on core 0"
    )


def test_all_is_on_one_numa_node() -> None:
    online = {core: core % 2 for core in range(16)}
    placement = place_cores(LOCAL, online)
    assert {online[core] for core in (*placement.generator_cores, *placement.pmd_cores)} == {0}
    far = place_cores(read_testbed("t.yaml", local(switch="  numa: 1\n").encode()), online)
    assert (far.housekeeping_core, far.generator_cores, far.pmd_cores) == (1, (11, 13), (15,))
    assert not far.warnings


def test_named_cores_stay_and_the_rest_follows_them() -> None:
    online = {core: core // 4 for core in range(8)}
    placement = place_cores(read_testbed("t.yaml", local(switch="  pmd_cores: [5]\n").encode()), online)
    assert (placement.pmd_cores, placement.generator_cores) == ((5,), (6, 7))
    assert placement.housekeeping_core == 4


def test_named_cores_that_overlap_or_span_nodes_are_warned_of() -> None:
    online = {core: core // 4 for core in range(8)}
    text = local("  cores: [2, 5]\n", "  pmd_cores: [5]\n")
    warnings = place_cores(read_testbed("t.yaml", text.encode()), online).warnings
    assert any("Generator and switch share core 5" in warning for warning in warnings)
    assert any("span NUMA nodes 0 and 1" in warning for warning in warnings)


def test_two_hosts_place_their_own_cores() -> None:
    placement = place_cores(read_testbed("t.yaml", TWO.encode()), one_node(4), one_node(2))
    assert (placement.generator_cores, placement.housekeeping_core) == ((2, 3), 0)
    assert (placement.pmd_cores, placement.switch_housekeeping_core) == ((1,), 0)
    assert not placement.warnings


@pytest.mark.parametrize(
    ("generator", "line"),
    [
        (
            "  cores: [2, 9]\n",
            "t.yaml:4: generator.cores names core 9, which host local does not have online (online: cores 0-3)",
        ),
        (
            "  numa: 1\n",
            "t.yaml:4: generator.numa names node 1, which host local does not have (nodes with cores: 0)",
        ),
    ],
)
def test_a_core_that_is_not_there_is_told_with_those_that_are(generator: str, line: str) -> None:
    with pytest.raises(NotReadyError) as caught:
        place_cores(read_testbed("t.yaml", local(generator).encode()), one_node(4))
    assert (str(caught.value), caught.value.exit_code) == (line, 3)


@given(st.dictionaries(st.integers(0, 200), st.integers(0, 3), min_size=1))
def test_placed_cores_are_online_and_apart_where_there_are_three(online: dict[int, int]) -> None:
    placement = place_cores(LOCAL, online)
    roles = [{placement.housekeeping_core}, set(placement.generator_cores), set(placement.pmd_cores)]
    assert set.union(*roles) <= set(online)
    if max(list(online.values()).count(node) for node in online.values()) >= 3:
        assert sum(map(len, roles)) == len(set.union(*roles))
        assert not placement.warnings


@given(st.text(alphabet="name:hosts{}[], \n-ports1.auto", max_size=80))
def test_no_text_ends_in_a_traceback(text: str) -> None:
    for data in (text, f"{TWO}\n{text}"):
        try:
            read_testbed("t.yaml", data.encode())
        except UsageError as error:
            assert str(error)
