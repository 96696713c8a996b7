"""A guest that passes frames on: its two devices joined by a bridge of its own kernel."""

from __future__ import annotations

from nvbench.errors import CommandError, GuestError
from nvbench.guests.base import Guest

BRIDGE = "nvfwd0"


def bridge_devices(guest: Guest) -> None:
    """Join the devices of a guest.

    Raises:
        GuestError: Its kernel has no bridge, or does not take them.
    """
    try:
        guest.host.run(["ip", "link", "add", BRIDGE, "type", "bridge", "stp_state", "0"])
        for device in guest.devices:
            guest.host.run(["ip", "link", "set", device, "master", BRIDGE, "up"])
        guest.host.run(["ip", "link", "set", BRIDGE, "up"])
    except CommandError as error:
        raise GuestError(str(error), place=f"guest {guest.name}") from error
