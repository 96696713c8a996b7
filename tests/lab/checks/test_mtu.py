"""MTU: seen to the byte where it is in force, and missed where the switch carries less or more than it says."""

from contextlib import contextmanager

from nvbench.checks.mtu import MTU
from tests.lab.checks.conftest import Outcome


def test_the_bridge_carries_what_it_says(on_bridge, look_at):
    verdict = look_at(MTU, on_bridge)
    assert verdict.outcome is Outcome.PASS
    assert ("4000", "vm1", "peer", "1", "4018", "4018", "4019") in verdict.grids[0].rows


def test_ovs_carries_what_it_says(on_ovs, look_at):
    verdict = look_at(MTU, on_ovs)
    assert verdict.outcome is Outcome.PASS
    assert "9018 bytes on the wire = 9000 MTU + 14 Ethernet + 4 FCS" in " ".join(o.told for o in verdict.observations)


def test_virtual_functions_carry_what_they_say(on_sriov, look_at):
    assert look_at(MTU, on_sriov).outcome is Outcome.PASS


def test_a_port_that_was_forgotten(on_bridge, look_at, monkeypatch, nothing_is_late):
    right = on_bridge.levers.mtu

    @contextmanager
    def all_but_one(mtu):
        with right(mtu):
            narrow = ["ip", "link", "set", "dev", on_bridge.member("vm2").port, "mtu"]
            on_bridge.host.run([*narrow, "1500"])
            yield
            on_bridge.host.run([*narrow, str(mtu)])

    monkeypatch.setattr(on_bridge.levers, "mtu", all_but_one)
    verdict = look_at(MTU, on_bridge)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told.startswith("MTU 4000, vm1 to vm2: ping -M do -s 3972")


def test_a_switch_that_carries_more(on_bridge, look_at, monkeypatch):
    right = on_bridge.levers.mtu
    monkeypatch.setattr(on_bridge.levers, "mtu", lambda mtu: right(mtu + 100))
    verdict = look_at(MTU, on_bridge)
    assert verdict.outcome is Outcome.FAIL
    assert "nothing ends at the MTU" in verdict.told
