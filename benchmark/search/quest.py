"""A goal under way: what is known of it, out of the trials that all goals share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from nvbench.search.base import Answer, Goal, Limits
from nvbench.search.ledger import Ledger
from nvbench.search.look import Look
from nvbench.tables import LimitedBy
from nvbench.trial import Trial


@dataclass
class Quest:
    """What is known of a goal.

    Attributes:
        goal: The goal.
        trials: All trials of the search so far.
        passes: Full-length passes at the highest load that met the goal.
        at: Number of trials made when it did.
        barred: The trial at the lowest load at which none was valid.
        strange: Short trials that failed by chance, which say nothing of their load.
        nothing_passes: Whether even the bottom missed the goal.
        background: Share of the frames that the device loses at any load, where that decides.
    """

    goal: Goal
    trials: Sequence[Trial]
    passes: list[Trial] = field(default_factory=list)
    at: int = 0
    barred: Trial | None = None
    strange: list[Trial] = field(default_factory=list)
    nothing_passes: bool = False
    background: float = 0.0

    @property
    def low(self) -> float:
        """The highest load that met the goal; 0 if none did."""
        return self.passes[-1].intended_pps if self.passes else 0.0

    def meet(self, passes: Sequence[Trial]) -> None:
        """Take note of a load that has just met the goal."""
        self.passes, self.at = list(passes), len(self.trials)

    def bar(self, trial: Trial) -> None:
        """Take note of a load at which no trial was valid."""
        if self.barred is None or trial.intended_pps < self.barred.intended_pps:
            self.barred = trial

    def adopt(self, highest: float = math.inf) -> None:
        """Take what full-length trials for other goals have shown, up to a load."""
        if self.goal.trials > 1:
            return
        for number, trial in enumerate(self.trials, start=1):
            if self.low < trial.intended_pps <= highest and self.goal.full(trial) and self.goal.passed(trial):
                before = self.passes, self.at
                self.passes, self.at = [trial], number
                if self.contradicted:
                    self.passes, self.at = before

    @property
    def contradicted(self) -> bool:
        """Whether a full-length trial at no more than the answer's load has failed since."""
        goal, later = self.goal, self.trials[self.at :]
        return any(t.intended_pps <= self.low and goal.full(t) and goal.failed(t) for t in later)

    @property
    def upper(self) -> Trial | None:
        """The trial that failed at the lowest load above the answer; a short one before may have met it cold."""
        since = self.at if self.passes else 0
        trials = [trial for number, trial in enumerate(self.trials) if number >= since or self.goal.full(trial)]
        failed = [trial for trial in trials if trial.intended_pps > self.low and self.goal.failed(trial)]
        return min((t for t in failed if t not in self.strange), key=lambda t: t.intended_pps, default=None)

    @property
    def ceiling(self) -> float:
        """The lowest load that failed or could not be judged; infinite where there is none."""
        return min((edge.intended_pps for edge in (self.upper, self.barred) if edge), default=math.inf)

    def closed(self, top_pps: float) -> bool:
        """Whether nothing more can be found: the bounds are close, or what is above cannot be sent or judged."""
        return self.low >= min(self.ceiling * (1 - self.goal.width), top_pps)

    # -- answering ---------------------------------------------------------------------------------------------

    def answer(self, look: Look, ledger: Ledger, limits: Limits, spent: str) -> Answer:
        """What is told of it in the end."""
        upper = self.upper
        barred = self.barred is not None and (upper is None or self.barred.intended_pps < upper.intended_pps)
        return Answer(
            self.goal,
            carriers=tuple(self.passes),
            upper=upper,
            limited_by=LimitedBy.UNKNOWN if barred else self._limited_by(ledger, limits),
            nothing_passes=self.nothing_passes,
            disturbed=barred,
            warnings=(*self._disturbances(barred), *self._traits(look), *self._ends(ledger, spent)),
        )

    def _disturbances(self, barred: bool) -> Iterator[str]:
        if barred and self.barred:
            yield f"no valid trial at {self.barred.intended_pps:.0f} frames/s: {self.barred.reason}"

    def _traits(self, look: Look) -> Iterator[str]:
        """What the device is like."""
        if look.noise:
            yield f"device is noisy: what it forwards varies by {100 * look.noise:.2g} % from trial to trial"
        if look.warmed_by > self.goal.width:
            yield f"device warmed up: it forwarded {100 * look.warmed_by:.2g} % more after the first seconds of traffic"
        if look.buffer:
            yield f"device holds about {look.buffer:.0f} frames: shorter trials would pass at higher loads"
        if self.background:
            tolerant = f"a goal of {10 * self.background:.1g} would tell its capacity"
            yield f"background loss {self.background:.2g}: no higher rate without loss is repeatable ({tolerant})"

    def _ends(self, ledger: Ledger, spent: str) -> Iterator[str]:
        if spent:
            yield spent
        elif self.passes and not self.closed(ledger.top_pps):
            yield "its bounds are further apart than was asked for"

    def _limited_by(self, ledger: Ledger, limits: Limits) -> LimitedBy:
        if not self.passes:
            return LimitedBy.SUT if self.nothing_passes else LimitedBy.UNKNOWN
        if self.upper is not None:
            return LimitedBy.SUT
        if self.low >= limits.top_pps:
            return LimitedBy.LINE_RATE
        if ledger.generator_limited and self.low >= ledger.top_pps * (1 - self.goal.width):
            return LimitedBy.GENERATOR
        return LimitedBy.UNKNOWN
