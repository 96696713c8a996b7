"""Who reaches whom by ping: one pair, or several at the same time."""

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
INTERVAL_S, PATIENCE_S = 0.05, 3.0
SLOWLY_S = 0.7
"""Once it had an answer, ping waits no longer than its interval for the last ones; a busy host may take some tenths."""

_GRACE_S = 30.0
SILENT_S = 0.3
"""How long is waited for an answer that should not come."""

HEADER_BYTES = 28
"""Of IPv4 and of an echo request (RFC 791, RFC 792), which `ping -s` does not count."""

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
        sent: Requests; none where it could not begin.
        received: Answers, each counted once.
        duplicates: Answers that came once more.
        line: What ping says of it, behind what it complains of.
    """

    sent: int
    received: int
    duplicates: int
    line: str

    @property
    def holds(self) -> bool:
        """Whether every request was answered once."""
        return 0 < self.sent == self.received and not self.duplicates

    @property
    def partial(self) -> bool:
        """Whether some requests were answered, and others not, or not in time."""
        return 0 < self.received < self.sent

    @property
    def silent(self) -> bool:
        """Whether requests were sent, and none was answered: of a ping that could not begin nothing is known."""
        return self.sent > 0 and not self.received


def parse_ping(text: str) -> Pinged:
    """What ping of iputils prints; what it complains of where it could not begin."""
    lines = text.strip().splitlines()
    for line in lines:
        if found := _SUMMARY.search(line):
            sent, received, duplicates = (int(number or 0) for number in found.groups())
            complaint = next((each for each in lines if each.startswith("ping: ")), "")
            return Pinged(sent, received, duplicates, "; ".join(filter(None, (complaint, line))))
    return Pinged(0, 0, 0, lines[-1] if lines else "ping says nothing")


def ping(
    host: Host,
    address: str,
    *,
    count: int = COUNT,
    patience_s: float = PATIENCE_S,
    packet_bytes: int = 0,
    source: str = "",
) -> Pinged:
    """Ping an address until all requests are answered, or have been waited for.

    Args:
        host: Who pings.
        address: Whom.
        count: Requests.
        patience_s: How long is waited for the answer to the last.
        packet_bytes: Size of the IP packets, which nobody may cut into fragments then; 0: as ping has them.
        source: The device or the address that it uses; empty: whichever leads there.
    """
    sized = ["-M", "do", "-s", str(packet_bytes - HEADER_BYTES)] if packet_bytes else []
    for interval_s in (INTERVAL_S, SLOWLY_S):
        done = host.run(_words(address, count, patience_s, source, sized, interval_s), check=False)
        found = parse_ping(done.stderr + done.stdout)
        if not found.partial:
            break
    return found


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
            process = one.host.spawn(_words(other.address, COUNT, PATIENCE_S, one.device))
            stack.callback(process.kill)
            running.append((one, other, process))
        deadline = time.monotonic() + COUNT * INTERVAL_S + PATIENCE_S + _GRACE_S
        for one, other, process in running:
            text = _printed(process, deadline)
            record.keep(kept, f"[{one.name} pings {other.name}]\n{text}\n\n")
            found[one.name, other.name] = parse_ping(text)
    for one, other in pairs:
        if found[one.name, other.name].partial:
            found[one.name, other.name] = ping(one.host, other.address, source=one.device)
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


def _words(
    address: str,
    count: int,
    patience_s: float,
    source: str,
    more: Sequence[str] = (),
    interval_s: float = INTERVAL_S,
) -> list[str]:
    by = ["-I", source] if source else []
    often = ["-c", str(count), "-i", str(interval_s), "-W", f"{patience_s:g}"]
    return ["ping", "-n", *often, *by, *more, address]


def _printed(process: Process, deadline: float) -> str:
    lines: list[str] = []
    try:
        while (line := process.receive(max(0.0, deadline - time.monotonic()))) is not None:
            lines.append(line)
    except TimeoutError:
        lines.append("ping does not end")
    return "\n".join([*lines, *(() if lines else process.complaints())])
