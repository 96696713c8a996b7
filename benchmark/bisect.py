"""Judging a build in a search for the change that made a difference: is it the good run over again, or the bad one?

Each repeat of a profile becomes one number, its position on the line from the good run (0) to the bad one (1). Every
case in which the two differ counts, by the square of how much, as in least squares. A build is judged when the
mean of its positions is off the middle by more than their noise (Student's t test, alpha shared out over the looks that
are taken, after Bonferroni), and by more than a search for a rate leaves open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, median, stdev

from nvbench.comparison.base import Observation
from nvbench.comparison.matching import chosen, match
from nvbench.comparison.observations import JUDGED, Case, Side
from nvbench.errors import RunBrokeError, UsageError
from nvbench.metrics import Metric, number
from nvbench.reading import Results

MIDDLE = 0.5


class Answer(StrEnum):
    """What a build is."""

    GOOD = "good"
    BAD = "bad"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Ends:
    """A case in which the good and the bad runs differ, and the metric's medians there."""

    case: Case
    good: float
    bad: float

    @property
    def scale(self) -> float:
        """What differences are a share of."""
        return (self.good + self.bad) / 2

    @property
    def difference(self) -> float:
        """How far the bad one is from the good one."""
        return (self.bad - self.good) / self.scale


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run lies: 0 is the good end, 1 the bad one.

    Attributes:
        position: Where.
        open: Half of what a search for rates left open, on the same scale.
    """

    position: float
    open: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """The way from good to bad.

    Attributes:
        metric: By what they differ.
        side: The good runs.
        ends: Every case in which they do.
    """

    metric: Metric
    side: Side
    ends: tuple[Ends, ...]

    def __str__(self) -> str:
        most = max(self.ends, key=lambda ends: abs(ends.difference))
        values = f"good {self.metric.text(most.good)}, bad {self.metric.text(most.bad)} {self.metric.shown_unit}"
        more = f", and {len(self.ends) - 1} more" if len(self.ends) > 1 else ""
        return f"{self.metric.name} of {most.case.case_id}: {values}{more}"

    def place(self, run: Results) -> Place:
        """Where a run lies.

        Raises:
            RunBrokeError: It lacks a case in which good and bad differ.
        """
        own = Side(run, (self.metric,))
        new = {each.base.identity: each.new for each in match(self.side.cases, own.cases).both}
        position, open_, weight = 0.0, 0.0, 0.0
        for ends in self.ends:
            found = new.get(ends.case.identity)
            values = own.observations(found, self.metric, repeats=False) if found else ()
            if not values:
                why = [told for told in found.unmeasured(self.metric) if told] if found else []
                told = f" ({why[0]})" if why else ""
                raise RunBrokeError(f"no {self.metric.name} was found{told}", place=ends.case.case_id)
            value = median(each.value for each in values)
            position += ends.difference * (value - ends.good) / ends.scale
            open_ += abs(ends.difference) * median(map(_half, values)) / ends.scale
            weight += ends.difference**2
        return Place(position / weight, open_ / weight)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What can be said of a build.

    Attributes:
        answer: Good, bad, or not yet known.
        position: The mean of its places.
        p: Of its being in the middle; None for one repeat.
    """

    answer: Answer
    position: float
    p: float | None

    def __str__(self) -> str:
        p = "" if self.p is None else f", p {self.p:.2g}"
        return f"{self.answer}: at {number(self.position, 3)} from good (0) to bad (1){p}"


def line(good: Results, bad: Results, metric: Metric, min_change: float, filter: str = "") -> Line:  # noqa: A002
    """The way from good to bad.

    Args:
        good: Runs of the good build.
        bad: And of the bad one.
        metric: By what to tell them apart.
        min_change: Cases that differ by a smaller share are left out.
        filter: Cases to look at: `frame_bytes:64 datapath:ovs*`.

    Raises:
        UsageError: No case tells them apart.
    """
    one, other = Side(good, (metric,)), Side(bad, (metric,))
    both = [each for each in match(one.cases, other.cases).both if metric.name in JUDGED.get(each.base.test, ())]
    if not both:
        place = f"{good.runs[0].run_id} and {bad.runs[0].run_id}"
        raise UsageError(f"no case of both is judged by {metric.name}", place=place, remedy="`nvbench show` tells more")
    wanted = chosen(filter, [each.identity for each in both])
    known, ends = [], []
    for each in both:
        values = [
            [found.value for found in side.observations(case, metric, repeats=False)]
            for side, case in ((one, each.base), (other, each.new))
        ]
        if wanted(each.identity) and all(values):
            known.append(Ends(each.base, median(values[0]), median(values[1])))
    ends = [each for each in known if each.scale and abs(each.difference) >= max(min_change, 1e-9)]
    if not known:
        raise UsageError(f"no case of both has a value of {metric.name}", remedy="choose another --metric or --filter")
    if not ends:
        most = max((abs(each.difference) for each in known if each.scale), default=0.0)
        what = f"good and bad do not differ: {metric.name} by {number(most * 100, 2)} % at most"
        raise UsageError(what, place=f"--min-change {min_change:g}", remedy="choose another --metric, or other runs")
    return Line(metric, one, tuple(ends))


def _half(observation: Observation) -> float:
    """Half of what a search left open; nothing of any other value."""
    if observation.lower is None or observation.upper is None:
        return 0.0
    return (observation.upper - observation.lower) / 2


def judge(places: Sequence[Place], alpha: float, most: int) -> Judgement:
    """What the repeats of a build say until now.

    Args:
        places: Where each lies.
        alpha: Chance of any answer for a build that lies in the very middle.
        most: Repeats at most; a judgement is asked for after each.
    """
    mean = fmean(place.position for place in places)
    if len(places) < 2:
        return Judgement(Answer.UNDECIDED, mean, None)
    p = _p([place.position - MIDDLE for place in places])
    clear = abs(mean - MIDDLE) > median(place.open for place in places)
    if p > alpha / (most - 1) or not clear:
        return Judgement(Answer.UNDECIDED, mean, p)
    return Judgement(Answer.BAD if mean > MIDDLE else Answer.GOOD, mean, p)


def _p(values: Sequence[float]) -> float:
    """Student's t test of a mean of 0, two-sided."""
    from scipy.special import stdtr  # noqa: PLC0415 - heavy

    mean, noise = fmean(values), stdev(values) / math.sqrt(len(values))
    if not noise:
        return float(mean == 0)
    return float(2 * stdtr(len(values) - 1, -abs(mean) / noise))
