"""Isolation: kept where tenants are apart, and a leak between them is seen."""

from contextlib import contextmanager

from nvbench.checks.isolation import ISOLATION
from tests.lab.checks.conftest import Outcome, evidence


def test_tenants_with_the_same_addresses(on_bridge, look_at, tmp_path):
    verdict = look_at(ISOLATION, on_bridge)
    assert verdict.outcome is Outcome.PASS
    assert verdict.grids[0].rows[0] == ("unicast", "yes", "-", "yes", "-")
    told = [seen.told for seen in verdict.observations]
    nothing = "apart: 0 of 21 kinds of frames from vm1 arrive at vm2, expected 0; together "
    assert any(each.startswith(nothing) for each in told)
    assert any(each.startswith("apart: a frame to the peer's address") and "it goes to vm2" in each for each in told)
    assert (evidence(tmp_path, verdict) / "taken-at-vm2-together.pcap").stat().st_size > 20 * 60


def test_tenants_on_ovs(on_ovs, look_at):
    assert look_at(ISOLATION, on_ovs).outcome is Outcome.PASS


def test_tenants_on_virtual_functions(on_sriov, look_at):
    verdict = look_at(ISOLATION, on_sriov)
    assert verdict.outcome is Outcome.PASS
    assert {"tag 100", "tag 101"} <= {row[0] for row in verdict.grids[0].rows}  # nobody tags himself into a VLAN


def test_a_cable_between_both_bridges(on_bridge, look_at, monkeypatch):
    separated = on_bridge.levers.separated

    @contextmanager
    def leaking(*members):
        with separated(*members):
            words = "link add nvleak0 master nvbr0 up type veth peer name nvleak1\nlink set nvleak1 master nvbr1 up\n"
            on_bridge.host.run(["ip", "-batch", "-"], stdin=words)
            try:
                yield
            finally:
                on_bridge.host.run(["ip", "link", "delete", "nvleak0"])

    monkeypatch.setattr(on_bridge.levers, "separated", leaking)
    verdict = look_at(ISOLATION, on_bridge)
    assert verdict.outcome is Outcome.FAIL
    wrong = [seen for seen in verdict.observations if not seen.holds]
    assert wrong[0].told == "apart: 3 of 3 pings of vm2 to vm1 answered, expected 0"
    assert any("kinds of frames from vm2 arrive at vm1, expected 0: unicast" in seen.told for seen in wrong)
    assert all(seen.told.startswith("apart") for seen in wrong)  # before and after all is well


def test_a_tenant_whose_frames_go_nowhere(on_bridge, look_at, monkeypatch, nothing_is_late):
    """Nothing of it arrives anywhere, for it has no link: that shows nothing of the switch."""
    separated, port = on_bridge.levers.separated, ["ip", "link", "set", "dev", on_bridge.member("vm2").port]

    @contextmanager
    def cut_off(*members):
        with separated(*members):
            on_bridge.host.run([*port, "down"])
            yield
            on_bridge.host.run([*port, "up"])

    monkeypatch.setattr(on_bridge.levers, "separated", cut_off)
    verdict = look_at(ISOLATION, on_bridge)
    assert verdict.outcome is Outcome.FAIL
    wrong = [seen.told for seen in verdict.observations if not seen.holds]
    assert len(wrong) == 1
    assert wrong[0].startswith("apart: vm2 has sent 0 frames, expected at least the ")


def test_a_lever_that_does_nothing(on_ovs, look_at, monkeypatch):
    monkeypatch.setattr(on_ovs.levers, "separated", contextmanager(lambda *_members: iter([None])))
    verdict = look_at(ISOLATION, on_ovs)
    assert verdict.outcome is Outcome.FAIL
    assert " 0 received" not in verdict.quote
