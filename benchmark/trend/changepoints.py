"""Where the level of a series changed: shuffles of its values tell a change from noise, deviations say where it is.

The statistic is the difference of the means before and after a split, of values whose distance from the median is
cut off (Huber 1964), standardised and at its greatest over all splits of many windows of the series (seeded binary
segmentation: Kovacs, Buehlmann, Li and Munk 2023), so that a change which did not last is found as well. Shuffles of
the same values say how great it gets by chance: nothing is assumed of their distribution, and no outlier or heavy tail
raises a false alarm. One change is taken after the other, each tested against shuffles within its segment, as in
E-divisive (Matteson and James 2014).

Values are taken to be independent of each other. A slow drift is told as several steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

LEAST_SIDE = 3
"""Values on either side of a change: of two nobody knows which is the odd one."""

FARTHEST = 5.0
"""Median absolute deviations beyond which a value is no farther from the median."""

SHUFFLES = (99, 900, 3000, 3000, 3000)
"""In batches: a p value is never below 1 / 10 000."""

NOT_SMALL = 0.2
"""An estimate of a p value above this is not made better by more shuffles."""

SEED = 1
"""Of the shuffles: the same series gives the same answer."""

UNLIKELY = -2 * math.log(1 - math.sqrt(0.95))
"""Twice the log of the likelihood that a change's best place has over one outside its 95 % range (Siegmund 1988)."""

ROUNDING = 1e-4
"""Of a statistic in single precision: one that is less by so little is as great."""


@dataclass(frozen=True, slots=True)
class ChangePoint:
    """A change of level.

    Attributes:
        position: Index of the first value after it.
        earliest: Lower end of the range of that index that holds it with 95 % confidence.
        latest: Its upper end.
        p: Chance of a change as clear as this one, wherever it is looked for, where there is none.
    """

    position: int
    earliest: int
    latest: int
    p: float


@dataclass(frozen=True, slots=True)
class _Split:
    """The clearest split of the values from `start` to `stop`, and its p value before there was any other."""

    start: int
    at: int
    stop: int
    p: float


def least_values(level: float) -> int:
    """How many values it takes until any change at all can be significant at `level`.

    With n values the clearest change is one in the middle: of the C(n, n/2) equally likely ways to choose the values
    before it, two are as clear.
    """
    count = 2 * LEAST_SIDE
    while level * math.comb(count, count // 2) < 2:
        count += 1
    return count


def chance_of_no_change(values: Sequence[float]) -> float:
    """The p value of the clearest change in the series; 1 where it is too short for any."""
    return _clearest(values, 0, len(values)).p


def change_points(values: Sequence[float], level: float) -> tuple[ChangePoint, ...]:
    """Every change that is significant at `level`, which is at most `NOT_SMALL`; in order.

    The clearest one of all segments is taken, until its p value, corrected for the number of segments (Sidak 1967),
    is above `level`.
    """
    segments = [_clearest(values, 0, len(values))]
    taken: list[tuple[int, float]] = []
    while True:
        split = min(segments, key=lambda segment: segment.p)
        p = 1 - (1 - split.p) ** len(segments)
        if p > level:
            break
        taken.append((split.at, p))
        segments.remove(split)
        segments += [_clearest(values, split.start, split.at), _clearest(values, split.at, split.stop)]
    taken.sort()
    edges = [0, *(at for at, _ in taken), len(values)]
    points = []
    for before, (at, p), after in zip(edges, taken, edges[2:], strict=False):
        earliest, latest = _range(values[before:after], at - before)
        points.append(ChangePoint(at, before + earliest, before + latest, p))
    return tuple(points)


def _clearest(values: Sequence[float], start: int, stop: int) -> _Split:
    import numpy as np  # noqa: PLC0415 - heavy

    own = np.asarray(values[start:stop], dtype=float)
    if len(own) < 2 * LEAST_SIDE or np.ptp(own) == 0:
        return _Split(start, stop, stop, 1.0)
    scores = _scores(own)
    greatest, at, (first, last) = -1.0, 0, (0, 0)
    for window in _windows(len(own)):
        found, place = _differences(scores[None, slice(*window)])
        if found[0] > greatest:
            greatest, at, (first, last) = float(found[0]), int(place[0]), window
    at = start + first + _placed(own[first:last], at)
    return _Split(start, at, stop, _chance(scores, greatest * (1 - ROUNDING)))


def _scores(values: Any) -> Any:
    """Distances from the median, cut off, with a mean of 0 and a variance of 1."""
    import numpy as np  # noqa: PLC0415

    distances = values - np.median(values)
    scale = np.median(np.abs(distances)) or np.abs(distances).mean()
    cut = np.clip(distances / scale, -FARTHEST, FARTHEST)
    return ((cut - cut.mean()) / cut.std(ddof=1)).astype(np.float32)


def _chance(scores: Any, least: float) -> float:
    """How often shuffles reach a difference: p value of a permutation test (Phipson and Smyth 2010)."""
    import numpy as np  # noqa: PLC0415

    random = np.random.default_rng(SEED)
    reached = made = 0
    for count in SHUFFLES:
        shuffled = random.permuted(np.tile(scores, (count, 1)), axis=1)
        greatest = np.zeros(count, dtype=scores.dtype)
        for first, last in _windows(len(scores)):
            np.maximum(greatest, _differences(shuffled[:, first:last])[0], out=greatest)
        reached, made = reached + int((greatest >= least).sum()), made + count
        if (1 + reached) / (1 + made) > NOT_SMALL:
            break
    return (1 + reached) / (1 + made)


@lru_cache(maxsize=64)
def _windows(count: int) -> tuple[tuple[int, int], ...]:
    """Stretches in which a change is looked for: all, and ever shorter ones that overlap by half."""
    windows, length = [], float(count)
    while (size := round(length)) >= 2 * LEAST_SIDE:
        windows += [(first, first + size) for first in range(0, count - size, size // 2)]
        windows.append((count - size, count))
        length /= math.sqrt(2)
    return tuple(windows)


def _differences(scores: Any) -> tuple[Any, Any]:
    """Of each row: the greatest difference of means before and after a split, standardised; and that split."""
    import numpy as np  # noqa: PLC0415

    count = scores.shape[1]
    shares, weights = _weights(count)
    sums = scores.cumsum(axis=1)
    differences = sums[:, LEAST_SIDE - 1 : count - LEAST_SIDE] - shares * sums[:, -1:]
    np.abs(differences, out=differences)
    differences *= weights
    best = differences.argmax(axis=1)
    return differences[np.arange(len(best)), best], best + LEAST_SIDE


@lru_cache(maxsize=256)
def _weights(count: int) -> tuple[Any, Any]:
    """For each split: the share of values before it, and what standardises the sum of scores before it."""
    import numpy as np  # noqa: PLC0415

    before = np.arange(LEAST_SIDE, count - LEAST_SIDE + 1)
    weights = np.sqrt(count / (before * (count - before)))
    return (before / count).astype(np.float32), weights.astype(np.float32)


def _placed(values: Any, at: int) -> int:
    """The split, from this one on, whose sides deviate least from their medians."""
    import numpy as np  # noqa: PLC0415

    for _ in range(len(values)):
        costs = np.cumsum(np.abs(values - np.median(values[:at])) - np.abs(values - np.median(values[at:])))
        better = int(costs[LEAST_SIDE - 1 : len(values) - LEAST_SIDE].argmin()) + LEAST_SIDE
        if better == at:
            break
        at = better
    return at


def _range(values: Sequence[float], at: int) -> tuple[int, int]:
    """Where the change of these two segments lies with 95 % confidence: wherever it is not much less likely.

    Deviations are taken to be Laplace's, whose likelihood is that of least absolute deviations.
    """
    import numpy as np  # noqa: PLC0415

    tried = range(LEAST_SIDE, len(values) - LEAST_SIDE + 1)
    own = np.asarray(values, dtype=float)
    costs = np.array([sum(np.abs(side - np.median(side)).sum() for side in (own[:at], own[at:])) for at in tried])
    least = costs[at - LEAST_SIDE]
    likely = np.flatnonzero(2 * (costs - least) <= UNLIKELY * least / len(own)) + LEAST_SIDE
    return min(at, int(likely[0])), max(at, int(likely[-1]))
