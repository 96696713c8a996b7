"""Soak: a long run at a share of the throughput, and when it lost frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import fmean
from typing import ClassVar

from pydantic import Field

from nvbench.rfc2544.events import loss_events
from nvbench.rfc2544.latency import merged
from nvbench.rfc2544.scene import DISTURBED, Expected, Repeats, Scene, Section, loss_ratio, names, repeated, with_spread
from nvbench.tables import LossEvent, ResultRow
from nvbench.trial import AbortRule, DetailedMeasure, Trial
from nvbench.trial_rows import latency_summary

MOST_EVENTS = 1000
"""Loss events that a result tells; the trials tell all."""


def soak(measure: DetailedMeasure, load_pps: float, slice_s: float, slices: int, repeat_invalid: int = 3) -> Repeats:
    """Offer a load for a long time, in slices; a disturbed one is made again, within a bound, and else ends it."""

    def ask() -> Trial:
        return measure(load_pps, slice_s, AbortRule(), detail=True)

    return repeated(ask, slices, repeat_invalid)


def events_of(trials: Sequence[Trial]) -> Iterator[LossEvent]:
    """When frames were lost, in seconds of traffic since the first trial's first frame."""
    offset_s = 0.0
    for trial in trials:
        if trial.timeline:
            yield from loss_events(trial.timeline, offset_s)
        offset_s += trial.elapsed_s


class SoakTest(Section):
    """A long run at a share of the throughput, in slices between which counters are read.

    Attributes:
        load: Share of the throughput.
        duration_s: How long, in seconds of traffic.
        slice_s: Duration of a slice.
    """

    name: ClassVar[str] = "soak"
    load: float = Field(default=0.9, gt=0, le=1)
    duration_s: float = Field(default=3600.0, gt=0, le=10_000_000)
    slice_s: float = Field(default=10.0, gt=0, le=86400)

    @property
    def needs_throughput(self) -> bool:
        """See `Section.needs_throughput`."""
        return True

    @property
    def slices(self) -> int:
        """Number of slices."""
        return math.ceil(self.duration_s / self.slice_s)

    def expected(self) -> Sequence[Expected]:
        """See `Section.expected`."""
        return [Expected(self.slices, self.slice_s, f"at {self.load:.0%} of the throughput")]

    def rows(self, scene: Scene) -> Iterator[ResultRow]:
        """See `Section.rows`: one."""
        if not scene.throughput_pps:
            yield scene.without_throughput(self.name)
            return
        load_pps = self.load * scene.throughput_pps
        found = soak(scene.measurer(self.name, "soak"), load_pps, self.slice_s, self.slices, scene.repeat_invalid)
        carriers = found.carriers
        events = tuple(events_of(carriers))
        warnings = list(found.warnings)
        if len(events) > MOST_EVENTS:
            warnings.append(f"soak: {len(events)} loss events, of which the first {MOST_EVENTS} are told")
        row = replace(
            scene.row(self.name, found.trials, self._verdict(carriers, events), warnings),
            load_share=self.load,
            rate_pps=fmean(trial.offered_pps for trial in carriers) if carriers else None,
            loss_ratio=loss_ratio(carriers),
            latency=latency_summary(
                merged(trial.latency for trial in carriers), merged(trial.ipdv for trial in carriers)
            ),
            final_duration_s=sum(trial.elapsed_s for trial in carriers),
            trial_ids=names(carriers),
            events=events[:MOST_EVENTS],
        )
        yield with_spread(row, [trial.loss_ratio for trial in carriers])

    def _verdict(self, carriers: Sequence[Trial], events: Sequence[LossEvent]) -> str:
        if not carriers:
            return DISTURBED
        lost = sum(trial.total.lost + trial.total.refused for trial in carriers)
        if not lost:
            return f"nothing lost at {self.load:.0%} of the throughput"
        return f"{lost} frames lost in {len(events)} event{'' if len(events) == 1 else 's'}"
