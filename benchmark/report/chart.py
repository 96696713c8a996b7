"""Charts with two axes as SVG: lines, steps and points, drawn here so that a page needs no script and no library.

Colours are classes (`s0`, `s1`, ...), so that the page's style sheet decides on them, in the light and in the dark.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from nvbench.report.scales import Axis, Scale, scale, shown
from nvbench.report.svg import MARKS, element, linked, mark, picture, spelled, text

WIDTH, HEIGHT = 560, 330
LEFT, RIGHT, TOP, BOTTOM = 60, 18, 34, 50
COLOURS = 8
"""Series that can be told apart."""
REFERENCES = ("theory", "ceiling")


@dataclass(frozen=True, slots=True)
class Dot:
    """A point of a series.

    Attributes:
        x: Its place.
        y: Its value.
        title: Said when it is hovered over; without it the line passes but no mark is drawn.
        link: Anchor of what it comes from.
        hollow: Whether it is a lower bound: drawn empty.
    """

    x: float
    y: float
    title: str = ""
    link: str = ""
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """Points that belong together.

    Attributes:
        name: What they are.
        dots: The points, from left to right.
        style: `line`, `step`, or a line to hold others against: `theory` (dashed) or `ceiling` (dotted).
    """

    name: str
    dots: tuple[Dot, ...]
    style: str = "line"


@dataclass(frozen=True, slots=True)
class Chart:
    """Series over two axes."""

    title: str
    x: Axis
    y: Axis
    series: tuple[Series, ...]

    @property
    def measured(self) -> tuple[Series, ...]:
        """The series that have colours: all but those to hold others against."""
        return tuple(each for each in self.series if each.style not in REFERENCES)

    @property
    def hollow(self) -> bool:
        """Whether a point is a lower bound."""
        return any(dot.hollow for each in self.series for dot in each.dots)


def class_of(chart: Chart, series: Series) -> str:
    """The class of a series: the number of its colour, or its style."""
    return series.style if series.style in REFERENCES else f"s{chart.measured.index(series) % COLOURS}"


def svg(chart: Chart) -> str:
    """The chart as an SVG element."""
    dots = [dot for each in chart.series for dot in each.dots]
    x_scale = scale(chart.x, [dot.x for dot in dots])
    y_scale = scale(chart.y, [dot.y for dot in dots])
    described = f"{chart.y.label} over {chart.x.label}: {', '.join(each.name for each in chart.series)}."
    drawn = [part for each in chart.series for part in _series(chart, each, x_scale, y_scale)]
    return picture(WIDTH, HEIGHT, chart.title, described, *_axes(chart, x_scale, y_scale), *drawn)


def key(chart: Chart, series: Series) -> str:
    """A small picture of how a series is drawn, for a legend."""
    class_ = class_of(chart, series)
    drawn = element("path", d="M0 6H26", class_="line")
    if class_.startswith("s") and series.style == "line":
        drawn += mark(_shape(class_), 13, 6)
    group = element("g", drawn, class_=class_)
    return element("svg", group, class_="key", viewBox="0 0 26 12", aria_hidden="true")


def _shape(class_: str) -> str:
    return MARKS[int(class_[1:])]


def _x(scaled: Scale, value: float) -> float:
    return LEFT + scaled.place(value) * (WIDTH - LEFT - RIGHT)


def _y(scaled: Scale, value: float) -> float:
    return HEIGHT - BOTTOM - scaled.place(value) * (HEIGHT - TOP - BOTTOM)


def _axes(chart: Chart, x_scale: Scale, y_scale: Scale) -> Iterator[str]:
    bottom = HEIGHT - BOTTOM
    for value, label in y_scale.ticks:
        height = _y(y_scale, value)
        yield element("path", d=f"M{LEFT} {spelled(height)}H{WIDTH - RIGHT}", class_="grid")
        yield text(label, LEFT - 8, height + 4, "tick end")
    written = -100.0
    for value, label in x_scale.ticks:
        place = _x(x_scale, value)
        yield element("path", d=f"M{spelled(place)} {bottom}v5", class_="axis")
        if place - written > 9 * len(label) + 8:  # what would run into its neighbour is left out
            yield text(label, place, bottom + 20, "tick middle")
            written = place
    yield element("path", d=f"M{LEFT} {bottom}H{WIDTH - RIGHT}", class_="axis")
    yield text(chart.y.label, 4, 16, "label")
    yield text(chart.x.label, WIDTH - RIGHT, HEIGHT - 8, "label end")


def _series(chart: Chart, series: Series, x_scale: Scale, y_scale: Scale) -> Iterator[str]:
    seen = [dot for dot in series.dots if shown(chart.x, dot.x) and shown(chart.y, dot.y)]
    if not seen:
        return
    places = [(_x(x_scale, dot.x), _y(y_scale, dot.y)) for dot in seen]
    class_ = class_of(chart, series)
    parts = [element("path", d=_path(places, series.style), class_="line")] if len(places) > 1 else []
    for dot, (x, y) in zip(seen, places, strict=True):
        if dot.title:
            halo = element("circle", cx=x, cy=y, r=11, class_="halo")
            drawn = mark(_shape(class_), x, y) if class_.startswith("s") else ""
            parts.append(linked(halo + drawn, dot.title, dot.link, "dot hollow" if dot.hollow else "dot"))
    yield element("g", *parts, class_=class_)


def _path(places: Sequence[tuple[float, float]], style: str) -> str:
    (x, y), *others = places
    drawn = [f"M{spelled(x)} {spelled(y)}"]
    for along, height in others:
        drawn.append(
            f"H{spelled(along)}V{spelled(height)}" if style == "step" else f"L{spelled(along)} {spelled(height)}"
        )
    return "".join(drawn)
