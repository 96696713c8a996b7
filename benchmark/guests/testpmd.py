"""dpdk-testpmd as a guest: a function in user space, such as a container holds, that sends back what it gets.

Its devices are the far ends of the switch's vhost-user links, in memory that it shares with the switch. There is no
kernel in it and no emulation: it passes frames on from the moment that the switch has connected, and does nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import ClassVar

from nvbench.endpoint import LinkKind
from nvbench.errors import CommandError, GuestError, LostConnectionError
from nvbench.guests.base import GuestPlace, Nic
from nvbench.hosts import Host
from nvbench.journal import EndPrograms, Journal, Remove
from nvbench.testpmd import Program, eal, version

LINK_PATIENCE_S = 60.0
_BASE_MB = 64
_BUFFER_OVERHEAD_BYTES = 256


class Testpmd:
    """See `Guest`."""

    __test__ = False

    kind: ClassVar[str] = "testpmd"
    offers: ClassVar[tuple[LinkKind, ...]] = (LinkKind.VHOST_USER,)

    def __init__(self, name: str, place: GuestPlace, nics: Sequence[Nic], forward: str = "io") -> None:
        self.name = name
        self.version = ""
        self.emulated = False
        self.devices: tuple[str, ...] = ()  # a kernel's; it has none
        self._place = place
        self._nics = tuple(nics)
        self._forward = forward
        self._where = f"guest {name}"
        self._file_prefix = f"{PurePosixPath(place.folder).name}-{name}"
        self._program = Program(place.host, place.host, self._file_prefix)
        self._undo: tuple[Journal, int] | None = None

    @property
    def host(self) -> Host:
        """See `Guest.host`; it is a process of its host, and there is no inside."""
        return self._place.host

    def up(self, journal: Journal) -> None:
        """See `Guest.up`; it serves its second socket once the switch has connected to its first."""
        if len(self._nics) != 2 or any(nic.address for nic in self._nics):
            raise GuestError(
                "testpmd passes frames on between two devices, and is no end of a stream", place=self._where
            )
        self._undo = (journal, journal.mark())
        host = self._place.host
        with self._told():
            for nic in self._nics:
                if not nic.link.served:
                    parent = str(PurePosixPath(nic.link.name).parent)
                    journal.record(host, Remove(nic.link.name if host.exists(parent) else parent))
                    host.make_folder(parent)
            journal.record(host, Remove(f"/run/dpdk/{self._file_prefix}"))
            journal.record(
                host, EndPrograms(self._file_prefix)
            )  # where it waits for a switch, closing its input is not enough
            self.version = version(host)
            self._program.start(self.command())

    def command(self) -> list[str]:
        """Its command line."""
        cores, nic = self._place.cores, self._nics[0]
        queues, descriptors, mtu = nic.queues, nic.descriptors, nic.mtu
        return [
            *eal((cores[0], *cores), self._file_prefix, memory_mb(queues, descriptors, mtu)),
            "--no-pci",
            *(word for index, nic in enumerate(self._nics) for word in ("--vdev", _device(index, nic))),
            "--",
            *(f"--rxq={queues}", f"--txq={queues}", f"--rxd={descriptors}", f"--txd={descriptors}"),
            *(f"--forward-mode={self._forward}", f"--nb-cores={min(len(cores), 2 * queues)}"),
            *buffers(queues, descriptors, mtu),
            # Not without the interrupt of a link: by it a device notices that the switch has gone, and listens anew.
            *("--port-topology=paired", "--auto-start", "--disable-link-check"),
        ]

    def ready(self) -> None:
        """See `Guest.ready`."""
        with self._told():
            self._program.begun(LINK_PATIENCE_S)

    def forward(self) -> None:
        """See `Guest.forward`; that is all it does."""

    def check_alive(self) -> None:
        """See `Guest.check_alive`."""
        if crash := self._program.crashed():
            raise GuestError(crash, place=self._where)

    def down(self) -> None:
        """See `Guest.down`."""
        self._program.close()
        if self._undo is not None:
            journal, mark = self._undo
            journal.undo_since(mark)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except LostConnectionError:
            raise  # no fault of the guest
        except CommandError as error:
            raise GuestError(str(error), place=self._where) from error


def memory_mb(queues: int, descriptors: int, mtu: int) -> int:
    """Hugepage memory that one takes."""
    return _BASE_MB + _buffers(queues, descriptors) * (_buffer_bytes(mtu) + _BUFFER_OVERHEAD_BYTES) // 2**20


def buffers(queues: int, descriptors: int, mtu: int) -> list[str]:
    """Words of its command line about its buffers."""
    return [f"--total-num-mbufs={_buffers(queues, descriptors)}", f"--mbuf-size={_buffer_bytes(mtu)}"]


def _buffers(queues: int, descriptors: int) -> int:
    """Buffers for every descriptor of two devices, both ways, and some on their way."""
    return 2048 + 4 * queues * descriptors


def _buffer_bytes(mtu: int) -> int:
    """Room for a frame in one buffer."""
    return max(2176, mtu + 400)


def _device(index: int, nic: Nic) -> str:
    server = 0 if nic.link.served else 1
    shape = f"queues={nic.queues},queue_size={nic.descriptors},mac={nic.mac}"
    return f"net_virtio_user{index},path={nic.link.name},server={server},{shape}"
