"""What nvbench asks of a host: run a command, keep a process, handle a few small files.

The same for this machine and for one behind SSH, so that no other room knows the difference.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from nvbench.errors import CommandError

RUN_FOLDER = "/run/nvbench"
"""Where a host keeps what is of a run: root's alone, whoever it is that runs nvbench, and of this boot."""


@dataclass(frozen=True, slots=True)
class Completed:
    """A command that has ended.

    Attributes:
        argv: What was run.
        returncode: Its exit status; negative for a signal.
        stdout: What it printed.
        stderr: What it complained of.
        seconds: How long it took.
    """

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether it ended with status 0."""
        return self.returncode == 0

    def checked(self, host: str) -> Completed:
        """Itself.

        Raises:
            CommandError: The status is not 0; carries the last line of the complaint.
        """
        if self.ok:
            return self
        lines = (self.stderr.strip() or self.stdout.strip() or "no output").splitlines()
        raise CommandError(f"{shlex.join(self.argv)}: status {self.returncode}: {lines[-1]}", place=f"host {host}")


class Process(Protocol):
    """A running program that is spoken to in lines."""

    def send(self, line: str) -> None:
        """Write one line to its standard input.

        Raises:
            CommandError: It has gone.
            LostConnectionError: The connection to its host broke.
        """

    def receive(self, timeout_s: float) -> str | None:
        """Its next line of standard output without the newline; None when it has ended.

        Raises:
            TimeoutError: Nothing came in time.
            LostConnectionError: The connection to its host broke, so that nobody knows whether it has ended.
        """

    def complaints(self) -> list[str]:
        """The last lines of its standard error."""

    def close(self, timeout_s: float = 5.0) -> int | None:
        """Close its standard input, wait for its end, terminate and at last kill it; the exit status if known."""

    def kill(self) -> None:
        """End it at once."""


class Host(Protocol):
    """A machine of the testbed."""

    name: str

    @property
    def local(self) -> bool:
        """Whether it is this very machine, with its clock."""

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "", check: bool = True) -> Completed:
        """Run a command to its end, with LC_ALL=C.

        Raises:
            CommandError: It is not there, or, with `check`, ended with a status other than 0.
            CommandTimeoutError: It took longer than `timeout_s` and was ended.
            LostConnectionError: The connection to the host broke.
        """

    def spawn(self, argv: Sequence[str]) -> Process:
        """Start a program and keep it.

        Raises:
            CommandError: It cannot be started.
            LostConnectionError: The connection to the host broke.
        """

    def read(self, path: str) -> str | None:
        """A small text file, or None if it is not there."""

    def write(self, path: str, text: str) -> None:
        """Write a small text file.

        Raises:
            CommandError: It cannot be written.
        """

    def exists(self, path: str) -> bool:
        """Whether there is a file or folder of that name."""

    def make_folder(self, path: str) -> None:
        """Make a folder, private to its owner, and those above it."""

    def remove(self, path: str) -> None:
        """Remove a file or a folder with all in it, if it is there."""

    def upload(self, source: Path, path: str) -> None:
        """Copy a file of this machine to the host, byte by byte; its mode is not copied.

        Raises:
            CommandError: It cannot be written, or what is there now is not what was sent.
        """

    def dial(self, port: int) -> Any:
        """A byte stream to a TCP port of the host's own loopback, with the methods of a connected socket.

        Raises:
            CommandError: Nothing answers there.
        """

    def close(self) -> None:
        """Let go of connections."""
