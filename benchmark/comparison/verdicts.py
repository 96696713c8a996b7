"""What can be said of a change: whether it is more than noise, whether it is large enough, and which way it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from statistics import median

from nvbench import stats
from nvbench.comparison.base import Change, Observation, Side, Verdict
from nvbench.comparison.matching import Match
from nvbench.errors import UsageError
from nvbench.metrics import Better, Metric
from nvbench.stats import Bounds, Tested


class Correction(StrEnum):
    """How p values are adjusted for the number of tests."""

    HOLM = "holm"
    BH = "bh"


@dataclass(frozen=True, slots=True)
class Criteria:
    """By what a comparison judges.

    Attributes:
        alpha: Chance of a false alarm over the whole comparison, or with `bh` the share of false ones among the alarms.
        min_change: Smallest relative change of interest.
        correction: How p values are adjusted.
        metrics: Metrics to judge by; empty for each test's own.
        filter: Cases to compare: `frame_bytes:64 datapath:ovs*`.
        expect: Globs of differences that the comparison is about; None for the versions of what was measured.
        mix_simulated: Whether simulated and real devices may be compared.
    """

    alpha: float = 0.05
    min_change: float = 0.01
    correction: Correction = Correction.HOLM
    metrics: tuple[str, ...] = ()
    filter: str = ""
    expect: tuple[str, ...] | None = None
    mix_simulated: bool = False

    def __post_init__(self) -> None:
        if self.correction not in tuple(Correction):
            names = ", ".join(Correction)
            raise UsageError("is no correction", place=f"--correction {self.correction}", remedy=f"one of: {names}")
        for option, value, least in (("--alpha", self.alpha, 1e-9), ("--min-change", self.min_change, 0.0)):
            if not least <= value < 1:
                raise UsageError("not between 0 and 1", place=f"{option} {value:g}", remedy="5 % is 0.05")


@dataclass(frozen=True, slots=True)
class Sampled:
    """A metric of a case on both sides, before it is judged.

    Attributes:
        match: The case.
        metric: The metric.
        base: Observations before.
        new: And after.
        pairs: Those of both that were measured in turn, by twos; empty where none were.
        note: What else a reader must know of it.
    """

    match: Match
    metric: Metric
    base: tuple[Observation, ...]
    new: tuple[Observation, ...]
    pairs: tuple[tuple[Observation, Observation], ...] = ()
    note: str = ""


def judge(samples: Sequence[Sampled], criteria: Criteria, varied: frozenset[str]) -> tuple[tuple[Change, ...], str]:
    """A verdict for each, and the method in words.

    Only tests that could reach `alpha` at all count among the many that p values are adjusted for (Tarone 1990).
    """
    count = sum(1 for each in samples if each.base and each.new)
    designs = [_in_turn(each, criteria.alpha / max(1, count)) for each in samples]
    tested = [_tested(each, in_turn) for each, in_turn in zip(samples, designs, strict=True)]
    family = [place for place, test in enumerate(tested) if test.least_p <= criteria.alpha]
    adjust = stats.holm if criteria.correction == Correction.HOLM else stats.benjamini_hochberg
    adjusted = dict(zip(family, adjust([tested[place].p for place in family]), strict=True))
    changes = tuple(
        _judged(each, designs[place], tested[place], (adjusted.get(place), len(family)), criteria, varied)
        for place, each in enumerate(samples)
    )
    return changes, _method(designs, criteria)


def _method(designs: Sequence[bool], criteria: Criteria) -> str:
    tests = ["Mann-Whitney test"] if not all(designs) or not designs else []
    tests += ["Wilcoxon signed-rank test over blocks"] if any(designs) else []
    named = {Correction.HOLM: "Holm", Correction.BH: "Benjamini-Hochberg"}
    return f"{' and '.join(tests)}, exact, adjusted by {named[criteria.correction]}"


def _in_turn(sampled: Sampled, alpha: float) -> bool:
    """Whether pairs are tested: where there are enough of them to reach what the correction asks for.

    Fewer are tested as two samples: the sides share whatever the bench's drift added, so that this claims too little
    rather than too much. The choice depends on numbers of measurements alone, not on what they are.
    """
    return bool(sampled.pairs) and stats.least_paired_p(len(sampled.pairs)) <= alpha


def bounds(observation: Observation) -> Bounds:
    """Between which values the truth of an observation lies."""
    if observation.lower is None:
        return observation.value, observation.value
    return observation.lower, float("inf") if observation.upper is None else observation.upper


def _tested(sampled: Sampled, in_turn: bool) -> Tested:
    if in_turn:
        base, new = zip(*sampled.pairs, strict=True)
        return stats.paired([*map(bounds, base)], [*map(bounds, new)])
    return stats.rank_sum([*map(bounds, sampled.base)], [*map(bounds, sampled.new)])


def _judged(
    sampled: Sampled,
    in_turn: bool,
    tested: Tested,
    adjusted: tuple[float | None, int],
    criteria: Criteria,
    varied: frozenset[str],
) -> Change:
    base, new = _side(sampled.base), _side(sampled.new)
    change = new.median / base.median - 1 if base.median and new.median is not None else None
    if base.median == new.median == 0:
        change = 0.0
    low, high = _interval(sampled, in_turn, change)
    verdict, reason = _verdict(sampled, tested, adjusted, change, criteria)
    told = dict(sampled.match.identity)
    return Change(
        case_id=sampled.match.base.case_id,
        test=told["test"],
        goal=told.get("goal") or told.get("load") or "",
        metric=sampled.metric,
        identity=tuple(pair for pair in sampled.match.identity if pair[0] in varied),
        base=base,
        new=new,
        change=change,
        low=low,
        high=high,
        p=tested.p if base.observations and new.observations else None,
        p_adjusted=adjusted[0],
        verdict=verdict,
        reason="; ".join(text for text in (reason, sampled.note) if text),
    )


def _side(observations: tuple[Observation, ...]) -> Side:
    values = [each.value for each in observations]
    low, high = stats.median_interval(values) or (None, None)
    return Side(observations, median(values) if values else None, low, high)


def _interval(sampled: Sampled, in_turn: bool, change: float | None) -> tuple[float | None, float | None]:
    """Ends of the change's interval, wide enough to hold the change itself; None for one that is not known."""
    if change is None:
        return None, None
    if in_turn:
        base, new = zip(*sampled.pairs, strict=True)
        found = stats.paired_ratio_interval([*map(bounds, base)], [*map(bounds, new)])
    else:
        found = stats.ratio_interval([*map(bounds, sampled.base)], [*map(bounds, sampled.new)])
    if found is None:
        return None, None
    low, high = min(found[0] - 1, change), max(found[1] - 1, change)
    return low, None if high == float("inf") else high


def _verdict(
    sampled: Sampled,
    tested: Tested,
    adjusted: tuple[float | None, int],
    change: float | None,
    criteria: Criteria,
) -> tuple[Verdict, str]:
    if lacking := _lacking(sampled, criteria.alpha):
        return Verdict.NOT_ENOUGH, lacking
    if tested.least_p > criteria.alpha:
        return (Verdict.NO_CHANGE, _tied(sampled)) if tested.least_p == 1 else (Verdict.NOT_ENOUGH, TOO_ALIKE)
    p, tests = adjusted
    if tested.p > criteria.alpha or p is None:
        return Verdict.NO_CHANGE, "within noise"
    if p <= criteria.alpha:
        return _significant(sampled, tested, change, criteria.min_change)
    if tested.least_p * tests <= criteria.alpha:
        return Verdict.NO_CHANGE, f"within the noise of {tests} tests"
    needed = f"{least_count(criteria.alpha / tests)} samples a side are needed"
    return Verdict.NOT_ENOUGH, f"p {tested.p:.2g} is too much among {tests} tests, {needed}"


def _significant(sampled: Sampled, tested: Tested, change: float | None, least: float) -> tuple[Verdict, str]:
    """Of a change that is more than noise."""
    if change is not None and abs(change) < least:
        return Verdict.NO_CHANGE, "below the smallest change of interest"
    if change is not None and change * tested.sign <= 0:
        return Verdict.NO_CHANGE, "medians and ranks say different things"
    if sampled.metric.better is Better.NEITHER:
        return Verdict.NO_CHANGE, "differs, and neither way is better"
    better = (tested.sign > 0) == (sampled.metric.better is Better.HIGHER)
    more = sampled.new if tested.sign > 0 else sampled.base
    reason = "at least this: the greater side was not at its limit" if any(map(_endless, more)) else ""
    return Verdict.IMPROVED if better else Verdict.REGRESSED, reason if change is not None else "from 0"


TOO_ALIKE = "too many samples are alike"


def _lacking(sampled: Sampled, alpha: float) -> str:
    """What there is too little of; empty where there is enough."""
    unmeasured = [case.unmeasured(sampled.metric) for case in (sampled.match.base, sampled.match.new)]
    counts = [len(sampled.base), len(sampled.new)]
    if not all(counts):
        told = [text for count, own in zip(counts, unmeasured, strict=True) for text in own if not count and text]
        where = "either side" if not any(counts) else "the base side" if not counts[0] else "the new side"
        return f"no value on {where}{f': {told[0]}' if told else ''}"
    if stats.least_p(*counts) <= alpha:
        return ""
    few = "1 sample on a side" if min(counts) == 1 else f"{counts[0]} and {counts[1]} samples"
    need = f"{few}, of {least_count(alpha)} that are needed"
    if missing := [text for own in unmeasured for text in own]:
        need += f"; {len(missing)} more without a value: {missing[0]}"
    return f"{need}; the search's intervals overlap" if _overlap(sampled) else need


def _overlap(sampled: Sampled) -> bool:
    """Whether a search could not tell any two measurements of both sides apart."""
    searched = [*sampled.base, *sampled.new]
    if any(each.lower is None for each in searched):
        return False
    return all(
        bounds(one)[0] < bounds(other)[1] and bounds(other)[0] < bounds(one)[1]
        for one in sampled.base
        for other in sampled.new
    )


def _endless(observation: Observation) -> bool:
    """Whether it would have been greater with more to offer."""
    return observation.lower is not None and observation.upper is None


def _tied(sampled: Sampled) -> str:
    """Why no two samples can be told apart."""
    if all(each.value == 0 for each in (*sampled.base, *sampled.new)):
        return "0 on both sides"
    if all(map(_endless, (*sampled.base, *sampled.new))):
        return "at the limit of what could be offered on both sides"
    return "the search's intervals overlap" if _overlap(sampled) else "the same on both sides"


@cache
def least_count(alpha: float) -> int:
    """The fewest samples a side with which a p value can be as low as `alpha`."""
    return next(count for count in range(1, 10_000) if stats.least_p(count, count) <= alpha)
