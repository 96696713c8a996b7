"""VLAN tags: passed on as they are, and seen where a switch rewrites or drops them."""

from nvbench.checks.vlan_tags import VLAN_TAGS
from tests.lab.checks.conftest import Outcome, evidence


def test_all_pass_a_bridge(on_bridge, look_at, tmp_path):
    verdict = look_at(VLAN_TAGS, on_bridge)
    assert verdict.outcome is Outcome.PASS
    rows = {row[0]: row[1:] for row in verdict.grids[0].rows}
    assert rows["802.1Q tag 10 priority 5"] == ("as sent",) * 4
    assert rows["802.1ad tag 100 + 802.1Q tag 10"] == ("as sent",) * 4
    assert (evidence(tmp_path, verdict) / "taken-at-vm2.pcap").stat().st_size > 20 * 60


def test_ovs_between_virtual_machines_and_a_kernel_device(on_ovs_vms, look_at):
    verdict = look_at(VLAN_TAGS, on_ovs_vms)
    assert [seen.told for seen in verdict.observations if not seen.holds] == [
        f"peer to {name}: 1 of 20 frames do not arrive unchanged: 802.1Q tag 10 drop eligible: "
        "arrives with 802.1Q tag 10, not with 802.1Q tag 10 drop eligible"
        for name in ("vm1", "vm2")
    ]
    rows = {row[0]: row[1:] for row in verdict.grids[0].rows}
    assert set(rows["802.1Q tag 10 priority 5"]) == {"as sent"}
    assert set(rows["802.1Q tag 0"]) == {"untagged"}  # it takes a tag off that says nothing, and may
    assert "priority-tags=always" in verdict.advice[0]


def test_virtual_functions_lose_the_priority(on_sriov, look_at):
    verdict = look_at(VLAN_TAGS, on_sriov)
    assert verdict.outcome is Outcome.FAIL
    rows = {row[0]: row[1:] for row in verdict.grids[0].rows}
    assert rows["802.1Q tag 4094"] == ("as sent",) * 4
    assert rows["802.1Q tag 10 priority 5"] == ("WRONG: 802.1Q tag 10", "as sent", *["WRONG: 802.1Q tag 10"] * 2)


def test_a_flow_that_rewrites_one_vlan(on_ovs, look_at):
    ofctl = on_ovs.switch.control.ofctl
    ofctl("add-flow", "nvbr0", "cookie=7,priority=40000,dl_vlan=10,actions=mod_vlan_vid:11,NORMAL")
    try:
        verdict = look_at(VLAN_TAGS, on_ovs)
    finally:
        ofctl("del-flows", "nvbr0", "cookie=7/-1")
    assert verdict.outcome is Outcome.FAIL
    assert "802.1Q tag 10: arrives with 802.1Q tag 11, not with 802.1Q tag 10" in verdict.told
    assert "8100 000b" in verdict.quote


def test_a_flow_that_drops_one_vlan(on_ovs, look_at, nothing_is_late):
    ofctl = on_ovs.switch.control.ofctl
    ofctl("add-flow", "nvbr0", "cookie=7,priority=40000,dl_vlan=1,actions=drop")
    try:
        verdict = look_at(VLAN_TAGS, on_ovs)
    finally:
        ofctl("del-flows", "nvbr0", "cookie=7/-1")
    assert verdict.outcome is Outcome.FAIL
    assert any("802.1Q tag 1: does not arrive" in seen.told for seen in verdict.observations)
