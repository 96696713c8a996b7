"""A fast ping beside whatever is done to the switch: when answers came, and how long there were none."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

from nvbench.clock_offset import clock_offset
from nvbench.hosts import Process
from nvbench.stands import Member

INTERVAL_S = 0.02
LATE_S = 0.1
"""An answer that comes so long after the one before it ends a gap, even if a full ring has kept all pings of it."""

LONGEST = 3000
"""A ping that nobody ends any more ends by itself; not by its -w, which an unreachable host ends as well."""

_ANSWER = re.compile(r"\[(\d+\.\d+)\] \d+ bytes from .*icmp_seq=(\d+)")


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to a ping.

    Attributes:
        at: When it came: Unix time by this machine's clock.
        number: The ping's sequence number.
        line: As ping told it.
    """

    at: float
    number: int
    line: str


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without an answer.

    Attributes:
        last: The answer before it.
        first: The answer after it.
    """

    last: Answer
    first: Answer

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.first.at - self.last.at

    @property
    def lost(self) -> int:
        """Pings without an answer."""
        return self.first.number - self.last.number - 1


def parse_answer(line: str, ahead_s: float = 0.0) -> Answer | None:
    """A line of `ping -D`; None where it is no answer.

    Args:
        line: The line.
        ahead_s: How far the clock of the sender is ahead of this machine's.
    """
    found = _ANSWER.match(line)
    return Answer(float(found[1]) - ahead_s, int(found[2]), line) if found else None


def longest_gap(answers: Sequence[Answer], since: float) -> Gap | None:
    """The longest gap of those that ended after a time; None where no ping was lost or late."""
    gaps = (Gap(last, first) for last, first in pairwise(answers) if first.at > since)
    return max((gap for gap in gaps if gap.lost or gap.seconds > LATE_S), key=lambda gap: gap.seconds, default=None)


@dataclass
class FastPing:
    """A ping that runs.

    Attributes:
        name: From whom to whom: `vm1 to vm2`.
        answers: Those that were read.
    """

    name: str
    answers: list[Answer] = field(default_factory=list, init=False)
    process: Process = field(repr=False)
    ahead_s: float = field(repr=False)

    def until(self, after: float, count: int, patience_s: float) -> bool:
        """Read answers until so many have come after a time; whether they have within so many seconds from now."""
        deadline = time.monotonic() + patience_s
        left = count - sum(answer.at > after for answer in self.answers)
        while left > 0 and (patience := deadline - time.monotonic()) > 0:
            try:
                line = self.process.receive(patience)
            except TimeoutError:
                return False
            if line is None:
                return False
            if answer := parse_answer(line, self.ahead_s):
                self.answers.append(answer)
                left -= answer.at > after
        return left <= 0

    def timeline(self, zero: float) -> str:
        """When answers came, a line each, in seconds after a time."""
        return "".join(f"{answer.at - zero:+8.3f} s  {answer.line}\n" for answer in self.answers)


@contextmanager
def pinging(sender: Member, receiver: Member) -> Iterator[FastPing]:
    """One member pings another all the time."""
    ahead_s = clock_offset(sender.host).offset_s
    words = ["ping", "-n", "-D", "-i", str(INTERVAL_S), "-c", str(LONGEST), receiver.address]
    process = sender.host.spawn(words)
    try:
        yield FastPing(f"{sender.name} to {receiver.name}", process=process, ahead_s=ahead_s)
    finally:
        process.kill()
