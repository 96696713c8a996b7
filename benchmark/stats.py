"""Statistics that claim no more than a sample supports: exact rank tests, intervals of medians and ratios, power.

A measurement is known between bounds: a plain value between itself and itself, a rate that was searched for between
the load that passed and the one that failed. Measurements whose bounds overlap are tied; those of plain values are
tied where they are equal. With plain values `rank_sum` is the Mann-Whitney test, with bounds that of Gehan (1965).
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache, reduce
from itertools import accumulate, combinations_with_replacement
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

Bounds = tuple[float, float]

LEVEL = 0.95
EXACT_COST = 20_000_000
"""Additions up to which a null distribution is counted out; above it is taken as normal."""

ROUNDING = 1e-9
"""Of p values, which are sums of many terms: relative."""

EFFICIENCY = 3 / math.pi
"""Of rank tests relative to t tests where noise is normal (Hodges and Lehmann 1956); more where it has longer tails."""

SIMULATED_UP_TO = 30
"""Samples a side up to which power is simulated; above it is that of normal theory."""


@dataclass(frozen=True, slots=True)
class Tested:
    """What a test of "no difference" says.

    Attributes:
        p: Two-sided: twice the lesser tail, as `scipy.stats.mannwhitneyu` and `permutation_test` have it.
        least_p: The least that any order of these measurements could have reached; 1 where all are tied.
        sign: 1 where the new ones are rather greater, -1 where they are rather less, 0 where neither.
    """

    p: float
    least_p: float
    sign: int


def exactly(values: Iterable[float]) -> list[Bounds]:
    """Plain values as bounds."""
    return [(value, value) for value in values]


# -- tests ---------------------------------------------------------------------------------------------------------


def rank_sum(base: Sequence[Bounds], new: Sequence[Bounds]) -> Tested:
    """Whether two independent samples differ: the permutation test of Gehan's scores, which are ranks (Mantel 1967).

    Exact with ties, too, as it is made conditional on them (Streitberg and Roehmel 1986).
    """
    if not base or not new:
        return Tested(1.0, 1.0, 0)
    scores = _scores([*new, *base])
    total = sum(scores[: len(new)])
    few = total if len(new) <= len(base) else -total  # all scores together are 0: either side tells the whole
    return _two_sided(few, *_null(tuple(sorted(scores)), min(len(base), len(new))), sign=_sign(total))


def mann_whitney(base: Sequence[float], new: Sequence[float]) -> Tested:
    """`rank_sum` of plain values."""
    return rank_sum(exactly(base), exactly(new))


def paired(base: Sequence[Bounds], new: Sequence[Bounds]) -> Tested:
    """Whether measurements made in turn differ: Wilcoxon's signed ranks of log ratios, signs flipped within blocks.

    Pairs whose bounds overlap are neither greater nor less, and count for nothing.
    """
    signs = [_greater(after, before) - _greater(before, after) for before, after in zip(base, new, strict=True)]
    sizes = [abs(_log(_ratio(after[0], before[0]))) for before, after in zip(base, new, strict=True)]
    told = sorted(size for size, sign in zip(sizes, signs, strict=True) if sign)
    ranks = [bisect_left(told, size) + bisect_right(told, size) + 1 for size in sizes]  # twice the mid-rank
    total = sum(sign * rank for sign, rank in zip(signs, ranks, strict=True))
    own = tuple(sorted(rank for sign, rank in zip(signs, ranks, strict=True) if sign))
    return _two_sided(total, *_flipped(own), sign=_sign(total))


def least_p(base: int, new: int) -> float:
    """The least p that samples of these sizes can reach without ties: all of one above all of the other."""
    return min(1.0, 2 / math.comb(base + new, new)) if base and new else 1.0


def least_paired_p(pairs: int) -> float:
    """The least p that so many pairs can reach: all one way."""
    return min(1.0, 2.0 ** (1 - pairs))


def _greater(one: Bounds, other: Bounds) -> bool:
    return one[0] >= _open(other)


def _open(bounds: Bounds) -> float:
    """Where what is surely greater begins: at the upper bound, which was not reached, or just above a plain value."""
    return bounds[1] if bounds[1] > bounds[0] else math.nextafter(bounds[0], math.inf)


def _scores(sample: Sequence[Bounds]) -> list[int]:
    """For each measurement how many are surely less, minus how many are surely greater."""
    lows, highs = sorted(low for low, _ in sample), sorted(map(_open, sample))
    count = len(sample)
    return [bisect_right(highs, each[0]) - count + bisect_left(lows, _open(each)) for each in sample]


def _sign(value: int) -> int:
    return (value > 0) - (value < 0)


@lru_cache(maxsize=8192)
def _null(scores: tuple[int, ...], few: int) -> tuple[int, int, Any]:
    """What the sum of `few` of these scores can be: the least, the step, and the probabilities; normal: no step."""
    import numpy as np  # noqa: PLC0415 - slow to import

    count = len(scores)
    step = reduce(math.gcd, (score - scores[0] for score in scores)) or 1
    shifted = [(score - scores[0]) // step for score in scores]
    size = sum(shifted[-few:]) + 1
    if count * few * size > EXACT_COST:
        variance = few * (count - few) / (count * (count - 1)) * sum(score * score for score in scores)
        return 0, 0, math.sqrt(variance)
    ways = np.zeros((few + 1, size))
    ways[0, 0] = 1.0
    for score in shifted:
        ways[1:, score:] += ways[:-1, : size - score].copy()
    least = sum(shifted[:few])
    return few * scores[0] + least * step, step, ways[few, least:] / ways[few].sum()


@lru_cache(maxsize=8192)
def _flipped(ranks: tuple[int, ...]) -> tuple[int, int, Any]:
    """The same for the sum of ranks whose signs are drawn by lot."""
    import numpy as np  # noqa: PLC0415

    if len(ranks) * sum(ranks) > EXACT_COST:
        return 0, 0, math.sqrt(sum(rank * rank for rank in ranks))
    ways = np.zeros(sum(ranks) + 1)
    ways[0] = 1.0
    for rank in ranks:
        ways[rank:] += ways[: ways.size - rank].copy()
    return -sum(ranks), 2, ways / ways.sum()


def _two_sided(total: int, least: int, step: int, chances: Any, *, sign: int) -> Tested:
    if not step:
        beyond = max(0.0, abs(total) - 1) / chances  # a step of ranks without ties is 2: half of it for continuity
        return Tested(min(1.0, 2 * NormalDist().cdf(-beyond)), 0.0, sign)
    place = (total - least) // step
    p = 2 * min(chances[: place + 1].sum(), chances[place:].sum())
    return Tested(min(1.0, float(p)), min(1.0, 2 * float(min(chances[0], chances[-1]))), sign)


# -- many tests ----------------------------------------------------------------------------------------------------


def holm(ps: Sequence[float]) -> list[float]:
    """Adjusted p values: `alpha` is then the chance of one false alarm or more among all of them (Holm 1979)."""
    order = sorted(range(len(ps)), key=ps.__getitem__)
    raised = accumulate((min(1.0, (len(ps) - place) * ps[index]) for place, index in enumerate(order)), max)
    return _placed(order, raised)


def benjamini_hochberg(ps: Sequence[float]) -> list[float]:
    """Adjusted p values: `alpha` is then the expected share of false ones among the alarms (1995)."""
    order = sorted(range(len(ps)), key=ps.__getitem__, reverse=True)
    raised = (min(1.0, len(ps) / (len(ps) - place) * ps[index]) for place, index in enumerate(order))
    return _placed(order, accumulate(raised, min))


def _placed(order: Sequence[int], values: Iterable[float]) -> list[float]:
    return [value for _, value in sorted(zip(order, values, strict=True))]


# -- intervals -----------------------------------------------------------------------------------------------------


def median_interval(values: Sequence[float], level: float = LEVEL) -> Bounds | None:
    """Confidence interval of a median, from order statistics; None where there are too few values (six, at 95 %)."""
    place = _median_place(len(values), level)
    ordered = sorted(values)
    return (ordered[place], ordered[-1 - place]) if place is not None else None


@cache
def _median_place(count: int, level: float) -> int | None:
    """How many of the least values may be left out: as many heads of `count` coins are rare enough."""
    tails = accumulate(math.comb(count, heads) for heads in range(count + 1))
    within = sum(1 for tail in tails if 2 * tail <= (1 - level) * 2**count)
    return within - 1 if within else None


def ratio_interval(base: Sequence[Bounds], new: Sequence[Bounds], level: float = LEVEL) -> Bounds | None:
    """Confidence interval of new / base: the ratios of all pairs that `rank_sum` does not reject (Moses 1953).

    It is of the shift between two distributions of one shape over a log scale (Hodges and Lehmann 1963). None where
    there are too few measurements; an end is infinite where bounds are.
    """
    if not base or not new:
        return None
    count = len(base) * len(new)
    left_out = _left_out(_null(_untied(len(base) + len(new)), min(len(base), len(new))), count, level)
    if left_out is None:
        return None
    lows = _sorted_ratios([after[0] for after in new], [before[1] for before in base], of_nothing=0.0)
    highs = _sorted_ratios([after[1] for after in new], [before[0] for before in base], of_nothing=math.inf)
    return float(lows[left_out]), float(highs[-1 - left_out])


def _sorted_ratios(after: Sequence[float], before: Sequence[float], of_nothing: float) -> Any:
    """`_ratio` of all pairs, smallest first; as an array, since there may be hundreds of thousands."""
    import numpy as np  # noqa: PLC0415 - slow to import

    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.divide.outer(np.asarray(after, float), np.asarray(before, float))
    found[:, np.isinf(before)] = 0.0
    found[np.isnan(found)] = of_nothing
    return np.sort(found, axis=None)


def paired_ratio_interval(base: Sequence[Bounds], new: Sequence[Bounds], level: float = LEVEL) -> Bounds | None:
    """The same of measurements made in turn: the means of all pairs of log ratios that `paired` does not reject."""
    ranks = tuple(range(1, len(base) + 1))
    left_out = _left_out(_flipped(ranks), len(base) * (len(base) + 1) // 2, level) if base else None
    if left_out is None:
        return None
    pairs = list(zip(base, new, strict=True))
    lows = [_log(_ratio(after[0], before[1])) for before, after in pairs]
    highs = [_log(_ratio(after[1], before[0], of_nothing=math.inf)) for before, after in pairs]
    low = sorted(_mean(*two, of_both=-math.inf) for two in combinations_with_replacement(lows, 2))[left_out]
    high = sorted(_mean(*two, of_both=math.inf) for two in combinations_with_replacement(highs, 2))[-1 - left_out]
    return math.exp(low), math.exp(high)


@cache
def _untied(count: int) -> tuple[int, ...]:
    return tuple(range(1 - count, count, 2))


def _left_out(null: tuple[int, int, Any], count: int, level: float) -> int | None:
    """How many of `count` ordered pairs lie outside the interval at each end."""
    tail = (1 - level) / 2
    _, step, chances = null
    if not step:
        return max(0, math.floor(count / 2 + NormalDist().inv_cdf(tail) * float(chances) / 2 - 0.5))
    within = int((chances.cumsum() <= tail * (1 + ROUNDING)).sum())
    return within - 1 if within else None


def _ratio(after: float, before: float, of_nothing: float = 0.0) -> float:
    """New over base; `of_nothing` is what nothing to nothing is."""
    if before:
        return after / before if not math.isinf(before) else 0.0
    return math.inf if after else of_nothing


def _log(ratio: float) -> float:
    return math.log(ratio) if ratio > 0 else -math.inf


def _mean(one: float, other: float, of_both: float) -> float:
    """Of two logs; `of_both` where one is nothing and one is without end."""
    mean = (one + other) / 2
    return of_both if math.isnan(mean) else mean


# -- power ---------------------------------------------------------------------------------------------------------


def noise(*sides: Sequence[float]) -> float | None:
    """Relative noise of a measurement: standard deviation of its log about its side's mean, pooled over the sides.

    None where no side has two values that are greater than 0.
    """
    logs = [[math.log(value) for value in side if value > 0] for side in sides]
    freedom = sum(len(side) - 1 for side in logs if side)
    if not freedom:
        return None
    return math.sqrt(sum((value - sum(side) / len(side)) ** 2 for side in logs for value in side) / freedom)


def smallest_change(noise: float, count: int, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """The smallest relative change that `count` measurements a side find with a chance of `power`; None for none.

    Of two normal samples over a log scale, by `rank_sum`. Up to 30 a side it is simulated: a sample is rejected once
    the shift exceeds that order statistic of all pairs' differences at which the rank sum is critical, so that the
    shift asked for is a quantile of it. Above it is that of the t test, by the efficiency of ranks:
    (z(1 - alpha / 2) + z(power)) * noise * sqrt(2 / count / (3 / pi)).
    """
    shift = _shift(count, alpha, power)
    return None if shift is None else math.expm1(shift * noise)


def repeats_needed(noise: float, change: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """The fewest measurements a side with which `smallest_change` is at most `change`."""
    shift = math.log1p(change) / noise if noise else math.inf
    for count in range(2, SIMULATED_UP_TO + 1):
        found = _shift(count, alpha, power)
        if found is not None and found <= shift:
            return count
    return max(SIMULATED_UP_TO + 1, math.ceil(2 * (_normal_shift(alpha, power) / shift) ** 2 / EFFICIENCY))


def _normal_shift(alpha: float, power: float) -> float:
    return NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(power)


@cache
def _shift(count: int, alpha: float, power: float) -> float | None:
    """The shift that is found, in standard deviations."""
    if count > SIMULATED_UP_TO:
        return _normal_shift(alpha, power) * math.sqrt(2 / count / EFFICIENCY)
    import numpy as np  # noqa: PLC0415

    left_out = _left_out(_null(_untied(2 * count), count), count * count, 1 - alpha) if count > 1 else None
    if left_out is None:
        return None
    critical = count * count - left_out - 1
    base, new = np.random.default_rng(1).standard_normal((2, 4000, count))
    gaps: np.ndarray[Any, np.dtype[np.float64]] = (base[:, :, None] - new[:, None, :]).reshape(len(base), -1)
    return float(np.quantile(np.partition(gaps, critical, axis=1)[:, critical], power))
