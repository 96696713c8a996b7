"""Where workloads live behind a datapath."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from nvbench import testbed
from nvbench.endpoint import LinkKind
from nvbench.guests.base import Guest, GuestPlace, Nic
from nvbench.guests.libvirt import Libvirt, LibvirtParameters
from nvbench.guests.machine import Machine
from nvbench.guests.namespace import Namespace
from nvbench.guests.qemu import Qemu, QemuParameters
from nvbench.guests.testpmd import Testpmd
from nvbench.hosts import Host


@dataclass(frozen=True)
class GuestSide:
    """What stands behind each kind of guest.

    Attributes:
        asked: The testbed's section.
        hosts: The testbed's hosts.
    """

    asked: testbed.GuestSide
    hosts: Mapping[str, Host]


_Make = Callable[[int, GuestPlace, Sequence[Nic], GuestSide], Guest]


def _namespace(number: int, place: GuestPlace, nics: Sequence[Nic], side: GuestSide) -> Guest:  # noqa: ARG001
    return Namespace(f"vm{number + 1}", place, nics)


def _qemu(number: int, place: GuestPlace, nics: Sequence[Nic], side: GuestSide) -> Guest:
    asked = side.asked
    parameters = QemuParameters(
        memory_mb=asked.memory_mb, vcpus=asked.vcpus, forwarder=asked.forwarder, forward=asked.forward
    )
    return Qemu(f"vm{number + 1}", place, nics, parameters)


def _libvirt(number: int, place: GuestPlace, nics: Sequence[Nic], side: GuestSide) -> Guest:
    asked = side.asked
    parameters = LibvirtParameters(memory_mb=asked.memory_mb, vcpus=asked.vcpus, hugepages=asked.hugepages)
    return Libvirt(f"vm{number + 1}", place, nics, parameters)


def _machine(number: int, place: GuestPlace, nics: Sequence[Nic], side: GuestSide) -> Guest:  # noqa: ARG001
    machine = side.asked.machines[number]
    return Machine(f"vm{number + 1}", side.hosts[machine.host], machine.device, nics)


def _testpmd(number: int, place: GuestPlace, nics: Sequence[Nic], side: GuestSide) -> Guest:
    return Testpmd(f"vm{number + 1}", place, nics, side.asked.forward)


_KINDS: dict[str, tuple[tuple[LinkKind, ...], _Make]] = {
    Namespace.kind: (Namespace.offers, _namespace),
    Qemu.kind: (Qemu.offers, _qemu),
    Libvirt.kind: (Libvirt.offers, _libvirt),
    Testpmd.kind: (Testpmd.offers, _testpmd),
    Machine.kind: (Machine.offers, _machine),
}

OFFERS = {kind: offers for kind, (offers, _) in _KINDS.items()}
"""Kind of guest -> the kinds of links that it can be the far end of."""


def make_guest(kind: str, number: int, place: GuestPlace, nics: Sequence[Nic], side: GuestSide) -> Guest:
    """The guest of that number, not yet up."""
    return _KINDS[kind][1](number, place, nics, side)


__all__ = ["OFFERS", "Guest", "GuestPlace", "GuestSide", "Nic", "make_guest"]
