"""tcpreplay's account of a trial: what it printed, held against what the kernel counted."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nvbench.errors import GeneratorError
from nvbench.generators.account import Done, judge
from nvbench.trial import Counters, Latency, Pauses, Validity


@dataclass(frozen=True, slots=True)
class Printed:
    """What tcpreplay prints of what it did.

    Attributes:
        packets: Frames that it sent.
        rate_pps: Their rate from the first to the last; 0 of a single one.
        successful: Frames that the kernel took.
        failed: Frames that the kernel refused for good.
        truncated: Frames that were sent in part.
        retried: Times that the kernel's buffers were full, and it tried again.
    """

    packets: int
    rate_pps: float
    successful: int
    failed: int
    truncated: int
    retried: int

    @classmethod
    def parse(cls, text: str) -> Printed:
        """Reads the end of its output.

        Raises:
            GeneratorError: It does not tell; carries its last words.
        """

        def number(pattern: str) -> float:
            found = re.search(pattern, text, flags=re.MULTILINE)
            if found is None:
                lines = [line.strip() for line in text.splitlines() if line.strip()]
                raise GeneratorError(f"tcpreplay said: {'; '.join(lines[-2:]) or 'nothing'}")
            return float(found[1])

        return cls(
            packets=int(number(r"^Actual: (\d+) packets")),
            rate_pps=number(r"^Rated: .* ([\d.]+) pps"),
            successful=int(number(r"Successful packets: +(\d+)")),
            failed=int(number(r"Failed packets: +(\d+)")),
            truncated=int(number(r"Truncated packets: +(\d+)")),
            retried=int(number(r"\(ENOBUFS\): +(\d+)") + number(r"\(EAGAIN\): +(\d+)")),
        )

    @property
    def elapsed_s(self) -> float:
        """Its sending time: as many intervals as frames, one more than it measured; 0 where it cannot tell."""
        if self.packets < 2 or not self.rate_pps:
            return 0.0
        return self.packets / self.rate_pps * self.packets / (self.packets - 1)


def counted(counters: Mapping[str, Mapping[str, int]], path: Sequence[str]) -> Counters:
    """What the kernel counts of a direction."""
    out, back = (counters[device] for device in path)
    return Counters(sent=out["tx_packets"], refused=out["tx_dropped"], received=back["rx_packets"])


@dataclass(frozen=True, slots=True)
class Account:
    """What is known of a trial: what the kernel counted, held against what tcpreplay printed.

    Attributes:
        done: The same, as generators tell it.
        missed: Frames that came back and for which the generator's own device had no room.
        remark: What else was told, in clauses; stands beside the reason of a trial that cannot be believed.
    """

    done: Done
    missed: int
    remark: str

    @classmethod
    def of(
        cls,
        event: Mapping[str, Any],
        paths: Sequence[Sequence[str]],
        load_pps: float,
        duration_s: float,
        place: str = "",
    ) -> Account:
        """From a `done` event.

        Args:
            event: The far end's account.
            paths: The devices of each direction: where frames leave, and where they come back.
            load_pps: What was asked for, in frames per second and direction.
            duration_s: For how long.
            place: Where it happened.

        Raises:
            GeneratorError: tcpreplay did not tell what it did.
        """
        try:
            printed = [Printed.parse(said) for said in event["said"]]
        except GeneratorError as error:
            raise GeneratorError(error.what, place=place) from None
        slack = 1 if event["interrupted"] else 0  # the frame under way when it was told to stop
        pairs = list(zip(printed, paths, strict=True))
        directions = [_direction(told, event["counters"], path, slack) for told, path in pairs]
        sends = [told.packets / told.elapsed_s for told in printed if told.elapsed_s]
        elapsed_s = sum(told.packets for told in printed) / sum(sends) if sends else duration_s
        asked_s = elapsed_s if event["aborted"] else max(elapsed_s, duration_s)
        asked = round(load_pps * asked_s)
        done = Done(
            elapsed_s=elapsed_s,
            directions=tuple(replace(each, late=max(0, asked - each.offered)) for each in directions),
            latency=Latency(),
            pauses=Pauses(
                generator_longest_us=event["longest_wait_us"], generator_total_us=event["waited_us"] / len(paths)
            ),
            aborted=event["aborted"],
            clock_step_us=event["clock_step_us"],
            started_at=event["started_at"],
        )
        missed = sum(event["counters"][device]["rx_missed_errors"] for device in {back for _, back in paths})
        return cls(done, missed, "; ".join(_remarks(printed, directions)))

    def verdict(self, load_pps: float, allowance: int) -> tuple[Validity, str]:
        """Whether the trial can be believed, and the evidence if not; see `judge`."""
        # It takes nothing in, the kernel does: its own pauses explain no loss.
        validity, reason = judge(self.done, load_pps, allowance, ring_frames=sys.maxsize)
        if validity is Validity.VALID and self.missed > allowance:
            return Validity.PAUSED, f"the generator's own device had no room for {self.missed} frames that came back"
        return validity, "; ".join(filter(None, (reason, self.remark))) if reason else ""


def _direction(told: Printed, counters: Mapping[str, Mapping[str, int]], path: Sequence[str], slack: int) -> Counters:
    """A direction; frames that the kernel took from tcpreplay and its device did not were refused at the door."""
    found = counted(counters, path)
    sent = min(found.sent, told.successful + slack)
    return Counters(
        sent=sent,
        refused=told.failed + max(0, told.successful - found.sent),
        received=found.received,
        foreign=found.sent - sent,
    )


def _remarks(printed: Sequence[Printed], directions: Sequence[Counters]) -> Iterator[str]:
    if retried := sum(told.retried for told in printed):
        yield f"the kernel's buffers were full {retried} times"
    if truncated := sum(told.truncated for told in printed):
        yield f"{truncated} frames were sent in part"
    if strange := sum(each.foreign for each in directions):
        yield f"the devices sent {strange} frames more than tcpreplay"
