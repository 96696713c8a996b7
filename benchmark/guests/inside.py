"""The inside of a virtual machine that boots nvbench's own image: reached by SSH, its network devices made ready."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from nvbench.errors import GuestError
from nvbench.guests.base import Nic
from nvbench.guests.image import Image, host_key_data

if TYPE_CHECKING:
    from nvbench.hosts.ssh import SshHost

PATIENCE_S = 60.0
BOOT_PATIENCE_S = 120.0
"""An emulated machine may boot beside a switch that polls on the same cores."""

_BANNER_PATIENCE_S = 0.2

Until = Callable[[str, Callable[[], bool], float], None]
"""Waits, by that name, until something holds, for so many seconds, as long as the machine lives."""


def reach(name: str, port: int, image: Image, until: Until) -> SshHost:
    """The inside, as a host.

    Args:
        name: The guest's name.
        port: Port of this machine's loopback that leads to its SSH.
        image: What it boots, with the keys.
        until: Waits for it.

    Raises:
        GuestError: It does not answer, or is another machine.
    """
    import paramiko  # noqa: PLC0415 - slow to import, needed by guests behind SSH only

    from nvbench.hosts.ssh import SshHost  # noqa: PLC0415 - it imports the same

    channel: list[socket.socket] = []
    until("an answer by SSH", lambda: _answers(port, channel), BOOT_PATIENCE_S)
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    key = paramiko.Ed25519Key(data=host_key_data(image.host_key))
    client.get_host_keys().add(f"[127.0.0.1]:{port}", key.get_name(), key)
    try:
        client.connect(
            "127.0.0.1",
            port=port,
            username="root",
            key_filename=str(image.key),
            look_for_keys=False,
            allow_agent=False,
            timeout=PATIENCE_S,
            banner_timeout=PATIENCE_S,
            auth_timeout=PATIENCE_S,
            sock=channel[0],
        )
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise GuestError(f"SSH: {error}", place=f"guest {name}") from error
    return SshHost(name, client)


def _answers(port: int, channel: list[socket.socket]) -> bool:
    """Whether SSH speaks first, as it does; the connection is kept in `channel` then."""
    with suppress(OSError):
        connection = socket.create_connection(("127.0.0.1", port), timeout=_BANNER_PATIENCE_S)
        with suppress(OSError):
            if connection.recv(4, socket.MSG_PEEK) == b"SSH-":
                channel.append(connection)
                return True
        connection.close()
    return False


def configure(inside: SshHost, nics: Sequence[Nic], vcpus: int, until: Until) -> tuple[str, ...]:
    """Give the devices their names, addresses and MTU, found by their MAC; what else they are stays as it is.

    Returns:
        Their names, in the order of `nics`.

    Raises:
        GuestError: One does not appear.
        CommandError: One does not take what it is given.
    """
    found: dict[str, str] = {}

    def appeared() -> bool:
        links = json.loads(inside.run(["ip", "-j", "link"]).stdout)
        found.update({link["address"]: link["ifname"] for link in links})
        return all(nic.mac.lower() in found for nic in nics)

    until("a network device in it", appeared, PATIENCE_S)
    names = tuple(f"eth{index}" for index in range(1, len(nics) + 1))
    if nics:
        inside.run(["ip", "-batch", "-"], stdin=batch(nics, [found[nic.mac.lower()] for nic in nics], names))
    for nic, name in zip(nics, names, strict=True):
        if nic.queues > vcpus:  # the driver takes no more queues than processors of itself
            inside.run(["ethtool", "-L", name, "combined", str(nic.queues)])
    return names


def batch(nics: Sequence[Nic], found: Sequence[str], names: Sequence[str]) -> str:
    """Lines for `ip -batch`: devices take their names by way of others, since they may have each other's."""
    lines = [f"link set {device} name nv-{name}" for device, name in zip(found, names, strict=True)]
    for nic, name in zip(nics, names, strict=True):
        lines += [f"link set nv-{name} name {name}", f"link set {name} mtu {nic.mtu} up"]
        lines += [f"address add {nic.address} dev {name}"] if nic.address else []
    return "\n".join(lines) + "\n"
