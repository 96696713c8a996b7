"""A trial: what was asked of a device for a while, what was measured, and whether that can be believed.

The terms are those of RFC 1242 and RFC 2285: a trial offers a load for a duration and counts what comes back.
Integers are kept, ratios derived.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from hdrh.histogram import HdrHistogram


class Validity(StrEnum):
    """A trial's verdict on itself. Only a valid trial may move a bound of a search."""

    VALID = "valid"
    UNDERSENT = "generator could not send the load"
    PAUSED = "generator was descheduled"
    STALLED = "device was paused by the host"
    FOREIGN = "foreign frames"
    CLOCK = "clock stepped"
    GONE = "device or generator gone"


@dataclass(frozen=True, slots=True)
class Counters:
    """Frames of one direction (or of a sum of directions).

    Attributes:
        sent: Frames that the device took.
        late: Frames not sent because the generator was not there in time; never counted as lost.
        refused: Frames that a full ring of a virtual link refused while the generator was there: lost at the
            device's door.
        received: Frames of this trial that came back, each counted once.
        duplicate: Frames that came back more than once (extra copies).
        reordered: Frames that came back after a later one (RFC 4737).
        foreign: Frames that this generator never sent.
    """

    sent: int = 0
    late: int = 0
    refused: int = 0
    received: int = 0
    duplicate: int = 0
    reordered: int = 0
    foreign: int = 0

    @property
    def offered(self) -> int:
        """Frames put to the device: taken or refused by it."""
        return self.sent + self.refused

    @property
    def lost(self) -> int:
        """Frames that the device took and did not forward."""
        return max(0, self.sent - self.received)

    @property
    def loss_ratio(self) -> float:
        """Lost and refused frames as a share of the offered ones (RFC 1242 section 3.6)."""
        return (self.lost + self.refused) / self.offered if self.offered else 0.0

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(getattr(self, name) + getattr(other, name) for name in Counters.__dataclass_fields__))


@dataclass(frozen=True, slots=True)
class Pauses:
    """Times at which somebody was not there.

    Attributes:
        generator_longest_us: Longest time that the generator did not poll.
        generator_count: Number of its pauses above 50 us.
        generator_total_us: Sum of those pauses.
        send_delay_max_us: How late the latest frame left, against its place in the schedule.
        device_longest_us: Longest time that a ring of the device took no frame although it was offered some.
        device_total_us: Sum of such times, of 200 us and more.
        refused_in_stall: Frames refused during those times.
    """

    generator_longest_us: float = 0.0
    generator_count: int = 0
    generator_total_us: float = 0.0
    send_delay_max_us: float = 0.0
    device_longest_us: float = 0.0
    device_total_us: float = 0.0
    refused_in_stall: int = 0


@dataclass(frozen=True)
class Latency:
    """A latency distribution: sparse pairs (nanoseconds, frames) at the resolution of an HDR histogram.

    The bins are those of `HdrHistogram(1, 10**10, 3)`: 1 ns to 10 s at 3 significant digits, so that distributions
    merge exactly.
    """

    bins: tuple[tuple[int, int], ...] = ()

    @cached_property
    def histogram(self) -> HdrHistogram:
        """The distribution as an HDR histogram, in nanoseconds."""
        from hdrh.histogram import HdrHistogram  # noqa: PLC0415 - slow to import, needed with traffic only

        histogram = HdrHistogram(1, 10**10, 3)
        for nanoseconds, count in self.bins:
            histogram.record_value(nanoseconds, count)
        return histogram

    @property
    def count(self) -> int:
        """Number of samples."""
        return sum(count for _, count in self.bins)

    def min_us(self) -> float | None:
        """Smallest latency, or None without a sample."""
        return self.histogram.get_min_value() / 1000 if self.bins else None

    def max_us(self) -> float | None:
        """Largest latency, or None without a sample."""
        return self.histogram.get_max_value() / 1000 if self.bins else None

    def percentile_us(self, percent: float) -> float | None:
        """A percentile, or None where fewer than ten samples lie beyond it and it would be a guess."""
        if self.count * (100 - percent) / 100 < 10:
            return None
        return float(self.histogram.get_value_at_percentile(percent)) / 1000


@dataclass(frozen=True, slots=True)
class AbortRule:
    """When a trial may end early because it can no longer pass.

    Attributes:
        max_lost_frames: The trial ends once more frames than this are lost or refused; None: never.
    """

    max_lost_frames: int | None = None

    @classmethod
    def for_goal(cls, loss_ratio: float, load_pps: float, duration_s: float, directions: int = 1) -> AbortRule:
        """The rule of a loss-ratio goal: a trial that has lost more than its whole allowance has failed."""
        return cls(int(loss_ratio * load_pps * duration_s * directions))


@dataclass(frozen=True, slots=True)
class Step:
    """A load that is offered for a while.

    Attributes:
        load_pps: In frames per second and direction.
        duration_s: Sending time.
    """

    load_pps: float
    duration_s: float


@dataclass(frozen=True, slots=True)
class Timeline:
    """Frames of a trial by the time at which they were sent, all directions together.

    What an interval lost is exact, however long its frames were on their way.

    Attributes:
        interval_s: Length of an interval; the first begins with the first frame.
        sent: Frames that the device took, an interval each.
        refused: Frames that a full ring refused.
        received: Of the frames sent in an interval those that came back, whenever that was.
    """

    interval_s: float
    sent: tuple[int, ...]
    refused: tuple[int, ...]
    received: tuple[int, ...]

    @property
    def lost(self) -> tuple[int, ...]:
        """Frames lost or refused, an interval each."""
        columns = zip(self.sent, self.refused, self.received, strict=True)
        return tuple(sent + refused - received for sent, refused, received in columns)


@dataclass(frozen=True)
class Trial:
    """One trial, measured.

    Attributes:
        intended_pps: Load asked for, in frames per second and direction.
        duration_s: Sending time asked for.
        elapsed_s: Sending time measured, on the generator's clock calibrated against CLOCK_MONOTONIC.
        directions: Counters, one of each direction of traffic.
        latency: One-way latency through the device, all directions together.
        pauses: Times at which the generator or the device was not there.
        aborted: Whether the trial was ended early, by its abort rule or on request.
        validity: The verdict on the trial itself.
        reason: The measured evidence behind a verdict other than valid.
        started_at: Unix time of the first frame.
        trial_id: Name under which the store keeps it; empty before that.
        then: The load that followed `intended_pps` without a pause, if one did; counters hold both, as do
            `duration_s` and `elapsed_s`.
        timeline: Frames by the time at which they were sent, where the trial was asked for detail.
        ipdv: Distribution of the inter-packet delay variation, where the trial was asked for detail: the absolute
            difference in latency of frames that came one after the other (RFC 5481 section 4.1).
    """

    intended_pps: float
    duration_s: float
    elapsed_s: float
    directions: tuple[Counters, ...]
    latency: Latency = field(default_factory=Latency)
    pauses: Pauses = Pauses()
    aborted: bool = False
    validity: Validity = Validity.VALID
    reason: str = ""
    started_at: float = 0.0
    trial_id: str = ""
    then: Step | None = None
    timeline: Timeline | None = None
    ipdv: Latency = field(default_factory=Latency)

    @cached_property
    def total(self) -> Counters:
        """The directions added up."""
        return sum(self.directions, Counters())

    @property
    def valid(self) -> bool:
        """Whether this trial may move a bound."""
        return self.validity is Validity.VALID

    @property
    def loss_ratio(self) -> float:
        """Frames lost or refused as a share of those offered."""
        return self.total.loss_ratio

    @property
    def offered_pps(self) -> float:
        """Measured offered load, in frames per second and direction."""
        return self._rate(self.total.offered)

    @property
    def forwarded_pps(self) -> float:
        """Measured forwarding rate (RFC 2285 section 3.6.1), in frames per second and direction."""
        return self._rate(self.total.received)

    def _rate(self, frames: int) -> float:
        if not self.elapsed_s or not self.directions:
            return 0.0
        return frames / self.elapsed_s / len(self.directions)


Measure = Callable[[float, float, AbortRule], Trial]
"""`measure(load_pps, duration_s, abort) -> Trial`: all that a search knows of the world."""


class DetailedMeasure(Protocol):
    """A `Measure` that can be asked for more, as tests beyond the search do."""

    def __call__(
        self,
        load_pps: float,
        duration_s: float,
        abort: AbortRule,
        *,
        then: Step | None = None,
        detail: bool = False,
    ) -> Trial:
        """Offer `load_pps` for `duration_s`, go on with `then` without a pause, and count.

        With `detail` the trial carries a timeline and the delay variation.
        """
