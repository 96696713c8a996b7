"""What trials with loss tell of the loads between them.

The frames that a device loses a second grow with the load beyond its capacity: one for one where it has one queue,
slower where only some of its queues are full, faster where overload keeps it from forwarding. Pieces of that curve are
straight, so two trials on the piece that meets the goal give the load at which the goal is just met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from nvbench.trial import Trial

SAME_LOAD = 1e-3
"""Loads closer than this say nothing of a slope."""

STEEPEST, FLATTEST = 20.0, 0.02


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


def root(points: Sequence[Point], loss_ratio: float) -> float | None:
    """The load at which a goal is just met; None where no trial lost more than it allows."""
    lossy = _by_load([point for point in points if point.lost_pps > 0])
    beyond = [point for point in lossy if point.excess(loss_ratio) > 0]
    if not beyond:
        return None
    first = beyond[0]
    below = [point for point in lossy if point.load_pps < first.load_pps * (1 - SAME_LOAD)]
    above = [point for point in beyond if point.load_pps > first.load_pps * (1 + SAME_LOAD)]
    other = below[-1] if below else above[0] if above else None
    return first.load_pps - first.excess(loss_ratio) / slope(first, other, loss_ratio)


def slope(first: Point, other: Point | None, loss_ratio: float) -> float:
    """Frames more lost a second beyond a goal for each frame more offered; that of one full queue without `other`."""
    if other is None:
        return 1 - loss_ratio
    found = (first.excess(loss_ratio) - other.excess(loss_ratio)) / (first.load_pps - other.load_pps)
    return min(STEEPEST, max(FLATTEST, found))


def _by_load(points: Sequence[Point]) -> list[Point]:
    """One point a load, lowest first: repeats of a load are averaged."""
    groups: list[list[Point]] = []
    for each in sorted(points, key=lambda point: point.load_pps):
        if groups and each.load_pps <= groups[-1][0].load_pps * (1 + SAME_LOAD):
            groups[-1].append(each)
        else:
            groups.append([each])
    return [Point(fmean(p.load_pps for p in group), median(p.lost_pps for p in group)) for group in groups]


def buffer_frames(short: Trial, long: Trial) -> float:
    """Frames that wait in a device, from two overloads of different length: each forwards C + B / d a second."""
    spread = 1 / short.elapsed_s - 1 / long.elapsed_s
    return (short.forwarded_pps - long.forwarded_pps) / spread if spread > 0 else 0.0


def usual_spread(values: Sequence[float]) -> float:
    """Standard deviation as a share of the median; from the median deviation, which a few strange values do not move."""
    middle = median(values)
    return NORMAL * median(abs(value - middle) for value in values) / middle if middle else 0.0


NORMAL = 1.4826
"""Standard deviation of a normal distribution in units of its median absolute deviation."""
