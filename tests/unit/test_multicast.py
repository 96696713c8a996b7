"""A NIC's counters of multicast, under whatever names."""

from types import SimpleNamespace

import pytest

from nvbench.checks import multicast
from nvbench.checks.multicast import act, most_grown, multicast_counters
from nvbench.errors import NotPossibleError
from nvbench.stands import PEER, SRIOV, Record


def test_the_counter_that_grew_most():
    before = {"multicast": 3, "rx_vport_multicast_packets": 7}
    assert most_grown(before, {"multicast": 3, "rx_vport_multicast_packets": 57}) == ("rx_vport_multicast_packets", 50)


def test_a_driver_that_counts_none():
    assert most_grown({}, {}) is None


BNXT = """\
NIC statistics:
     [0]: rx_ucast_packets: 9
     [0]: rx_mcast_packets: 50
     [0]: tx_mcast_packets: 70
     [1]: rx_mcast_packets: 0
     rx_stats_multicast_frames: 3
     port.tx_multicast: 8
"""


def test_drivers_call_it_by_different_names():
    assert multicast_counters(BNXT) == {
        "[0]: rx_mcast_packets": 50,
        "[1]: rx_mcast_packets": 0,
        "rx_stats_multicast_frames": 3,
    }


def test_a_driver_without_such_a_counter_is_not_judged_by_it(tmp_path):
    record = Record(tmp_path)
    multicast._judge_counters(record, {"vm1": None, "vm2": ("multicast", 50)}, "has joined it")
    assert [seen.quote for seen in record.observations] == ["vm2: ethtool -S: multicast +50"]
    assert record.advice == ["vm1: its driver has no counter of multicast that could be looked at (ethtool -S)"]


def test_who_has_joined_a_group_is_not_who_sends_to_it(tmp_path):
    def member(name):
        if name == PEER:
            raise NotPossibleError("a peer needs a port that the kernel drives")

    with pytest.raises(NotPossibleError, match="a peer needs a port"):
        act(SimpleNamespace(path=SRIOV, members=("vm1", "vm2"), member=member), Record(tmp_path))
