"""What nvbench asks of a datapath: come up, name its endpoints, count, go down."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Annotated, Protocol

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from nvbench.endpoint import Port
from nvbench.errors import DatapathError
from nvbench.hosts import Host
from nvbench.journal import Journal, Remove


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


@dataclass(frozen=True, slots=True)
class Place:
    """Where a datapath may live on its host.

    Attributes:
        host: The machine.
        folder: A run folder of its own on that machine.
        pmd_cores: Cores that poll.
        housekeeping_core: The core of everything else.
        memory_mb: Hugepage memory of the switch.
        ports: How the switch's two ports are known to DPDK: PCI addresses, device strings, or None for a
            vhost-user port made by nvbench.
        prefix: Where the switch is installed.
    """

    host: Host
    folder: str
    pmd_cores: tuple[int, ...]
    housekeeping_core: int
    memory_mb: int
    ports: tuple[str | None, str | None]
    prefix: str = "/usr"

    @property
    def file_prefix(self) -> str:
        """What keeps a DPDK program's files apart from others' here."""
        return PurePosixPath(self.folder).name

    def socket(self, port: int) -> str:
        """The vhost-user socket of a port; its server is the generator."""
        return f"{self.folder}/vhost{port}.sock"


@dataclass(frozen=True, slots=True)
class Reading:
    """One value that a datapath tells of itself.

    Attributes:
        source: Who tells it: `pmd core 1`, `port p0`.
        metric: What it is.
        value: The value; counters run on from trial to trial.
        unit: Its unit.
    """

    source: str
    metric: str
    value: float
    unit: str


def dpdk_files(file_prefix: str) -> Remove:
    """The undo of a DPDK program run as root: its runtime folder, which it leaves even where it ends well."""
    return Remove(f"/run/dpdk/{file_prefix}")


class Datapath(Protocol):
    """A path through the system under test, brought up by a session."""

    version: str
    restarts: bool
    """Whether it forwards by a program of its own that `restart` can end and start."""

    def up(self, journal: Journal) -> None:
        """Start it, each change journalled before it is made.

        Raises:
            DatapathError: It does not come up; carries the end of its log.
        """

    def attach(self) -> None:
        """Connect its ports, once the generator's devices are there, and check that it took every option.

        Raises:
            DatapathError: It refused a port or an option.
        """

    def readings(self) -> Sequence[Reading]:
        """Its counters now.

        Raises:
            DatapathError: It has gone.
        """

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


def wait_for_socket(place: Place, port: int, patience_s: float = 15.0) -> None:
    """Wait until the generator serves the socket of a virtual port.

    Raises:
        DatapathError: It does not come.
    """
    deadline = time.monotonic() + patience_s
    while not place.host.exists(place.socket(port)):
        if time.monotonic() > deadline:
            raise DatapathError("the generator's port did not appear", place=place.socket(port))
        time.sleep(0.01)


def virtual_ports(place: Place, parameters: Parameters) -> tuple[Port, Port]:
    """The generator's ends of two vhost-user links: virtio-user devices that serve the sockets."""
    ports = []
    for index in range(2):
        device = f"net_virtio_user{index}"
        queues, descriptors = parameters.queues, parameters.descriptors
        options = f"path={place.socket(index)},server=1,queues={queues},queue_size={descriptors}"
        ports.append(Port(("--vdev", f"{device},{options}"), device))
    return ports[0], ports[1]
