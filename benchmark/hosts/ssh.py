"""A machine behind SSH, by paramiko: host keys checked, one connection, made anew when it is lost."""

from __future__ import annotations

import hashlib
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from paramiko import Channel, SSHClient, SSHException

from nvbench.errors import CommandError, CommandTimeoutError, LostConnectionError, NotReadyError, NvbenchError
from nvbench.hosts.base import Completed
from nvbench.hosts.ssh_connection import Connection
from nvbench.hosts.ssh_process import STARTER, SshProcess, shell_prints
from nvbench.hosts.ssh_reach import open_client

KILL_AFTER_S = 2
GRACE_S = 3.0
"""After so long on top, a command that its host should have ended is waited for no more."""

SLOWEST_BYTES_PER_S = 200_000


def connect(name: str, address: str, *, port: int | None = None, key: str | None = None) -> SshHost:
    """Reach `[user@]host`, as ~/.ssh/config tells, with the agent's or the named key.

    Args:
        name: What the testbed calls it.
        address: `[user@]host`.
        port: Its SSH port; None: the configuration's, or 22.
        key: File of the key to log in with; None: what the agent, the configuration and ~/.ssh offer.

    Raises:
        NotReadyError: It cannot be reached, its key is unknown or has changed, it does not let us in, or not as root.
    """

    def again() -> SSHClient:
        return open_client(f"host {name}", address, port, key)

    client = again()
    try:
        return SshHost(name, client, again, address)
    except BaseException:
        client.close()
        raise


class SshHost:
    """A machine behind SSH, as a host; any number of threads may use it.

    Args:
        name: What the testbed calls it.
        client: A connection to it.
        again: Makes another one when that is lost; None: a lost connection stays lost.
        address: Where it is; empty: its name tells.

    Raises:
        NotReadyError: Commands cannot run as root there.
        CommandError: It does not run commands.
    """

    RECONNECT_S = 30.0
    RETRY_S = 1.0
    local = False

    def __init__(
        self, name: str, client: SSHClient, again: Callable[[], SSHClient] | None = None, address: str = ""
    ) -> None:
        self.name = name
        self._place = f"host {name}"
        self._address = address or name
        self._again = again
        self._connection = Connection(client, self._place, self._address)
        self._reconnecting = threading.Lock()
        self._in_vain: tuple[float, LostConnectionError] | None = None
        self._sudo: tuple[str, ...] = ()
        self._sudo = self._way_to_root()

    def _way_to_root(self) -> tuple[str, ...]:
        told = self.run(["id", "-u"]).stdout.strip()
        if not told.isdigit():
            remedy = "have ~/.bashrc and its like print only where somebody sits at a terminal"
            raise NotReadyError(shell_prints(told.partition("\n")[0]), place=self._place, remedy=remedy)
        if told == "0":
            return ()
        sudo = ("sudo", "-n")
        try:
            self.run([*sudo, "true"])
        except LostConnectionError:
            raise
        except CommandError as error:
            why = "there is no sudo" if "cannot start" in error.what else "sudo asks for a password"
            remedy = "log in as root, or allow sudo without a password"
            raise NotReadyError(f"needs root, and {why}", place=self._place, remedy=remedy) from error
        return sudo

    def _line(self, argv: Sequence[str]) -> str:
        """The one place where argv becomes a line for the remote shell."""
        return shlex.join([*self._sudo, "env", "LC_ALL=C", *argv])

    def _connected(self) -> Connection:
        """The connection, made anew if it was lost.

        Raises:
            LostConnectionError: It cannot be.
        """
        asked = time.monotonic()
        with self._reconnecting:
            if not self._connection.alive:
                if self._in_vain is not None and self._in_vain[0] > asked:
                    raise self._in_vain[1]  # another thread tried, while this one waited
                self._connection = self._reconnected()
            return self._connection

    def _reconnected(self) -> Connection:
        """Another connection, tried for so long; only once by those who come after that was in vain."""
        began = time.monotonic()
        self._connection.close()
        deadline = began + (0.0 if self._in_vain else self.RECONNECT_S)
        while self._again is not None:
            tried = time.monotonic()
            try:
                connection = Connection(self._again(), self._place, self._address)
            except (NvbenchError, SSHException, OSError, EOFError) as error:
                now = time.monotonic()
                if now >= deadline:
                    why = error.what if isinstance(error, NvbenchError) else str(error)
                    what = f"{self._connection.lost().what}, and no other could be made in {now - began:.0f} s: {why}"
                    self._in_vain = (now, LostConnectionError(what, place=self._place))
                    raise self._in_vain[1] from error
                time.sleep(max(0.0, tried + self.RETRY_S - now))
            else:
                self._in_vain = None
                return connection
        raise self._connection.lost()

    def _run(self, argv: Sequence[str], given: bytes, timeout_s: float) -> Completed:
        line = self._line(["timeout", "-k", str(KILL_AFTER_S), f"{max(timeout_s, 0.001):.3f}", *argv])
        too_long = CommandTimeoutError(f"{argv[0]} took more than {timeout_s:g} s", place=self._place)
        connection = self._connected()
        began = time.monotonic()
        try:
            status, out, err = connection.ask(line, given, timeout_s + KILL_AFTER_S + GRACE_S)
        except TimeoutError:
            raise too_long from None
        done = Completed(
            tuple(argv), status, out.decode(errors="replace"), err.decode(errors="replace"), time.monotonic() - began
        )
        if status != 0 and done.seconds >= timeout_s:
            raise too_long
        if status in (126, 127) and done.stderr.startswith("timeout: "):
            why = done.stderr.strip().rpartition(": ")[2]
            raise CommandError(f"cannot start {argv[0]}: {why}", place=self._place)
        return done

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "", check: bool = True) -> Completed:
        """See `Host.run`."""
        done = self._run(argv, stdin.encode(), timeout_s)
        return done.checked(self.name) if check else done

    def spawn(self, argv: Sequence[str]) -> SshProcess:
        """See `Host.spawn`."""
        return SshProcess(self._connected(), self._line(["sh", "-c", STARTER, "sh", *argv]), argv, self)

    def read(self, path: str) -> str | None:
        """See `Host.read`."""
        done = self.run(["cat", path], check=False)
        return done.stdout if done.ok else None

    def write(self, path: str, text: str) -> None:
        """See `Host.write`."""
        self._put(path, text.encode())

    def _put(self, path: str, data: bytes) -> None:
        # A file of the kernel takes its value in one piece, hence whole blocks.
        argv = ["dd", f"of={path}", "bs=64K", "iflag=fullblock", "status=none"]
        done = self._run(argv, data, 30.0 + len(data) / SLOWEST_BYTES_PER_S)
        if not done.ok:
            why = done.stderr.strip().rpartition(": ")[2] or f"status {done.returncode}"
            raise CommandError(f"cannot write {path}: {why}", place=self._place)

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
        data = source.read_bytes()
        self._put(path, data)
        if self.run(["sha256sum", path]).stdout.split()[0] != hashlib.sha256(data).hexdigest():
            raise CommandError(f"{path} is not what was sent there", place=self._place)

    def forward(self, address: str, port: int) -> Channel:
        """A byte stream through the host to a TCP port that it reaches, with the methods of a connected socket.

        Raises:
            CommandError: Nothing answers there, or the host forwards nothing.
            LostConnectionError: The connection to the host broke.
        """
        return self._connected().way(address, port)

    def dial(self, port: int) -> Channel:
        """See `Host.dial`."""
        return self.forward("127.0.0.1", port)

    def close(self) -> None:
        """See `Host.close`."""
        self._again = None
        self._connection.close()
