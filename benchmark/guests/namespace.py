"""A network namespace as a guest: the host's own kernel behind a cable of its own, there at once and at full speed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import ClassVar

from nvbench.cabling import make_namespace, make_veth, take_device, uses
from nvbench.endpoint import LinkKind
from nvbench.errors import CommandError, GuestError, LostConnectionError, NotPossibleError
from nvbench.guests.base import GuestPlace, Nic
from nvbench.guests.forwarding import bridge_devices
from nvbench.hosts import Host, NamespaceHost
from nvbench.journal import Journal, ReturnLink, RunBack


class Namespace:
    """See `Guest`."""

    kind: ClassVar[str] = "namespace"
    offers: ClassVar[tuple[LinkKind, ...]] = (LinkKind.VETH, LinkKind.DEVICE)

    def __init__(self, name: str, place: GuestPlace, nics: Sequence[Nic]) -> None:
        self.name = name
        self.version = ""
        self.emulated = False
        self.devices: tuple[str, ...] = ()
        self._place = place
        self._nics = tuple(nics)
        self._inside = NamespaceHost(place.host, f"{PurePosixPath(place.folder).name}-{name}")
        self._undo: tuple[Journal, int] | None = None

    @property
    def host(self) -> Host:
        """See `Guest.host`."""
        return self._inside

    def up(self, journal: Journal) -> None:
        """See `Guest.up`."""
        self._undo = (journal, journal.mark())
        try:
            for nic in self._nics:
                self._lend(nic, journal)
            make_namespace(self._place.host, journal, self._inside.namespace)
            self.devices = tuple(self._connect(index, nic, journal) for index, nic in enumerate(self._nics))
            self.version = f"network namespace, Linux {self._place.host.run(['uname', '-r']).stdout.strip()}"
        except LostConnectionError:
            raise
        except CommandError as error:
            raise GuestError(str(error), place=f"guest {self.name}") from error

    def _lend(self, nic: Nic, journal: Journal) -> None:
        """Write down what a device of the host's own was; to one that is in use hands are kept off."""
        if not self._is_lent(nic):
            return
        host, path = self._place.host, f"/sys/class/net/{nic.link.name}"
        mtu = (host.read(f"{path}/mtu") or "").strip()
        if not mtu:
            raise GuestError("there is no such device", place=f"{host.name}: {nic.link.name}", remedy="see `ip link`")
        if used := uses(host, nic.link.name):
            raise NotPossibleError(f"host {host.name}: {nic.link.name} is in use ({', '.join(used)})")
        up = int(host.read(f"{path}/flags") or "0", 16) & 1
        state = "up" if up else "down"
        back = ("ip", "link", "set", "dev", nic.link.name, "mtu", mtu, state)
        journal.record(host, RunBack(back, needs=path))

    def _is_lent(self, nic: Nic) -> bool:
        return nic.link.kind is LinkKind.DEVICE and not self._place.namespace

    def _connect(self, index: int, nic: Nic, journal: Journal) -> str:
        outside = self._place.host
        near = NamespaceHost(outside, self._place.namespace) if self._place.namespace else outside
        if nic.link.kind is LinkKind.VETH:
            device = f"eth{index}"
            make_veth(near, nic.link.name, self._inside, device, queues=nic.queues)
            self._inside.run(["ip", "link", "set", device, "address", nic.mac])
        else:
            device = nic.link.name
            if self._is_lent(nic):
                journal.record(outside, ReturnLink(device, self._inside.namespace))
            take_device(near, device, self._inside)
        self._inside.run(["ip", "link", "set", device, "mtu", str(nic.mtu), "up"])
        if not nic.offloads:
            # What a virtual machine finds behind such a switch: no checksums left to the device, so no segmentation.
            self._inside.run(["ethtool", "-K", device, "tx", "off"])
        if nic.address:
            self._inside.run(["ip", "address", "add", nic.address, "dev", device])
        return device

    def ready(self) -> None:
        """See `Guest.ready`; it is there as soon as it is made."""

    def forward(self) -> None:
        """See `Guest.forward`."""
        bridge_devices(self)

    def check_alive(self) -> None:
        """See `Guest.check_alive`."""

    def down(self) -> None:
        """See `Guest.down`."""
        if self._undo is not None:
            journal, mark = self._undo
            journal.undo_since(mark)
