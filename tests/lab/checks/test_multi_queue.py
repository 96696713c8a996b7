"""Queues: all of them in use, one missing, and flows that all fall on one."""

import re

from nvbench.checks.multi_queue import MULTI_QUEUE
from nvbench.datapaths.ovs_output import parse_pmd_rxqs
from tests.lab.checks.conftest import Outcome
from tests.lab.waiting import wait_until


def test_flows_use_both_queues_of_a_namespace(on_bridge, look_at):
    verdict = look_at(MULTI_QUEUE, on_bridge)
    assert verdict.outcome is Outcome.PASS
    assert verdict.told.startswith("vm1 sends: of 256 flows each of 2 queues should get 96 to 160 (50%), they get ")
    vm1 = on_bridge.member("vm1")
    assert "noqueue" in vm1.host.run(["tc", "qdisc", "show", "dev", vm1.device]).stdout


def test_a_queue_is_missing(on_bridge, look_at):
    vm1 = on_bridge.member("vm1")
    vm1.host.run(["ethtool", "-L", vm1.device, "tx", "1"])
    try:
        verdict = look_at(MULTI_QUEUE, on_bridge)
    finally:
        vm1.host.run(["ethtool", "-L", vm1.device, "tx", "2"])
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told == "vm1 should use 2 queues of eth0, uses 1"


def test_ports_of_the_kernel_have_one_queue(on_ovs, look_at):
    verdict = look_at(MULTI_QUEUE, on_ovs)
    assert verdict.outcome is Outcome.FAIL
    assert "should have 2 queues, has one, of a kernel device" in verdict.told


def test_flows_use_both_queues_of_a_virtual_machine(on_ovs_vms, look_at):
    verdict = look_at(MULTI_QUEUE, on_ovs_vms)
    assert verdict.outcome is Outcome.PASS
    assert [grid.title for grid in verdict.grids] == ["Who polls what", "Queues of vm1", "Queues of vm2"]
    assert verdict.grids[1].columns[2:] == ("sent", "taken by the switch", "interrupts, input", "interrupts, output")


def test_a_guest_that_uses_one_queue(on_ovs_vms, look_at):
    vm1 = on_ovs_vms.member("vm1")

    def polled():
        """How many queues the switch polls, which hears of it a moment later."""
        rxqs = parse_pmd_rxqs(on_ovs_vms.switch.control.ask("dpif-netdev/pmd-rxq-show"))
        return sum(rxq.enabled for rxq in rxqs if rxq.port == vm1.port)

    vm1.host.run(["ethtool", "-L", vm1.device, "combined", "1"])
    try:
        wait_until(lambda: polled() == 1)
        verdict = look_at(MULTI_QUEUE, on_ovs_vms)
    finally:
        vm1.host.run(["ethtool", "-L", vm1.device, "combined", "2"])
        wait_until(lambda: polled() == 2)
    assert verdict.outcome is Outcome.FAIL
    told = [seen.told for seen in verdict.observations if not seen.holds]
    assert told[0] == "of nvp0 2 queues should be polled by PMDs, are: queue 0 by core 1"
    assert told[1] == "vm1 should use 2 queues of eth1, uses 1"
    assert re.search(r"they get \d+ \(100%\)$", told[2])
