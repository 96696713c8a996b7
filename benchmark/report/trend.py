"""A trend on a terminal, in Markdown, as JSON and as CSV: a line a case, and below it where it changed."""

from __future__ import annotations

import csv
import io
import json
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import pairwise
from statistics import median
from typing import Any

from nvbench.comparison.base import Verdict
from nvbench.comparison.identity import CORE
from nvbench.metrics import Metric, number
from nvbench.report.columns import Column, Layout
from nvbench.report.document import Heading, Listing, Paragraph, Part, Points
from nvbench.runs import Run
from nvbench.trend.changepoints import LEAST_SIDE
from nvbench.trend.series import Series, Shift, Trend

BARS = "▁▂▃▄▅▆▇█"
LEAST_SPARK, MOST_SPARK = 8, 60
"""Characters of a sparkline."""

FULL_HEIGHT = 5
"""Smallest changes of interest that a sparkline's height spans at least, so that noise does not look like change."""

SHOWN = 6
"""Differences between two runs that are named."""

_SAID = {
    "frame_bytes": "{} B",
    "queues": "{} queues",
    "flows": "{} flows",
    "mtu": "MTU {}",
    "vlan": "VLAN {}",
    "load": "at {}",
    "imix": "mix {}",
    "pcap": "frames of {}",
    "vary": "vary {}",
    "generator": "{} generator",
}
_CHANGED = "changed"


def labels(trend: Trend) -> tuple[list[str], str]:
    """What tells each series from the others, and what all of them share, in words."""
    told = [dict(series.identity) for series in trend.series]
    names = list(dict.fromkeys(name for series in told for name in series))
    varied = [name for name in names if len({series.get(name, "") for series in told}) > 1]
    apart = [", ".join(_say(name, series[name]) for name in varied if name in series) for series in told]
    same = [_say(name, told[0][name]) for name in names if name not in varied and name in CORE]
    return [text or series.case_id for text, series in zip(apart, trend.series, strict=True)], ", ".join(same)


def _say(name: str, value: str) -> str:
    if name in CORE:
        said = _SAID.get(name, "{}").format(value).replace("_", " " if name == "test" else "_")
        return said[:-1] if value == "1" and said.endswith("s") else said
    return {"on": name, "off": f"no {name}"}.get(value, f"{name} {value}")


def title(trend: Trend) -> str:
    """What it is a trend of: `Rate of 10ge-forwarding on local, 24 runs from 2026-01-01 to 2026-01-24`."""
    first, last = trend.runs[0], trend.runs[-1]
    count = "1 run" if len(trend.runs) == 1 else f"{len(trend.runs)} runs"
    days = " to ".join(dict.fromkeys(f"{run.started_at:%Y-%m-%d}" for run in (first, last)))
    words = [label for label in ("quick", "simulated") if getattr(last, label)]
    profiles = ", ".join(dict.fromkeys(run.profile_name for run in trend.runs))
    return ", ".join([f"{trend.metric.name} of {profiles} on {last.testbed_name}", f"{count} from {days}", *words])


def sparkline(values: Sequence[float], width: int, least_range: float) -> str:
    """Values as bars; neighbours share one where there are more of them than `width`.

    Args:
        values: In order.
        width: Characters.
        least_range: The least difference that goes from the lowest to the highest bar.
    """
    size = max(1, math.ceil(len(values) / width))
    shown = [median(values[start : start + size]) for start in range(0, len(values), size)]
    least, most = min(shown), max(shown)
    spread = max(most - least, least_range)
    base = least - (spread - (most - least)) / 2
    top = len(BARS) - 1
    return "".join(BARS[round((value - base) / spread * top) if spread else top // 2] for value in shown)


# -- terminal ------------------------------------------------------------------------------------------------------


def as_lines(trend: Trend, width: int) -> list[str]:
    """The trend for a terminal of this width."""
    names, same = labels(trend)
    lines = [*textwrap.wrap(title(trend), max(width, 20)), *textwrap.wrap(same, max(width, 20)), ""]
    longest = max(map(len, names))
    levels = [_levels(trend.metric, series) for series in trend.series]
    words = [_words(series) for series in trend.series]
    told = max(map(len, levels)) + max(map(len, words)) + 6
    room = min(width, 2 * MOST_SPARK + told) - longest - told
    spark_width = max(LEAST_SPARK, min(MOST_SPARK, room, max(len(series.points) for series in trend.series)))
    for name, series, level, word in zip(names, trend.series, levels, words, strict=True):
        spark = sparkline(series.values, spark_width, _least_range(series, trend))
        line = f"{name:<{longest}}  {spark:<{spark_width}}  {level:>{max(map(len, levels))}}  {word}"
        lines += [line] if len(line) <= width else [name, *_folded(f"{spark}  {level}  {word}", 2, width)]
        lines += [text for shift in series.shifts for text in _below(trend, shift, width)]
    return [*lines, "", *(line for note in closing(trend) for line in textwrap.wrap(note, max(width, 20)))]


def _levels(metric: Metric, series: Series) -> str:
    """The median before the first shift, and after each: `14.88 -> 14.42 Mpps`."""
    ends = [0, *(shift.position for shift in series.shifts), len(series.points)]
    medians = [median(series.values[first:last]) for first, last in pairwise(ends)]
    shown = medians if len(medians) <= 2 else [medians[0], medians[-1]]
    return f"{' -> '.join(metric.text(value) for value in shown)} {metric.shown_unit}"


def _words(series: Series) -> str:
    if series.lacking:
        return series.lacking
    if not any(series.values):
        return "0 in all runs"
    if not series.shifts:
        return f"{Verdict.NO_CHANGE} in {len(series.points)} runs"
    return f"{_verdict(series.shifts[-1])}" + (f", {len(series.shifts)} changes" if len(series.shifts) > 1 else "")


def _verdict(shift: Shift) -> str:
    return str(shift.verdict or _CHANGED)


def _least_range(series: Series, trend: Trend) -> float:
    return FULL_HEIGHT * trend.criteria.min_change * abs(median(series.values))


def _below(trend: Trend, shift: Shift, width: int) -> Iterator[str]:
    """A shift, and what else differed."""
    yield from _folded(said(trend.metric, shift), 2, width)
    for text in differing(shift):
        yield from _folded(text, 6, width)


def _folded(text: str, depth: int, width: int) -> list[str]:
    blank = " " * depth
    return textwrap.wrap(text, max(width, 40), initial_indent=blank, subsequent_indent=blank + "  ")


def said(metric: Metric, shift: Shift) -> str:
    """A shift in a sentence."""
    if shift.change is None:
        size = f"{_verdict(shift)} from 0 to {metric.text(shift.new)} {metric.shown_unit}"
    else:
        known = None not in (shift.low, shift.high)
        within = f" ({_percent(shift.low)} to {_percent(shift.high)})" if known else ""
        size = f"{_verdict(shift)} by {_percent(shift.change)}{within}"
    text = f"{size}, p {shift.p:.2g}: between {_run(shift.before)} and {_run(shift.after)}"
    if shift.earliest.run_id == shift.latest.run_id:
        return text
    return f"{text}; the first run after it may be any from {_run(shift.earliest)} to {_run(shift.latest)}"


def differing(shift: Shift) -> list[str]:
    """What else differs between the runs on both sides, versions first."""
    if not shift.differences:
        return ["nothing else is known to differ between these two runs"]
    found = sorted(shift.differences, key=lambda difference: not difference.expected)
    lines = [f"{each.name}: {each.base} -> {each.new}" for each in found[:SHOWN]]
    more = len(found) - SHOWN
    return (
        [*lines, f"and {more} more: nvbench compare {shift.before.run_id} {shift.after.run_id}"] if more > 0 else lines
    )


def _percent(share: float | None) -> str:
    if share is None or math.isinf(share):
        return "any"
    return f"{'-' if share < 0 else '+'}{number(abs(share) * 100, 3)} %"


def _run(run: Run) -> str:
    return f"{run.run_id} ({run.label})" if run.label else run.run_id


def closing(trend: Trend) -> list[str]:
    """How it was judged, and what a reader must know."""
    criteria = trend.criteria
    how = (
        f"Changes of at least {criteria.min_change * 100:g} % that have lasted for {LEAST_SIDE} runs, held against "
        f"shuffles of the runs; of the cases said to have changed, at most {criteria.alpha * 100:g} % are false alarms."
    )
    return [*trend.notes, how]


# -- documents -----------------------------------------------------------------------------------------------------


def trend_parts(trend: Trend) -> list[Part]:
    """The trend as a document."""
    names, same = labels(trend)
    rows = [{"series": series, "name": name} for name, series in zip(names, trend.series, strict=True)]
    columns = [
        Column("Case", lambda row: row["name"], words=True),
        Column("Runs", lambda row: str(len(row["series"].points))),
        Column("Trend", lambda row: sparkline(row["series"].values, 30, _least_range(row["series"], trend))),
        Column("Level", lambda row: _levels(trend.metric, row["series"])),
        Column("Verdict", lambda row: _words(row["series"]), words=True),
    ]
    parts: list[Part] = [Heading(title(trend), 1), *([Paragraph(same)] if same else [])]
    parts.append(Listing(Layout(columns[:1], [columns[1:4]], columns[4:]), rows))
    for name, series in zip(names, trend.series, strict=True):
        if series.shifts:
            parts.append(Heading(name))
            parts += [
                part
                for shift in series.shifts
                for part in (Paragraph(said(trend.metric, shift)), Points(tuple(differing(shift))))
            ]
    return [*parts, *map(Paragraph, closing(trend))]


def as_json(trend: Trend) -> str:
    """All of it, in base units."""
    told = {
        "metric": trend.metric.name,
        "unit": trend.metric.unit,
        "better": trend.metric.better,
        "criteria": asdict(trend.criteria),
        "runs": [
            {"run_id": run.run_id, "label": run.label, "started_at": run.started_at.isoformat()} for run in trend.runs
        ],
        "series": [_series(series) for series in trend.series],
        "notes": trend.notes,
    }
    return json.dumps(told, indent=2) + "\n"


def _series(series: Series) -> dict[str, Any]:
    return {
        "case_id": series.case_id,
        "identity": dict(series.identity),
        "verdict": series.verdict or _CHANGED,
        "lacking": series.lacking,
        "points": [{"run_id": point.run.run_id, "value": point.value} for point in series.points],
        "changes": [_shift(shift) for shift in series.shifts],
    }


def _shift(shift: Shift) -> dict[str, Any]:
    runs = {name: getattr(shift, name).run_id for name in ("before", "after", "earliest", "latest")}
    numbers = {name: _finite(getattr(shift, name)) for name in ("base", "new", "change", "low", "high", "p")}
    verdict = {"verdict": _verdict(shift), "position": shift.position}
    return {**runs, **numbers, **verdict, "differences": [asdict(each) for each in shift.differences]}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def as_csv(trend: Trend) -> str:
    """A line a case and run, in base units; a run that begins a new level says by how much."""
    names = list(dict.fromkeys(name for series in trend.series for name, _ in series.identity))
    file = io.StringIO()
    known = ["case_id", "run_id", "label", "started_at", "metric", "unit", "value", "level", "change", "p", "verdict"]
    writer = csv.DictWriter(file, [*known, *names], restval="", lineterminator="\n")
    writer.writeheader()
    for series in trend.series:
        level = median(series.values[: series.shifts[0].position] if series.shifts else series.values)
        shifts = {shift.position: shift for shift in series.shifts}
        for place, point in enumerate(series.points):
            row = {"case_id": series.case_id, "run_id": point.run.run_id, "label": point.run.label}
            row |= {"started_at": point.run.started_at.isoformat(), "metric": trend.metric.name}
            change: dict[str, Any] = {}
            if shift := shifts.get(place):
                level = shift.new
                change = {"change": shift.change, "p": shift.p, "verdict": _verdict(shift)}
            value = {"unit": trend.metric.unit, "value": point.value, "level": level}
            writer.writerow({**row, **value, **change, **dict(series.identity)})
    return file.getvalue()
