"""A host behind a bridge on the physical function: not found by the NIC, until it is told."""

from contextlib import contextmanager

from nvbench.checks import interwork
from nvbench.checks.interwork import INTERWORK
from tests.lab.checks.conftest import Outcome


def test_a_nic_that_does_not_know_who_is_behind_the_bridge(on_sriov, look_at):
    verdict = look_at(INTERWORK, on_sriov)
    assert verdict.outcome is Outcome.FAIL
    assert "0 of 4 pairs reach each other" in verdict.told
    assert any("12 of 12 pairs reach each other" in advice for advice in verdict.advice)


def test_a_nic_that_was_told(on_sriov, look_at, monkeypatch):
    @contextmanager
    def announced(stand, record):
        with behind(stand, record) as host, interwork._announced(stand, host):
            yield host

    behind = interwork.behind
    monkeypatch.setattr(interwork, "behind", announced)
    verdict = look_at(INTERWORK, on_sriov)
    assert "4 of 4 pairs reach each other" in verdict.observations[0].told
