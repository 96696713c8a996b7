"""A plain search for the highest rate that meets a loss goal.

One overload trial tells the capacity; short trials bracket the answer from there, outwards in doubling steps and then
by halves; full-length trials do the same from what the short ones found, and the highest that passes is the answer.
Trials end early once they cannot pass. Invalid trials are repeated and never move a bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from nvbench.search.base import Answer, Goal, Limits, Outcome
from nvbench.tables import LimitedBy
from nvbench.trial import AbortRule, Measure, Trial, Validity

LEAP = 0.25


def search(measure: Measure, goals: Sequence[Goal], limits: Limits) -> Outcome:
    """Find for each goal the highest load that meets it.

    Each rate has passed a trial of `goal.final_s` at that rate; where none passed, the answer has no carrier.
    """
    searches = [_Search(measure, goal, limits) for goal in goals]
    answers = tuple(each.run() for each in searches)
    return Outcome(answers, tuple(trial for each in searches for trial in each.trials))


class _EndedError(Exception):
    """Nothing more can be asked."""


class _Search:
    def __init__(self, measure: Measure, goal: Goal, limits: Limits) -> None:
        self._measure = measure
        self._goal = goal
        self._limits = limits
        self.trials: list[Trial] = []
        self._warnings: list[str] = []
        self._failed: float | None = None  # lowest load that lost too much
        self._barrier: float | None = None  # lowest load at which no trial was valid
        self._undersent = False  # the barrier is the generator's
        self._reason = ""  # why the last trial at the barrier was not valid
        self._nothing_passes = False
        self._carrier: Trial | None = None
        self._upper: Trial | None = None

    def run(self) -> Answer:
        try:
            # Half of the trials at most: on a disturbed bench the other half has to find what passes at full length.
            found = self._bracket(self._capacity(), self._limits.short_s, self._limits.max_trials // 2)
            self._bracket(found, self._goal.final_s, self._limits.max_trials)
        except _EndedError as ended:
            self._warnings.append(str(ended))
        barred = self._barrier is not None and self._barrier < (self._failed or math.inf)
        disturbed = barred and not self._undersent
        if disturbed:
            self._warnings.append(f"no valid trial at {self._barrier:.0f} frames/s: {self._reason}")
        return Answer(
            self._goal,
            carriers=(self._carrier,) if self._carrier else (),
            upper=self._upper,
            limited_by=self._limited_by(disturbed, barred),
            nothing_passes=self._nothing_passes,
            disturbed=disturbed,
            warnings=tuple(self._warnings),
        )

    def _limited_by(self, disturbed: bool, barred: bool) -> LimitedBy:
        if self._carrier is None:
            return LimitedBy.SUT if self._nothing_passes else LimitedBy.UNKNOWN
        if disturbed:
            return LimitedBy.UNKNOWN
        if barred:
            return LimitedBy.GENERATOR
        return LimitedBy.LINE_RATE if self._upper is None else LimitedBy.SUT

    # -- asking ------------------------------------------------------------------------------------------------

    def _ask(self, load: float, duration: float, abort: AbortRule) -> Trial:
        """A valid trial, or after enough repeats an invalid one."""
        undersent = False
        final = duration >= self._goal.final_s
        repeats = self._limits.repeat_invalid if final else self._limits.repeat_invalid // 3
        for _ in range(repeats + 1):
            if len(self.trials) >= self._limits.max_trials:
                raise _EndedError(f"the search ended after {len(self.trials)} trials, its limit")
            trial = self._measure(load, duration, abort)
            self.trials.append(trial)
            if trial.valid or (trial.validity is Validity.UNDERSENT and undersent):
                break  # a generator that fails twice to send a load cannot
            undersent = trial.validity is Validity.UNDERSENT
        return trial

    def _passes(self, load: float, duration: float) -> bool:
        """Whether a load meets the goal; moves the bounds."""
        goal = self._goal
        abort = AbortRule.for_goal(goal.loss_ratio, load, duration, self._limits.directions)
        return self._judge(self._ask(load, duration, abort))

    def _judge(self, trial: Trial) -> bool:
        load, goal = trial.intended_pps, self._goal
        if goal.passed(trial):
            if trial.duration_s >= goal.final_s:
                self._carrier = trial
            return True
        if trial.valid:
            if load <= (self._failed or load):
                self._failed, self._upper = load, trial
        elif load < (self._barrier or math.inf):
            self._barrier = load
            self._undersent = trial.validity is Validity.UNDERSENT
            self._reason = trial.reason
        return False

    # -- where to ask ------------------------------------------------------------------------------------------

    def _capacity(self) -> float:
        """A guess at the answer: what comes back of an overload, or the top itself."""
        trial = self._ask(self._limits.top_pps, self._limits.short_s, AbortRule())
        if self._judge(trial):
            return self._limits.top_pps
        sendable = trial.offered_pps * 0.995 if trial.validity is Validity.UNDERSENT else self._limits.top_pps
        return max(self._limits.bottom_pps, min(trial.forwarded_pps, sendable))

    def _bracket(self, load: float, duration: float, most_trials: int) -> float:
        """The highest load that passes trials of this duration, to the goal's width, or the best guess at it."""
        low, step = 0.0, self._goal.width
        while len(self.trials) < most_trials:
            if self._passes(load, duration):
                low = load
            elif load <= self._limits.bottom_pps:
                self._nothing_passes = self._failed == load
                raise _EndedError(f"even {load:.0f} frames/s do not meet the goal")
            edges = [edge for edge in (self._failed, self._barrier) if edge is not None]
            edge = min(edges) if edges else None
            if low and low >= (self._limits.top_pps if edge is None else edge * (1 - self._goal.width)):
                return low
            disturbed = self._barrier == load
            load = self._next(low, load, edge, step)
            # A disturbance says nothing of the load: no reason to leap far.
            step = min(2 * step, LEAP) if disturbed else 2 * step
        if most_trials == self._limits.max_trials:
            raise _EndedError(f"the search ended after {most_trials} trials, its limit")
        return low or load

    def _next(self, low: float, load: float, edge: float | None, step: float) -> float:
        if not low:
            return max(self._limits.bottom_pps, load * (1 - min(step, 0.5)))
        middle = self._limits.top_pps if edge is None else (low + edge) / 2
        return min(low * (1 + step), middle)
