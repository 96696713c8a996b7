"""Flooding: a learning switch, one that floods everything, one that floods nothing, and a NIC's."""

from contextlib import contextmanager

import pytest

from nvbench.checks.flooding import FLOODING
from tests.lab.checks.conftest import Outcome


@contextmanager
def flow(stand, match, actions):
    """The bridge has another flow."""
    ovs = stand.switch.control
    ovs.ofctl("add-flow", "nvbr0", f"priority=40000,{match},actions={actions}")
    try:
        yield
    finally:
        ovs.ofctl("del-flows", "nvbr0", "--strict", f"priority=40000,{match}")


@pytest.mark.parametrize("where", ["on_bridge", "on_ovs"])
def test_a_switch_that_learns(where, request, look_at):
    verdict = look_at(FLOODING, request.getfixturevalue(where))
    assert verdict.outcome is Outcome.PASS
    assert "none comes back to its sender" in verdict.told
    assert len(verdict.observations) == 5
    assert {row[-1] for row in verdict.grids[0].rows} == {"yes"}


def test_a_hub(on_ovs, look_at):
    with flow(on_ovs, f"in_port={on_ovs.member('vm1').port}", "FLOOD"):
        verdict = look_at(FLOODING, on_ovs)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told == "known unicast from vm1 should arrive once at vm2: it reaches peer, which it is not for"


def test_what_is_unknown_is_held_back(on_bridge, look_at, nothing_is_late):
    words = ["bridge", "link", "set", "dev", on_bridge.member("vm2").port, "flood"]
    on_bridge.host.run([*words, "off"])
    try:
        verdict = look_at(FLOODING, on_bridge)
    finally:
        on_bridge.host.run([*words, "on"])
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told.startswith("unknown unicast from vm1 should arrive once at peer and vm2: at vm2 it does not")


def test_duplicates_and_what_comes_back(on_ovs, look_at):
    port = on_ovs.member("vm2").port
    with flow(on_ovs, f"in_port={port}", f"NORMAL,output:{on_ovs.member('vm1').port},IN_PORT"):
        verdict = look_at(FLOODING, on_ovs)
    assert verdict.outcome is Outcome.FAIL
    assert "at vm1 it arrives 2 times" in verdict.told
    assert any("should come back to its sender" in seen.told for seen in verdict.observations if not seen.holds)


def test_the_switch_of_an_igb_sends_broadcasts_back(on_sriov, look_at):
    verdict = look_at(FLOODING, on_sriov)
    assert verdict.outcome is Outcome.FAIL
    assert [seen.holds for seen in verdict.observations] == [True, True, True, False]
    assert "broadcast of vm1" in verdict.told
    rows = {row[:3] for row in verdict.grids[0].rows}
    assert {("unknown unicast", "vm1", "peer"), ("unknown unicast", "peer", "nobody")} <= rows
