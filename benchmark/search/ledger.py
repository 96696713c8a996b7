"""The trials of a search: asked for, repeated where they were disturbed, counted against the budget."""

from __future__ import annotations

from nvbench.search.base import Limits
from nvbench.trial import AbortRule, Measure, Trial, Validity

HURRY = 1 / 3
"""Of the trials: when so many have passed nothing, the search comes down in long steps."""

BARRED_LOADS = 12
"""Loads in a row at which every trial was disturbed, before it is taken that all would be."""


class SpentError(Exception):
    """Nothing more can be asked: trials or seconds are used up, or the bench disturbs them all."""


class Ledger:
    """All trials of a search, in order.

    Args:
        measure: What makes a trial.
        limits: How many, and for how long.
    """

    def __init__(self, measure: Measure, limits: Limits) -> None:
        self.trials: list[Trial] = []
        self.top_pps = limits.top_pps
        self.generator_limited = False
        self._measure = measure
        self._limits = limits
        self._seconds = 0.0
        self._barred = 0

    def affords(self, duration_s: float, trials: int = 1) -> bool:
        """Whether so many more trials of that length are within the budget."""
        limits = self._limits
        wanted = self._seconds + trials * (duration_s + limits.overhead_s)
        return wanted <= limits.budget_s and len(self.trials) + trials <= limits.max_trials

    @property
    def hurry(self) -> bool:
        """Whether so many trials are made that what is left has to find what passes at all."""
        return len(self.trials) > HURRY * self._limits.max_trials

    def overload(self, load_pps: float, duration_s: float) -> Trial:
        """A trial to see how much is lost; a generator that cannot send so much still shows that."""
        return self.ask(load_pps, duration_s, AbortRule(), sendable=False)

    def ask(
        self, load_pps: float, duration_s: float, abort: AbortRule, *, patient: bool = False, sendable: bool = True
    ) -> Trial:
        """A valid trial, or after enough repeats an invalid one.

        Args:
            load_pps: Load, in frames per second and direction; no more than the generator is known to send.
            duration_s: Its duration.
            abort: When it may end early.
            patient: Repeat it as often as the limits allow; else a third of that.
            sendable: Whether the generator has to reach the load.

        Raises:
            SpentError: It would not fit into the budget any more, or trials are disturbed at whatever load.
        """
        repeats = self._limits.repeat_invalid if patient else self._limits.repeat_invalid // 3
        load_pps = min(load_pps, self.top_pps)
        undersent = not sendable
        for _ in range(1 if self.hurry else repeats + 1):
            trial = self._once(load_pps, duration_s, abort)
            if trial.valid or (trial.validity is Validity.UNDERSENT and undersent):
                break  # a generator that fails twice to send a load cannot
            undersent = trial.validity is Validity.UNDERSENT
        self._barred = 0 if trial.valid or undersent else self._barred + 1
        if self._barred >= BARRED_LOADS:
            raise SpentError(f"the search ended: no trial was valid at {BARRED_LOADS} loads in a row: {trial.reason}")
        return trial

    def sendable(self, trial: Trial) -> None:
        """From now on ask for no more than the generator sent in a trial."""
        self.top_pps = min(self.top_pps, trial.offered_pps * (1 - CEILING_MARGIN))
        self.generator_limited = True

    def _once(self, load_pps: float, duration_s: float, abort: AbortRule) -> Trial:
        if not self.affords(duration_s):
            spent = f"{len(self.trials)} trials and {self._seconds:.0f} s of traffic"
            raise SpentError(f"the search ended after {spent}, its limit")
        trial = self._measure(load_pps, duration_s, abort)
        self.trials.append(trial)
        self._seconds += trial.elapsed_s + self._limits.overhead_s
        return trial


CEILING_MARGIN = 0.001
"""How far below its ceiling a generator is asked to stay; a trial in which more is missing was not sent."""
