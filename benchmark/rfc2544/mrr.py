"""Maximum receive rate: what comes back of a load as high as link and generator allow, however much is lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean
from typing import ClassVar

from pydantic import Field

from nvbench.abilities import Ability
from nvbench.rfc2544.scene import (
    DISTURBED,
    FLAT_OUT,
    Expected,
    Repeats,
    Scene,
    Section,
    loss_ratio,
    names,
    repeated,
    with_spread,
)
from nvbench.tables import ResultRow
from nvbench.trial import AbortRule, Measure, Trial
from nvbench.units import scaled


def mrr(measure: Measure, line_rate_pps: float, duration_s: float, repeats: int, repeat_invalid: int = 3) -> Repeats:
    """Offer the line rate so many times; a generator that cannot send it offers what it can."""

    def ask() -> Trial:
        return measure(line_rate_pps, duration_s, AbortRule())

    return repeated(ask, repeats, repeat_invalid, FLAT_OUT)


class MrrTest(Section):
    """Maximum receive rate (forwarding rate at maximum offered load, RFC 2285 section 3.6.2).

    Attributes:
        duration_s: Duration of each trial.
        repeats: Number of trials.
    """

    name: ClassVar[str] = "mrr"
    needs: ClassVar[frozenset[Ability]] = frozenset()
    duration_s: float = Field(default=1.0, gt=0, le=86400)
    repeats: int = Field(default=10, ge=1, le=1000)

    def expected(self) -> Sequence[Expected]:
        """See `Section.expected`."""
        return [Expected(self.repeats, self.duration_s, "flat out")]

    def rows(self, scene: Scene) -> Iterator[ResultRow]:
        """See `Section.rows`: one."""
        measure = scene.measurer(self.name, "flat out")
        found = mrr(measure, scene.line_rate_pps, self.duration_s, self.repeats, scene.repeat_invalid)
        if not found.carriers:
            yield scene.row(self.name, found.trials, DISTURBED, found.warnings)
            return
        offered = fmean(trial.offered_pps for trial in found.carriers)
        received = [trial.forwarded_pps for trial in found.carriers]
        row = replace(
            scene.row(self.name, found.trials, f"of {scaled(offered, 'pps')} offered", found.warnings),
            rate_pps=fmean(received),
            load_share=offered / scene.line_rate_pps,
            loss_ratio=loss_ratio(found.carriers),
            final_duration_s=self.duration_s,
            trial_ids=names(found.carriers),
        )
        yield with_spread(row, received)
