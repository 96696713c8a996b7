"""Horizontal bars as SVG, one below the other: medians with their whiskers, parts of a whole, changes around zero."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from nvbench.report.scales import Axis, Scale, scale
from nvbench.report.svg import element, linked, mark, picture, spelled, text

WIDTH = 560
LEFT, RIGHT = 6, 64
ROW, THICK, BOTTOM = 46, 12, 44


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar.

    Attributes:
        label: What it is of.
        values: Its length, or those of its parts.
        said: The value as printed.
        title: Said when it is hovered over.
        low: Where its whisker begins; None where it has none.
        high: Where the whisker ends.
        colour: Which of the series' colours it has, where it has one part.
        link: Anchor of what it comes from.
    """

    label: str
    values: tuple[float, ...]
    said: str
    title: str
    low: float | None = None
    high: float | None = None
    colour: int = 0
    link: str = ""


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars over one axis.

    Attributes:
        title: What they show.
        axis: Their axis, from 0 unless values lie below.
        bars: From the top downwards.
        parts: What the parts of each bar are, for the legend.
        points: Whether to draw points instead of bars: of differences, whose length says little.
    """

    title: str
    axis: Axis
    bars: tuple[Bar, ...]
    parts: tuple[str, ...] = ()
    points: bool = False


def svg(chart: Bars) -> str:
    """The bars as an SVG element."""
    ends = [0.0]
    for bar in chart.bars:
        known = (sum(bar.values), bar.low, bar.high)
        ends += [end for end in known if end is not None and math.isfinite(end)]
    scaled = scale(chart.axis, ends)
    height = ROW * len(chart.bars) + BOTTOM
    described = f"{chart.axis.label}: " + "; ".join(f"{bar.label} {bar.said}" for bar in chart.bars) + "."
    drawn = [part for number, bar in enumerate(chart.bars) for part in _bar(chart, bar, number, scaled)]
    return picture(WIDTH, height, chart.title, described, *_axis(chart, scaled, height), *drawn)


def key(colour: int) -> str:
    """A small picture of a part's colour, for a legend."""
    box = element("rect", x=7, y=0, width=12, height=12, class_="bar")
    return element("svg", element("g", box, class_=f"s{colour}"), class_="key", viewBox="0 0 26 12", aria_hidden="true")


def _x(scaled: Scale, value: float) -> float:
    return LEFT + min(1.0, max(0.0, scaled.place(value))) * (WIDTH - LEFT - RIGHT)


def _axis(chart: Bars, scaled: Scale, height: float) -> Iterator[str]:
    bottom = height - BOTTOM + 4
    for value, label in scaled.ticks:
        place = _x(scaled, value)
        line = "axis" if value == 0 else "grid"
        yield element("path", d=f"M{spelled(place)} 4V{spelled(bottom)}", class_=line)
        yield text(label, place, bottom + 16, "tick middle" if place > LEFT + 8 else "tick")
    yield text(chart.axis.label, WIDTH - RIGHT, height - 6, "label end")


def _bar(chart: Bars, bar: Bar, number: int, scaled: Scale) -> Iterator[str]:
    top = number * ROW + 24
    yield text(bar.label, LEFT + 4, top - 7, "name")
    parts = [] if chart.points else list(_lengths(bar, top, scaled))
    end = math.fsum(bar.values)
    if bar.low is not None and bar.high is not None:
        ends = (_x(scaled, bar.low), _x(scaled, bar.high))
        middle = top + THICK / 2
        parts.append(
            element(
                "path",
                d=f"M{spelled(ends[0])} {spelled(middle)}H{spelled(ends[1])}"
                + "".join(f"M{spelled(x)} {spelled(middle - 4)}v8" for x in ends),
                class_="whisker",
            )
        )
        end = max(end, bar.high)
    if chart.points:
        dot = mark("circle", _x(scaled, sum(bar.values)), top + THICK / 2, 5)
        parts.append(element("g", dot, class_=f"s{bar.colour} dot"))
    yield linked("".join(parts), bar.title, bar.link, "bars")
    yield text(bar.said, _x(scaled, max(end, 0.0)) + 8, top + THICK - 2, "value")


def _lengths(bar: Bar, top: float, scaled: Scale) -> Iterator[str]:
    begin = 0.0
    for number, value in enumerate(bar.values):
        x, end = _x(scaled, begin), _x(scaled, begin + value)
        colour = number if len(bar.values) > 1 else bar.colour
        box = element("rect", x=min(x, end), y=top, width=max(abs(end - x), 0.5), height=THICK, class_="bar")
        yield element("g", box, class_=f"s{colour}")
        begin += value
