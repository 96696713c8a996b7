"""Links: what guests see of a port that goes down, and of one that only says that it does."""

from contextlib import contextmanager, nullcontext

from nvbench.checks import link_state
from nvbench.checks.link_state import LINK_STATE
from nvbench.stands import bridge
from tests.lab.checks.conftest import Outcome, reaches


def test_guests_see_their_link_go_and_come_back(on_bridge, look_at):
    verdict = look_at(LINK_STATE, on_bridge)
    assert verdict.outcome is Outcome.PASS
    assert verdict.grids[0].rows[0] == ("at first", "up", "up", "up")


def test_a_port_that_stays_up(on_bridge, look_at, monkeypatch):
    monkeypatch.setattr(on_bridge.levers, "port_down", lambda member: nullcontext())
    monkeypatch.setattr(link_state, "PATIENCE_S", 1.0)
    verdict = look_at(LINK_STATE, on_bridge)
    assert verdict.outcome is Outcome.FAIL
    told = [seen.told for seen in verdict.observations if not seen.holds]
    assert "physical port down: peer sees its link up, expected down within 1 s" in told
    assert "vm1's port down: vm1 sees its link up, expected down within 1 s" in told


def test_a_path_that_has_never_worked(on_bridge, look_at, monkeypatch):
    """That the peer is not reached while its link is down then tells nothing."""
    monkeypatch.setattr(link_state, "PASSES_S", 0.3)
    vm1, peer = on_bridge.member("vm1"), on_bridge.member("peer")
    route = ["unreachable", f"{peer.address}/32"]
    vm1.host.run(["ip", "route", "add", *route])
    try:
        verdict = look_at(LINK_STATE, on_bridge)
    finally:
        vm1.host.run(["ip", "route", "delete", *route])
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told == "before physical port is down: vm1 does not reach peer"
    assert verdict.quote == "ping: connect: No route to host"
    wrong = [seen.told for seen in verdict.observations if not seen.holds]
    assert "physical port down: 0 of 0 pings of vm1 to peer answered, expected 0" in wrong


def test_a_link_that_does_not_come_back(on_bridge, look_at, monkeypatch):
    vm1, right = on_bridge.member("vm1"), on_bridge.levers.port_down
    own = ["ip", "link", "set", "dev", vm1.device]

    @contextmanager
    def for_good(member):
        with right(member):
            yield
            if member == vm1.name:
                vm1.host.run([*own, "down"])

    monkeypatch.setattr(on_bridge.levers, "port_down", for_good)
    monkeypatch.setattr(bridge, "LINK_PATIENCE_S", 0.3)
    monkeypatch.setattr(link_state, "RECOVERY_S", 1.0)
    try:
        verdict = look_at(LINK_STATE, on_bridge)
    finally:
        vm1.host.run([*own, "up"])
        assert reaches(vm1, on_bridge.member("peer"))
    assert verdict.outcome is Outcome.FAIL
    told = [seen.told for seen in verdict.observations if not seen.holds]
    assert "vm1's port up again: vm1 sees its link down, expected up within 1 s" in told


def test_virtual_functions_follow_their_port(on_sriov, look_at):
    verdict = look_at(LINK_STATE, on_sriov)
    assert verdict.outcome is Outcome.PASS
    assert any("Operation not supported" in advice for advice in verdict.advice)
