"""Topologies: which ends stand where around a datapath, and which pairs of them it joins."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Topology(StrEnum):
    """How the ends of the traffic and the guests stand around the datapath; P is a physical port, V a guest."""

    P2P = "P2P"
    PVP = "PVP"
    PVVP = "PVVP"
    VM_TO_VM = "VM-to-VM"
    NIC_TO_VM = "NIC-to-VM"


@dataclass(frozen=True, slots=True)
class Outer:
    """A physical port of the bench, or what stands for one: the generator's, or an endpoint's beside the switch."""

    port: int


@dataclass(frozen=True, slots=True)
class GuestPort:
    """A network device of a guest."""

    guest: int
    nic: int


End = Outer | GuestPort

_SEGMENTS: dict[Topology, tuple[tuple[End, End], ...]] = {
    Topology.P2P: ((Outer(0), Outer(1)),),
    Topology.PVP: ((Outer(0), GuestPort(0, 0)), (GuestPort(0, 1), Outer(1))),
    Topology.PVVP: ((Outer(0), GuestPort(0, 0)), (GuestPort(0, 1), GuestPort(1, 0)), (GuestPort(1, 1), Outer(1))),
    Topology.VM_TO_VM: ((GuestPort(0, 0), GuestPort(1, 0)),),
    Topology.NIC_TO_VM: ((Outer(0), GuestPort(0, 0)),),
}


def segments(topology: Topology) -> tuple[tuple[End, End], ...]:
    """The pairs of ends that the datapath joins, from where the traffic begins to where it ends."""
    return _SEGMENTS[topology]


def guests(topology: Topology) -> int:
    """How many guests there are."""
    return len({end.guest for pair in segments(topology) for end in pair if isinstance(end, GuestPort)})


def forwarders(topology: Topology) -> tuple[int, ...]:
    """The guests that pass frames on, from one of their devices to the other."""
    return tuple(
        sorted({end.guest for pair in segments(topology) for end in pair if isinstance(end, GuestPort) and end.nic})
    )


def outer_ports(topology: Topology) -> int:
    """How many physical ports there are."""
    return sum(isinstance(end, Outer) for pair in segments(topology) for end in pair)
