"""What a check leaves behind: observations, tables, and files of evidence, within bounds."""

from __future__ import annotations

import contextlib
import errno
import re
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from nvbench.campaign import Grid, Observation
from nvbench.errors import StoreError
from nvbench.generators.frames import Captured, save
from nvbench.hosts import Completed, Host, Process
from nvbench.hosts.passing import PassingHost

MOST_BYTES = 20_000_000
"""What the evidence of one case may take on the disk."""

MOST_LINES = 400
"""Lines of a command's output that are kept: the first and the last of them."""

COMMANDS = "commands.txt"


class Record:
    """The evidence of a case at work.

    Attributes:
        observations: What was seen so far.
        grids: Tables so far.
        advice: What could be done about it.
        files: Files of evidence so far.
        full: Whether the disk was too full for some of it.
    """

    def __init__(self, folder: Path, most_bytes: int = MOST_BYTES) -> None:
        self.observations: list[Observation] = []
        self.grids: list[Grid] = []
        self.advice: list[str] = []
        self.files: list[str] = []
        self.full = False
        self._folder = folder
        self._left = most_bytes

    def observe(self, holds: bool, told: str, quote: str = "", *, file: str = "") -> bool:
        """Note something that was seen.

        Args:
            holds: Whether it is as it should be.
            told: What was expected and what was seen, in a sentence; the same words whether it holds or not would
                leave the reader to guess.
            quote: The line that shows it.
            file: The file of the evidence with more of it.

        Returns:
            `holds`.
        """
        self.observations.append(Observation(bool(holds), told, quote.strip(), file))
        return bool(holds)

    def draw(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Note a table; the first column holds the rows' own names."""
        self.grids.append(Grid(title, tuple(columns), tuple(tuple(map(str, row)) for row in rows)))

    def advise(self, told: str) -> None:
        """Note what could be done about what was seen."""
        self.advice.append(told)

    def keep(self, name: str, text: str) -> str:
        """Keep a text as a file of the evidence; of the same name again, behind what is there.

        Returns:
            Its name.

        Raises:
            StoreError: The disk is full.
        """
        return self._write(name, text.encode(errors="replace"))

    def capture(self, name: str, frames: Sequence[Captured]) -> str:
        """Keep frames as a file that every analyser reads, as many of them as there is room for.

        Returns:
            Its name.

        Raises:
            StoreError: The disk is full.
        """
        kept: list[Captured] = []
        room = self._left
        for frame in frames:
            room -= len(frame.frame) + 16
            if room < 0:
                self.advise(f"{name} holds {len(kept)} of {len(frames)} frames: evidence is bounded")
                break
            kept.append(frame)
        with self._room(name) as path:
            save(path, kept)
            self._left -= path.stat().st_size
        return path.name

    def folder(self) -> Path:
        """Where the evidence is kept, for whoever writes more than a file there; what that takes is not counted.

        Raises:
            StoreError: It cannot be made.
        """
        with self._writing():
            self._folder.mkdir(parents=True, exist_ok=True)
        return self._folder

    def take(self, file: Path) -> str:
        """Move a file into the evidence, where there is room for it.

        Returns:
            Its name; empty where there is no room, and it stays where it is.

        Raises:
            StoreError: The disk is full.
        """
        size = file.stat().st_size
        if size > self._left:
            self.advise(f"{file} is left where it is, {size} bytes: evidence is bounded")
            return ""
        with self._room(file.name) as path:
            shutil.move(file, path)
        self._left -= size
        return path.name

    def command(self, host: str, done: Completed) -> None:
        """Keep a command and what it printed."""
        told = [f"[{host}] $ {shlex.join(done.argv)}", *_shortened(done.stdout), *_shortened(done.stderr)]
        status = [] if done.ok else [f"(status {done.returncode})"]
        self.keep(COMMANDS, "\n".join([*told, *status, "", ""]))

    def unanswered(self, host: str, argv: Sequence[str], why: str) -> None:
        """Keep a command that did not come to its end, or that nobody waits for."""
        self.keep(COMMANDS, f"[{host}] $ {shlex.join(argv)}\n({why})\n\n")

    def _write(self, name: str, data: bytes) -> str:
        if len(data) > self._left:
            self.advise(f"{name} is not whole: evidence is bounded")
            return name
        self._left -= len(data)
        with self._room(name) as path, path.open("ab") as file:
            file.write(data)
        return path.name

    @contextlib.contextmanager
    def _room(self, name: str) -> Iterator[Path]:
        path = self.folder() / re.sub(r"[^A-Za-z0-9._-]+", "-", name)
        with self._writing():
            yield path
        if path.name not in self.files:
            self.files.append(path.name)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            self.full |= full
            what = "the disk is full" if full else f"cannot write: {error.strerror or error}"
            raise StoreError(what, place=str(self._folder)) from error


def _shortened(text: str) -> list[str]:
    lines = text.rstrip("\n").splitlines()
    if len(lines) <= MOST_LINES:
        return lines
    half = MOST_LINES // 2
    return [*lines[:half], f"... {len(lines) - 2 * half} lines ...", *lines[-half:]]


class WitnessedHost(PassingHost):
    """Passes everything on to another host, and what a command printed to whatever case is at work.

    Attributes:
        record: Where commands are kept; None: nowhere.
    """

    def __init__(self, host: Host, label: str) -> None:
        super().__init__(host)
        self._label = label
        self.record: Record | None = None

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "", check: bool = True) -> Completed:
        """See `Host.run`."""
        try:
            done = self._host.run(argv, timeout_s=timeout_s, stdin=stdin, check=False)
        except BaseException as error:
            if self.record is not None:  # what hung is what a reader looks for
                with contextlib.suppress(StoreError):
                    self.record.unanswered(self._label, argv, str(error) or "was given up")
            raise
        if self.record is not None:
            self.record.command(self._label, done)
        return done.checked(self.name) if check else done

    def spawn(self, argv: Sequence[str]) -> Process:
        """See `Host.spawn`."""
        if self.record is not None:
            self.record.unanswered(self._label, argv, "in the background")
        return self._host.spawn(argv)
