"""A look at a device before anything is decided: overloads of it tell capacity, buffer, warmth and noise.

What comes back of an overload is what a device can do. Two such trials of different length that agree are a device
without memory; where they differ, a third tells a buffer (the first comes again) from one that warms up or varies.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from nvbench.search.base import Goal, Limits
from nvbench.search.curve import Point, buffer_frames, point, usual_spread, root, slope
from nvbench.search.ledger import Ledger
from nvbench.trial import AbortRule, Trial, Validity

ALIKE = 5e-4
"""Trials whose rates differ by less are repeats of each other."""

WARM_TRIALS = 7
"""Each twice as long as the one before: 2**7 short trials of traffic warm most devices up."""

KNEE = 0.004
"""How far above the expected answer a trial has to lose."""

KNEE_TRIALS = 8
NOISE_GOAL = 0.0015
"""Standard error that the estimate of a noisy device's capacity should have."""

SAMPLES = 5, 40
LONG_WEIGHT = 8
"""A full-length trial sees more of a device that varies by the second than a short one, and not of one by the trial."""


class Look:
    """What is known of a device.

    Attributes:
        buffer: Frames that wait in it, per direction.
        noise: Relative standard deviation of its capacity from trial to trial; 0 where repeats agree.
        warmed_by: Share by which its capacity rose while it was looked at.
        saturated: Whether an overload was seen at all.
    """

    def __init__(self, ledger: Ledger, goals: Sequence[Goal], limits: Limits) -> None:
        self.buffer = 0.0
        self.noise = 0.0
        self.warmed_by = 0.0
        self.saturated = False
        self._ledger = ledger
        self._goals = goals
        self._limits = limits
        self._final_s = max(goal.final_s for goal in goals)
        self._since = 0
        self._reference: Trial | None = None
        self._load = limits.top_pps

    # -- capacity ----------------------------------------------------------------------------------------------

    def overload(self) -> None:
        """Find what the device does with more than it can forward."""
        hints = [goal.expected_pps for goal in self._goals if goal.expected_pps]
        if hints and max(hints) * 1.1 < self._limits.top_pps:
            self._load = max(hints) * 1.1
            if self._flooded(self._limits.short_s / 2):
                self._compare()
                return
            self._load = self._limits.top_pps
        if self._flooded(self._limits.short_s / 2):
            self._compare()

    def again(self) -> None:
        """Look once more; if the device is not what it was, forget what was seen."""
        before, at = self._reference, len(self._ledger.trials)
        again = self._flooded(self._limits.short_s / 2)
        if again is None or self.noise or (before and _alike(before, again)):
            return
        self._since = at
        self._compare()

    def _flooded(self, duration_s: float) -> Trial | None:
        """An overload; None where all of it came back, which makes its load the top."""
        trial = self._ledger.ask(self._load, duration_s, AbortRule())
        if trial.total.lost + trial.total.refused == 0 and trial.total.offered:
            if trial.validity is Validity.UNDERSENT:
                self._ledger.sendable(trial)
            return None
        self.saturated = True
        if duration_s <= self._limits.short_s / 2:
            self._reference = trial
        return trial

    def _compare(self) -> None:
        short_s = self._limits.short_s / 2
        first, longer = self._ledger.trials[-1], self._flooded(2 * short_s)
        if longer is None or _alike(first, longer):
            return
        again = self._flooded(short_s)
        if again is None:
            return
        if _alike(first, again):
            self.buffer = max(0.0, buffer_frames(again, longer))
            return
        self._warm(first, again)

    def _warm(self, first: Trial, last: Trial) -> None:
        """Send traffic until the capacity rises no more; if it does not rise, it varies."""
        short_s, cold = self._limits.short_s / 2, first.forwarded_pps
        rates = [first.forwarded_pps, last.forwarded_pps]
        for doubling in range(WARM_TRIALS):
            if last.forwarded_pps < first.forwarded_pps:
                self._vary(rates)
                return
            longer = self._flooded(short_s * 2 ** (doubling + 1))
            again = self._flooded(short_s)
            if longer is None or again is None:
                break
            first, last = last, again
            rates.append(again.forwarded_pps)
            if _settled(rates):
                self._since = len(self._ledger.trials) - 2
                self.buffer = max(0.0, buffer_frames(last, longer))
                if self.buffer < ALIKE * last.forwarded_pps * longer.elapsed_s:
                    self.buffer = 0.0  # no more than what it still warmed up
                break
        self.warmed_by = max(0.0, last.forwarded_pps / cold - 1) if cold else 0.0

    def _vary(self, rates: Sequence[float]) -> None:
        self.noise = max(ALIKE, usual_spread(rates))

    # -- the knee ----------------------------------------------------------------------------------------------

    def knee(self, goal: Goal) -> float | None:
        """The load at which a goal is just met, seen by short trials near it; None where nothing was lost."""
        for _ in range(KNEE_TRIALS):
            found = self._estimate(goal)
            if found is None:
                return None
            if self.noise:
                return self._sampled(goal, found)
            if not self._probe(goal, found):
                return found
        return self._estimate(goal)

    def _estimate(self, goal: Goal) -> float | None:
        points = self.points
        found = root(points, goal.loss_ratio)
        if found is None:
            return None
        lossless = max((p.load_pps for p in points if p.lost_pps == 0), default=self._limits.bottom_pps)
        lossy = min(p.load_pps for p in points if p.excess(goal.loss_ratio) > 0)
        if found > lossless or lossless >= lossy:
            return found
        return float((lossless * lossy) ** 0.5)

    def _probe(self, goal: Goal, knee_pps: float) -> bool:
        """Measure just above a knee, unless a trial with loss stands close enough to vouch for it.

        A trial that puts the knee elsewhere is repeated: what comes again is the shape of the curve, else it is noise.
        """
        short_s = self._limits.short_s
        load = knee_pps * (1 + KNEE) + 2 * self.buffer / short_s  # an overload that the buffer swallows tells nothing
        if any(p.lost_pps > 0 and -KNEE < p.load_pps / load - 1 <= 1.5 * KNEE for p in self.points):
            return False
        first = self._ledger.ask(load, short_s, AbortRule())
        moved = self._estimate(goal)
        if moved is None or abs(moved / knee_pps - 1) > 2 * ALIKE:
            again = self._ledger.ask(load, short_s, AbortRule())
            if not _alike(first, again):
                self._vary([first.forwarded_pps, again.forwarded_pps])
        return True

    def _sampled(self, goal: Goal, found: float) -> float:
        """The median of what many short trials just above the knee say, each of which sees another capacity.

        A trial that loses nothing saw more than its load; as most do lose, the median does not mind how much more.
        """
        for _ in range(SAMPLES[1]):
            seen = self._knees(goal, found)
            if len(seen) >= SAMPLES[0]:
                self.noise = max(ALIKE, usual_spread(seen))
                found = median(seen)
                if 1.25 * self.noise / len(seen) ** 0.5 <= NOISE_GOAL:
                    break
            self._ledger.ask(found * (1 + max(KNEE, self.noise)), self._limits.short_s, AbortRule())
        return found

    def _knees(self, goal: Goal, found: float) -> list[float]:
        """Where each trial near the knee would have just met the goal."""
        reach = max(2 * KNEE, 2 * self.noise)
        near = [p for p in self.points if -KNEE <= p.load_pps / found - 1 <= reach]
        far = [p for p in self.points if p.load_pps / found - 1 > 2 * reach]
        if not near:
            return []
        steepness = slope(_middle(near), _middle(far) if far else None, goal.loss_ratio)
        seen = []
        for each in near:
            weight = LONG_WEIGHT if each.seconds > LONG_WEIGHT * self._limits.short_s else 1
            seen += [each.load_pps - each.excess(goal.loss_ratio) / steepness] * weight
        return seen

    # -- points ------------------------------------------------------------------------------------------------

    @property
    def points(self) -> list[Point]:
        """What the trials since the device last changed say."""
        known = (Validity.VALID, Validity.UNDERSENT)
        trials = [t for t in self._ledger.trials[self._since :] if t.validity in known and self._tells(t)]
        return [point(trial, self.buffer, self._final_s) for trial in trials]


    def _tells(self, trial: Trial) -> bool:
        """Whether a trial is more than a glimpse."""
        return trial.total.offered > 0 and (not trial.aborted or trial.elapsed_s >= self._limits.short_s)


def _settled(rates: Sequence[float]) -> bool:
    """Whether what rates still rise by is small: each rise was seen over twice the time of the one before."""
    before, last = rates[-2] - rates[-3], rates[-1] - rates[-2]
    left = last * (last / before) ** 2 if before > 0 else last
    return last <= ALIKE * rates[-1] or (last < before / 2 and left <= ALIKE * rates[-1])


def _alike(first: Trial, second: Trial) -> bool:
    return abs(first.forwarded_pps - second.forwarded_pps) <= ALIKE * second.forwarded_pps


def _middle(points: Sequence[Point]) -> Point:
    return Point(median(p.load_pps for p in points), median(p.lost_pps for p in points))
