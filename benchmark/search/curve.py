"""What trials with loss tell of the loads between them.

The frames that a device loses a second grow with the load beyond its capacity: one for one where it has one queue,
slower where only some of its queues are full, faster where overload keeps it from forwarding. Pieces of that curve are
straight, so two trials on the piece that meets the goal give the load at which the goal is just met.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from nvbench.trial import Trial

SAME_LOAD = 1e-3
"""Loads closer than this, as a share, say nothing of a slope."""

STEEPEST, FLATTEST = 10.0, 0.002
"""Bounds of a slope; a single full queue has 1."""

PAIRED = 3
"""Trials at each of two loads that a slope between noisy ones needs."""


@dataclass(frozen=True, slots=True)
class Point:
    """Frames lost a second and direction at a load, as a full-length trial would have it."""

    load_pps: float
    lost_pps: float
    seconds: float = 0.0

    def excess(self, loss_ratio: float) -> float:
        """Frames lost a second beyond what a goal allows."""
        return self.lost_pps - loss_ratio * self.load_pps


def point(trial: Trial, buffer_frames: float, final_s: float) -> Point:
    """What a trial says, with the device's buffer taken into account.

    A buffer hides the first frames of an overload: in a trial of d seconds B / d a second, in a full-length one less.
    """
    total, directions = trial.total, max(1, len(trial.directions))
    lost = (total.lost + total.refused) / directions
    if lost and trial.elapsed_s:
        lost = max(0.0, lost + buffer_frames * (1 - trial.elapsed_s / final_s))
    return Point(trial.offered_pps, lost / trial.elapsed_s if trial.elapsed_s else 0.0, trial.elapsed_s)


def root(points: Sequence[Point], loss_ratio: float, bottom_pps: float) -> float | None:
    """The load at which a goal is just met; None where no load lost more than it allows.

    Args:
        points: What trials said; repeats of a load count by their median.
        loss_ratio: The goal's.
        bottom_pps: The lowest load of interest; taken to lose nothing.
    """
    loads = _by_load(points)
    beyond = [point for point in loads if point.excess(loss_ratio) > 0]
    if not beyond:
        return None
    first = beyond[0]
    below = [point for point in loads if point.load_pps < first.load_pps]
    neighbours = [*(point for point in reversed(below) if point.lost_pps), *beyond[1:]]
    found = first.load_pps - first.excess(loss_ratio) / slope(first, next(iter(neighbours), None), loss_ratio)
    lossless = max([bottom_pps, *(point.load_pps for point in below if not point.lost_pps)])
    return found if found > lossless else math.sqrt(lossless * first.load_pps)


def slope(first: Point, other: Point | None, loss_ratio: float) -> float:
    """Frames more lost a second beyond a goal for each frame more offered; that of one full queue without `other`."""
    if other is None:
        return 1 - loss_ratio
    found = (first.excess(loss_ratio) - other.excess(loss_ratio)) / (first.load_pps - other.load_pps)
    return min(STEEPEST, max(FLATTEST, found))


def usual_slope(low: Sequence[Point], high: Sequence[Point], loss_ratio: float) -> float:
    """The slope between trials at two loads: the median over all pairs, as a device with two speeds gives wild ones."""
    if min(len(low), len(high)) < PAIRED:
        return 1 - loss_ratio
    return median(slope(first, other, loss_ratio) for first in low for other in high)


def parted(points: Sequence[Point]) -> tuple[Sequence[Point], Sequence[Point]]:
    """Points in order of their loads, parted at the widest gap between them."""
    gaps = [after.load_pps / before.load_pps for before, after in pairwise(points)]
    at = gaps.index(max(gaps)) + 1 if gaps else 0
    return points[:at], points[at:]


def lower_median(values: Sequence[float]) -> float | None:
    """The middle of values, the lower of two; None where that is infinite, or there is none."""
    middle = sorted(values)[(len(values) - 1) // 2] if values else math.inf
    return None if math.isinf(middle) else middle


def _by_load(points: Sequence[Point]) -> list[Point]:
    """One point a load, lowest first: repeats of a load are taken together."""
    groups: list[list[Point]] = []
    for each in sorted(points, key=lambda point: point.load_pps):
        if groups and each.load_pps <= groups[-1][0].load_pps * (1 + SAME_LOAD):
            groups[-1].append(each)
        else:
            groups.append([each])
    return [Point(median(p.load_pps for p in group), median(p.lost_pps for p in group)) for group in groups]


def warming_s(rates: Sequence[float], seconds: float, tolerance: float) -> float:
    """Seconds of traffic until all but a share of a device's capacity has come; 0 if it has.

    Args:
        rates: Its last three forwarding rates; the second came after `seconds` of traffic, the third after twice that.
        seconds: That time.
        tolerance: The share that may lack.

    Returns:
        For rates that near a limit exponentially: with rises a and b and q = exp(-seconds / tau), b / a = q + q**2.
        Infinite where they do not near a limit yet.
    """
    rise, next_rise = rates[-2] - rates[-3], rates[-1] - rates[-2]
    if next_rise <= tolerance * rates[-1]:
        return 0.0
    if rise <= 0 or next_rise >= 2 * rise:
        return math.inf
    q = (math.sqrt(1 + 4 * next_rise / rise) - 1) / 2
    lacking = rise / (1 - q) * q**3
    return max(0.0, -seconds / math.log(q) * math.log(lacking / (tolerance * rates[-1])))


def buffer_frames(short: Trial, long: Trial) -> float:
    """Frames that wait in a device, from two overloads of different length: each forwards C + B / d a second."""
    spread = 1 / short.elapsed_s - 1 / long.elapsed_s
    return (short.forwarded_pps - long.forwarded_pps) / spread if spread > 0 else 0.0


def usual_spread(values: Sequence[float]) -> float:
    """Standard deviation as a share of the median; from the median deviation, which few strange values do not move."""
    middle = median(values)
    return NORMAL * median(abs(value - middle) for value in values) / middle if middle else 0.0


def median_error(values: Sequence[float]) -> float:
    """How far the median of a population may be from that of a sample, with a probability of 90 %.

    Half the distance of the two order statistics that enclose it (the sign test's interval): no kind of distribution
    is assumed, so that a device with two speeds is not taken for a precise one.
    """
    ordered, count = sorted(values), len(values)
    chance, rank = 0.5**count, 0
    while chance <= SURENESS / 2 and rank < count // 2:
        rank += 1
        chance += math.comb(count, rank) * 0.5**count
    return (ordered[count - max(rank, 1)] - ordered[max(rank, 1) - 1]) / 2


SURENESS = 0.1
NORMAL = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation."""
