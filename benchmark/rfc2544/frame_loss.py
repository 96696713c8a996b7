"""Frame loss rate (RFC 2544 section 26.3): the share of frames lost at loads from the line rate downwards."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import Field

from nvbench.rfc2544.scene import DISTURBED, FLAT_OUT, TRIAL_S, Expected, Scene, Section, names, repeated
from nvbench.tables import ResultRow
from nvbench.trial import AbortRule, Measure, Trial, Validity
from nvbench.trial_rows import latency_summary
from nvbench.units import scaled

LOSSLESS_STEPS = 2
"""Steps without loss after which the test ends (RFC 2544 section 26.3)."""

MOST = frozenset({Validity.STALLED, Validity.PAUSED})
"""Trials that the host disturbed: what it had a part in is more loss, never less."""

LATE_RATIO = 0.02
"""Share of the frames that such a trial may not have sent: beyond that it is one of another load."""


@dataclass(frozen=True)
class LossStep:
    """What was found at one load.

    Attributes:
        share: The load asked for, as a share of the line rate.
        carrier: The trial that tells; None if all were too disturbed.
        trials: All trials at this load.
    """

    share: float
    carrier: Trial | None
    trials: tuple[Trial, ...]

    @property
    def undersent(self) -> bool:
        """Whether the generator could not send the load."""
        return self.carrier is not None and self.carrier.validity is Validity.UNDERSENT

    @property
    def at_most(self) -> bool:
        """Whether the host has a part in what was lost: the device alone loses no more than that."""
        return self.carrier is not None and self.carrier.validity in MOST


def frame_loss(
    measure: Measure, line_rate_pps: float, step: float, duration_s: float, repeat_invalid: int = 3
) -> Iterator[LossStep]:
    """Go down from the line rate in steps, a share of it each, until two in a row lose nothing.

    Loads between the line rate and the most that the generator offers would all be that one load: they are left out.
    """
    lossless, most_pps = 0, math.inf
    for number in range(math.ceil(1 / step - 1e-9)):
        share = 1 - number * step
        load_pps = share * line_rate_pps
        if load_pps >= most_pps:
            continue

        def ask(load_pps: float = load_pps) -> Trial:
            return measure(load_pps, duration_s, AbortRule())

        found = repeated(ask, 1, repeat_invalid, FLAT_OUT)
        carrier = found.carriers[0] if found.carriers else _least(found.trials)
        made = LossStep(share, carrier, found.trials)
        yield made
        if made.undersent and carrier:
            most_pps = carrier.offered_pps
        clean = carrier is not None and carrier.total.offered > 0 and not carrier.loss_ratio
        lossless = lossless + 1 if clean else 0
        if lossless == LOSSLESS_STEPS:
            return


def _least(trials: Sequence[Trial]) -> Trial | None:
    """Of disturbed trials that offered the load the one that lost least."""
    bounds = [
        trial
        for trial in trials
        if trial.validity in MOST and trial.total.late <= LATE_RATIO * (trial.total.offered + trial.total.late)
    ]
    return min(bounds, key=lambda trial: trial.loss_ratio, default=None)


class FrameLossTest(Section):
    """Frame loss rate (RFC 2544 section 26.3), from the line rate downwards until two steps lose nothing.

    Attributes:
        step: How far each load is below the one before, as a share of the line rate (RFC 2544: at most 10 %).
        duration_s: Duration of each trial (RFC 2544 section 24: 60 s).
    """

    name: ClassVar[str] = "frame_loss"
    step: float = Field(default=0.1, ge=0.001, le=0.1)
    duration_s: float = Field(default=TRIAL_S, gt=0, le=86400)

    def expected(self) -> Sequence[Expected]:
        """See `Section.expected`: down to the bottom, which a fast device does not need."""
        return [Expected(math.ceil(1 / self.step - 1e-9), self.duration_s, "down from the line rate, at most")]

    def rows(self, scene: Scene) -> Iterator[ResultRow]:
        """See `Section.rows`: one a load."""
        short = scene.short("frame loss: trials", self.duration_s, TRIAL_S, "RFC 2544 section 24")
        measure = scene.measurer(self.name, "loss")
        for step in frame_loss(measure, scene.line_rate_pps, self.step, self.duration_s, scene.repeat_invalid):
            yield _row(scene, step, short)


def _row(scene: Scene, step: LossStep, warnings: Sequence[str]) -> ResultRow:
    verdict = f"at {step.share:.4g} of the line rate".replace("at 1 of", "at")
    carrier = step.carrier
    if carrier is None:
        return replace(scene.row(FrameLossTest.name, step.trials, DISTURBED, warnings), load_share=step.share)
    if step.undersent:
        most = scaled(carrier.offered_pps, "pps")
        verdict = f"{verdict}: the generator offered {most}"
        warnings = (
            *warnings,
            f"frame loss: the generator offers {most} at most, less than {step.share:.4g} of the line rate; "
            "loads in between are left out",
        )
    if step.at_most:
        verdict = f"{verdict}: at most this, disturbed"
        told = f"frame loss: trials at {step.share:.4g} of the line rate were disturbed: {carrier.reason}"
        warnings = (*warnings, told)
    return replace(
        scene.row(FrameLossTest.name, step.trials, verdict, warnings),
        load_share=step.share,
        rate_pps=carrier.offered_pps,
        loss_ratio=carrier.loss_ratio if carrier.total.offered else None,
        latency=latency_summary(carrier.latency, carrier.ipdv),
        final_duration_s=carrier.elapsed_s,
        trial_ids=names([carrier]),
    )
