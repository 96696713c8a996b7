"""What nvbench asks of a guest: a place behind a datapath where a workload lives, reached as a host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from nvbench.endpoint import Link, LinkKind
from nvbench.hosts import Host
from nvbench.journal import Journal

CACHE = "/var/cache/nvbench"


@dataclass(frozen=True, slots=True)
class Nic:
    """A network device of a guest, and the link that it is the far end of.

    Attributes:
        link: The datapath's end. A guest makes what its own end needs: the veth pair, the tap, the socket's server.
            A `DEVICE` link is taken over: the device moves into the guest.
        mac: Its address.
        address: `10.99.0.1/24`; empty for a device that forwards frames.
        mtu: Largest IP packet.
        queues: Receive and transmit queues.
        offloads: Whether the datapath carries segments and checksums that the device is to finish. A virtual machine
            negotiates that with its switch; a guest that cannot has to be told.
        descriptors: Of each queue, for a guest that makes its rings itself.
    """

    link: Link
    mac: str
    address: str = ""
    mtu: int = 1500
    queues: int = 1
    offloads: bool = True
    descriptors: int = 4096


@dataclass(frozen=True, slots=True)
class GuestPlace:
    """Where a guest may live.

    Attributes:
        host: The machine.
        folder: The run's folder on it, shared with the datapath.
        namespace: Network namespace of the datapath, where its ends of links are; empty for the host's own.
        cores: Cores on which it may run.
        cache: Folder for what outlives a run: kernels, root file systems.
    """

    host: Host
    folder: str
    namespace: str
    cores: tuple[int, ...]
    cache: str = CACHE


class Guest(Protocol):
    """A guest of a session. `up` makes its ends of links, then the datapath attaches, then `ready` waits for it."""

    kind: ClassVar[str]
    offers: ClassVar[tuple[LinkKind, ...]]
    """Kinds of links that it can be the far end of."""

    name: str
    version: str
    """What it is, once ready: kernel and hypervisor."""

    emulated: bool
    """Whether its processor is emulated: what is measured in it is no performance figure."""

    devices: tuple[str, ...]
    """Names of its network devices inside, in the order of its NICs, once ready."""

    @property
    def host(self) -> Host:
        """Where commands run inside it, once ready."""

    def up(self, journal: Journal) -> None:
        """Start it, each change journalled before it is made.

        Raises:
            GuestError: It cannot be started.
        """

    def ready(self) -> None:
        """Wait until it answers and its devices are up with their addresses and MTU.

        Raises:
            GuestError: It does not boot or does not answer; carries the last lines of its console.
        """

    def forward(self) -> None:
        """Have it pass frames on between its two devices, from now on.

        Raises:
            GuestError: It cannot.
        """

    def check_alive(self) -> None:
        """Does nothing while it lives.

        Raises:
            GuestError: It has gone; carries the last lines of its console.
        """

    def down(self) -> None:
        """End it, and put back what `up` changed."""
