"""Checks of how a switch and its guests were set up: each sees what was changed behind its back."""

from nvbench import fingerprint
from nvbench.checks.mtu_path import MTU_PATH
from nvbench.checks.numa import NUMA
from nvbench.checks.offload_mismatch import OFFLOAD_MISMATCH
from nvbench.checks.ovs_setup import OVS_SETUP
from nvbench.checks.vm_setup import VM_SETUP
from tests.lab.checks.conftest import Outcome
from tests.lab.waiting import wait_until

# -- the kernel's bridge ---------------------------------------------------------------------------------------


def test_every_hop_carries_the_same(on_bridge, look_at):
    verdict = look_at(MTU_PATH, on_bridge)
    assert verdict.outcome is Outcome.PASS
    assert "over 5 hops of which none carries less" in verdict.told


def test_a_port_of_the_bridge_that_carries_less(on_bridge, look_at):
    port = on_bridge.member("vm2").port
    on_bridge.host.run(["ip", "link", "set", port, "mtu", "1400"])
    try:
        verdict = look_at(MTU_PATH, on_bridge)
    finally:
        on_bridge.host.run(["ip", "link", "set", port, "mtu", "1500"])
    assert verdict.outcome is Outcome.FAIL
    assert f"port {port} of vm2 carries 1400 bytes, and an end sends 1500: such packets are lost" in verdict.told
    assert "0 received" in verdict.quote
    assert f"ip link set {port} mtu 1500" in verdict.advice


def test_guests_with_the_same_offloads(on_bridge, look_at):
    assert look_at(OFFLOAD_MISMATCH, on_bridge).outcome is Outcome.PASS


def test_a_guest_without_checksum_offload(on_bridge, look_at):
    guest = on_bridge.member("vm2")
    guest.host.run(["ethtool", "-K", guest.device, "tx", "off"])
    try:
        verdict = look_at(OFFLOAD_MISMATCH, on_bridge)
    finally:
        guest.host.run(["ethtool", "-K", guest.device, "tx", "on"])
    assert verdict.outcome is Outcome.FAIL
    assert "vm1 and vm2 differ in tx_checksum" in verdict.told
    assert "tx_checksum: on at vm1, off at vm2" in verdict.quote


# -- OVS with namespaces ---------------------------------------------------------------------------------------


def test_a_port_that_the_datapath_lacks(on_ovs, look_at):
    switch = on_ovs.switch.control
    switch.vsctl("add-port", "nvbr0", "ghost")
    try:
        verdict = look_at(OVS_SETUP, on_ovs)
    finally:
        switch.vsctl("del-port", "nvbr0", "ghost")
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told == "port ghost is in the database, and the datapath lacks it"


def test_a_mask_of_other_cores(on_ovs, look_at):
    switch = on_ovs.switch.control
    switch.vsctl("set", "Open_vSwitch", ".", "other_config:pmd-cpu-mask=0x1")
    try:
        verdict = look_at(OVS_SETUP, on_ovs)
    finally:
        switch.vsctl("set", "Open_vSwitch", ".", "other_config:pmd-cpu-mask=0x2")
    assert verdict.outcome is Outcome.FAIL
    assert "pmd-cpu-mask names cores 0" in verdict.told


def test_namespaces_are_no_machines(on_ovs, look_at):
    verdict = look_at(VM_SETUP, on_ovs)
    assert verdict.outcome is Outcome.BLOCKED
    assert "no virtual machines" in verdict.told


# -- OVS with virtual machines ---------------------------------------------------------------------------------


def test_a_port_of_ovs_that_carries_less(on_ovs_vms, look_at):
    port, switch = on_ovs_vms.member("vm1").port, on_ovs_vms.switch.control
    switch.vsctl("set", "Interface", port, "mtu_request=1400")
    try:
        wait_until(lambda: "mtu=1400" in switch.appctl("dpctl/show", "netdev@ovs-netdev"))
        verdict = look_at(MTU_PATH, on_ovs_vms)
    finally:
        switch.vsctl("set", "Interface", port, "mtu_request=1500")
        wait_until(lambda: "mtu=1400" not in switch.appctl("dpctl/show", "netdev@ovs-netdev"))
    assert verdict.outcome is Outcome.FAIL
    assert f"port {port} of vm1 carries 1400 bytes" in verdict.told
    assert f"ovs-vsctl set Interface {port} mtu_request=1500" in verdict.advice


def test_ovs_is_as_asked_for(on_ovs_vms, look_at):
    verdict = look_at(OVS_SETUP, on_ovs_vms)
    assert verdict.outcome is Outcome.PASS
    assert verdict.grids[0].rows[0][2:5] == ("2", "2", "2")


def test_queues_that_the_database_alone_has(on_ovs_vms, look_at):
    port, switch = on_ovs_vms.member("vm1").port, on_ovs_vms.switch.control
    switch.vsctl("set", "Interface", port, "options:n_rxq=4")
    try:
        verdict = look_at(OVS_SETUP, on_ovs_vms)
    finally:
        switch.vsctl("remove", "Interface", port, "options", "n_rxq")
    assert verdict.outcome is Outcome.FAIL
    assert "4 receive queues are asked for, 2 are set up and 2 polled" in verdict.told
    assert "status: connected" in verdict.quote


def test_machines_are_as_asked_for(on_ovs_vms, look_at):
    verdict = look_at(VM_SETUP, on_ovs_vms)
    assert verdict.outcome is Outcome.PASS
    assert verdict.grids[0].rows[0][3:] == ("virtio_net", "2 of 2", "mrg_rxbuf mq version_1")


def test_a_guest_that_uses_one_queue(on_ovs_vms, look_at):
    guest = on_ovs_vms.member("vm1")
    guest.host.run(["ethtool", "-L", guest.device, "combined", "1"])
    try:
        verdict = look_at(VM_SETUP, on_ovs_vms)
    finally:
        guest.host.run(["ethtool", "-L", guest.device, "combined", "2"])
    assert verdict.outcome is Outcome.FAIL
    assert f"{guest.device} of vm1 uses 1 of 2 queues" in verdict.told


def test_a_machine_with_less_memory_than_asked_for(on_ovs_vms, look_at, monkeypatch):
    testbed = on_ovs_vms.bench.testbed
    more = testbed.guests.model_copy(update={"memory_mb": 1024})
    monkeypatch.setattr(on_ovs_vms.bench, "testbed", testbed.model_copy(update={"guests": more}))
    verdict = look_at(VM_SETUP, on_ovs_vms)
    assert verdict.outcome is Outcome.FAIL
    failed = [seen.told for seen in verdict.observations if not seen.holds]
    assert failed[1] == "the hypervisor of vm1 shares 384 MB of its 1024 MB of memory"


def test_all_is_on_one_node(on_ovs_vms, look_at):
    verdict = look_at(NUMA, on_ovs_vms)
    assert verdict.outcome is Outcome.PASS
    assert any("of the memory of vm1 is on node 0" in seen.told for seen in verdict.observations)


def test_a_core_of_another_node(on_ovs_vms, look_at, monkeypatch):
    monkeypatch.setattr(fingerprint, "cores", lambda _host: {0: 0, 1: 1})
    verdict = look_at(NUMA, on_ovs_vms)
    assert verdict.outcome is Outcome.FAIL
    assert verdict.told == "OVS takes core 1 for one of node 0, the kernel has it on node 1"


# -- SR-IOV ----------------------------------------------------------------------------------------------------


def test_virtual_functions_carry_what_the_physical_one_does(on_sriov, look_at):
    verdict = look_at(MTU_PATH, on_sriov)
    assert verdict.outcome is Outcome.PASS
    assert ("physical function nic0", "1500") in verdict.grids[0].rows
