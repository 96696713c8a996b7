"""Connectivity: seen where it is, and missed where it is not."""

import pytest

from nvbench.checks.connectivity import CONNECTIVITY, FRAMES
from tests.lab.checks.conftest import Outcome, evidence


@pytest.mark.parametrize("where", ["on_bridge", "on_ovs"])
def test_all_reach_each_other(where, request, look_at, tmp_path):
    verdict = look_at(CONNECTIVITY, request.getfixturevalue(where))
    assert verdict.outcome is Outcome.PASS
    assert verdict.grids[0].rows == (
        ("vm1", "-", "yes", "yes"),
        ("vm2", "yes", "-", "yes"),
        ("peer", "yes", "yes", "-"),
    )
    assert "[peer pings vm2]" in (evidence(tmp_path, verdict) / "pings.txt").read_text()


def test_a_port_that_is_off_the_bridge(on_bridge, look_at):
    port = on_bridge.member("vm2").port
    on_bridge.host.run(["ip", "link", "set", port, "nomaster"])
    try:
        verdict = look_at(CONNECTIVITY, on_bridge)
    finally:
        on_bridge.host.run(["ip", "link", "set", port, "master", "nvbr0"])
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told == "vm1 does not reach vm2: 0 of 3 requests are answered"
    assert "0 received" in verdict.quote
    assert verdict.grids[0].rows[0] == ("vm1", "-", "NO", "yes")


def test_an_answer_that_comes_twice(on_ovs, look_at):
    ovs, vm1 = on_ovs.switch.control, on_ovs.member("vm1")
    match = f"priority=40000,icmp,dl_dst={vm1.mac}"
    ovs.ofctl("add-flow", "nvbr0", f"{match},actions=output:{vm1.port},output:{vm1.port}")
    try:
        verdict = look_at(CONNECTIVITY, on_ovs)
    finally:
        ovs.ofctl("del-flows", "nvbr0", "--strict", match)
    assert verdict.outcome is Outcome.FAIL
    assert "more than once" in verdict.told


def test_a_nic_joins_its_functions_by_itself(on_sriov, look_at):
    verdict = look_at(CONNECTIVITY, on_sriov)
    assert verdict.outcome is Outcome.PASS
    assert verdict.told.endswith(
        f"of {2 * FRAMES} frames between vm1 and vm2 the peer at the other end of the wire sees 0"
    )
