"""The inside of a virtual machine that boots nvbench's own image: reached by SSH, its network devices made ready."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nvbench.errors import CommandError, GuestError
from nvbench.guests.base import Nic
from nvbench.guests.image import Image, host_key_data
from nvbench.hosts import Host

if TYPE_CHECKING:
    from nvbench.hosts.ssh import SshHost

PATIENCE_S = 60.0
BOOT_PATIENCE_S = 120.0
"""An emulated machine may boot beside a switch that polls on the same cores."""

_LOOPBACK = "127.0.0.1"
_BANNER_PATIENCE_S = 0.2

Until = Callable[[str, Callable[[], bool], float], None]
"""Waits, by that name, until something holds, for so many seconds, as long as the machine lives."""


class _Heard:
    """A connection of which the first bytes have been read; they come first once more."""

    def __init__(self, connection: Any, first: bytes) -> None:
        self._connection = connection
        self._first = first

    def recv(self, size: int) -> bytes:
        data, self._first = self._first[:size], self._first[size:]
        return data or bytes(self._connection.recv(size))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def reach(name: str, outside: Host, port: int, image: Image, until: Until) -> SshHost:
    """The inside, as a host.

    Args:
        name: The guest's name.
        outside: The machine on which it runs.
        port: Port of that machine's loopback that leads to its SSH.
        image: What it boots, with the keys.
        until: Waits for it.

    Raises:
        GuestError: It does not answer, or is another machine.
    """
    import paramiko  # noqa: PLC0415 - slow to import, needed by guests behind SSH only

    from nvbench.hosts.ssh import SshHost  # noqa: PLC0415 - it imports the same

    heard: list[Any] = []
    until("an answer by SSH", lambda: _answers(outside, port, heard), BOOT_PATIENCE_S)
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    key = paramiko.Ed25519Key(data=host_key_data(image.host_key))
    client.get_host_keys().add(f"[{_LOOPBACK}]:{port}", key.get_name(), key)
    try:
        client.connect(
            _LOOPBACK,
            port=port,
            username="root",
            key_filename=str(image.key),
            look_for_keys=False,
            allow_agent=False,
            timeout=PATIENCE_S,
            banner_timeout=PATIENCE_S,
            auth_timeout=PATIENCE_S,
            sock=heard[0],
        )
    except (paramiko.SSHException, OSError, EOFError) as error:
        raise GuestError(f"SSH: {error}", place=f"guest {name}") from error
    return SshHost(name, client)


def _answers(outside: Host, port: int, heard: list[Any]) -> bool:
    """Whether SSH speaks first, as it does; the connection is kept in `heard` then."""
    with suppress(OSError, CommandError):
        connection = outside.dial(port)
        with suppress(OSError):
            connection.settimeout(_BANNER_PATIENCE_S)
            if first := connection.recv(1):
                heard.append(_Heard(connection, first))
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
