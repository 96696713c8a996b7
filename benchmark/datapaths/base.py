"""What nvbench asks of a datapath: come up, name its endpoints, count, go down."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, ClassVar, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from nvbench.endpoint import Link, LinkKind
from nvbench.errors import DatapathError
from nvbench.hosts import Host, NamespaceHost
from nvbench.journal import Journal, Remove
from nvbench.tables import Reading


def power_of_two(number: int) -> int:
    """The number itself, for a model's field; zero passes, for a field that allows it."""
    if number & (number - 1):
        raise ValueError(f"must be a power of two, not {number}")
    return number


class Parameters(BaseModel):
    """What every datapath can be asked; each kind adds its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    queues: int = Field(default=1, ge=1, le=64, description="receive and transmit queues of each port")
    descriptors: Annotated[int, AfterValidator(power_of_two)] = Field(
        default=4096, ge=64, le=4096, description="descriptors of each queue"
    )
    mtu: int = Field(default=1500, ge=68, le=16110, description="largest IP packet, in bytes")

    @property
    def carries_offloads(self) -> bool:
        """Whether it carries frames whose checksums or segmentation the sender has left to its device."""
        return True


@dataclass(frozen=True, slots=True)
class Place:
    """Where a datapath may live on its host, and what it joins.

    Attributes:
        host: The machine.
        folder: A run folder of its own on that machine.
        pmd_cores: Cores that poll.
        housekeeping_core: The core of everything else.
        memory_mb: Hugepage memory of the switch.
        segments: The links between which it forwards, each group a bridge of its own: one for P2P; for PVP one
            from the first outer port to the guest and one from the guest to the second outer port. What joins more
            than two links needs a datapath that learns addresses.
        namespace: Network namespace of its own where its kernel devices are; empty for the host's.
        prefix: Where the switch is installed.
        steer: Whether the kernel's forwarding is kept on the polling cores, away from the generator's.
    """

    host: Host
    folder: str
    pmd_cores: tuple[int, ...]
    housekeeping_core: int
    memory_mb: int
    segments: tuple[tuple[Link, ...], ...]
    namespace: str = ""
    prefix: str = "/usr"
    steer: bool = False

    @property
    def inside(self) -> Host:
        """Where its kernel devices are and its programs run."""
        return NamespaceHost(self.host, self.namespace) if self.namespace else self.host

    @property
    def links(self) -> tuple[Link, ...]:
        """All links, segment by segment."""
        return tuple(link for group in self.segments for link in group)

    @property
    def file_prefix(self) -> str:
        """What keeps a DPDK program's files apart from others' here."""
        return PurePosixPath(self.folder).name


def dpdk_files(file_prefix: str) -> Remove:
    """The undo of a DPDK program run as root: its runtime folder, which it leaves even where it ends well."""
    return Remove(f"/run/dpdk/{file_prefix}")


class Datapath(Protocol):
    """A path through the system under test, brought up by a session."""

    takes: ClassVar[tuple[LinkKind, ...]]
    """Kinds of links that it can join, the one that it is at its best with first."""

    version: str
    findings: list[str]
    """What was asked of it and refused, or granted otherwise: facts of the bench, with the refusal's own words."""

    restarts: bool
    """Whether it forwards by a program of its own that `restart` can end and start."""

    def up(self, journal: Journal) -> None:
        """Start it, each change journalled before it is made.

        Raises:
            DatapathError: It does not come up; carries the end of its log.
        """

    def attach(self) -> None:
        """Connect its ports, once the far ends are there, and check that it took every option.

        Raises:
            DatapathError: It refused a port or an option.
        """

    def missing(self) -> str:
        """Why it cannot be had on its host, found by reading alone, before `up`; empty where nothing is missing."""

    def readings(self) -> Sequence[Reading]:
        """Its counters now.

        Raises:
            DatapathError: It has gone.
        """

    def crashed(self) -> str:
        """Why it has gone, with its log's own words; empty while it lives."""

    def poller(self) -> int | None:
        """Process id of the program that forwards, on the datapath's host; None where there is none to watch."""

    def restart(self, down_s: float) -> None:
        """End the program that forwards as a crash would, and start it again as it was, `down_s` after its end began.

        Returns once it is started; that frames pass again is for the caller to see. Its `poller` is another then.

        Raises:
            DatapathError: It does not come up again, or nothing here can be restarted.
        """

    def learned_addresses(self) -> int | None:
        """How many MAC addresses it has learned and still knows; None where it learns none.

        Raises:
            DatapathError: It has gone.
        """

    def learning(self) -> AbstractContextManager[None]:
        """Forward by the addresses that it learns, as long as the context lasts, whatever its options say.

        Raises:
            DatapathError: It has gone.
        """

    def forget_addresses(self) -> None:
        """Have it forget the addresses that it has learned.

        Raises:
            DatapathError: It has gone.
        """

    def down(self) -> None:
        """End what `up` and `attach` started, and put back what they changed."""


def wait_for_socket(host: Host, link: Link, patience_s: float = 15.0) -> None:
    """Wait until the far end serves the socket of a vhost-user link.

    Raises:
        DatapathError: It does not come.
    """
    deadline = time.monotonic() + patience_s
    while not host.exists(link.name):
        if time.monotonic() > deadline:
            raise DatapathError("the port at the other end did not appear", place=link.name)
        time.sleep(0.01)
