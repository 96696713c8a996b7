"""dpdk-testpmd inside a virtual machine: it takes the machine's devices from its kernel, and passes frames on."""

from __future__ import annotations

import re
from collections.abc import Sequence

from nvbench.errors import GuestError
from nvbench.guests import testpmd
from nvbench.hosts import Host
from nvbench.testpmd import Program, eal

DRIVER = "uio_pci_generic"
"""It does with a machine that has no IOMMU, and every flavour of the kernel has it."""

START_PATIENCE_S = 60.0
_PREFIX = "reflector"
_RING = 256
"""Descriptors of a queue of QEMU's devices."""

_PAGE_MB = 2
_SPARE_PAGES = 4
_SYSTEM_MB = 256
"""What the machine takes beside: its kernel, the files of its root, the program itself."""

_PAGES = f"/sys/kernel/mm/hugepages/hugepages-{_PAGE_MB * 1024}kB/nr_hugepages"
_PCI = "/sys/bus/pci"
_ADDRESS = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7](?=/|$)")


def machine_mb(queues: int, mtu: int) -> int:
    """Memory that a machine needs in which one runs."""
    return _SYSTEM_MB + _PAGE_MB * _pages(queues, mtu)


def _pages(queues: int, mtu: int) -> int:
    return -(-testpmd.memory_mb(queues, _RING, mtu) // _PAGE_MB) + _SPARE_PAGES


class Reflector:
    """One that has the two devices of a machine.

    Args:
        inside: The machine, reached.
        vcpus: Its processors; where there are several, the first is left to its kernel.
        queues: Of each device.
        mtu: Largest IP packet.
        forward: How frames are passed on, in testpmd's own word.
    """

    def __init__(self, inside: Host, *, vcpus: int, queues: int, mtu: int, forward: str) -> None:
        self._inside = inside
        self._pollers = tuple(range(1, vcpus)) or (0,)
        self._queues = queues
        self._mtu = mtu
        self._forward = forward
        self._program = Program(inside, inside, _PREFIX)

    def start(self, devices: Sequence[str]) -> None:
        """Take the devices, and wait until frames are passed on between them.

        Args:
            devices: Their names, which are gone then.

        Raises:
            GuestError: The machine has not enough memory.
            CommandError: A device cannot be taken, or the program does not start; carries its last words.
        """
        self._inside.run(["modprobe", DRIVER])
        self._reserve()
        addresses = [self._take(device) for device in devices]
        self._program.start(self.command(addresses))
        self._program.begun(START_PATIENCE_S)

    def command(self, addresses: Sequence[str]) -> list[str]:
        """Its command line, for devices at these PCI addresses."""
        pollers, queues = self._pollers, self._queues
        return [
            *eal((0, *pollers), _PREFIX, testpmd.memory_mb(queues, _RING, self._mtu)),
            *(word for address in addresses for word in ("-a", address)),
            "--",
            *(f"--rxq={queues}", f"--txq={queues}"),
            *(f"--forward-mode={self._forward}", f"--nb-cores={min(len(pollers), 2 * queues)}"),
            *testpmd.buffers(queues, _RING, self._mtu),
            *("--port-topology=paired", "--auto-start", "--no-lsc-interrupt", "--disable-link-check"),
        ]

    def _reserve(self) -> None:
        wanted = _pages(self._queues, self._mtu)
        self._inside.write(_PAGES, f"{wanted}\n")
        if (got := int(self._inside.read(_PAGES) or 0)) < wanted:
            needed = machine_mb(self._queues, self._mtu)
            raise GuestError(
                f"its memory has room for {got} of {wanted} hugepages", remedy=f"guests: {{memory_mb: {needed}}}"
            )

    def _take(self, device: str) -> str:
        """Have the driver of user space take a device in place of the kernel's; its PCI address."""
        path = self._inside.run(["readlink", "-f", f"/sys/class/net/{device}/device"]).stdout
        address: str = _ADDRESS.findall(path)[-1]
        found = f"{_PCI}/devices/{address}"
        self._inside.write(f"{found}/driver_override", f"{DRIVER}\n")
        self._inside.write(f"{found}/driver/unbind", f"{address}\n")
        self._inside.write(f"{_PCI}/drivers_probe", f"{address}\n")
        return address

    def crashed(self) -> str:
        """Why it has gone; empty while it lives."""
        return self._program.crashed()
