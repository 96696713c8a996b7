"""Addresses that two tenants have: each is reached where it is; a switch that mixes them up is seen."""

from contextlib import contextmanager

from nvbench.checks.address_reuse import ADDRESS_REUSE
from tests.lab.checks.conftest import Outcome


def test_two_tenants_with_one_address(on_bridge, look_at):
    verdict = look_at(ADDRESS_REUSE, on_bridge)
    assert verdict.outcome is Outcome.PASS
    assert "0 received" in verdict.quote


def test_a_lever_that_does_nothing(on_ovs, look_at, monkeypatch):
    monkeypatch.setattr(on_ovs.levers, "separated", contextmanager(lambda *_members: iter([None])))
    verdict = look_at(ADDRESS_REUSE, on_ovs)
    assert verdict.outcome is Outcome.FAIL
    wrong = [seen.told for seen in verdict.observations if not seen.holds]
    assert "1 frames of vm1 arrive at vm2 while vm2 has the same, expected 0" in wrong
    assert "a frame of vm1 to the peer's addresses arrives there 0 times while vm2 has the same, expected once" in wrong


def test_a_virtual_function_takes_away_what_is_for_another_vlan(on_sriov, look_at):
    verdict = look_at(ADDRESS_REUSE, on_sriov)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told == (
        "a frame of vm1 to the peer's addresses arrives there 0 times while vm2 has the same, expected once"
    )
    assert verdict.observations[0].holds
