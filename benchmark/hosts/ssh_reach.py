"""Reaching a host by SSH: directly, by jump hosts or by a command; whatever stands in the way is told in one line."""

from __future__ import annotations

import logging
import shlex
import socket
import subprocess
from base64 import b64decode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import paramiko

from nvbench.errors import NotReadyError
from nvbench.hosts.ssh_known_hosts import known_keys
from nvbench.hosts.ssh_settings import SSH_PORT, USER_CONFIG, SshSettings, jump_address, ssh_settings

CONNECT_S = 5.0
ANSWER_S = 10.0
MOST_JUMPS = 8

# What paramiko would print of a connection that breaks is told by the errors here.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class _UnknownKeyError(paramiko.SSHException):
    def __init__(self, key: paramiko.PKey) -> None:
        super().__init__("unknown host key")
        self.key = key


class _Refuse(paramiko.MissingHostKeyPolicy):
    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        raise _UnknownKeyError(key)


class _Agent(paramiko.Agent):
    """The user's SSH agent, as far as its keys are those of files of public keys."""

    def __init__(self, public: tuple[str, ...]) -> None:
        super().__init__()
        self._listed = {_public_key(Path(name)) for name in public}

    def get_keys(self) -> tuple[paramiko.AgentKey, ...]:
        return tuple(key for key in super().get_keys() if key.asbytes() in self._listed)


def _public_key(file: Path) -> bytes:
    """The key in a file as ssh-keygen(1) writes it: kind, key, comment; empty where there is none."""
    with suppress(OSError, ValueError, IndexError):
        return b64decode(file.read_text().split()[1])
    return b""


class _Carried:
    """A connected socket, or a channel like one, which ends what carries it when it is closed."""

    def __init__(self, stream: Any, end: Callable[[], object]) -> None:
        self._stream = stream
        self._end = end
        self._closed = False  # paramiko asks for it under this name
        self.send = stream.send
        self.recv = stream.recv
        self.settimeout = stream.settimeout

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._stream.close()
            self._end()


def open_client(place: str, address: str, port: int | None = None, key: str | None = None) -> paramiko.SSHClient:
    """A connection to a host that is logged in.

    Args:
        place: What to call the host in errors.
        address: `[user@]host`.
        port: Its SSH port; None: the configuration's, or 22.
        key: File of the key to log in with; None: what the agent, the configuration and ~/.ssh offer.

    Raises:
        NotReadyError: It cannot be reached, its key is unknown or has changed, or it does not let us in.
    """
    return _open(place, ssh_settings(address, port, key, place=place), 0)


def _open(place: str, settings: SshSettings, jumped: int) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    client.set_missing_host_key_policy(_Refuse())
    for known in known_keys(settings.known_hosts, settings.known_as):
        client.get_host_keys().add(settings.known_as, known.get_name(), known)
    # With a stream given, paramiko asks for host and port only to look the key up.
    name, _, port = settings.known_as.removeprefix("[").partition("]:")
    stream = _stream(place, settings, jumped)
    try:
        if settings.only_these:
            client._agent = _Agent(settings.public)  # type: ignore[attr-defined]  # it takes all of them, or none
        client.connect(
            name,
            port=int(port or SSH_PORT),
            username=settings.user,
            key_filename=list(settings.keys),  # type: ignore[arg-type]  # it takes several, too
            look_for_keys=not (settings.keys or settings.only_these),
            sock=stream,
            timeout=ANSWER_S,
            banner_timeout=ANSWER_S,
            auth_timeout=ANSWER_S,
        )
    except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
        refusal = _refusal(place, settings, client, error)
        client.close()
        stream.close()
        raise refusal from error
    return client


def _stream(place: str, settings: SshSettings, jumped: int) -> Any:
    """What carries the connection."""
    if settings.proxy_command:
        return _by_command(settings.proxy_command)
    if settings.jumps:
        return _by_jumps(place, settings, jumped)
    try:
        stream = socket.create_connection((settings.host, settings.port), timeout=CONNECT_S)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else every command waits 40 ms for an ACK
        return stream
    except socket.gaierror as error:
        remedy = f"correct its address in the testbed file, or give its HostName in {USER_CONFIG}"
        raise NotReadyError(f"no address is known for {settings.host}", place=place, remedy=remedy) from error
    except OSError as error:
        what = f"{settings.host} port {settings.port} does not answer: {_reason(error)}"
        raise NotReadyError(what, place=place, remedy=f"is it up, and sshd? Try: {_by_hand(settings)}") from error


def _by_command(command: str) -> _Carried:
    """The standard input and output of a command line, which is for the shell, as ssh_config(5) has it."""
    near, far = socket.socketpair()
    with far:
        carrier = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=far.fileno(),
            stdout=far.fileno(),
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for nvbench
        )

    def end() -> None:
        carrier.kill()
        carrier.wait()

    return _Carried(near, end)


def _by_jumps(place: str, settings: SshSettings, jumped: int) -> _Carried:
    """A channel from the last jump host, which is reached by those before it."""
    if jumped + len(settings.jumps) > MOST_JUMPS:
        what = f"is behind more than {MOST_JUMPS} jump hosts"
        raise NotReadyError(what, place=place, remedy=f"is there a circle of ProxyJump in {USER_CONFIG}?")
    *before, last = settings.jumps
    address, port = jump_address(last)
    jump_settings, by = ssh_settings(address, port), f"{place}, jump host {address}"
    if before:
        jump_settings = replace(jump_settings, jumps=tuple(before), proxy_command="")
    jump = _open(by, jump_settings, jumped + 1)
    try:
        channel = open_way(jump, settings.host, settings.port)
    except (paramiko.SSHException, OSError, EOFError) as error:
        jump.close()
        what = f"opens no way to {settings.host} port {settings.port}: {_reason(error)}"
        raise NotReadyError(what, place=by, remedy=f"try: {_by_hand(settings)}") from error
    return _Carried(channel, jump.close)


def open_way(client: paramiko.SSHClient, address: str, port: int) -> paramiko.Channel:
    """A byte stream through a host to a TCP port that it reaches.

    Raises:
        SSHException: The host refuses, nothing answers there, or the connection broke.
    """
    transport = client.get_transport()
    if transport is None:
        raise paramiko.SSHException("not connected")
    return transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=ANSWER_S)


def _refusal(place: str, settings: SshSettings, client: paramiko.SSHClient, error: Exception) -> NotReadyError:
    """Why a host that was reached is none to work with, and what mends it."""
    transport = client.get_transport()
    if isinstance(error, _UnknownKeyError):
        what = f"its SSH host key is not known: {error.key.fingerprint}"
        return NotReadyError(what, place=place, remedy=f"if that is right: {_remember(settings)}")
    if isinstance(error, paramiko.BadHostKeyException):
        what = f"its SSH host key has changed: it is {error.key.fingerprint} now"
        forget = f"{shlex.join(['ssh-keygen', '-R', settings.known_as])} -f {settings.known_hosts_file}"
        return NotReadyError(what, place=place, remedy=f"if that is right: {forget}; {_remember(settings)}")
    if isinstance(error, paramiko.PasswordRequiredException):
        what = f"the key to log in with is locked by a passphrase: {', '.join(settings.keys) or 'in ~/.ssh'}"
        # With `IdentitiesOnly yes` the agent's key is known by its public half alone.
        besides = ", and keep its public half beside it (.pub)" if settings.only_these and not settings.public else ""
        return NotReadyError(what, place=place, remedy=f"give it to an SSH agent: ssh-add{besides}")
    if transport is not None and transport.is_authenticated() is False and transport.host_key is not None:
        offered = [*(settings.keys or settings.public or ["~/.ssh"]), "the SSH agent"]
        what = f"does not let {settings.user} in by a key of {' or '.join(offered)}: {_reason(error)}"
        key = [word for file in (*settings.keys, *settings.public)[:1] for word in ("-i", file)]
        remedy = shlex.join(["ssh-copy-id", *key, *_options(settings), f"{settings.user}@{settings.host}"])
        return NotReadyError(what, place=place, remedy=f"another user or key in the testbed file, or: {remedy}")
    what = f"{settings.host} port {settings.port} does not speak SSH: {_reason(error)}"
    return NotReadyError(what, place=place, remedy=f"try: {_by_hand(settings)}")


def _remember(settings: SshSettings) -> str:
    """The command that makes a host's key known."""
    if settings.jumps or settings.proxy_command or settings.alias:
        return f"{_by_hand(settings)}, which asks for it"
    port = [] if settings.port == SSH_PORT else ["-p", str(settings.port)]
    return f"{shlex.join(['ssh-keyscan', *port, settings.host])} >> {settings.known_hosts_file}"


def _by_hand(settings: SshSettings) -> str:
    return shlex.join(["ssh", *_options(settings), f"{settings.user}@{settings.host}", "true"])


def _options(settings: SshSettings) -> list[str]:
    """What ssh(1) and its like have to be told besides user and host."""
    options = [] if settings.port == SSH_PORT else ["-p", str(settings.port)]
    told = {
        "ProxyJump": ",".join(settings.jumps),
        "ProxyCommand": settings.proxy_command,
        "HostKeyAlias": settings.alias,
    }
    return options + [word for name, value in told.items() if value for word in ("-o", f"{name}={value}")]


def _reason(error: BaseException) -> str:
    if isinstance(error, paramiko.ChannelException):
        return error.text.lower()
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
