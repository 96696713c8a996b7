"""What joins a datapath to the rest of the bench: links, and the generator's ports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class LinkKind(StrEnum):
    """What a datapath's end of a link is."""

    VHOST_USER = "vhost_user"
    """A vhost-user socket, memory shared with a generator or a virtual machine."""

    VETH = "veth"
    """One device of a kernel pair (veth(4)); the other is the far end's."""

    TAP = "tap"
    """A kernel device whose frames a virtual machine sends and receives."""

    DEVICE = "device"
    """A network device that is there already, by its kernel name: a NIC's port, a virtual function."""

    PCI = "pci"
    """A NIC's port that DPDK drives, by its PCI address."""

    VDEV = "vdev"
    """A DPDK device string, such as `net_af_packet0,iface=eth2`."""


@dataclass(frozen=True, slots=True)
class Link:
    """The datapath's end of a link.

    Attributes:
        kind: What it is.
        name: Name of the kernel device in the datapath's network namespace, path of the socket, PCI address, or
            device string.
        served: Whether the datapath serves the vhost-user socket; else the far end does.
    """

    kind: LinkKind
    name: str
    served: bool = False


@dataclass(frozen=True, slots=True)
class Port:
    """One of the generator's two ports, as DPDK is told of it.

    Attributes:
        eal: EAL arguments that make the device appear: `("--vdev", "net_virtio_user0,path=...")` or
            `("-a", "0000:3b:00.0")`.
        device: The name under which DPDK then knows it: `net_virtio_user0`, `0000:3b:00.0`.
        kernel: Name of the kernel's device behind it; empty where there is none.
    """

    eal: tuple[str, ...]
    device: str
    kernel: str = ""
