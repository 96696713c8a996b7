"""Which driver a PCI device is bound to: changed by sysfs alone, and put back by the journal."""

from __future__ import annotations

import time

from nvbench.errors import CommandError
from nvbench.hosts import Host
from nvbench.journal import Journal, RunBack

SYSFS = "/sys/bus/pci"

_PUT_BACK = """BEGIN {
    device = sysfs "/devices/" address
    while ((getline line < (device "/uevent")) > 0) { there = 1; ours = ours || line == "DRIVER=" driver }
    if (!there) exit
    print override > (device "/driver_override")
    close(device "/driver_override")
    if (!ours) exit
    print address > (device "/driver/unbind")
    close(device "/driver/unbind")
    if (found) print address > (sysfs "/drivers_probe")
}"""
"""For awk(1), as an undo is one command: lets go of the device if it is still ours, and has the kernel find it its
driver again. `Restore` cannot: what these files take is not what they tell."""


def bound_driver(host: Host, address: str, *, sysfs: str = SYSFS) -> str:
    """The driver of a PCI device; empty where none has it."""
    told = host.run(["readlink", f"{sysfs}/devices/{address}/driver"], check=False)
    return told.stdout.strip().rpartition("/")[2]


def bind(
    host: Host, journal: Journal, address: str, driver: str, *, sysfs: str = SYSFS, patience_s: float = 5.0
) -> None:
    """Have a driver take a PCI device; the journal has it go back to where it was.

    Args:
        host: Where the device is.
        journal: Takes the undo before anything is changed.
        address: PCI address, such as `0000:3b:00.0`.
        driver: Name of the driver, such as `vfio-pci`; its module has to be loaded.
        sysfs: Where the kernel shows its PCI bus.
        patience_s: How long the driver may take to answer.

    Raises:
        CommandError: There is no such device or driver, or the driver does not take it.
    """
    device = f"{sysfs}/devices/{address}"
    place = f"host {host.name}"
    if not host.exists(device):
        raise CommandError(f"there is no PCI device {address}", place=place)
    found = bound_driver(host, address, sysfs=sysfs)
    if found == driver:
        return
    if not host.exists(f"{sysfs}/drivers/{driver}"):
        raise CommandError(f"the driver {driver} is not loaded", place=place, remedy=f"modprobe {driver}")
    override = (host.read(f"{device}/driver_override") or "").strip()
    told = {
        "sysfs": sysfs,
        "address": address,
        "driver": driver,
        "override": "" if override == "(null)" else override,  # an empty line is what clears it
        "found": found,
    }
    variables = [word for name, value in told.items() for word in ("-v", f"{name}={value}")]
    journal.record(host, RunBack(("awk", *variables, _PUT_BACK)))
    host.write(f"{device}/driver_override", f"{driver}\n")
    if found:
        host.write(f"{device}/driver/unbind", f"{address}\n")
    host.write(f"{sysfs}/drivers_probe", f"{address}\n")
    deadline = time.monotonic() + patience_s
    while bound_driver(host, address, sysfs=sysfs) != driver:
        if time.monotonic() > deadline:
            raise CommandError(f"{driver} does not take {address}", place=place, remedy="see dmesg; is the IOMMU on?")
        time.sleep(0.02)
