"""No switch: the generator's own two ports joined, to know the generator's ceiling and its latency floor.

Physical ports are joined by a cable. Virtual ones are joined by dpdk-testpmd in io mode, which moves frames from
one vhost device to the other and does nothing else: the nearest thing to a cable that a vhost-user link has.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

from nvbench.datapaths.base import Parameters, Place, Reading, dpdk_files, wait_for_socket
from nvbench.errors import CommandError, DatapathError
from nvbench.hosts import Process
from nvbench.journal import Journal, Remove

WIRE_MEMORY_MB = 256


class DirectParameters(Parameters):
    """A wire has no options of its own."""


class Direct:
    """The generator's two ports, joined."""

    restarts = False

    def __init__(self, place: Place, parameters: Parameters) -> None:
        self._place = place
        self._parameters = parameters
        self._wire: Process | None = None
        self._undo: tuple[Journal, int] | None = None
        self.version = "wire"

    @property
    def _virtual(self) -> bool:
        return self._place.ports == (None, None)

    def up(self, journal: Journal) -> None:
        """See `Datapath.up`."""
        self._undo = (journal, journal.mark())
        if self._virtual:
            journal.record(self._place.host, Remove(self._place.folder))
            journal.record(self._place.host, dpdk_files(f"{self._place.file_prefix}-wire"))
            self._place.host.make_folder(self._place.folder)

    def attach(self) -> None:
        """See `Datapath.attach`."""
        if not self._virtual:
            return
        wait_for_socket(self._place, 0)
        try:
            self._wire = self._place.host.spawn(self.command())
            self._await_start()
        except CommandError as error:
            raise DatapathError(str(error), place="direct") from error

    def _await_start(self, patience_s: float = 20.0) -> None:
        assert self._wire is not None  # noqa: S101 - set by attach
        deadline = time.monotonic() + patience_s
        sockets = [self._place.socket(index) for index in range(2)]
        while not all(self._place.host.exists(socket) for socket in sockets):
            try:
                ended = self._wire.receive(0.05) is None
            except TimeoutError:
                ended = False
            if ended or time.monotonic() > deadline:
                last = (self._wire.complaints() or ["no output"])[-1]
                raise DatapathError(f"dpdk-testpmd did not start: {last}", place="direct")

    def command(self) -> list[str]:
        """The wire's command line; it ends when its standard input closes."""
        place, queues = self._place, self._parameters.queues
        poller = place.pmd_cores[0]
        devices = [f"net_vhost{index},iface={place.socket(index)},client=1,queues={queues}" for index in range(2)]
        return [
            "dpdk-testpmd",
            f"--lcores=0@{place.housekeeping_core},1@{poller}",
            *("--in-memory", "--no-pci", "--no-telemetry", "--single-file-segments"),
            *(
                "--file-prefix",
                f"{place.file_prefix}-wire",
                "--socket-mem",
                str(WIRE_MEMORY_MB),
            ),
            *(word for device in devices for word in ("--vdev", device)),
            "--",
            *(f"--rxq={queues}", f"--txq={queues}", "--rxd=1024", "--txd=1024"),
            *("--forward-mode=io", "--auto-start", "--no-lsc-interrupt"),
            *("--total-num-mbufs=8192", f"--mbuf-size={max(2176, self._parameters.mtu + 400)}"),
        ]

    def readings(self) -> Sequence[Reading]:
        """See `Datapath.readings`."""
        return ()

    def poller(self) -> int | None:
        """See `Datapath.poller`."""
        return None

    def restart(self, down_s: float) -> None:  # noqa: ARG002 - nothing to wait for
        """See `Datapath.restart`."""
        raise DatapathError("a wire cannot be restarted", place="direct")

    def learned_addresses(self) -> int | None:
        """See `Datapath.learned_addresses`."""
        return None

    def learning(self) -> AbstractContextManager[None]:
        """See `Datapath.learning`."""
        return nullcontext()

    def forget_addresses(self) -> None:
        """See `Datapath.forget_addresses`."""

    def down(self) -> None:
        """See `Datapath.down`."""
        if self._wire is not None:
            self._wire.close()
            self._wire = None
        if self._undo is not None:
            journal, mark = self._undo
            journal.undo_since(mark)
