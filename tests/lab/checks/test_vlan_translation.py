"""VLAN translation: one VLAN for another and back; a wrong one is seen."""

from nvbench.checks.vlan_translation import VLAN_TRANSLATION
from tests.lab.checks.conftest import Outcome


def test_there_and_back(on_ovs, look_at):
    verdict = look_at(VLAN_TRANSLATION, on_ovs)
    assert verdict.outcome is Outcome.PASS
    there, home = (grid.rows for grid in verdict.grids)
    assert there[1] == ("802.1Q tag 10 priority 5", "802.1Q tag 20 priority 5", "802.1Q tag 20 priority 5")
    assert home[2] == ("802.1Q tag 20 + 802.1Q tag 7", "802.1Q tag 10 + 802.1Q tag 7", "802.1Q tag 10 + 802.1Q tag 7")
    assert there[3] == ("802.1Q tag 20", "-", "-")


def test_another_vlan_than_asked_for(on_ovs, look_at, monkeypatch):
    translated = on_ovs.levers.translated
    monkeypatch.setattr(on_ovs.levers, "translated", lambda member, *vlans: translated(member, vlans[0], vlans[1] + 1))
    verdict = look_at(VLAN_TRANSLATION, on_ovs)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told.endswith("802.1Q tag 10: arrives with 802.1Q tag 21, not with 802.1Q tag 20")
    assert "8100 0015" in verdict.quote


def test_a_bridge_cannot(on_bridge, look_at):
    assert look_at(VLAN_TRANSLATION, on_bridge).outcome is Outcome.BLOCKED
