"""A NIC's counters of multicast, under whatever names."""

from nvbench.checks.multicast import most_grown


def test_the_counter_that_grew_most():
    before = {"multicast": 3, "rx_vport_multicast_packets": 7}
    assert most_grown(before, {"multicast": 3, "rx_vport_multicast_packets": 57}) == ("rx_vport_multicast_packets", 50)


def test_a_driver_that_counts_none():
    assert most_grown({}, {}) == ("no counter of multicast", 0)
