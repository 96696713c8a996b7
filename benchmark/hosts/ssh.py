"""A machine behind SSH, by paramiko: host keys checked, one connection, every command in argv form."""

from __future__ import annotations

import shlex
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from nvbench.errors import CommandError, NotReadyError
from nvbench.hosts.base import Completed

if TYPE_CHECKING:
    from paramiko import Channel, SSHClient


def connect(name: str, address: str, *, port: int | None = None, key: str | None = None) -> SshHost:
    """Reach `[user@]host`, as ~/.ssh/config tells, with the agent's or the named key.

    Raises:
        NotReadyError: It cannot be reached, its key is unknown or has changed, or it does not let us in.
    """
    import paramiko  # noqa: PLC0415 - slow to import, needed by remote benches only

    user, _, target = address.rpartition("@")
    known = paramiko.SSHConfig()
    settings = Path("~/.ssh/config").expanduser()
    if settings.exists():
        known = paramiko.SSHConfig.from_path(str(settings))
    found = known.lookup(target)
    client = paramiko.SSHClient()
    client.load_system_host_keys()
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    proxy = paramiko.ProxyCommand(found["proxycommand"]) if "proxycommand" in found else None
    try:
        client.connect(
            found["hostname"],
            port=port or int(found.get("port", 22)),
            username=user or found.get("user"),
            key_filename=key or found.get("identityfile"),
            sock=proxy,
            timeout=10,
            banner_timeout=10,
        )
    except paramiko.BadHostKeyException as error:
        raise NotReadyError(
            "its SSH key has changed", place=f"host {name}", remedy=f"ssh-keygen -R {target} if that is right"
        ) from error
    except (paramiko.SSHException, OSError) as error:
        raise NotReadyError(
            f"SSH to {address}: {error}", place=f"host {name}", remedy=f"try: ssh {address} true"
        ) from error
    return SshHost(name, client)


class SshProcess:
    """A program at the other end of a channel; it sees its standard input close when the connection goes."""

    def __init__(self, channel: Channel, argv: Sequence[str], host: str) -> None:
        self._channel = channel
        self._argv = tuple(argv)
        self._place = f"host {host}"
        self._rest = b""
        self._complaints: deque[str] = deque(maxlen=50)

    def send(self, line: str) -> None:
        """See `Process.send`."""
        try:
            self._channel.sendall((line + "\n").encode())
        except OSError as error:
            raise CommandError(f"{self._argv[0]} has gone", place=self._place) from error

    def receive(self, timeout_s: float) -> str | None:
        """See `Process.receive`."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._rest:
            self._drain_complaints()
            self._channel.settimeout(max(0.001, deadline - time.monotonic()))
            data = self._channel.recv(65536)  # raises TimeoutError
            if not data:
                return None
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        return line.decode(errors="replace")

    def _drain_complaints(self) -> None:
        while self._channel.recv_stderr_ready():
            self._complaints.extend(self._channel.recv_stderr(65536).decode(errors="replace").splitlines())

    def complaints(self) -> list[str]:
        """See `Process.complaints`."""
        self._drain_complaints()
        return list(self._complaints)

    def close(self, timeout_s: float = 5.0) -> int | None:
        """See `Process.close`."""
        with suppress(OSError):  # it has gone already
            self._channel.shutdown_write()
        deadline = time.monotonic() + timeout_s
        while not self._channel.exit_status_ready() and time.monotonic() < deadline:
            time.sleep(0.02)
        status = self._channel.recv_exit_status() if self._channel.exit_status_ready() else None
        self._channel.close()
        return status

    def kill(self) -> None:
        """See `Process.kill`."""
        self._channel.close()


class SshHost:
    """A machine behind SSH, as a host."""

    def __init__(self, name: str, client: SSHClient) -> None:
        self.name = name
        self._client = client
        self._sudo: tuple[str, ...] = ()
        if self.run(["id", "-u"]).stdout.strip() != "0":
            if not self.run(["sudo", "-n", "true"], check=False).ok:
                raise NotReadyError(
                    "needs root, and sudo asks for a password",
                    place=f"host {name}",
                    remedy="log in as root, or allow sudo without a password",
                )
            self._sudo = ("sudo", "-n")

    def _open(self, argv: Sequence[str]) -> Channel:
        from paramiko import SSHException  # noqa: PLC0415

        transport = self._client.get_transport()
        if transport is None or not transport.is_active():
            raise CommandError("the SSH connection is gone", place=f"host {self.name}")
        try:
            channel = transport.open_session(timeout=10)
            # The one place where argv becomes a line for the remote shell.
            channel.exec_command(shlex.join([*getattr(self, "_sudo", ()), "env", "LC_ALL=C", *argv]))
        except (EOFError, OSError, SSHException) as error:
            raise CommandError(f"SSH: {error}", place=f"host {self.name}") from error
        return channel

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "", check: bool = True) -> Completed:
        """See `Host.run`."""
        began = time.monotonic()
        channel = self._open(argv)
        if stdin:
            channel.sendall(stdin.encode())
        channel.shutdown_write()
        out, err = bytearray(), bytearray()
        while True:
            idle = True
            while channel.recv_ready():
                out += channel.recv(65536)
                idle = False
            while channel.recv_stderr_ready():
                err += channel.recv_stderr(65536)
                idle = False
            if idle and channel.exit_status_ready() and not channel.recv_ready() and channel.eof_received:
                break
            if time.monotonic() - began > timeout_s:
                channel.close()
                raise CommandError(f"{argv[0]} took more than {timeout_s:g} s", place=f"host {self.name}")
            if idle:
                time.sleep(0.002)
        status = channel.recv_exit_status()
        channel.close()
        text = [bytes(part).decode(errors="replace") for part in (out, err)]
        done = Completed(tuple(argv), status, text[0], text[1], time.monotonic() - began)
        return done.checked(self.name) if check else done

    def spawn(self, argv: Sequence[str]) -> SshProcess:
        """See `Host.spawn`."""
        return SshProcess(self._open(argv), argv, self.name)

    def read(self, path: str) -> str | None:
        """See `Host.read`."""
        done = self.run(["cat", path], check=False)
        return done.stdout if done.ok else None

    def write(self, path: str, text: str) -> None:
        """See `Host.write`."""
        self.run(["tee", path], stdin=text)

    def exists(self, path: str) -> bool:
        """See `Host.exists`."""
        return self.run(["test", "-e", path, "-o", "-L", path], check=False).ok

    def make_folder(self, path: str) -> None:
        """See `Host.make_folder`."""
        self.run(["mkdir", "-p", "-m", "700", path])

    def remove(self, path: str) -> None:
        """See `Host.remove`."""
        self.run(["rm", "-rf", "--", path])

    def upload(self, source: Path, path: str) -> None:
        """See `Host.upload`."""
        self.write(path, source.read_text())

    def close(self) -> None:
        """See `Host.close`."""
        self._client.close()
