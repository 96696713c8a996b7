"""A rate limit: seen to hold where it is in force, and missed where it was only accepted."""

import re
from contextlib import contextmanager

import pytest

from nvbench.checks.rate_limit import RATE_LIMIT
from nvbench.errors import NotPossibleError
from nvbench.stands import Way
from tests.lab.checks.conftest import Outcome

ATTEMPTS = 3


def told_of_a_failure(look, why):
    """What is said where it fails for that reason; a busy host may keep the streams below the limit."""
    for _ in range(ATTEMPTS):
        verdict = look()
        if verdict.outcome is Outcome.FAIL and why in verdict.told:
            break
    assert verdict.outcome is Outcome.FAIL
    assert why in verdict.told
    return verdict.told


def test_the_bridge_holds_it_both_ways(on_bridge, look_at):
    verdict = look_at(RATE_LIMIT, on_bridge)
    assert verdict.outcome is Outcome.PASS
    sends, receives = verdict.grids[0].rows
    assert (sends[0], receives[0]) == ("what vm1 sends", "what vm1 receives")
    assert all(1.5 <= float(row[4]) <= 2.3 for row in (sends, receives))


def test_ovs_holds_it_both_ways(on_ovs_vms, look_at):
    verdict = look_at(RATE_LIMIT, on_ovs_vms)
    assert verdict.outcome is Outcome.PASS
    assert len(verdict.grids[0].rows) == 2


def test_a_limit_that_is_accepted_and_not_in_force(on_sriov, look_at):
    told = told_of_a_failure(lambda: look_at(RATE_LIMIT, on_sriov), "it is accepted, and not in force")
    assert "at a limit of 2.0 Mbit/s" in told


def test_a_limit_of_twice_what_was_said(on_bridge, look_at, monkeypatch):
    right = on_bridge.levers.limited

    @contextmanager
    def twice(member, way, bps, burst_bytes):
        with right(member, way, 2 * bps, burst_bytes):
            yield

    monkeypatch.setattr(on_bridge.levers, "limited", twice)
    told = told_of_a_failure(lambda: look_at(RATE_LIMIT, on_bridge), "that is too much")
    found = re.search(r"([\d.]+) Mbit/s pass at a limit of 2\.0 Mbit/s", told)
    assert found
    assert 2.3 < float(found[1]) < 4.6


def test_a_kernel_that_polices_nothing(on_ovs):
    before = on_ovs.state()
    with pytest.raises(NotPossibleError, match="NET_ACT_POLICE"):
        on_ovs.levers.limited("vm1", Way.OUT, 4_000_000, 100_000).__enter__()
    assert on_ovs.state() == before
