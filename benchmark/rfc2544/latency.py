"""Latency (RFC 2544 section 26.2): its distribution at shares of the throughput, over repeated trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Annotated, ClassVar

from pydantic import AfterValidator, BeforeValidator, Field

from nvbench.abilities import Ability
from nvbench.rfc2544.scene import DISTURBED, Expected, Repeats, Scene, Section, loss_ratio, names, repeated, with_spread
from nvbench.tables import ResultRow
from nvbench.trial import AbortRule, DetailedMeasure, Latency, Trial
from nvbench.trial_rows import latency_summary

RFC_TRIAL_S = 120.0
"""RFC 2544 section 26.2: a stream of at least 120 seconds."""

RFC_REPEATS = 20
"""RFC 2544 section 26.2: at least 20 times, and the average is reported."""

PROBE_PPS = 1000.0
PROBE_SHARE = 0.001


def probe_pps(line_rate_pps: float) -> float:
    """The load of a probe, in frames per second and direction: low enough that no frame waits for another.

    1000 frames/s, or a thousandth of the line rate where that is lower.
    """
    return min(PROBE_PPS, PROBE_SHARE * line_rate_pps)


@dataclass(frozen=True)
class LatencyAnswer:
    """What was found at one load.

    Attributes:
        latency: The distributions of the trials that count, merged.
        ipdv: Their delay variation, merged.
        medians_us: The median of each of them.
        repeats: The trials.
        warnings: What the reader has to know.
    """

    latency: Latency
    ipdv: Latency
    medians_us: tuple[float, ...]
    repeats: Repeats
    warnings: tuple[str, ...] = ()


def latency(
    measure: DetailedMeasure, load_pps: float, duration_s: float, *, repeats: int = 1, repeat_invalid: int = 3
) -> LatencyAnswer:
    """Measure `repeats` valid trials at a load, in detail; invalid ones are measured again, within a bound."""

    def ask() -> Trial:
        return measure(load_pps, duration_s, AbortRule(), detail=True)

    found = repeated(ask, repeats, repeat_invalid)
    medians = (trial.latency.percentile_us(50) for trial in found.carriers)
    warnings = list(found.warnings)
    lossy = max((trial.loss_ratio for trial in found.carriers), default=0.0)
    if lossy:
        warnings.append(f"latency was measured with a loss ratio up to {lossy:.2g}")
    return LatencyAnswer(
        latency=merged(trial.latency for trial in found.carriers),
        ipdv=merged(trial.ipdv for trial in found.carriers),
        medians_us=tuple(median for median in medians if median is not None),
        repeats=found,
        warnings=tuple(warnings),
    )


def merged(distributions: Iterable[Latency]) -> Latency:
    """Several distributions as one; exact, since their bins are the same."""
    bins: Counter[int] = Counter()
    for distribution in distributions:
        bins.update(dict(distribution.bins))
    return Latency(tuple(sorted(bins.items())))


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _different(loads: tuple[float, ...]) -> tuple[float, ...]:
    for load in loads:
        if loads.count(load) > 1:
            raise ValueError(f"lists {load:g} twice")
    return loads


class LatencyTest(Section):
    """Latency (RFC 2544 section 26.2), with PDV and IPDV (RFC 5481, RFC 8219).

    Attributes:
        loads: Shares of the throughput found, one result each; 0 is a probe: 1000 frames/s, or a thousandth of the
            line rate where that is lower.
        duration_s: Duration of each trial (RFC 2544: at least 120 s).
        repeats: Trials at each load (RFC 2544: at least 20, and their average).
    """

    name: ClassVar[str] = "latency"
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.PACED, Ability.LATENCY})
    loads: Annotated[
        tuple[Annotated[float, Field(ge=0, le=1)], ...],
        BeforeValidator(_listed),
        Field(min_length=1),
        AfterValidator(_different),
    ] = (1.0,)
    duration_s: float = Field(default=RFC_TRIAL_S, gt=0, le=86400)
    repeats: int = Field(default=1, ge=1, le=1000)

    @property
    def needs_throughput(self) -> bool:
        """See `Section.needs_throughput`."""
        return any(self.loads)

    def expected(self) -> Sequence[Expected]:
        """See `Section.expected`."""
        return [Expected(self.repeats * len(self.loads), self.duration_s, "for latency")]

    def rows(self, scene: Scene) -> Iterator[ResultRow]:
        """See `Section.rows`: one a load."""
        for share in self.loads:
            if share and not scene.throughput_pps:
                yield replace(scene.without_throughput(self.name), load_share=share)
            else:
                yield self._row(scene, share)

    def _row(self, scene: Scene, share: float) -> ResultRow:
        load_pps = share * (scene.throughput_pps or 0.0) if share else probe_pps(scene.line_rate_pps)
        found = latency(
            scene.measurer(self.name, "latency"),
            load_pps,
            self.duration_s,
            repeats=self.repeats,
            repeat_invalid=scene.repeat_invalid,
        )
        at = f"at {share:.0%} of the throughput" if share else "at a probe's load"
        short = scene.short("latency: trials", self.duration_s, RFC_TRIAL_S, "RFC 2544 section 26.2")
        carriers = found.repeats.carriers
        row = replace(
            scene.row(self.name, found.repeats.trials, at if carriers else DISTURBED, (*short, *found.warnings)),
            load_share=share,
            rate_pps=fmean(trial.offered_pps for trial in carriers) if carriers else None,
            loss_ratio=loss_ratio(carriers),
            latency=latency_summary(found.latency, found.ipdv),
            floor_p50_us=scene.floor_p50_us,
            final_duration_s=self.duration_s,
            trial_ids=names(carriers),
        )
        return with_spread(row, found.medians_us)
