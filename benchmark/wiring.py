"""Which kind of link joins each end of a topology to a datapath: a pure function of a path and a testbed."""

from __future__ import annotations

from nvbench.axes import Path
from nvbench.datapaths import TAKES, Parameters
from nvbench.datapaths.direct import DirectParameters
from nvbench.endpoint import LinkKind
from nvbench.errors import NotPossibleError
from nvbench.generators import Kind
from nvbench.guests import OFFERS as GUEST_OFFERS
from nvbench.guests.machine import Machine
from nvbench.guests.namespace import Namespace
from nvbench.guests.qemu import Qemu
from nvbench.guests.reflector import machine_mb
from nvbench.guests.testpmd import Testpmd
from nvbench.testbed import PortWiring, Testbed
from nvbench.topology import End, Outer, Topology, forwarders, guests, outer_ports, segments

PHYSICAL = (LinkKind.PCI, LinkKind.VDEV, LinkKind.DEVICE)
Kinds = tuple[tuple[LinkKind, LinkKind], ...]
"""For each pair of ends that a datapath joins, the kinds of its two links."""


def link_kinds(path: Path, parameters: Parameters, testbed: Testbed, generator: Kind | None) -> Kinds:
    """The kinds of a path's links.

    Args:
        path: Datapath, topology and guests.
        parameters: The datapath's options.
        testbed: What is on the bench.
        generator: What sends; None where endpoints of streams stand at the ends.

    Raises:
        NotPossibleError: Something of it does not go together.
    """
    pairs = segments(path.topology)
    if generator and outer_ports(path.topology) < 2:
        raise NotPossibleError(
            f"the generator has two ports, {path.topology} has room for {outer_ports(path.topology)}"
        )
    if path.kind in ("direct", "sriov") and len(pairs) > 1:
        raise NotPossibleError(f"{path.kind} joins two ends, {path.topology} has {2 * len(pairs)}")
    if path.kind == "sriov":
        _require_sriov(path, testbed)
    if path.guest == Testpmd.kind and len(forwarders(path.topology)) < guests(path.topology):
        raise NotPossibleError(f"a guest of kind {path.guest} passes frames on, and is no end of a stream")
    if testbed.guests.forwarder == "testpmd" and guests(path.topology):
        _require_reflecting(path, parameters, testbed)
    if path.guest == Machine.kind:
        _require_machines(path, testbed)
    takes = TAKES[path.kind]
    if isinstance(parameters, DirectParameters) and generator:
        takes = tuple(kind for kind in takes if kind == parameters.cable or kind in PHYSICAL)
    found = [tuple(_kind(path, takes, end, testbed, generator) for end in pair) for pair in pairs]
    if path.kind == "direct" and found[0] == (LinkKind.VETH, LinkKind.VETH):
        return ((LinkKind.VETH, LinkKind.DEVICE),)  # one cable: its other end is the other end's device
    return tuple((first, second) for first, second in found)


def _require_sriov(path: Path, testbed: Testbed) -> None:
    if testbed.switch.sriov is None:
        raise NotPossibleError(f"the testbed {testbed.name} names no physical function (switch.sriov)")
    if path.topology is Topology.P2P:
        raise NotPossibleError("P2P leaves out the virtual functions that sriov is about")


def _require_reflecting(path: Path, parameters: Parameters, testbed: Testbed) -> None:
    """That guests can pass frames on by testpmd; a guest of kind `testpmd` does nothing else."""
    if path.guest not in (Qemu.kind, Testpmd.kind):
        raise NotPossibleError(
            f"guests.forwarder: testpmd is for guests of kind {Qemu.kind}, not {path.guest} (leave it out)"
        )
    if len(forwarders(path.topology)) < guests(path.topology):
        raise NotPossibleError(f"a guest with guests.forwarder: testpmd is no end of a stream, as {path.topology} asks")
    queues, mtu, memory_mb = parameters.queues, parameters.mtu, testbed.guests.memory_mb
    if path.guest == Qemu.kind and memory_mb < (needed_mb := machine_mb(queues, mtu)):
        what = f"a guest whose testpmd has {queues} queue(s) and an MTU of {mtu} needs {needed_mb} MiB of memory"
        raise NotPossibleError(f"{what}, guests.memory_mb is {memory_mb}")


def _require_machines(path: Path, testbed: Testbed) -> None:
    needed, named = guests(path.topology), len(testbed.guests.machines)
    if forwarders(path.topology):
        raise NotPossibleError("a machine that is there already can be an end, not forward")
    if named < needed:
        raise NotPossibleError(f"{path.topology} needs {needed} machines, the testbed names {named} (guests.machines)")


def generator_links(testbed: Testbed, kinds: Kinds) -> frozenset[LinkKind]:
    """The kinds of links that the generator's own ports are the ends of, given those of a path."""
    if not testbed.virtual:
        return frozenset(_wired(port) for port in testbed.generator.ports)
    return frozenset((kinds[0][0], kinds[-1][-1]))


def _kind(path: Path, takes: tuple[LinkKind, ...], end: End, testbed: Testbed, generator: Kind | None) -> LinkKind:
    if isinstance(end, Outer):
        near, far = testbed.generator.ports[end.port], testbed.switch.ports[end.port]
        if not far.virtual:
            return _physical(path, near, far, generator)
        who, offers = (generator.name, generator.links) if generator else ("an endpoint", Namespace.offers)
    else:
        who, offers = f"a guest of kind {path.guest}", GUEST_OFFERS[path.guest]
    for kind in takes:
        if kind in offers:
            return kind
    raise NotPossibleError(
        f"{path.kind} joins links of the kind {', '.join(takes)}; {who} can have {', '.join(offers)}"
    )


def _physical(path: Path, near: PortWiring, far: PortWiring, generator: Kind | None) -> LinkKind:
    kind = _wired(far)
    if generator is None and not near.device:
        raise NotPossibleError(f"an endpoint needs a device of the kernel, the testbed gives {near.name}")
    if generator and (own := _wired(near)) not in generator.links:
        raise NotPossibleError(f"{generator.name} cannot use the port {near.name} ({own})")
    if kind not in TAKES[path.kind]:
        raise NotPossibleError(f"{path.kind} cannot use the port {far.name} ({kind})")
    return kind


def _wired(port: PortWiring) -> LinkKind:
    return LinkKind.PCI if port.pci else LinkKind.DEVICE if port.device else LinkKind.VDEV
