"""The first run against the others on a page: what improved, what regressed, what is within noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nvbench.comparison.base import Change, Verdict
from nvbench.errors import NvbenchError
from nvbench.reading import Results
from nvbench.report.bars import Bar, Bars
from nvbench.report.document import Card, Cards, Heading, Notice, Part, Picture, Tone
from nvbench.report.scales import Axis

if TYPE_CHECKING:
    from nvbench.comparison.base import Comparison

MOST_BARS = 12
LEGEND = "Change of the median and its 95 % interval, where known. Green improved, orange regressed, grey neither."

COLOURS = {Verdict.IMPROVED: 2, Verdict.REGRESSED: 1}
"""Of the series' colours; what is within noise has none."""
GREY = 6


def compared(results: Results) -> tuple[list[Part], list[Part]]:
    """What the summary says of the first run against the others, and the chapter of it.

    Where they cannot be compared the summary says why, and there is no chapter.
    """
    from nvbench.comparison import compare  # noqa: PLC0415 - heavy
    from nvbench.report.comparison import comparison_parts  # noqa: PLC0415

    try:
        found = compare(Results(results.runs[:1]), Results(results.runs[1:]))
    except NvbenchError as error:
        return [Notice(f"The runs are not compared: {error}", Tone.WARN)], []
    return _lead(found), [*comparison_parts(found), *change_pictures(found), *_causes(results)]


def _causes(results: Results) -> list[Part]:
    """What of the device and the hosts changed, between the first two runs."""
    from nvbench.diagnosis import contrast  # noqa: PLC0415 - heavy
    from nvbench.report.diagnosis import contrast_parts  # noqa: PLC0415

    try:
        base, new = (Results((run,)) for run in results.runs[:2])
        found = contrast(base, new)
    except NvbenchError:  # the comparison says why nothing can be compared
        return []
    told = [each for each in found if each.shifts][:MOST_BARS]
    return [Heading("What changed beside it"), *contrast_parts(told)] if told else []


def _lead(found: Comparison) -> list[Part]:
    from nvbench.report.comparison import verdict_line  # noqa: PLC0415

    cards = tuple(Card(str(found.count(verdict)), verdict.value, link="comparison") for verdict in Verdict)
    worse, better = found.count(Verdict.REGRESSED), found.count(Verdict.IMPROVED)
    told = f"{', '.join(found.new)} against {', '.join(found.base)}: {verdict_line(found) or 'nothing in common'}."
    if found.changes and found.count(Verdict.NOT_ENOUGH) == len(found.changes):
        told += " More runs are needed to tell a change from noise."
    parts: list[Part] = [Cards(cards), Notice(told, Tone.BAD if worse else Tone.GOOD if better else Tone.NOTE)]
    if found.environments_differ:
        parts.append(Notice("Environments differ: more than what is compared changed between the runs.", Tone.WARN))
    return parts


def change_pictures(found: Comparison) -> list[Part]:
    """For each metric the changes with their intervals, the largest first."""
    parts: list[Part] = []
    for metric in dict.fromkeys(change.metric for change in found.changes):
        told = [change for change in found.changes if change.metric == metric and change.change]
        told.sort(key=lambda change: -abs(change.change or 0.0))
        if told and abs(told[0].change or 0.0) >= found.min_change:
            bars = tuple(map(_bar, told[:MOST_BARS]))
            axis = Axis(f"change of {metric.label}, % ({metric.better} is better)")
            more = f" The {MOST_BARS} largest of {len(told)}." if len(told) > MOST_BARS else ""
            caption = f"{LEGEND}{more}"
            parts.append(Picture(Bars(f"Change of {metric.label}", axis, bars, points=True), caption))
    return [Heading("The largest changes"), *parts] if parts else []


def _bar(change: Change) -> Bar:
    label = ", ".join(text for text in (change.case_id, change.goal) if text)
    value = (change.change or 0.0) * 100
    low, high = (None if end is None else end * 100 for end in (change.low, change.high))
    between = "" if low is None or high is None else f" ({low:+.2f} to {high:+.2f})"
    reason = f", {change.reason}" if change.reason else ""
    said = f"{label}: {value:+.2f} %{between}, {change.verdict}{reason}"
    return Bar(label, (value,), f"{value:+.1f} %", said, low, high, COLOURS.get(change.verdict, GREY))
