"""The physical ports of a testbed: are they there, and can DPDK have them? Bound where the testbed says so."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from nvbench.datapaths.pci_driver import SYSFS, bind, bound_driver
from nvbench.errors import CommandError, LostConnectionError, NotReadyError
from nvbench.hosts import Host
from nvbench.journal import Journal, RunBack
from nvbench.testbed import PCI_ADDRESS, PortWiring, Testbed

USABLE = ("vfio-pci", "igb_uio", "uio_pci_generic")
"""Drivers that hand a device over to a program."""

BIFURCATED = ("mlx4_core", "mlx5_core", "mana")
"""The kernel's drivers that stay: DPDK drives such a device through them."""

NETWORK = "/sys/class/net"
SIDES = ("generator", "switch")


def port_names(testbed: Testbed, hosts: Mapping[str, Host], *, network: str = NETWORK) -> list[tuple[str, str]]:
    """The hardware behind a testbed's ports, each with its host: what is there once has one name.

    Returns:
        Host's name, and a PCI address, or the name of a network device that has none.
    """
    found: dict[tuple[str, str], None] = {}
    for side in (testbed.generator, testbed.switch):
        for port in side.ports:
            options = (word.partition("=") for word in (port.vdev or "").split(","))
            device = port.device or next((value for key, _, value in options if key == "iface"), "")
            if name := port.pci or (device and _hardware(hosts[side.host], f"{network}/{device}")):
                found[side.host, name] = None
    return list(found)


def _hardware(host: Host, device: str) -> str:
    """The PCI address of a network device, of which a virtio device is a part; else its name."""
    path = host.run(["readlink", "-f", f"{device}/device"], check=False).stdout.strip()
    told = re.search(rf"/({PCI_ADDRESS})(/virtio\d+)?$", path)
    return told[1] if told else device.rpartition("/")[2]


def make_ports_ready(
    testbed: Testbed,
    hosts: Mapping[str, Host],
    journal: Journal,
    *,
    sides: Collection[str] = SIDES,
    sysfs: str = SYSFS,
    network: str = NETWORK,
) -> None:
    """See that each port of a testbed is there and DPDK can have those that are its own; bind what is to be bound.

    Args:
        testbed: What is on the bench.
        hosts: Its machines, by name.
        journal: Takes the undo before anything is changed.
        sides: Whose ports: of the generator, the switch, or both.
        sysfs: Where the kernel shows its PCI bus.
        network: Where it shows its network devices.

    Raises:
        NotReadyError: One is not there, or is not DPDK's to have; says which, why, and what helps.
    """
    for host, named, port in _physical(testbed, hosts, sides):
        if port.pci:
            _Port(host, named, port, sysfs, network).make_ready(journal)
        elif port.device and not host.exists(f"{network}/{port.device}"):
            what = f"{named}, {port.device}, is not there"
            raise NotReadyError(what, place=f"host {host.name}", remedy="`ip link` there tells its devices")


def _physical(
    testbed: Testbed, hosts: Mapping[str, Host], sides: Collection[str]
) -> Iterator[tuple[Host, str, PortWiring]]:
    for side, section in (("generator", testbed.generator), ("switch", testbed.switch)):
        for index, port in enumerate(section.ports):
            if side in sides and (port.pci or port.device):
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
            # As it was set: what it is, `operstate`, is down without a carrier.
            if int(self._host.read(f"{self._network}/{device}/flags") or "0", 16) & 1:
                up = ("ip", "link", "set", "dev", device, "up")
                journal.record(self._host, RunBack(up, needs=f"{self._network}/{device}", returns=True))
        try:
            bind(self._host, journal, self._address, str(self._wanted), sysfs=self._sysfs)
        except LostConnectionError:
            raise
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
