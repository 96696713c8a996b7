"""What checks of the bench make of what a host tells."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nvbench import checks
from nvbench.checks.description import setup_tables
from nvbench.checks.hugepages import Pool, needs, parse_pools
from nvbench.checks.interrupts import INTERRUPTS, as_list, bound_threads, named_cores, polling_cores, rates_of
from nvbench.checks.noise import Quiet, cores_of_runs, parse_spins
from nvbench.errors import NotPossibleError
from nvbench.placement import Placement
from nvbench.stands import Record
from nvbench.testbed import load_testbed

EARLY = """           CPU0       CPU1
 36:          5        100  PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0
LOC:       1000       2000   Local timer interrupts
ERR:          0
"""
LATE = """           CPU0       CPU1
 36:          5        350  PCI-MSIX-0000:00:02.0   1-edge      virtio1-req.0
 40:          8          0  PCI-MSIX-0000:00:03.0   0-edge      eth7-rx-0
LOC:       1500       2500   Local timer interrupts
ERR:          0
"""


class Held:
    """As much of a bench as tells who polls where."""

    def __init__(self, placement: Placement) -> None:
        self.testbed, self.placement = load_testbed("local"), placement


def test_interrupts_a_second_by_core():
    rates = rates_of(EARLY, LATE, 0.5)
    assert rates["36"] == ("virtio1-req.0", {0: 0.0, 1: 500.0})
    assert rates["40"] == ("eth7-rx-0", {0: 16.0, 1: 0.0})  # was not there before
    assert rates["LOC"] == ("", {0: 1000.0, 1: 1000.0})
    assert "ERR" not in rates


def test_cores_of_the_kernels_command_line():
    line = "quiet isolcpus=managed_irq,domain,2-4,8 nohz_full=2 xrcu_nocbs=3"
    assert named_cores(line, "isolcpus") == {2, 3, 4, 8}
    assert named_cores(line, "nohz_full") == {2}
    assert named_cores(line, "rcu_nocbs") == set()


def test_cores_as_the_kernel_writes_them():
    assert as_list({7, 0, 1, 2}) == "0-2,7"
    assert as_list([5]) == "5"


def test_threads_of_the_kernel_that_belong_to_a_core():
    told = (
        "      2 ksoftirqd/1\n      2 kworker/1:2-events\n      2 kworker/u9:1\n    100 mine/1\n      2 migration/11\n"
    )
    assert bound_threads(told, [1]) == ["ksoftirqd/1", "kworker/1:2-events"]


def test_a_core_that_does_all_the_rest_is_not_asked_to_be_quiet():
    placement = Placement(generator_cores=(0,), housekeeping_core=0, pmd_cores=(1,), switch_housekeeping_core=0)
    assert polling_cores(Held(placement)) == {"local": (1,)}
    assert cores_of_runs(Held(placement)) == {"local": (0, 1)}


def test_a_bench_on_which_no_core_only_polls(tmp_path):
    placement = Placement(generator_cores=(0,), housekeeping_core=0, pmd_cores=(0,), switch_housekeeping_core=0)
    with pytest.raises(NotPossibleError, match="no core does nothing but poll"):
        INTERRUPTS.act(SimpleNamespace(bench=Held(placement)), Record(tmp_path))


def test_hugepages_node_by_node():
    node = "/sys/devices/system/node/node{}/hugepages/hugepages-2048kB/{}_hugepages:{}"
    told = [node.format(0, "nr", 512), node.format(0, "free", 100), node.format(1, "nr", 8), node.format(1, "free", 8)]
    assert list(parse_pools("\n".join(told))) == [Pool(0, 2048, 512, 100), Pool(1, 2048, 8, 8)]
    assert list(parse_pools("/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages:2")) == [Pool(0, 1048576, 2, 0)]


def test_guests_of_libvirt_want_hugepages_where_they_are_asked_for():
    testbed = load_testbed("local")
    assert needs(testbed) == {"the switch": 1024}
    huge = testbed.model_copy(update={"guests": testbed.guests.model_copy(update={"hugepages": True})})
    assert needs(huge)["2 guests of kind libvirt"] == 768


def test_the_table_of_the_set_up():
    host = {
        "sockets": 2,
        "cpu": "Cortex",
        "online_cores": 46,
        "numa_nodes": 2,
        "memory": {"MemTotal": 128 * 2**20, "HugePages_Total": 64, "Hugepagesize": 524288},
        "kernel": "4.14.0",
        "versions": {"ovs": "2.9.0", "qemu": "2.10.0"},
        "nics": [{"name": "eth2", "driver": "mlx5_core", "version": "5.0", "firmware-version": "14.20"}],
    }
    (grid,) = setup_tables({"hosts": {"switch": host}})
    rows = dict(grid.rows)
    assert grid.title == "Set-up of host switch"
    assert rows["sockets"] == "2"
    assert rows["cores"] == "46 online, 2 NUMA nodes"
    assert rows["memory"] == "128.0 GiB, 64 hugepages of 524288 kB"
    assert rows["NIC eth2"] == "mlx5_core 5.0, firmware 14.20"
    assert (rows["QEMU"], rows["libvirt"]) == ("2.10.0", "not installed")
    assert rows["OS"] == "unknown"


def test_nothing_known_of_a_host_is_told_so():
    (grid,) = setup_tables({"hosts": {"far": {}}})
    assert {dict(grid.rows)[what] for what in ("sockets", "CPU", "cores", "memory", "OS", "kernel", "NIC")} == {
        "unknown"
    }
    assert setup_tables({}) == ()


def test_what_a_loop_on_a_core_met():
    pieces = [[200_000_000, 400_000, 0, 0, 0, 0, 0], [200_000_000, 200_000, 100_000_000, 2_000_000, 90, 60, 50]]
    (quiet,) = parse_spins(json.dumps({"core": 3, "pieces": pieces}) + "\n\n")
    assert (quiet.core, quiet.away, quiet.longest_us, quiet.gaps) == (3, 0.25, 2000.0, (90, 60, 50))
    assert quiet.rates == (2e6, 1e6)
    assert quiet.speeds == (2e6, 2e6)
    assert quiet.spread == 0.0
    assert quiet.noise == pytest.approx(0.490, abs=0.001)  # ln 2 / sqrt 2


def test_a_core_that_did_the_same_all_the_time_shows_no_noise():
    assert Quiet(0, 0.0, 0.0, (0, 0, 0), (5.0, 5.0), (5.0, 5.0)).noise == 0.0


def test_the_loop_itself():
    program = Path(checks.__file__).with_name("spin.py").read_text()
    told = subprocess.run(
        [sys.executable, "-", "2", "0.02", "0"], input=program, capture_output=True, text=True, check=True
    ).stdout
    (quiet,) = parse_spins(told)
    assert quiet.core == 0
    assert len(quiet.rates) == 2
    assert 0.0 <= quiet.away < 1.0
    assert min(quiet.speeds) > 1e4
