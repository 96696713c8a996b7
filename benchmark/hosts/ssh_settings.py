"""How to reach a host by SSH: what its address says, and for the rest the user's and the system's ssh_config(5)."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko

from nvbench.errors import NotReadyError

SSH_PORT = 22
USER_CONFIG = "~/.ssh/config"
SYSTEM_CONFIG = "/etc/ssh/ssh_config"
KNOWN_HOSTS = "~/.ssh/known_hosts ~/.ssh/known_hosts2"
SYSTEM_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2"
DEFAULT_KEYS = ("~/.ssh/id_rsa", "~/.ssh/id_ecdsa", "~/.ssh/id_ed25519")
DEEPEST_INCLUDE = 16


@dataclass(frozen=True, slots=True)
class SshSettings:
    """How to reach a host by SSH.

    Attributes:
        host: Its name or IP address.
        port: Its SSH port.
        user: Who logs in.
        keys: Files of keys to log in with, besides the agent's; empty: those that SSH tries by itself.
        public: Files of the public halves of those keys, and of keys that the agent alone has.
        only_these: Whether the agent's other keys are left alone.
        known_hosts: Files of known host keys, the user's first.
        alias: Under which name its key is known; empty: under its own.
        jumps: Hosts to go by, as `[user@]host[:port]`, the first first.
        proxy_command: A command that carries the connection on its standard input and output; empty: none.
    """

    host: str
    port: int
    user: str
    keys: tuple[str, ...] = ()
    public: tuple[str, ...] = ()
    only_these: bool = False
    known_hosts: tuple[str, ...] = ()
    alias: str = ""
    jumps: tuple[str, ...] = ()
    proxy_command: str = ""

    @property
    def known_hosts_file(self) -> str:
        """Where to write a host key that the user trusts."""
        return next(iter(self.known_hosts), KNOWN_HOSTS.split(maxsplit=1)[0])

    @property
    def known_as(self) -> str:
        """Its name in files of known host keys."""
        return self.alias or (self.host if self.port == SSH_PORT else f"[{self.host}]:{self.port}")


def ssh_settings(address: str, port: int | None = None, key: str | None = None, *, place: str = "") -> SshSettings:
    """What is known of a host.

    Args:
        address: `[user@]host`.
        port: Its SSH port; None: the configuration's, or 22.
        key: File of the key to log in with; None: the configuration's.
        place: What to call it in errors.

    Raises:
        NotReadyError: The configuration cannot be read, or there is no such key.
    """
    user, _, target = address.rpartition("@")
    try:
        found = paramiko.SSHConfig.from_file(_lines()).lookup(target)
        port = port or int(found.get("port", SSH_PORT))
    except (paramiko.SSHException, ImportError, OSError, ValueError) as error:
        raise NotReadyError(f"cannot be understood: {error}", place=USER_CONFIG) from error
    if key is not None and not Path(key).expanduser().is_file():
        remedy = f"name another in the testbed file, or make it: ssh-keygen -f {key}"
        raise NotReadyError(f"there is no SSH key {key}", place=place or f"SSH to {address}", remedy=remedy)
    only_these = found.get("identitiesonly", "").lower() == "yes"
    names = [key] if key is not None else found.get("identityfile", DEFAULT_KEYS if only_these else [])
    files = [Path(name).expanduser() for name in names]
    halves = [file if _is_public(file) else file.with_name(f"{file.name}.pub") for file in files]
    known_hosts = (
        f"{found.get('userknownhostsfile', KNOWN_HOSTS)} {found.get('globalknownhostsfile', SYSTEM_KNOWN_HOSTS)}"
    )
    return SshSettings(
        host=found["hostname"],
        port=port,
        user=user or found.get("user") or getpass.getuser(),
        keys=tuple(str(file) for file in files if file.is_file() and not _is_public(file)),
        public=tuple(str(file) for file in halves if file.is_file()),
        only_these=only_these,
        known_hosts=tuple(name for name in known_hosts.split() if name.lower() != "none"),
        alias=found.get("hostkeyalias", ""),
        jumps=tuple(jump.strip() for jump in _unless_none(found.get("proxyjump")).split(",") if jump.strip()),
        proxy_command=_unless_none(found.get("proxycommand")),
    )


def jump_address(jump: str) -> tuple[str, int | None]:
    """`[user@]host` and port of a jump host as ProxyJump writes it: `[user@]host[:port]` or ssh://[user@]host[:port].

    Raises:
        NotReadyError: The port is no number.
    """
    user, at, target = jump.removeprefix("ssh://").rstrip("/").rpartition("@")
    host, port = target, ""
    if target.startswith("["):  # [2001:db8::1]:22
        host, _, port = target[1:].partition("]")
        port = port.removeprefix(":")
    elif target.count(":") == 1:
        host, port = target.split(":")
    if port and not port.isdigit():
        raise NotReadyError(f"ProxyJump {jump}: {port!r} is no port", place=USER_CONFIG)
    return f"{user}{at}{host}", int(port) if port else None


def _is_public(file: Path) -> bool:
    return file.suffix == ".pub"


def _unless_none(value: str | None) -> str:
    return "" if value is None or value.lower() == "none" else value


def _lines() -> Iterator[str]:
    """The user's configuration, then the system's: what is said first counts."""
    for name in (USER_CONFIG, SYSTEM_CONFIG):
        file = Path(name).expanduser()
        if file.is_file():
            yield "Host *"
            yield from _included(file, file.parent, DEEPEST_INCLUDE)


def _included(file: Path, folder: Path, depth: int) -> Iterator[str]:
    """A configuration with what it includes, which paramiko does not look for."""
    section = "Host *"
    for line in file.read_text().splitlines():
        word, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if word.lower() != "include" or depth == 0:
            section = line if word.lower() in ("host", "match") else section
            yield line
            continue
        for pattern in rest.split():
            path = folder / Path(pattern.strip('"')).expanduser()
            for included in sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor)))):
                yield from _included(included, folder, depth - 1)
        yield section  # what an included file ends with is not what this one goes on with
