"""TRex's account of a trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nvbench.errors import GeneratorError
from nvbench.generators.account import Done
from nvbench.trial import Counters, Latency, Pauses

SENT, RECEIVED, SEND_ERRORS, RECEIVE_ERRORS = range(4)
"""Places of a port's counters: opackets, ipackets, oerrors, ierrors."""

CLOCK_RATIO = 0.01
"""TRex counts time on DPDK's clock, which may be off: a load this near to the one asked for is that one."""

LOOK_S = 0.01
"""How well a look at the counters has to tell when it was, as TRex takes its time to answer."""

SHORTEST_PACE_S = 0.2
"""Trials that were seen for a shorter time have kept their pace, as far as one can tell."""


class Pace:
    """The rate of something that is counted now and then: the slope of a line through what was seen while it grew."""

    def __init__(self) -> None:
        self.span_s = 0.0
        self._points = 0
        self._origin = (0.0, 0)
        self._latest: tuple[float, int] | None = None
        self._t = self._n = self._tt = self._tn = 0.0

    def add(self, at_s: float, count: int) -> None:
        """Another look; it counts once a later one has seen more."""
        if self._latest is not None and count > self._latest[1]:
            if not self._points:
                self._origin = self._latest
            t, n = self._latest[0] - self._origin[0], self._latest[1] - self._origin[1]
            self._points, self.span_s = self._points + 1, t
            self._t, self._n, self._tt, self._tn = self._t + t, self._n + n, self._tt + t * t, self._tn + t * n
        self._latest = (at_s, count) if count else None

    @property
    def per_s(self) -> float:
        """The rate; 0 where too little was seen to tell."""
        if self.span_s < SHORTEST_PACE_S:
            return 0.0
        return (self._points * self._tn - self._t * self._n) / (self._points * self._tt - self._t**2)


def directions(ports: Sequence[Sequence[int]], paths: Iterable[tuple[int, int]]) -> tuple[Counters, ...]:
    """Counters by direction, given those of the ports, and of each direction where frames leave and come back.

    Frames that a port could not send although TRex gave it them were refused.
    """
    found = []
    for out, back in paths:
        sent, came = ports[out][SENT], ports[back][RECEIVED]
        refused = ports[out][SEND_ERRORS]
        found.append(Counters(sent, 0, refused, min(sent, came), foreign=max(0, came - sent)))
    return tuple(found)


def account(
    event: Mapping[str, Any], paths: Sequence[tuple[int, int]], pace: Pace, load_pps: float, duration_s: float
) -> Done:
    """What was measured, of a `done` event and the pace that was seen before it.

    Raises:
        GeneratorError: It is not one.
    """
    try:
        counted = directions(event["ports"], paths)
        offered = sum(each.offered for each in counted)
        kept, elapsed_s = not event["interrupted"], duration_s
        if pace.per_s:
            kept = pace.per_s * (1 + CLOCK_RATIO + LOOK_S / pace.span_s) >= load_pps * len(paths)
            elapsed_s = offered / pace.per_s
        elif event["aborted"] or not kept:
            elapsed_s = float(event["stopped_s"])
        if abs(elapsed_s - duration_s) <= LOOK_S:
            elapsed_s = duration_s
        asked_s = elapsed_s if not kept else 0.0 if event["aborted"] else duration_s
        return Done(
            elapsed_s=elapsed_s,
            directions=tuple(_with_late(each, round(load_pps * asked_s)) for each in counted),
            latency=latency(event["latency"]),
            pauses=Pauses(
                generator_longest_us=float(event["longest_wait_us"]), generator_total_us=float(event["waited_us"])
            ),
            aborted=bool(event["aborted"]),
            clock_step_us=float(event["clock_step_us"]),
            started_at=float(event["started_at"]),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise GeneratorError(f"TRex's account of a trial cannot be read: {error!r}") from error


def _with_late(each: Counters, asked: int) -> Counters:
    return Counters(
        each.sent,
        max(0, asked - each.offered),
        each.refused,
        each.received,
        each.duplicate,
        each.reordered,
        each.foreign,
    )


def latency(encoded: Iterable[str]) -> Latency:
    """HDR histograms of whole microseconds, in their log format, as one: each frame at the upper edge of its bin.

    TRex cuts fractions off: what it counts at 2 us took less than 3.
    """
    from hdrh.histogram import HdrHistogram  # noqa: PLC0415 - slow to import, needed with traffic only

    bins: Counter[int] = Counter()
    for text in encoded:
        for bucket in HdrHistogram.decode(text).get_recorded_iterator():
            bins[1000 * (bucket.value_iterated_to + 1)] += bucket.count_added_in_this_iter_step
    return Latency(tuple(sorted(bins.items())))


def overflowed(ports: Sequence[Sequence[int]], done: Done, allowance: int) -> int:
    """Frames that TRex's ports got and could not take in, where those are the loss; else 0."""
    missed = sum(port[RECEIVE_ERRORS] for port in ports)
    lost = sum(each.lost + each.refused for each in done.directions)
    return missed if lost > allowance >= lost - missed else 0
