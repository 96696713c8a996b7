"""What a search is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from nvbench.trial import Trial


@dataclass(frozen=True, slots=True)
class Goal:
    """The highest load at which no more than a share of the frames is lost.

    Attributes:
        loss_ratio: Frames lost or refused as a share of those offered; 0 for RFC 2544 throughput.
        search_s: Duration of the trials that narrow the range.
        final_s: Duration of the trial that carries the answer.
        width: How close the bounds must be, as a share of the upper one.
    """

    loss_ratio: float = 0.0
    search_s: float = 1.0
    final_s: float = 60.0
    width: float = 0.005

    def passed(self, trial: Trial) -> bool:
        """Whether a trial meets the goal; one that offered nothing shows nothing."""
        return trial.valid and trial.total.offered > 0 and trial.loss_ratio <= self.loss_ratio


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a search may look, and for how long.

    Attributes:
        top_pps: The highest load, in frames per second and direction; the link's line rate.
        bottom_pps: Below this nothing is looked for.
        directions: Directions that carry traffic.
        repeat_invalid: How often an invalid trial is measured again.
        max_trials: The search ends after so many trials, with what it knows.
    """

    top_pps: float
    bottom_pps: float
    directions: int = 1
    repeat_invalid: int = 3
    max_trials: int = 60


@dataclass(frozen=True)
class Answer:
    """What a search found.

    Attributes:
        carrier: The full-length trial that passed at the answer; None if none did.
        upper_pps: The lowest load known to fail; None if the top passed.
        generator_limited: Whether a higher load was not asked because the generator could not send it.
        nothing_passes: Whether even the bottom of the range failed.
        disturbed: Whether a higher load was given up because every trial there was disturbed.
        trials: All trials, in order.
        warnings: What the reader has to know.
    """

    carrier: Trial | None
    upper_pps: float | None
    generator_limited: bool
    nothing_passes: bool
    disturbed: bool
    trials: tuple[Trial, ...]
    warnings: tuple[str, ...] = ()

    @property
    def rate_pps(self) -> float:
        """The measured offered load that passed, in frames per second and direction; 0 if none did."""
        return self.carrier.offered_pps if self.carrier else 0.0
