"""Multicast: with and without snooping, on switches that do and that do less than they say, and on a NIC."""

from contextlib import contextmanager
from unittest.mock import patch

import pytest

from nvbench.checks.multicast import A_GROUP, ALONE, MULTICAST
from tests.lab.checks.conftest import Outcome


@contextmanager
def nothing():
    """A lever that does nothing."""
    yield


@pytest.mark.parametrize("where", ["on_bridge", "on_ovs"])
def test_snooping_sends_a_group_where_somebody_has_joined(where, request, look_at):
    verdict = look_at(MULTICAST, request.getfixturevalue(where))
    assert verdict.outcome is Outcome.PASS
    assert "should reach vm2 alone, and does reach vm2;" in verdict.told
    rows = {row[:3]: row[3:] for row in verdict.grids[0].rows}
    assert rows[A_GROUP, "peer", "vm1"] == ("yes", "-")
    assert rows[A_GROUP, "peer", "vm2"] == ("yes", "yes")
    assert rows[ALONE, "vm1", "vm2"] == ("yes", "-")
    assert rows["224.0.0.1", "vm1", "peer"] == ("yes", "yes")


def test_snooping_that_is_not_in_force(on_bridge, look_at):
    with patch.object(on_bridge.levers, "snooping", nothing):
        verdict = look_at(MULTICAST, on_bridge)
    assert verdict.outcome is Outcome.FAIL
    assert "arrives, and should not" in verdict.told


def test_a_switch_that_drops_a_group(on_ovs, look_at, nothing_is_late):
    ovs, match = on_ovs.switch.control, f"priority=40000,ip,nw_dst={A_GROUP}"
    ovs.ofctl("add-flow", "nvbr0", f"{match},actions=drop")
    try:
        verdict = look_at(MULTICAST, on_ovs)
    finally:
        ovs.ofctl("del-flows", "nvbr0", "--strict", match)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told.endswith(f"do not arrive without snooping: {A_GROUP}: does not arrive")


def test_a_driver_that_does_not_ask_for_all_multicast(on_sriov, look_at):
    verdict = look_at(MULTICAST, on_sriov)
    assert verdict.outcome is Outcome.FAIL
    assert "with trust and allmulticast on" in verdict.told
    assert [seen.holds for seen in verdict.observations[:3]] == [True, True, True]
    rows = {row[:3]: row[3:] for row in verdict.grids[0].rows}
    assert rows["224.0.0.1", "peer", "vm1"] == ("yes", "yes")
    assert rows[A_GROUP, "peer", "vm2"] == ("yes", "-")
