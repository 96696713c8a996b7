"""A program that is kept at the other end of an SSH connection."""

from __future__ import annotations

import queue
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from paramiko import SSHException

from nvbench.errors import CommandError, LostConnectionError
from nvbench.hosts.base import Host
from nvbench.hosts.ssh_connection import CHUNK, Connection
from nvbench.hosts.ssh_reach import ANSWER_S

START_S = 20.0
ORPHAN_S = 0.5

LONG_S = 1.0
"""Who waits for a line this long, and does not just look, has to know in the end whether the host can be heard."""

SETTLE_S = 0.5

# SSH has no dependable way to signal a program, nor to say that there is none: so the shell that becomes the program
# tells first who it is. Its line of proc_pid_stat(5) has the process id and the start time, which no other shares.
STARTER = 'command -v "$1" >/dev/null || exit 127; read -r stat <"/proc/$$/stat"; echo "$stat"; exec "$@"'


class SshProcess:
    """A program at the other end; its output is read by threads, so that neither stream can fill up and block it.

    It sees its standard input close when the connection goes.

    Args:
        connection: Over which it is started.
        line: What the remote shell gets: `STARTER` with the program.
        argv: The program.
        host: Its host, which can still end it when this connection is gone.

    Raises:
        CommandError: It cannot be started.
        LostConnectionError: The connection broke.
    """

    def __init__(self, connection: Connection, line: str, argv: Sequence[str], host: Host) -> None:
        self._connection = connection
        self._argv = tuple(argv)
        self._host = host
        self._place = f"host {host.name}"
        self._given_up = False
        self._channel = connection.start(line)
        self._lines: queue.SimpleQueue[str | LostConnectionError | None] = queue.SimpleQueue()
        self._complaints: deque[str] = deque(maxlen=50)
        self._readers = (
            threading.Thread(target=self._read_output, daemon=True),
            threading.Thread(target=self._read_complaints, daemon=True),
        )
        for reader in self._readers:
            reader.start()
        self._stat = self._started()

    def _started(self) -> str:
        why = f"no answer in {START_S:g} s"
        try:
            told = self.receive(START_S)
            if told is not None and re.match(r"\d+ \(", told):
                return told
            if told is not None:
                why = shell_prints(told)
            else:
                self._channel.status_event.wait(START_S)
                missing = self._channel.exit_status == 127
                why = "No such file or directory" if missing else (self.complaints() or ["it ended at once"])[-1]
        except TimeoutError:
            pass
        self._channel.close()
        raise CommandError(f"cannot start {self._argv[0]}: {why}", place=self._place)

    def _read_output(self) -> None:
        for line in _lines(self._channel.recv):
            self._lines.put(line)
        lost = not (self._channel.eof_received or self._given_up) and self._connection.broke(self._channel)
        self._lines.put(self._connection.lost() if lost else None)

    def _read_complaints(self) -> None:
        self._complaints.extend(_lines(self._channel.recv_stderr))

    def send(self, line: str) -> None:
        """See `Process.send`."""
        try:
            self._channel.sendall((line + "\n").encode())
        except (OSError, EOFError, SSHException) as error:
            if self._lost:
                raise self._connection.lost() from error
            raise CommandError(f"{self._argv[0]} has gone", place=self._place) from error

    def receive(self, timeout_s: float) -> str | None:
        """See `Process.receive`."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            line = self._late(timeout_s)
        if line is None or isinstance(line, LostConnectionError):
            self._lines.put(line)  # the end stays readable
        if isinstance(line, LostConnectionError):
            raise line
        return line

    def _late(self, waited_s: float) -> str | LostConnectionError | None:
        """What came after its time, where the host could not be heard for a while, or cannot be heard at all.

        Raises:
            TimeoutError: Nothing did.
        """
        settle_s = 0.0
        if waited_s >= LONG_S:
            if not self._connection.answers(ANSWER_S):
                return self._connection.lost()
            settle_s = SETTLE_S  # whatever was said before the host answered is through, too
        with suppress(queue.Empty):
            return self._lines.get(timeout=settle_s)
        raise TimeoutError

    def complaints(self) -> list[str]:
        """See `Process.complaints`."""
        if self._channel.eof_received or not self._readers[0].is_alive():  # its last words are on their way
            self._readers[1].join(timeout=1)
        return list(self._complaints)

    def close(self, timeout_s: float = 5.0) -> int | None:
        """See `Process.close`."""
        with suppress(OSError, EOFError, SSHException):  # it has gone already
            self._channel.shutdown_write()
        for signal in ("", "TERM", "KILL"):
            if signal:
                self._signal(signal)
            if self._channel.status_event.wait(timeout_s):
                break
        if self._lost:
            self._end_orphan()
        status = self._channel.exit_status
        self._give_up()
        return None if status == -1 else status

    def kill(self) -> None:
        """See `Process.kill`."""
        if not (self._lost or self._channel.exit_status_ready()):
            self._signal("KILL")
        if self._lost:  # which the signal may have been the first to notice
            self._end_orphan()
        self._give_up()

    @property
    def _lost(self) -> bool:
        ended = self._channel.exit_status_ready() or not self._connection.alive
        return not self._given_up and ended and self._connection.broke(self._channel)

    def _give_up(self) -> None:
        self._given_up = True
        self._channel.close()

    def _signal(self, signal: str) -> None:
        with suppress(CommandError):  # it has ended meanwhile, or nobody can reach it
            self._host.run(["kill", f"-{signal}", self._stat.split()[0]])

    def _end_orphan(self) -> None:
        """End it over another connection, if it outlived this one and there is another to be had."""
        for signal in ("TERM", "KILL"):
            try:
                stat = self._host.read(f"/proc/{self._stat.split()[0]}/stat") or ""
            except CommandError:
                return
            if _start_time(stat) != _start_time(self._stat):
                return
            self._signal(signal)
            time.sleep(ORPHAN_S)


def shell_prints(line: str) -> str:
    """What is wrong where a login shell has something to say, which would be taken for what a command says."""
    return f"its login shell prints {line[:80]!r} before a command's output"


def _lines(read: Callable[[int], bytes]) -> Iterator[str]:
    rest = b""
    while data := read(CHUNK):
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)
    if rest:
        yield rest.decode(errors="replace")


def _start_time(stat: str) -> str:
    """In ticks since the host came up: the 22nd field, of which the second may hold blanks."""
    fields = stat.rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""
