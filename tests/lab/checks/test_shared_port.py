"""One port for host and guests: as the one and as the other, and a host that is shut out."""

from nvbench.checks.shared_port import SHARED_PORT
from tests.lab.checks.conftest import Outcome


def test_all_reach_each_other_either_way(on_ovs, look_at):
    devices = on_ovs.host.run(["ip", "-o", "address", "show"]).stdout
    verdict = look_at(SHARED_PORT, on_ovs)
    assert verdict.outcome is Outcome.PASS
    assert len(verdict.grids) == 3
    for grid in verdict.grids[:2]:
        assert [row[1:].count("yes") for row in grid.rows] == [3, 3, 3, 3]
    assert "(system)" in verdict.observations[0].quote
    assert "(dpdk: configured_rx_queues=1" in verdict.observations[1].quote
    assert "takes copies" in verdict.told
    assert on_ovs.host.run(["ip", "-o", "address", "show"]).stdout == devices


def test_a_host_that_is_shut_out(on_ovs, look_at):
    ovs, match = on_ovs.switch.control, "priority=40000,icmp,in_port=LOCAL"
    ovs.ofctl("add-flow", "nvbr0", f"{match},actions=drop")
    try:
        verdict = look_at(SHARED_PORT, on_ovs)
    finally:
        ovs.ofctl("del-flows", "nvbr0", "--strict", match)
    assert verdict.outcome is Outcome.FAIL
    assert "as a kernel device 6 of 12 pairs" in verdict.told
    assert verdict.grids[0].rows[1][1:].count("yes") == 0
