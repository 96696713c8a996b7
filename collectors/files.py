"""Files in which a kernel tells of itself, read together: directly here, in one round trip elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from nvbench.hosts import Host
from nvbench.tables import Reading


class Part(Protocol):
    """What some files tell."""

    @property
    def paths(self) -> Sequence[str]:
        """The files."""

    def parse(self, texts: Mapping[str, str]) -> Iterable[Reading]:
        """Their values, from path -> text; a file that is not there is not in it."""


class Files:
    """See `Collector`.

    Args:
        host: Whose files.
        parts: What to read of them.
        local: Whether the host is this machine, and reads are cheap.
        prefix: What stands before each source: `guest vm1 `.
    """

    def __init__(self, host: Host, parts: Sequence[Part], *, local: bool, prefix: str = "") -> None:
        self._host = host
        self._parts = tuple(parts)
        self._paths = tuple(dict.fromkeys(path for part in parts for path in part.paths))
        self._local = local
        self._prefix = prefix

    def readings(self) -> list[Reading]:
        """See `Collector.readings`."""
        texts = self._read()
        found = [reading for part in self._parts for reading in part.parse(texts)]
        return [replace(each, source=f"{self._prefix}{each.source}") for each in found] if self._prefix else found

    def _read(self) -> dict[str, str]:
        if self._local:
            told = ((path, self._host.read(path)) for path in self._paths)
            return {path: text for path, text in told if text is not None}
        # A file that is not there makes it end with a status, after all others.
        return parse_tail(self._host.run(["tail", "-v", "-n", "+1", *self._paths], check=False).stdout)


_HEADING = re.compile(r"(?:\A|\n)==> (.+) <==\n")


def parse_tail(text: str) -> dict[str, str]:
    """`tail -v -n +1 FILE...`: path -> text; before each heading but the first stands a newline."""
    _, *pieces = _HEADING.split(text)
    return dict(zip(pieces[::2], pieces[1::2], strict=True))


def columns(text: str) -> dict[str, list[int]]:
    """A table of counters by core, as in /proc/interrupts and /proc/softirqs: row's name -> one value a column."""
    header, *lines = text.splitlines() or [""]
    wide = len(header.split())
    rows = (line.split() for line in lines)
    return {row[0].rstrip(":"): [int(cell) for cell in row[1 : wide + 1] if cell.isdigit()] for row in rows if row}


def cores_of(text: str) -> list[int]:
    """The cores that such a table's heading names: online ones alone."""
    header, *_ = text.splitlines() or [""]
    return [int(word.removeprefix("CPU")) for word in header.split()]
