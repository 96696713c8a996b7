"""A service VLAN: its tag goes on top and off again; another tag, or a lost customer's VLAN, is seen."""

from nvbench.checks.vlan_transparency import VLAN_TRANSPARENCY
from tests.lab.checks.conftest import Outcome


def test_one_tag_and_two(on_ovs, look_at):
    verdict = look_at(VLAN_TRANSPARENCY, on_ovs)
    assert verdict.outcome is Outcome.PASS
    there, home = (grid.rows for grid in verdict.grids)
    assert there[0] == ("untagged", "802.1ad tag 100", "802.1ad tag 100")
    assert there[1][2] == "802.1ad tag 100 + 802.1Q tag 10"
    assert home[1] == ("802.1ad tag 100 + 802.1Q tag 10", "802.1Q tag 10", "802.1Q tag 10")
    assert home[-1] == ("802.1ad tag 101 + 802.1Q tag 10", "-", "-")


def test_the_wrong_service(on_ovs, look_at, monkeypatch):
    tunnelled = on_ovs.levers.tunnelled

    def wrong(vlan, *members, tpid):
        return tunnelled(vlan + 1, *members, tpid=tpid)

    monkeypatch.setattr(on_ovs.levers, "tunnelled", wrong)
    verdict = look_at(VLAN_TRANSPARENCY, on_ovs)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told.endswith("untagged: arrives with 802.1ad tag 101, not with 802.1ad tag 100")
    assert "88a8 0065 0800" in verdict.quote
    assert verdict.grids[1].rows[-1][2] == "WRONG: 802.1Q tag 10"


def test_a_virtual_function_overwrites_the_tag_of_a_vlan_device(on_sriov, look_at):
    verdict = look_at(VLAN_TRANSPARENCY, on_sriov)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told.startswith("vm1.10 to peer: 1 of 1 frames do not arrive")
    assert verdict.told.endswith("arrives with 802.1Q tag 100, not with 802.1Q tag 100 + 802.1Q tag 10")
    assert "8100 0064 0800" in verdict.quote
    assert "802.1ad are refused" in verdict.advice[0]
