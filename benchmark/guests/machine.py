"""A machine that is there already as a guest: reached by SSH, joined to the switch by somebody else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from nvbench.endpoint import LinkKind
from nvbench.errors import CommandError, GuestError
from nvbench.guests.base import Nic
from nvbench.guests.forwarding import bridge_devices
from nvbench.hosts import Host
from nvbench.journal import Journal, RunBack


class Machine:
    """See `Guest`. Its address is lent for the run; nothing else of it is changed, and nothing of it is ended."""

    kind: ClassVar[str] = "ssh"
    offers: ClassVar[tuple[LinkKind, ...]] = (LinkKind.DEVICE,)

    def __init__(self, name: str, host: Host, device: str, nics: Sequence[Nic]) -> None:
        self.name = name
        self.version = ""
        self.emulated = False
        self.devices: tuple[str, ...] = (device,)
        self._host = host
        self._nics = tuple(nics)
        self._undo: tuple[Journal, int] | None = None

    @property
    def host(self) -> Host:
        """See `Guest.host`."""
        return self._host

    def up(self, journal: Journal) -> None:
        """See `Guest.up`."""
        self._undo = (journal, journal.mark())
        (device,), (nic,) = self.devices, self._nics
        try:
            if nic.address:
                address = ["ip", "address", "replace", nic.address, "dev", device]
                journal.record(self._host, RunBack(("ip", "address", "flush", "dev", device, "to", nic.address)))
                self._host.run(address)
            self.version = f"Linux {self._host.run(['uname', '-r']).stdout.strip()} at {self._host.name}"
        except CommandError as error:
            raise GuestError(str(error), place=f"guest {self.name}") from error

    def ready(self) -> None:
        """See `Guest.ready`."""
        self.check_alive()

    def forward(self) -> None:
        """See `Guest.forward`."""
        bridge_devices(self)

    def check_alive(self) -> None:
        """See `Guest.check_alive`."""
        state = (self._host.read(f"/sys/class/net/{self.devices[0]}/operstate") or "").strip()
        if state not in ("up", "unknown"):
            found = f"is {state}" if state else "is not there"
            raise GuestError(f"its device {self.devices[0]} {found}", place=f"guest {self.name}")

    def down(self) -> None:
        """See `Guest.down`."""
        if self._undo is not None:
            journal, mark = self._undo
            journal.undo_since(mark)
