"""Restarts and crashes of OVS: what they cost is seen, and so is a switch that does not come back."""

import pytest

from nvbench.checks import ovs_crash, ovs_restart
from nvbench.checks.ovs_crash import OVS_CRASH
from nvbench.checks.ovs_restart import OVS_RESTART, OVS_RESTART_SERVER, break_and_mend
from nvbench.stands import OVS, Check, Wish, stand
from tests.lab.checks.conftest import Outcome, evidence


@pytest.fixture
def without_flows(on_ovs, monkeypatch):
    """A switch that comes back as one that forwards nothing; it is as before at the end."""
    switch = on_ovs.switch

    def forgetful(bring_back):
        def brought_back(*arguments):
            bring_back(*arguments)
            switch.control.ofctl("del-flows", "nvbr0")

        return brought_back

    monkeypatch.setattr(ovs_restart, "RECOVERY_S", 0.5)
    monkeypatch.setattr(switch, "restart", forgetful(switch.restart))
    monkeypatch.setattr(switch, "revive", forgetful(switch.revive))
    yield
    switch.control.ofctl("add-flow", "nvbr0", "actions=NORMAL")


def test_a_restart_is_over_in_a_moment(on_ovs, look_at):
    verdict = look_at(OVS_RESTART, on_ovs)
    assert verdict.outcome is Outcome.PASS
    assert "answered again" in verdict.told
    assert float(verdict.grids[0].rows[1][1].strip("+ s")) < 30


def test_a_switch_that_forwards_nothing_after_its_restart(on_ovs, without_flows, look_at, monkeypatch):
    monkeypatch.setattr(type(on_ovs), "state", lambda self: "")  # its flows come back later
    verdict = look_at(OVS_RESTART, on_ovs)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told == "vm1 to vm2: no connection within 0.5 s of the switch's start"


def test_a_crash_is_noticed_and_told(on_ovs, look_at, tmp_path):
    pid = on_ovs.switch.poller()
    verdict = look_at(OVS_CRASH, on_ovs)
    assert verdict.outcome is Outcome.PASS
    assert verdict.told.startswith(f"the crash of process {pid} is noticed ")
    assert f"process {pid}, has gone; ovs-vswitchd.log ends: " in verdict.quote
    assert on_ovs.switch.poller() != pid
    assert (evidence(tmp_path, verdict) / "ovs-vswitchd.log").stat().st_size > 1000


def test_a_crash_that_nobody_notices(on_ovs, look_at, monkeypatch):
    monkeypatch.setattr(ovs_crash, "NOTICED_S", 0.3)
    with monkeypatch.context() as patched:
        patched.setattr(on_ovs.switch, "crashed", lambda: "")
        verdict = look_at(OVS_CRASH, on_ovs)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told.startswith("the crash is not noticed ")


def test_a_switch_that_serves_leaves_its_sockets_in_its_own_way(held, stands, look_at, monkeypatch):
    stands.close()
    with stand(held, OVS, Wish(options={"vhost_mode": "server"})) as made:
        served = Check(OVS_RESTART_SERVER.name, "", {OVS: ""}, break_and_mend, limit_s=180)
        monkeypatch.setattr(type(made), "state", lambda self: "")  # of such a port the database tells no MTU again
        verdict = look_at(served, made)
        assert verdict.outcome is Outcome.PASS
        broken = next(seen for seen in verdict.observations if "as it has to be expected" in seen.told)
        assert "Address already in use" in broken.quote
        assert "answered again" in verdict.told
        # Nobody takes the sockets away: the same switch, the same restart, and no connection.
        monkeypatch.setattr(ovs_restart, "remove_sockets", lambda made: None)
        monkeypatch.setattr(ovs_restart, "RECOVERY_S", 3.0)
        assert look_at(served, made).outcome is Outcome.FAIL
