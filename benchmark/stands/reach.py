"""Who reaches whom by ping, several pairs at the same time."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import permutations

from nvbench.hosts import Host, Process
from nvbench.stands.record import Record

COUNT = 3
INTERVAL_S, PATIENCE_S = 0.05, 2.0
_GRACE_S = 5.0
_SUMMARY = re.compile(r"(\d+) packets transmitted, (\d+) received(?:, \+(\d+) duplicates)?")

MOST_AT_ONCE = 6
"""An SSH server lets a connection have about ten programs at once."""


@dataclass(frozen=True)
class Voice:
    """Who pings, and is pinged.

    Attributes:
        name: What it is called in tables.
        host: Where its ping runs.
        address: Its IP address.
        device: The only device of that host that it uses; empty: whichever leads there.
    """

    name: str
    host: Host
    address: str
    device: str = ""


@dataclass(frozen=True, slots=True)
class Pinged:
    """What came of a ping.

    Attributes:
        sent: Requests.
        received: Answers, each counted once.
        duplicates: Answers that came once more.
        line: What ping says of it.
    """

    sent: int
    received: int
    duplicates: int
    line: str

    @property
    def holds(self) -> bool:
        """Whether every request was answered once."""
        return 0 < self.sent == self.received and not self.duplicates


def parse_ping(text: str) -> Pinged:
    """What ping of iputils prints; what it complains of where it could not begin."""
    for line in text.splitlines():
        if found := _SUMMARY.search(line):
            sent, received, duplicates = (int(number or 0) for number in found.groups())
            return Pinged(sent, received, duplicates, line)
    return Pinged(0, 0, 0, (text.strip() or "ping says nothing").splitlines()[-1])


def reach(record: Record, pairs: Sequence[tuple[Voice, Voice]], step: str = "") -> dict[tuple[str, str], Pinged]:
    """Have one of each pair ping the other, several at the same time; what they print is kept.

    Args:
        record: The evidence.
        pairs: Who pings whom.
        step: A word for the evidence, where this is done several times.

    Returns:
        The names of a pair -> what came of it.
    """
    found: dict[tuple[str, str], Pinged] = {}
    kept = "-".join(filter(None, ("pings", step))) + ".txt"
    for begin in range(0, len(pairs), MOST_AT_ONCE):
        found |= _reach_at_once(record, pairs[begin : begin + MOST_AT_ONCE], kept)
    return found


def _reach_at_once(record: Record, pairs: Sequence[tuple[Voice, Voice]], kept: str) -> dict[tuple[str, str], Pinged]:
    found: dict[tuple[str, str], Pinged] = {}
    with ExitStack() as stack:
        running = []
        for one, other in pairs:
            process = one.host.spawn(_words(one, other))
            stack.callback(process.kill)
            running.append((one, other, process))
        deadline = time.monotonic() + COUNT * INTERVAL_S + PATIENCE_S + _GRACE_S
        for one, other, process in running:
            text = _printed(process, deadline)
            record.keep(kept, f"[{one.name} pings {other.name}]\n{text}\n\n")
            found[one.name, other.name] = parse_ping(text)
    return found


def among(voices: Sequence[Voice]) -> list[tuple[Voice, Voice]]:
    """All pairs, in both directions."""
    return list(permutations(voices, 2))


def draw(record: Record, title: str, voices: Sequence[Voice], found: Mapping[tuple[str, str], Pinged]) -> None:
    """Note who reaches whom as a table."""
    names = [voice.name for voice in voices]
    cells = {pair: "yes" if pinged.holds else "NO" for pair, pinged in found.items()}
    rows = [[sender, *(cells.get((sender, receiver), "-") for receiver in names)] for sender in names]
    record.draw(f"{title} (rows send)", ["", *names], rows)


def _words(one: Voice, other: Voice) -> list[str]:
    by = ["-I", one.device] if one.device else []
    return ["ping", "-n", "-c", str(COUNT), "-i", str(INTERVAL_S), "-W", f"{PATIENCE_S:g}", *by, other.address]


def _printed(process: Process, deadline: float) -> str:
    lines: list[str] = []
    try:
        while (line := process.receive(max(0.0, deadline - time.monotonic()))) is not None:
            lines.append(line)
    except TimeoutError:
        lines.append("ping does not end")
    return "\n".join([*lines, *(() if lines else process.complaints())])
