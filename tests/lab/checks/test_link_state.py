"""Links: what guests see of a port that goes down, and of one that only says that it does."""

from contextlib import nullcontext

from nvbench.checks.link_state import LINK_STATE
from tests.lab.checks.conftest import Outcome


def test_guests_see_their_link_go_and_come_back(on_bridge, look_at):
    verdict = look_at(LINK_STATE, on_bridge)
    assert verdict.outcome is Outcome.PASS
    assert verdict.grids[0].rows[0] == ("at first", "up", "up", "up")


def test_a_port_that_stays_up(on_bridge, look_at, monkeypatch):
    monkeypatch.setattr(on_bridge.levers, "port_down", lambda member: nullcontext())
    verdict = look_at(LINK_STATE, on_bridge)
    assert verdict.outcome is Outcome.FAIL
    told = [seen.told for seen in verdict.observations if not seen.holds]
    assert "physical port down: peer sees its link up, expected down within 4 s" in told
    assert "vm1's port down: vm1 sees its link up, expected down within 4 s" in told


def test_virtual_functions_follow_their_port(on_sriov, look_at):
    verdict = look_at(LINK_STATE, on_sriov)
    assert verdict.outcome is Outcome.PASS
    assert any("Operation not supported" in advice for advice in verdict.advice)
