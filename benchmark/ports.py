"""The physical ports of a testbed: are they there, and can DPDK have them? Bound where the testbed says so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nvbench.datapaths.pci_driver import SYSFS, bind, bound_driver
from nvbench.errors import CommandError, NotReadyError
from nvbench.hosts import Host
from nvbench.journal import Journal, RunBack
from nvbench.testbed import PortWiring, Testbed

USABLE = ("vfio-pci", "igb_uio", "uio_pci_generic")
"""Drivers that hand a device over to a program."""

BIFURCATED = ("mlx4_core", "mlx5_core", "mana")
"""The kernel's drivers that stay: DPDK drives such a device through them."""

NETWORK = "/sys/class/net"


def make_ports_ready(
    testbed: Testbed, hosts: Mapping[str, Host], journal: Journal, *, sysfs: str = SYSFS, network: str = NETWORK
) -> None:
    """See that each port of a testbed is there and DPDK can have those that are its own; bind what is to be bound.

    Args:
        testbed: What is on the bench.
        hosts: Its machines, by name.
        journal: Takes the undo before anything is changed.
        sysfs: Where the kernel shows its PCI bus.
        network: Where it shows its network devices.

    Raises:
        NotReadyError: One is not there, or is not DPDK's to have; says which, why, and what helps.
    """
    for host, named, port in _physical(testbed, hosts):
        if port.pci:
            _Port(host, named, port, sysfs, network).make_ready(journal)
        elif port.device and not host.exists(f"{network}/{port.device}"):
            what = f"{named}, {port.device}, is not there"
            raise NotReadyError(what, place=f"host {host.name}", remedy="`ip link` there tells its devices")


def _physical(testbed: Testbed, hosts: Mapping[str, Host]) -> Iterator[tuple[Host, str, PortWiring]]:
    for side, section in (("generator", testbed.generator), ("switch", testbed.switch)):
        for index, port in enumerate(section.ports):
            if port.pci or port.device:
                yield hosts[section.host], f"{side}.ports.{index}", port


class _Port:
    """A port on its host."""

    def __init__(self, host: Host, named: str, port: PortWiring, sysfs: str, network: str) -> None:
        self._host = host
        self._address = str(port.name)
        self._wanted = port.bind
        self._said = f"{named}, {self._address},"
        self._sysfs, self._network = sysfs, network

    def make_ready(self, journal: Journal) -> None:
        """Does nothing where DPDK can have it as it is."""
        if not self._host.exists(f"{self._sysfs}/devices/{self._address}"):
            raise self._not_ready("is not there", "lspci -D | grep Ethernet")
        driver = bound_driver(self._host, self._address, sysfs=self._sysfs)
        if self._wanted and driver != self._wanted:
            self._bind(journal, driver)
        elif driver not in USABLE + BIFURCATED:
            held = f"is bound to the kernel's {driver} ({self._devices_told()})" if driver else "has no driver"
            command = f"dpdk-devbind.py --bind=vfio-pci {self._address}"
            raise self._not_ready(held, f"{command}, or say `bind: vfio-pci` beside it in the testbed")

    def _bind(self, journal: Journal, found: str) -> None:
        if found in BIFURCATED:
            raise self._not_ready(f"is driven through {found}, which has to stay", "drop its `bind`")
        if reason := self._in_use():
            raise self._not_ready(reason, "free it, or name another port")
        for device in self._devices():
            if "up" in (self._host.read(f"{self._network}/{device}/operstate") or ""):
                up = ("ip", "link", "set", "dev", device, "up")
                journal.record(self._host, RunBack(up, needs=f"{self._network}/{device}"))
        try:
            bind(self._host, journal, self._address, str(self._wanted), sysfs=self._sysfs)
        except CommandError as error:
            raise self._not_ready(f"cannot be bound: {error.what}", error.remedy) from error

    def _in_use(self) -> str:
        """Why it is not to be taken away from the kernel; it may carry the connection to its host."""
        functions = (self._host.read(f"{self._sysfs}/devices/{self._address}/sriov_numvfs") or "0").strip()
        if functions != "0":
            return f"has {functions} virtual functions"
        for device in self._devices():
            held = [name for name in self._names(f"{self._network}/{device}") if name.startswith("upper_")]
            if held:
                return f"is {device}, part of {held[0].removeprefix('upper_')}"
            told = self._host.run(["ip", "-o", "address", "show", "dev", device], check=False).stdout
            rows = [line.split() for line in told.splitlines()]
            if addresses := [row[3] for row in rows if len(row) > 3 and "link" not in row[row.index("scope") :][:2]]:
                return f"is {device}, which has the address {addresses[0]}"
        return ""

    def _devices(self) -> list[str]:
        return self._names(f"{self._sysfs}/devices/{self._address}/net")

    def _devices_told(self) -> str:
        return ", ".join(self._devices()) or "no network device"

    def _names(self, folder: str) -> list[str]:
        return self._host.run(["ls", folder], check=False).stdout.split()

    def _not_ready(self, what: str, remedy: str) -> NotReadyError:
        return NotReadyError(f"{self._said} {what}", place=f"host {self._host.name}", remedy=remedy)
