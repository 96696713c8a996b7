"""A comparison as parts of a report: what differs beside the results, then the changes, then what it comes to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from operator import itemgetter

from nvbench.comparison.base import Change, Comparison, Difference, Side, Verdict
from nvbench.comparison.identity import rank
from nvbench.comparison.matching import check_names
from nvbench.comparison.power import Power
from nvbench.metrics import NOTHING, Better, Metric
from nvbench.report.columns import Column, Layout, Row
from nvbench.report.document import Heading, Listing, Paragraph, Part, Points

SHOWN = 5
"""Runs or cases that a line names."""

MOST_ROWS = 400
"""Of a table for people; the other forms have all."""

SMALL = 0.01
"""Of a rate in the unit in which reports have it: below it another is taken."""

LONG = 60
"""Characters above which of two values only the words are told that differ."""

MARKS = {Verdict.IMPROVED: "▲", Verdict.REGRESSED: "▼", Verdict.NO_CHANGE: "~", Verdict.NOT_ENOUGH: "?"}
_WORST = (Verdict.REGRESSED, Verdict.IMPROVED, Verdict.NO_CHANGE, Verdict.NOT_ENOUGH)

_PLAIN = {"topology": "P2P", "mtu": "1500", "guest": "", "direction": "unidirectional"}
"""Not said where all cases have it."""

_SAID = {"generator": "{} generator", "flows": "flows: {}", "queues": "queues: {}", "mtu": "MTU {}", "guest": "in {}"}
_SAID |= {"load": "at {}", "frame_bytes": "{} B", "vlan": "VLAN {}", "vary": "flows differ in {}", "imix": "IMIX {}"}
_SAID |= {"pcap": "frames of {}"}
_HEADINGS = {"frame_bytes": "Frame\nB", "imix": "IMIX", "pcap": "Frames of", "mtu": "MTU", "vlan": "VLAN"}


def comparison_parts(
    comparison: Comparison, rows: Sequence[str] = (), columns: Sequence[str] = (), power: Sequence[Power] = ()
) -> list[Part]:
    """The whole comparison.

    Args:
        comparison: What was compared.
        rows: Names by which cases are put together, a row each: `datapath`, `frame_bytes`, a setting.
        columns: Names whose values stand side by side.
        power: What each change could have shown; empty to leave that out.

    Raises:
        UsageError: No case has a name of `rows` or `columns`.
    """
    known = [name for name, _ in _values(comparison.changes)]
    check_names(rows, known, "--row")
    check_names(columns, known, "--col")
    parts: list[Part] = [Heading(f"{_runs(comparison.new)} against {_runs(comparison.base)}", 1)]
    sides = [(told, names) for told, names in (("base", comparison.base), ("new", comparison.new)) if len(names) > 1]
    parts += [Points(tuple(f"{told}: {_some(names)}" for told, names in sides))] if sides else []
    parts += surroundings(comparison.differences)
    grouped = bool(rows or columns)
    for changes in map(_readable, _tables(comparison.changes)):
        parts += _regrouped(changes, rows, columns) if grouped else _changes(changes)
    if grouped and columns:
        legend = ", ".join(f"{mark} {verdict}" for verdict, mark in MARKS.items())
        parts.append(Paragraph(f"{legend}; of several cases the geometric mean of their changes, and the worst mark"))
    parts += _power(power, comparison)
    return [*parts, Heading("Verdict"), Points(tuple(_summary(comparison)))]


def verdict_line(comparison: Comparison) -> str:
    """How many changes have which verdict, and whether the environments differ."""
    counts = [f"{count} {verdict}" for verdict in Verdict if (count := comparison.count(verdict))]
    return ", ".join([*counts, *(["environments differ"] if comparison.environments_differ else [])])


def _runs(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{len(names)} runs"


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:SHOWN]) + (f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")


# -- above the numbers ---------------------------------------------------------------------------------------------


def surroundings(differences: Sequence[Difference]) -> Iterator[Part]:
    """What differs beside the results: what is compared on purpose, then all else."""
    expected = [each for each in differences if each.expected]
    others = [each for each in differences if not each.expected]
    if expected:
        yield Heading("Compared")
        yield _differences(expected)
    if others:
        yield Heading("Environments differ")
        yield _differences(others)
    elif not expected:
        yield Paragraph("Nothing is known to differ but the results.")


def _differences(differences: Sequence[Difference]) -> Listing:
    rows = [
        {"name": each.name, **dict(zip(("base", "new"), _apart(each.base, each.new), strict=True))}
        for each in differences
    ]
    columns = [Column(name.capitalize(), itemgetter(name), words=True) for name in ("base", "new")]
    return Listing(Layout([Column("What", itemgetter("name"), words=True)], [columns], []), rows)


def _apart(base: str, new: str) -> tuple[str, str]:
    """Two values; of long ones the words that the other has not."""
    if max(len(base), len(new)) <= LONG or " " not in base + new:
        return base, new
    words = base.split(), new.split()
    own = [[word for word in words[side] if word not in words[1 - side]] for side in (0, 1)]
    base, new = (" ".join(["...", *told]) if told else "..." for told in own)
    return base, new


# -- changes -------------------------------------------------------------------------------------------------------


def _tables(changes: Iterable[Change]) -> Iterator[list[Change]]:
    """Changes of one metric of one test."""
    found: dict[tuple[str, str], list[Change]] = {}
    for change in changes:
        found.setdefault((change.test, change.metric.name), []).append(change)
    yield from found.values()


def _readable(changes: Sequence[Change]) -> Sequence[Change]:
    """The same, with a rate in a smaller unit where most digits would be zeros."""
    metric = changes[0].metric
    largest = max((side.median or 0.0 for change in changes for side in (change.base, change.new)), default=0.0)
    if metric.unit not in ("pps", "bit/s") or not 0 < largest * metric.scale < SMALL:
        return changes
    scale, prefix = (1e-3, "k") if largest >= 1e3 else (1.0, "")
    smaller = replace(metric, scale=scale, shown_unit=f"{prefix}{metric.unit}")
    return [replace(change, metric=smaller) for change in changes]


def _values(changes: Iterable[Change]) -> list[tuple[str, list[str]]]:
    """What names cases, with all values."""
    found: dict[str, dict[str, None]] = {}
    identities = [dict(change.identity) for change in changes]
    for name in dict.fromkeys(name for told in identities for name in told):
        found[name] = dict.fromkeys(told.get(name, "") for told in identities)
    return [(name, list(values)) for name, values in found.items()]


def _title(changes: Sequence[Change]) -> Iterator[Part]:
    metric = changes[0].metric
    way = {Better.HIGHER: ", more is better", Better.LOWER: ", less is better", Better.NEITHER: ""}[metric.better]
    unit = "" if metric.shown_unit in (metric.label, "1") else f", {metric.shown_unit}"
    name = changes[0].test.replace("_", " ")
    label = metric.label if metric.label.isupper() else metric.label[0].lower() + metric.label[1:]
    yield Heading(f"{name}: {label}{unit}{way}")
    same = [
        _SAID.get(name, f"{name}: {{}}" if name not in _PLAIN and name not in _BARE else "{}").format(values[0])
        for name, values in _values(changes)
        if len(values) == 1 and name != "test" and values[0] != _PLAIN.get(name)
    ]
    if same:
        yield Paragraph(", ".join(same))


_BARE = ("datapath", "goal")


def _changes(changes: Sequence[Change]) -> Iterator[Part]:
    yield from _title(changes)
    names = [name for name, values in _values(changes) if len(values) > 1] or ["datapath"]
    groups = [[_BASE, _NEW, _CHANGE], [_INTERVAL, _P, _N]]
    shown = _first(changes)
    yield Listing(Layout([_named(name) for name in names], groups, [_VERDICT]), [_row(change) for change in shown])
    if len(shown) < len(changes):
        yield Paragraph(f"{len(changes) - len(shown)} more are left out here; --format json or csv has them all")
    told = any(change.verdict is not Verdict.NOT_ENOUGH for change in changes) and len(changes) > 1
    if told and (mean := geometric_mean(changes)) is not None:
        yield Paragraph(f"geometric mean of {_known(changes)} changes: {_percent(mean)}")


def _first(changes: Sequence[Change]) -> Sequence[Change]:
    """Those that a table has room for: what has changed before what has not, in the order in which they were."""
    if len(changes) <= MOST_ROWS:
        return changes
    order = sorted(range(len(changes)), key=lambda place: _WORST.index(changes[place].verdict))
    return [changes[place] for place in sorted(order[:MOST_ROWS])]


def _row(change: Change) -> Row:
    return {**dict(change.identity), "change": change}


def _named(name: str) -> Column:
    heading = _HEADINGS.get(name, name.rpartition(".")[2].replace("_", "\n").capitalize())
    return Column(heading, lambda row: str(row.get(name, NOTHING)), words=name in ("datapath", "topology", "direction"))


def _of(show: Callable[[Change], str]) -> Callable[[Row], str]:
    return lambda row: show(row["change"])


def _middle(metric: Metric, side: Side) -> str:
    """A median, with how far its interval reaches at most."""
    if side.low is None or side.high is None or not side.median:
        return metric.text(side.median)
    reach = max(side.high - side.median, side.median - side.low) / side.median
    return f"{metric.text(side.median)} ± {_digits(reach)} %"


def _digits(share: float) -> str:
    percent = abs(share) * 100
    return f"{percent:.2f}" if percent < 10 else f"{percent:.1f}" if percent < 100 else f"{percent:.0f}"


def _percent(share: float | None, unknown: str = NOTHING) -> str:
    if share is None:
        return unknown
    return f"{'-' if share < 0 else '+'}{_digits(share)} %" if share else "0 %"


def _interval(change: Change) -> str:
    if change.low is None and change.high is None:
        return NOTHING
    low, high = (_percent(end, "?").removesuffix(" %") for end in (change.low, change.high))
    return f"{low} to {high} %"


def _p(change: Change) -> str:
    if change.p_adjusted is None:
        return NOTHING
    return f"{change.p_adjusted:.3f}" if change.p_adjusted >= 0.001 else f"{change.p_adjusted:.0e}".replace("e-0", "e-")


def _n(change: Change) -> str:
    return f"{len(change.base.observations)}+{len(change.new.observations)}"


_BASE = Column("Base", _of(lambda change: _middle(change.metric, change.base)))
_NEW = Column("New", _of(lambda change: _middle(change.metric, change.new)))
_CHANGE = Column("Change", _of(lambda change: _percent(change.change)))
_INTERVAL = Column("95 % interval", _of(_interval))
_P = Column("p\nadjusted", _of(_p))
_N = Column("n", _of(_n))
_VERDICT = Column(
    "Verdict", _of(lambda change: f"{change.verdict}{f': {change.reason}' if change.reason else ''}"), words=True
)


def geometric_mean(changes: Iterable[Change]) -> float | None:
    """Of the ratios new / base, less 1; None where none is known, or one is 0."""
    ratios = [change.change + 1 for change in changes if change.change is not None]
    if not ratios or min(ratios) <= 0:
        return None
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) - 1


def _known(changes: Iterable[Change]) -> int:
    return sum(change.change is not None for change in changes)


# -- regrouped -----------------------------------------------------------------------------------------------------


def _regrouped(changes: Sequence[Change], rows: Sequence[str], columns: Sequence[str]) -> Iterator[Part]:
    yield from _title(changes)
    names = rows or [name for name, values in _values(changes) if len(values) > 1 and name not in columns]
    found: dict[tuple[str, ...], list[Change]] = {}
    for change in changes:
        found.setdefault(_at(change, names), []).append(change)
    table = [
        {**dict(zip(names, key, strict=True)), "changes": found[key]}
        for key in sorted(found, key=lambda k: [*map(rank, k)])
    ]
    identity = [_named(name) for name in names] or [Column("", lambda _: "all", words=True)]
    yield Listing(Layout(identity, [_pivot(changes, columns) if columns else _COUNTS], []), table)


def _at(change: Change, names: Iterable[str]) -> tuple[str, ...]:
    told = dict(change.identity)
    return tuple(told.get(name, NOTHING) for name in names)


def _pivot(changes: Sequence[Change], names: Sequence[str]) -> list[Column]:
    keys = sorted({_at(change, names) for change in changes}, key=lambda key: [*map(rank, key)])
    return [Column("\n".join(key), partial(_cell, names, key)) for key in keys]


def _cell(names: Sequence[str], key: tuple[str, ...], row: Row) -> str:
    own = [change for change in row["changes"] if _at(change, names) == key]
    if not own:
        return NOTHING
    worst = min((change.verdict for change in own), key=_WORST.index)
    return f"{_percent(geometric_mean(own))} {MARKS[worst]}"


def _count(verdict: Verdict, row: Row) -> str:
    return str(sum(change.verdict is verdict for change in row["changes"]))


_COUNTS = [
    Column("Cases", lambda row: str(len(row["changes"]))),
    Column("Change", lambda row: _percent(geometric_mean(row["changes"]))),
    *(Column(verdict.replace(" ", "\n", 1).capitalize(), partial(_count, verdict)) for verdict in Verdict),
]


# -- below the numbers ---------------------------------------------------------------------------------------------


def _power(power: Sequence[Power], comparison: Comparison) -> Iterator[Part]:
    if not power:
        return
    yield Heading("Power")
    told = "the smallest change that so many samples a side find four times in five, and how many find"
    yield Paragraph(f"Noise from measurement to measurement, {told} {_digits(comparison.min_change)} %.")
    names = [name for name, values in _values(comparison.changes) if len(values) > 1] or ["datapath"]
    kept = {id(each) for each in _first([each.change for each in power])}
    rows: list[Row] = [{**_row(each.change), "power": each} for each in power if id(each.change) in kept]
    columns = [
        Column("Noise", lambda row: NOTHING if row["power"].noise is None else f"{_digits(row['power'].noise)} %"),
        Column("n", lambda row: str(row["power"].count)),
        Column(
            "Smallest\nchange",
            lambda row: NOTHING if row["power"].smallest is None else f"{_digits(row['power'].smallest)} %",
        ),
        Column("Samples\nneeded", lambda row: str(row["power"].needed or NOTHING)),
    ]
    metric = Column("Metric", lambda row: row["change"].metric.name, words=True)
    reason = Column("", lambda row: row["power"].reason, words=True)
    yield Listing(Layout([*map(_named, names), metric], [columns], [reason]), rows)


def _summary(comparison: Comparison) -> Iterator[str]:
    yield verdict_line(comparison)
    limits = f"alpha {comparison.alpha:g}, smallest change of interest {_digits(comparison.min_change)} %"
    yield f"{comparison.method}; {limits}"
    if any(change.base.low is None or change.new.low is None for change in comparison.changes):
        yield "a median has an interval from 6 samples on"
    for told, cases in (("base", comparison.only_base), ("new", comparison.only_new)):
        if cases:
            yield f"only in {told}: {len(cases)} {'case' if len(cases) == 1 else 'cases'}: {_some(cases)}"
    yield from (f"warning: {text}" for text in comparison.warnings)
