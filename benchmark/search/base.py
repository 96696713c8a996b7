"""What a search is asked, and what it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from nvbench.tables import LimitedBy
from nvbench.trial import AbortRule, Trial


@dataclass(frozen=True, slots=True)
class Goal:
    """The highest load at which no more than a share of the frames is lost, and how sure that has to be.

    Attributes:
        loss_ratio: Frames lost or refused as a share of those offered; 0 for RFC 2544 throughput (an NDR), more for
            a partial drop rate (a PDR).
        final_s: Duration of a full-length trial: only such trials carry an answer.
        width: How close the bounds must be, as a share of the upper one.
        trials: Full-length trials that decide on a load.
        exceed_ratio: Share of those that may lose more (RFC 9971 section 6.3): a load passes once enough of them
            have passed that the rest cannot change it, and fails likewise.
        expected_pps: Where the answer is expected, from an earlier run or a neighbouring frame size; it narrows the
            start, never the verdict.
    """

    loss_ratio: float = 0.0
    final_s: float = 60.0
    width: float = 0.005
    trials: int = 1
    exceed_ratio: float = 0.0
    expected_pps: float | None = None

    @classmethod
    def rfc2544(cls, loss_ratio: float = 0.0, final_s: float = 60.0, width: float = 0.005) -> Goal:
        """One full-length trial decides (RFC 2544 section 26.1)."""
        return cls(loss_ratio, final_s, width)

    @classmethod
    def tst009(cls, loss_ratio: float = 0.0, final_s: float = 60.0, width: float = 0.005) -> Goal:
        """A load fails when a second full-length trial fails too (ETSI GS NFV-TST 009 section 12.3.3)."""
        return cls(loss_ratio, final_s, width, trials=2, exceed_ratio=0.5)

    @classmethod
    def csit(cls, loss_ratio: float = 0.0, width: float = 0.005) -> Goal:
        """21 trials of 1 s, half of which may fail, as FD.io CSIT measures."""
        return cls(loss_ratio, 1.0, width, trials=21, exceed_ratio=0.5)

    def allowance(self, load_pps: float, duration_s: float, directions: int = 1) -> int:
        """Frames that a trial may lose without failing."""
        return int(self.loss_ratio * load_pps * duration_s * directions)

    def abort(self, load_pps: float, duration_s: float, directions: int = 1) -> AbortRule:
        """A trial that has lost more than its whole allowance has failed."""
        return AbortRule(self.allowance(load_pps, duration_s, directions))

    def passed(self, trial: Trial) -> bool:
        """Whether a trial meets the goal; one that offered nothing or was ended early shows nothing."""
        return trial.valid and _whole(trial) and trial.total.offered > 0 and trial.loss_ratio <= self.loss_ratio

    def failed(self, trial: Trial) -> bool:
        """Whether a trial misses the goal, however it would have gone on."""
        lost = trial.total.lost + trial.total.refused
        allowed = self.allowance(trial.intended_pps, trial.duration_s, len(trial.directions))
        return trial.valid and (trial.loss_ratio > self.loss_ratio if _whole(trial) else lost > allowed)

    def full(self, trial: Trial) -> bool:
        """Whether a trial is long enough to carry an answer."""
        return trial.duration_s >= self.final_s


WHOLE = 0.99
"""Of its duration: a trial that lasted less was ended early, whether it says so or not."""


def _whole(trial: Trial) -> bool:
    return not trial.aborted and trial.elapsed_s >= WHOLE * trial.duration_s


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a search may look, and for how long.

    Attributes:
        top_pps: The highest load, in frames per second and direction; the link's line rate.
        bottom_pps: Below this nothing is looked for.
        directions: Directions that carry traffic.
        short_s: Duration of the trials that narrow the range.
        repeat_invalid: How often an invalid trial is measured again.
        max_trials: The search ends after so many trials, with what it knows.
        budget_s: The search ends within so many seconds of traffic, with what it knows.
        overhead_s: What a trial takes beyond its traffic; counted against the budget.
    """

    top_pps: float
    bottom_pps: float
    directions: int = 1
    short_s: float = 1.0
    repeat_invalid: int = 3
    max_trials: int = 200
    budget_s: float = math.inf
    overhead_s: float = 0.0


@dataclass(frozen=True)
class Answer:
    """What a search found for one goal.

    Attributes:
        goal: The goal.
        carriers: The full-length trials that decided: the passes at the answer, last the one that names its rate;
            empty if no load passed.
        upper: The trial that failed at the lowest load known to fail; None if the top passed.
        limited_by: What kept the rate from being higher.
        nothing_passes: Whether even the bottom of the range failed.
        disturbed: Whether a higher load was given up because every trial there was disturbed.
        warnings: What the reader has to know.
    """

    goal: Goal
    carriers: tuple[Trial, ...] = ()
    upper: Trial | None = None
    limited_by: LimitedBy = LimitedBy.UNKNOWN
    nothing_passes: bool = False
    disturbed: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def carrier(self) -> Trial | None:
        """The full-length trial that passed at the answer; None if none did."""
        return self.carriers[-1] if self.carriers else None

    @property
    def rate_pps(self) -> float:
        """The measured offered load that passed, in frames per second and direction; 0 if none did."""
        return self.carriers[-1].offered_pps if self.carriers else 0.0

    @property
    def upper_pps(self) -> float | None:
        """The lowest load known to fail; None if the top passed."""
        return self.upper.intended_pps if self.upper else None


@dataclass(frozen=True)
class Outcome:
    """What a search found for all its goals.

    Attributes:
        answers: One a goal, in the goals' order.
        trials: All trials, in the order in which they were made.
    """

    answers: tuple[Answer, ...]
    trials: tuple[Trial, ...]

    @property
    def seconds(self) -> float:
        """Seconds of traffic."""
        return sum(trial.elapsed_s for trial in self.trials)
