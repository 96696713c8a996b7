"""What checks of the set-up make of what switch, guests and hypervisor tell."""

from nvbench.checks.mtu_path import mtus_of
from nvbench.checks.numa import largest, parse_numa_maps
from nvbench.checks.offload_mismatch import differing
from nvbench.checks.vm_setup import parse_channels, shared_bytes
from nvbench.datapaths.ovs_output import DatapathPort, parse_datapath_ports, parse_heaps, parse_pmds, parse_rows
from nvbench.offloads import Flag

NUMA_MAPS = """55d0c0000000 default file=/usr/bin/qemu mapped=10 N0=10 kernelpagesize_kB=4
7f786bfff000 default file=/memfd:memory-backend-memfd\\040(deleted) dirty=4 mapped=50 N0=10 N1=40 kernelpagesize_kB=2048
7f7900000000 default
"""
MAPS = """55d0c0000000-55d0c0200000 rw-p 00000000 00:01 1   [heap]
7f786bfff000-7f7883fff000 rw-s 00000000 00:01 47795   /memfd:memory-backend-memfd (deleted)
7f7883fff000-7f7884000000 rw-s 00000000 00:01 47796   /dev/shm/small
"""
CHANNELS = """Channel parameters for eth1:
Pre-set maximums:
RX:\t\tn/a
Combined:\t4
Current hardware settings:
RX:\t\tn/a
Combined:\t2
"""
DPIF = """netdev@ovs-netdev: hit:0 missed:0
  nvbr0:
    nv2 3/4: (system)
    nvbr0 65534/1: (tap)
    nvp0 1/2: (dpdkvhostuserclient: configured_rx_queues=2, configured_tx_queues=2, mtu=1500)
    nvp1 2/none: (dpdkvhostuserclient)
"""


def test_where_the_memory_of_a_machine_is():
    assert "memfd" in largest(NUMA_MAPS)
    assert parse_numa_maps(NUMA_MAPS) == {0: 20480, 1: 81920}
    assert parse_numa_maps("") == {}


def test_the_memory_that_a_machine_shares():
    assert shared_bytes(MAPS) == 384 * 2**20
    assert shared_bytes(MAPS.replace("rw-s", "rw-p")) == 0


def test_queues_of_a_guests_device():
    assert parse_channels(CHANNELS) == (4, 2)
    assert parse_channels("netlink error: Operation not supported") == (0, 0)


def test_offloads_that_one_end_alone_has():
    on, off = Flag(active=True, fixed=False), Flag(active=False, fixed=True)
    one = {"tx-checksumming": on, "tcp-segmentation-offload": on, "generic-receive-offload": on}
    assert differing(one, one) == []
    assert differing(one, {**one, "tcp-segmentation-offload": off}) == ["tso"]
    assert differing(one, {}) == ["tx_checksum", "tso", "gro"]


def test_mtu_of_devices():
    told = '[{"ifname": "lo", "mtu": 65536}, {}, {"ifname": "nv0", "mtu": 1400}]'  # the empty one is of elsewhere
    assert mtus_of(told) == {"lo": 65536, "nv0": 1400}


def test_ports_as_the_switch_itself_has_them():
    ports = parse_datapath_ports(DPIF)
    assert [port.name for port in ports] == ["nv2", "nvbr0", "nvp0", "nvp1"]
    assert ports[0] == DatapathPort("nvbr0", "nv2", "4", "system", {})
    assert ports[2].settings["configured_rx_queues"] == "2"
    assert ports[3].number == ""


def test_nodes_of_pmds_and_of_their_memory():
    shown = "pmd thread numa_id 1 core_id 23:\n  isolated : false\npmd thread numa_id 0 core_id 1:\n"
    assert parse_pmds(shown) == {23: 1, 1: 0}
    heap = "Heap id:{}\n\tHeap name:{}\n\tHeap_size:{},\n\tFree_size:1,\n"
    stats = heap.format(0, "socket_0", 1024) + heap.format(1, "socket_1", 0) + heap.format(2, "", 0)
    assert parse_heaps(stats) == {0: 1024}


def test_rows_of_the_database():
    told = (
        '{"headings": ["name", "options", "error", "trunks"], '
        '"data": [["nvp0", ["map", [["n_rxq", "2"]]], ["set", []], ["set", [1, 2]]]]}'
    )
    assert parse_rows(told) == [{"name": "nvp0", "options": {"n_rxq": "2"}, "error": [], "trunks": [1, 2]}]
