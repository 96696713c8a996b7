"""What a run of a plan changes on which host, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from nvbench.bench import DPDK_KINDS
from nvbench.generators.nvgen import NVGEN
from nvbench.plan import Plan


def describe_changes(plan: Plan) -> list[str]:
    """What a run of this plan changes on which host, in sentences."""
    if plan.profile.simulated:
        return ["nothing: generator and device are simulated"]
    return [*_of_frames(plan), *_of_links(plan), *_of_switches(plan)]


def _of_frames(plan: Plan) -> Iterator[str]:
    generator, switch = plan.testbed.generator.host, plan.testbed.switch.host
    frames = any(not setup.streams for setup in plan.setups)
    if frames:
        names = " or ".join(kind.name for kind in plan.generators)
        built = "; nvgen is built if it is not" if NVGEN in plan.generators else ""
        yield f"host {generator}: {names} sends, on the generator's cores{built}"
    if frames or any(setup.path.kind in DPDK_KINDS for setup in plan.setups):
        memory_mb = plan.testbed.switch.socket_memory_mb
        room = f"{memory_mb} MB for the switch"
        yield f"host {switch}: hugepages are added where too few are free ({room}), and given back"
    if plan.ceilings:
        yield f"host {switch}: dpdk-testpmd joins the ports while the generator's ceiling and floor are measured"


def _of_links(plan: Plan) -> Iterator[str]:
    testbed, switch = plan.testbed, plan.testbed.switch.host
    if testbed.virtual:
        yield f"host {switch}: network namespaces, virtual devices and bridges of its own, which go with the run"
    for side in (testbed.generator, testbed.switch):
        for port in side.ports:
            if port.bind:
                yield f"host {side.host}: port {port.pci} is bound to {port.bind}, and put back"
            elif port.pci:
                yield f"host {side.host}: port {port.pci} is used as it is bound"
    for guest in sorted({setup.path.guest for setup in plan.setups} - {"", "namespace"}):
        yield f"host {switch}: guests of kind {guest} are started, and end with the run"
    if any(setup.streams for setup in plan.setups):
        yield "endpoints: offloads of their devices are switched, and their addresses set"


def _of_switches(plan: Plan) -> Iterator[str]:
    switch, kinds = plan.testbed.switch.host, {setup.path.kind for setup in plan.setups}
    if "sriov" in kinds:
        yield f"host {switch}: virtual functions of {plan.testbed.switch.sriov} are made, and go with the run"
    if kinds & {"ovs_dpdk", "ovs_kernel"}:
        yield (
            f"host {switch}: a private ovsdb-server and ovs-vswitchd run from a folder of their own and end with the "
            "run; the system's Open vSwitch is not touched"
        )
    if any(test.name == "reset" for test in plan.profile.tests.each()):
        yield f"host {switch}: that switch is killed and started again in the test `reset`"
