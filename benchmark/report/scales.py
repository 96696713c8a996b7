"""Scales of charts: where on an axis a value lies, and which values are written there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Tick = tuple[float, str]
"""A value, and how it is written."""

LARGEST = 1e100
"""What is larger is no measurement, and overflows."""

NINES = 7
"""The scale of percentiles ends at 99.99999 %."""


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis of a chart.

    Attributes:
        label: What it shows, with its unit.
        scale: `linear`, `log`, or `nines`: percentiles, on which 90, 99 and 99.9 % lie equally far apart.
        ticks: Values to write; by default round ones.
        low: Where it begins; by default at the least value.
        high: Where it ends; by default at the greatest.
    """

    label: str
    scale: str = "linear"
    ticks: tuple[Tick, ...] = ()
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Scale:
    """An axis with its ends known."""

    low: float
    high: float
    bend: Callable[[float], float]
    ticks: tuple[Tick, ...]

    def place(self, value: float) -> float:
        """Where `value` lies: 0 is one end, 1 the other."""
        low, high = self.bend(self.low), self.bend(self.high)
        return (self.bend(value) - low) / (high - low)


def shown(axis: Axis, value: float) -> bool:
    """Whether a value has a place on such an axis."""
    if axis.scale == "nines":
        return 0 <= value < 100
    return abs(value) < LARGEST and (axis.scale != "log" or value > 1 / LARGEST)


def scale(axis: Axis, values: Iterable[float]) -> Scale:
    """The scale that has all of `values`; those that have no place on it are passed over."""
    known = [value for value in values if shown(axis, value)]
    low = min(known, default=1.0) if axis.low is None else axis.low
    high = max(known, default=1.0) if axis.high is None else axis.high
    if axis.scale == "nines":
        return Scale(0.0, max(high, 90.0), _nines, tuple(tick for tick in _percentiles() if tick[0] <= max(high, 90.0)))
    if axis.scale == "log":
        return _logarithmic(axis, low, high)
    if high - low < 1 / LARGEST:  # nearer to each other than numbers can tell
        nothing = max(abs(low), abs(high)) < 1 / LARGEST
        low, high = (0.0, 1.0) if nothing else (low - abs(low) / 2, high + abs(high) / 2)
    step = _step(high - low)
    if axis.low is None:
        low = math.floor(low / step) * step
    if axis.high is None:
        high = math.ceil(high / step - 1e-9) * step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    ticks = axis.ticks or tuple((each * step, _short(each * step)) for each in range(first, last + 1))
    return Scale(low, high, float, ticks)


def _logarithmic(axis: Axis, low: float, high: float) -> Scale:
    if axis.ticks:  # of few round values: a little room on both sides
        return Scale(low / 1.15, high * 1.15, math.log10, axis.ticks)
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    last = max(last, first + 1)
    between = (1, 2, 5) if last - first <= 2 else (1,)
    ticks = [digit * 10.0**power for power in range(first, last + 1) for digit in between]
    ends = 10.0**first, 10.0**last
    every = 1 + (last - first) // 8
    kept = ticks if len(between) > 1 else ticks[::every]
    return Scale(*ends, math.log10, tuple((tick, _short(tick)) for tick in kept if ends[0] <= tick <= ends[1] * 1.001))


def _nines(percent: float) -> float:
    return -math.log10(1 - percent / 100)


def _percentiles() -> Iterable[Tick]:
    yield 0.0, "0"
    yield 50.0, "50"
    for nines in range(1, NINES + 1):
        percent = 100 - 10.0 ** (2 - nines)
        yield percent, f"{percent:.{max(0, nines - 2)}f}"


def _step(span: float) -> float:
    """The round step that divides `span` into five or so."""
    power = 10.0 ** math.floor(math.log10(span / 5))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= span / 5 * 0.999)


def _short(value: float) -> str:
    """`value` as a tick: without digits that say nothing, large ones by their prefix."""
    if abs(value) < 1e-12:
        return "0"
    for size, prefix in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if prefix == 'k' else size):.4g}{prefix}"
    return f"{value:.4g}"
