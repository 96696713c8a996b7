"""A look at a device before anything is decided: overloads of it tell capacity, buffer, warmth and noise.

What comes back of an overload is what a device can do. Two such trials of different length that agree are a device
without memory; where they differ, a third tells a buffer (the first comes again) from one that warms up or varies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from nvbench.search.base import Goal, Limits
from nvbench.search.curve import (
    Point,
    buffer_frames,
    lower_median,
    median_error,
    parted,
    point,
    root,
    usual_slope,
    usual_spread,
    warming_s,
)
from nvbench.search.ledger import Ledger
from nvbench.trial import Trial, Validity

ALIKE = 5e-4
"""Trials whose rates differ by less are repeats of each other."""

FEW_LOST = 0.02
"""Share of the frames: where fewer are lost, chance in counting them matters."""

JUDGED = frozenset({Validity.VALID, Validity.UNDERSENT})
"""Trials that show what a device does with what it was offered."""

WARM_TRIALS = 7
"""Each twice as long as the one before: 2**7 short trials of traffic warm most devices up."""

KNEE = 0.004
"""How far above the expected answer a trial has to lose."""

KNEE_TRIALS = 8
"""Trials in which a knee is found wherever it is: by the slope, or else by halving."""

NOISE_GOAL = 0.002
"""How far a noisy device's capacity may be from its estimate, with a probability of 90 %."""

SAMPLES = 8, 50
"""Least and most trials that tell a noisy device's knee."""

FAR_REACH = 4
"""How much further above the knee every other of them is."""

NEARBY = 1.15
"""Times a load: so far up one slope is taken to hold."""

LONG = 4
"""Short trials in one that fills any buffer but a deep one."""


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
        self._samples = 0
        self._most_samples = min(SAMPLES[1], limits.max_trials // 5)
        self._since = 0
        self._repeats = False  # whether a surprise came again
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
        self._since, self._repeats = at, False
        self._compare()

    def _flooded(self, duration_s: float) -> Trial | None:
        """An overload; None where all of it came back, which makes its load the top."""
        trial = self._ledger.overload(self._load, duration_s)
        if trial.total.lost + trial.total.refused == 0:
            if trial.validity is Validity.UNDERSENT and trial.total.offered:
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
        if not _alike(first, again):
            self._warm(first, again)
            return
        longer_again = self._flooded(2 * short_s)
        if longer_again and _alike(longer, longer_again):
            self.buffer = _buffer(again, longer)
        elif longer_again:
            self._vary([longer.forwarded_pps, longer_again.forwarded_pps])

    def _warm(self, first: Trial, last: Trial) -> None:
        """Send traffic until the capacity rises no more; if it does not rise, it varies."""
        short_s = self._limits.short_s / 2
        rates, seconds = [first.forwarded_pps, last.forwarded_pps], 2 * short_s
        for _ in range(WARM_TRIALS):
            if rates[-1] < rates[-2] * (1 - ALIKE):
                self._vary(rates)
                return
            seconds *= 2
            longer, last = self._flooded(seconds), self._flooded(short_s) or last
            rates.append(last.forwarded_pps)
            if rates[-1] < rates[-2] * (1 - ALIKE):
                continue
            wanted_s = warming_s(rates[-3:], seconds / 2, ALIKE)
            if 0 < wanted_s <= 2 * seconds:
                longer, last = self._flooded(wanted_s), self._flooded(short_s) or last
            if wanted_s <= 2 * seconds and longer:
                self._since = len(self._ledger.trials) - 2
                self.buffer = _buffer(last, longer)
                self.warmed_by = last.forwarded_pps / rates[0] - 1 if rates[0] else 0.0
                return

    def doubt(self) -> None:
        """Take the device for one that varies: a trial did not do what others had shown."""
        self.noise = max(ALIKE, self.noise)
        self.buffer = 0.0

    def _vary(self, rates: Sequence[float]) -> None:
        self.doubt()
        self.noise = max(self.noise, usual_spread(rates))

    # -- the knee ----------------------------------------------------------------------------------------------

    def knee(self, goal: Goal) -> float | None:
        """The load at which a goal is just met, seen by short trials near it; None where nothing was lost."""
        if not self.points and self._reference:
            return self._reference.forwarded_pps  # disturbed, but where to begin
        for _ in range(KNEE_TRIALS):
            if self.noise:
                return self._sampled(goal)
            found = self._estimate(goal)
            if found is None:
                return None
            if not self._probe(goal, found):
                return found
        return self._estimate(goal)

    def _estimate(self, goal: Goal) -> float | None:
        return root(self.points, goal.loss_ratio, self._limits.bottom_pps)

    def _probe(self, goal: Goal, knee_pps: float) -> bool:
        """Measure just above a knee, unless a trial with loss stands close enough to vouch for it.

        The first that puts the knee elsewhere is repeated: what comes again is the curve's shape, else it is noise.
        """
        short_s = self._limits.short_s
        if self.buffer and any(p.lost_pps and p.seconds >= LONG * short_s for p in self.points):
            return False
        load = knee_pps * (1 + KNEE) + 2 * self.buffer / short_s  # an overload that the buffer swallows tells nothing
        if any(p.lost_pps > 0 and -KNEE < p.load_pps / load - 1 <= 1.5 * KNEE for p in self.points):
            return False
        first = self._ledger.overload(load, short_s)
        moved = self._estimate(goal)
        if not self._repeats and (moved is None or abs(moved / knee_pps - 1) > 2 * ALIKE):
            again = self._ledger.overload(load, short_s)
            self._repeats = _alike(first, again)
            if not self._repeats:
                self._vary([first.forwarded_pps, again.forwarded_pps])
        return True

    def _sampled(self, goal: Goal) -> float | None:
        """The median of what many short trials above the knee say, each of which sees another capacity.

        They are made at two loads, near enough for one slope to hold and far enough apart to show it.
        """
        while True:
            knees = self._knees(goal)
            found = lower_median(knees)
            known = found is not None and len(knees) >= SAMPLES[0]
            if known and found is not None:
                self.noise = max(ALIKE, usual_spread([knee for knee in knees if knee < math.inf]))
            if self._samples >= self._most_samples or (known and median_error(knees) <= NOISE_GOAL * (found or 0.0)):
                return found or self._between(goal)
            self._samples += 1
            reach = self._reach * (1 if self._samples % 2 else FAR_REACH)
            load = found * (1 + reach) if found else self._between(goal)
            if load is None:
                return None
            self._ledger.overload(max(load, self._limits.bottom_pps), self._limits.short_s)

    @property
    def _reach(self) -> float:
        """How far above the knee nearly every trial has loss."""
        return max(2.5 * KNEE, 1.5 * self.noise)

    def _between(self, goal: Goal) -> float | None:
        """A load between the highest that lost nothing and the lowest above it that lost too much."""
        points = self.points
        lossless = max((p.load_pps for p in points if not p.lost_pps), default=0.0)
        lossy = [p.load_pps for p in points if p.excess(goal.loss_ratio) > 0 and p.load_pps > lossless]
        return math.sqrt(max(lossless, self._limits.bottom_pps) * min(lossy)) if lossy else None

    def _knees(self, goal: Goal) -> list[float]:
        """Where each trial would have met the goal; infinite where all that is known is that it is further up."""
        lossy = sorted((p for p in self.points if p.lost_pps), key=lambda p: p.load_pps)
        lossless = [p.load_pps for p in self.points if not p.lost_pps]
        near = [p for p in lossy if p.load_pps <= NEARBY * lossy[0].load_pps]
        steepness = usual_slope(*parted(near), goal.loss_ratio)
        seen = [(p.load_pps, p.load_pps - p.excess(goal.loss_ratio) / steepness) for p in lossy]
        # What was seen from afar hangs on the slope: it does not stand against what lost nothing.
        knees = [knee for load, knee in seen if load <= NEARBY * knee or not any(x > knee for x in lossless)]
        middle = lower_median(knees)
        return knees if middle is None else knees + [math.inf for load in lossless if load >= middle]

    # -- points ------------------------------------------------------------------------------------------------

    @property
    def points(self) -> list[Point]:
        """What the trials since the device last changed say."""
        trials = [trial for trial in self._ledger.trials[self._since :] if self._tells(trial)]
        points = [point(trial, self.buffer, self._final_s) for trial in trials]
        if not self.buffer:
            return points
        # A buffer swallows a short trial's loss; of one for each queue it shows how full all are, not which one.
        long = [each for each in points if each.seconds >= LONG * self._limits.short_s]
        return long if any(each.lost_pps for each in long) else [each for each in points if each.lost_pps]

    def _tells(self, trial: Trial) -> bool:
        """Whether a trial is more than a glimpse."""
        if trial.validity not in JUDGED or not trial.total.offered:
            return False
        lost = (trial.total.lost + trial.total.refused) / len(trial.directions)
        return not trial.aborted or (trial.elapsed_s >= self._limits.short_s and lost > self.buffer)


def _buffer(short: Trial, longer: Trial) -> float:
    """Frames that wait in the device; none where that is no more than what it may still warm up."""
    found = buffer_frames(short, longer)
    return found if found > ALIKE * longer.forwarded_pps * longer.elapsed_s else 0.0


def _alike(first: Trial, second: Trial) -> bool:
    """Whether two trials say the same, but for the chance that is in counting few lost frames.

    One that the host disturbed says nothing, so nothing else either.
    """
    if not {first.validity, second.validity} <= JUDGED:
        return True
    lost = first.total.lost + second.total.lost if first.loss_ratio < FEW_LOST else 0
    counted = 4.0 * math.sqrt(lost) / min(first.elapsed_s, second.elapsed_s) / len(second.directions)
    return abs(first.forwarded_pps - second.forwarded_pps) <= max(ALIKE * second.forwarded_pps, counted)
