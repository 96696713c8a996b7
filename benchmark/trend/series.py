"""A metric of each case over many runs, and the changes in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from nvbench import stats
from nvbench.comparison.base import Difference, Verdict
from nvbench.comparison.identity import CORE, Identity
from nvbench.comparison.matching import Cases, chosen, match, order
from nvbench.comparison.observations import JUDGED, Case, Side
from nvbench.comparison.surroundings import differences
from nvbench.errors import UsageError
from nvbench.metrics import Better, Metric
from nvbench.reading import Results
from nvbench.runs import Run
from nvbench.trend.changepoints import NOT_SMALL, ChangePoint, chance_of_no_change, change_points, least_values


@dataclass(frozen=True, slots=True)
class Criteria:
    """By what a trend is judged.

    Attributes:
        alpha: Share of false ones among the cases that are said to have changed; where nothing changed, the chance of
            any false alarm.
        min_change: Smallest relative change of interest.
        filter: Cases to look at: `frame_bytes:64 datapath:ovs*`.
    """

    alpha: float = 0.05
    min_change: float = 0.01
    filter: str = ""

    def __post_init__(self) -> None:
        for option, value, least, most in (
            ("--alpha", self.alpha, 0.001, NOT_SMALL),
            ("--min-change", self.min_change, 0.0, 1.0),
        ):
            if not least <= value <= most:
                told = f"not between {least:g} and {most:g}"
                raise UsageError(told, place=f"{option} {value:g}", remedy="5 % is 0.05")


@dataclass(frozen=True, slots=True)
class Point:
    """The metric in one run: the median of what was measured there."""

    run: Run
    value: float


@dataclass(frozen=True, slots=True)
class Shift:
    """A change of level.

    Attributes:
        position: Index of the first point after it.
        before: The last run before it.
        after: The first run after it.
        earliest: The first run that may have been the first after it, with 95 % confidence.
        latest: The last such run.
        base: Median of the points between the shift before and this one.
        new: Median from here to the next shift.
        change: new / base - 1; None where base is 0.
        low: Lower end of its 95 % confidence interval; None where there are too few points for one.
        high: Upper end.
        p: Adjusted for all cases, to be held against the trend's alpha.
        verdict: Improved or regressed; None for a metric of which neither way is better.
        differences: What else differs between the runs on both sides.
    """

    position: int
    before: Run
    after: Run
    earliest: Run
    latest: Run
    base: float
    new: float
    change: float | None
    low: float | None
    high: float | None
    p: float
    verdict: Verdict | None
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class Series:
    """A metric of one case over the runs that measured it.

    Attributes:
        case_id: The case's name in the newest of them.
        identity: What it measures; settings that tell no cases of a run apart are left out.
        points: A point a run, the oldest first.
        shifts: Where its level changed.
        lacking: Why nothing can be said of changes; empty if it can.
    """

    case_id: str
    identity: Identity
    points: tuple[Point, ...]
    shifts: tuple[Shift, ...] = ()
    lacking: str = ""

    @property
    def values(self) -> tuple[float, ...]:
        """The points' values."""
        return tuple(point.value for point in self.points)

    @property
    def verdict(self) -> Verdict | None:
        """Of the latest shift; None where it is neither better nor worse."""
        if self.lacking:
            return Verdict.NOT_ENOUGH
        return self.shifts[-1].verdict if self.shifts else Verdict.NO_CHANGE


@dataclass(frozen=True, slots=True)
class Trend:
    """A metric over many runs.

    Attributes:
        metric: The metric.
        runs: The runs, the oldest first.
        series: A series for each case.
        criteria: By what it was judged.
        notes: What a reader must know of it, a line each.
    """

    metric: Metric
    runs: tuple[Run, ...]
    series: tuple[Series, ...]
    criteria: Criteria
    notes: tuple[str, ...] = ()

    @property
    def regressed(self) -> bool:
        """Whether the latest change of any case is for the worse."""
        return any(series.verdict is Verdict.REGRESSED for series in self.series)


def trend(
    runs: Sequence[Run],
    metric: Metric,
    criteria: Criteria = Criteria(),
    notes: Sequence[str] = (),
) -> Trend:
    """The metric over `runs`, which are in order.

    Args:
        runs: Of one bench, see `selection`.
        metric: What to look at.
        criteria: By what to judge.
        notes: What a reader must know of the runs, a line each.

    Raises:
        UsageError: No case has a value of it, or no case is asked for.
        StoreError: A table cannot be read.
    """
    side = Side(Results(tuple(runs)), (metric,))
    judged = [case for case in side.cases.values() if metric.name in JUDGED.get(case.test, ())]
    cases = _merged(judged or side.cases.values())
    wanted = chosen(criteria.filter, cases)
    if cases and not any(map(wanted, cases)):
        raise UsageError("no case is like that", place=f"--filter {criteria.filter!r}")
    found = [_series(runs, identity, alike, metric, side) for identity, alike in cases.items() if wanted(identity)]
    series = sorted((each for each in found if each.points), key=lambda each: order(each.identity))
    if not series:
        raise UsageError(f"no case has a value of {metric.name}", place=_span(runs), remedy=_others(side))
    odd = [f"{case}: {count} left out, no number or below 0" for (case, _), count in side.left_out.items()]
    explained = _explained(_judged(series, metric, criteria), metric)
    return Trend(metric, tuple(runs), tuple(explained), criteria, (*notes, *odd))


def _span(runs: Sequence[Run]) -> str:
    return runs[0].run_id if len(runs) == 1 else f"{runs[0].run_id} to {runs[-1].run_id}"


def _others(side: Side) -> str:
    """The metrics that there are."""
    names = dict.fromkeys(name for case in side.cases.values() for name in JUDGED.get(case.test, ()))
    return f"there are {', '.join(names)}" if names else "nothing was measured"


def _merged(cases: Iterable[Case]) -> dict[Identity, list[Case]]:
    """Cases by what they measure, without the settings that have one value in every run, which tell none apart.

    A prefix of a build or an option that is new in some run does not end a series.
    """
    listed = list(cases)
    values: dict[tuple[str, str], dict[tuple[str, str], set[str]]] = defaultdict(lambda: defaultdict(set))
    for case in listed:
        kind = case.test, _datapath(case.identity)
        for row in case.rows:
            for name, value in case.identity:
                values[kind][row["run_id"], name].add(value)
    apart = {kind: {name for (_, name), told in own.items() if len(told) > 1} for kind, own in values.items()}
    merged: dict[Identity, list[Case]] = defaultdict(list)
    for case in listed:
        telling = apart[case.test, _datapath(case.identity)]
        merged[tuple(pair for pair in case.identity if pair[0] in CORE or pair[0] in telling)].append(case)
    return merged


def _series(runs: Sequence[Run], identity: Identity, cases: Sequence[Case], metric: Metric, side: Side) -> Series:
    found: dict[str, list[float]] = defaultdict(list)
    for case in cases:
        for observation in side.observations(case, metric, repeats=False):
            found[observation.run_id].append(observation.value)
    points = tuple(Point(run, median(found[run.run_id])) for run in runs if found[run.run_id])
    names = {str(row["run_id"]): case.case_id for case in cases for row in case.rows}
    return Series(names[points[-1].run.run_id] if points else "", identity, points)


def _judged(series: Sequence[Series], metric: Metric, criteria: Criteria) -> Iterable[Series]:
    """The series with their shifts: cases are told to have changed as Benjamini and Hochberg (1995) do.

    The share of p values that this lets pass is then the level at which each of those cases is searched.
    """
    needed = least_values(criteria.alpha)
    long = [each for each in series if len(each.points) >= needed]
    adjusted = stats.benjamini_hochberg([chance_of_no_change(each.values) for each in long])
    changed = {each.identity for each, p in zip(long, adjusted, strict=True) if p <= criteria.alpha}
    level = criteria.alpha * len(changed) / max(1, len(long))
    for each in series:
        if len(each.points) < needed:
            yield replace(each, lacking=f"not enough runs: {len(each.points)}, a change takes {needed}")
        elif each.identity in changed:
            found = change_points(each.values, level)
            yield replace(each, shifts=_shifts(each.points, found, metric, criteria, criteria.alpha / level))
        else:
            yield each


def _shifts(
    points: Sequence[Point], found: Iterable[ChangePoint], metric: Metric, criteria: Criteria, factor: float
) -> tuple[Shift, ...]:
    """Those of the changes that are large enough; the smallest goes first, as its neighbours' sides then grow."""
    kept = list(found)
    while True:
        edges = [0, *(change.position for change in kept), len(points)]
        shifts = [
            _shift(points, (before, after), change, metric, factor)
            for before, change, after in zip(edges, kept, edges[2:], strict=False)
        ]
        sizes = [float("inf") if shift.change is None else abs(shift.change) for shift in shifts]
        if not sizes or min(sizes) >= criteria.min_change:
            return tuple(shifts)
        del kept[sizes.index(min(sizes))]


def _shift(
    points: Sequence[Point], edges: tuple[int, int], change: ChangePoint, metric: Metric, factor: float
) -> Shift:
    ends = pairwise((edges[0], change.position, edges[1]))
    before, after = ([point.value for point in points[first:last]] for first, last in ends)
    base, new = median(before), median(after)
    size = new / base - 1 if base else (0.0 if new == base else None)
    interval = None if size is None else stats.ratio_interval(stats.exactly(before), stats.exactly(after))
    runs = [point.run for point in points]
    return Shift(
        position=change.position,
        before=runs[change.position - 1],
        after=runs[change.position],
        earliest=runs[change.earliest],
        latest=runs[change.latest],
        base=base,
        new=new,
        change=size,
        low=None if interval is None or size is None else min(interval[0] - 1, size),
        high=None if interval is None or size is None else max(interval[1] - 1, size),
        p=min(1.0, change.p * factor),
        verdict=_verdict(metric, base, new),
    )


def _verdict(metric: Metric, base: float, new: float) -> Verdict | None:
    if metric.better is Better.NEITHER:
        return None
    return Verdict.IMPROVED if (new > base) == (metric.better is Better.HIGHER) else Verdict.REGRESSED


def _explained(series: Iterable[Series], metric: Metric) -> Iterator[Series]:
    """The series with what else differs on both sides of each shift; many shifts have the same sides."""
    known: dict[tuple[str, str, str], tuple[Difference, ...]] = {}

    def between(before: Run, after: Run, datapath: str) -> tuple[Difference, ...]:
        key = before.run_id, after.run_id, datapath
        if key not in known:
            base, new = Results((before,)), Results((after,))
            own, other = (_of(datapath, Side(side, (metric,)).cases) for side in (base, new))
            known[key] = differences(base, new, match(own, other), None, "")
        return known[key]

    for each in series:
        datapath = _datapath(each.identity)
        shifts = (replace(shift, differences=between(shift.before, shift.after, datapath)) for shift in each.shifts)
        yield replace(each, shifts=tuple(shifts))


def _of(datapath: str, cases: Cases) -> Cases:
    return {identity: case for identity, case in cases.items() if _datapath(identity) == datapath}


def _datapath(identity: Identity) -> str:
    return dict(identity).get("datapath", "")
