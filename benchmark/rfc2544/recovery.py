"""System recovery (RFC 2544 section 26.5): how long a device goes on losing frames once an overload is over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import ClassVar

from pydantic import Field

from nvbench.abilities import Ability
from nvbench.rfc2544.events import loss_events
from nvbench.rfc2544.scene import (
    DISTURBED,
    FLAT_OUT,
    TRIAL_S,
    Expected,
    Repeats,
    Scene,
    Section,
    names,
    repeated,
    with_spread,
)
from nvbench.tables import ResultRow
from nvbench.trial import AbortRule, DetailedMeasure, Step, Trial

OVERLOAD = 1.1
"""Of the throughput (RFC 2544 section 26.5), where the link carries that much."""

AFTERWARDS = 0.5
"""Of the overload (RFC 2544 section 26.5)."""

EDGE = 1e-6


@dataclass(frozen=True)
class Recovery:
    """What one overload showed.

    Attributes:
        overloaded: Whether frames were lost while it lasted.
        seconds: From its end to the end of the last interval in which frames were lost; None if that goes on.
        offered_pps: Load measured while it lasted, in frames per second and direction.
    """

    overloaded: bool
    seconds: float | None
    offered_pps: float


def recovery(
    measure: DetailedMeasure,
    overload_pps: float,
    overload_s: float,
    afterwards_s: float,
    repeats: int,
    repeat_invalid: int = 3,
) -> Repeats:
    """Offer an overload, then half of it without a pause; so many times.

    Where the generator cannot send all of the overload, what it offers is one as long as frames are lost.
    """
    then = Step(AFTERWARDS * overload_pps, afterwards_s)

    def ask() -> Trial:
        return measure(overload_pps, overload_s, AbortRule(), then=then, detail=True)

    return repeated(ask, repeats, repeat_invalid, FLAT_OUT)


def recovered(trial: Trial) -> Recovery | None:
    """What a trial of two loads tells; None without a timeline.

    Timestamp A of RFC 2544 section 26.5 is the time at which the load changes, B the end of the last interval in
    which frames were lost: the answer is B - A, or 0 where none was lost after A.
    """
    timeline, then = trial.timeline, trial.then
    if timeline is None or then is None or not timeline.sent:
        return None
    change_s = trial.duration_s - then.duration_s
    before = max(1, int(change_s / timeline.interval_s + EDGE))
    offered = sum(timeline.sent[:before]) + sum(timeline.refused[:before])
    events = list(loss_events(timeline))
    end_s = len(timeline.sent) * timeline.interval_s
    last_s = max((event.at_s + event.duration_s for event in events), default=0.0)
    return Recovery(
        overloaded=any(event.at_s < change_s for event in events),
        # The interval in which the load changes belongs to the overload as well.
        seconds=None if last_s > end_s * (1 - EDGE) else _after(last_s, change_s, timeline.interval_s),
        offered_pps=offered / (before * timeline.interval_s) / len(trial.directions),
    )


def _after(last_s: float, change_s: float, interval_s: float) -> float:
    last = round(last_s / interval_s) - 1  # the last interval in which frames were lost
    return last_s - change_s if last * interval_s > change_s - EDGE else 0.0


class RecoveryTest(Section):
    """System recovery (RFC 2544 section 26.5): 110 % of the throughput, or the most there is, then half of that.

    Attributes:
        overload_s: How long the overload lasts (RFC 2544: at least 60 s).
        afterwards_s: How long frames are watched after it.
        repeats: How often.
    """

    name: ClassVar[str] = "recovery"
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.PACED, Ability.STEPS, Ability.TIMELINE})
    overload_s: float = Field(default=TRIAL_S, gt=0, le=86400)
    afterwards_s: float = Field(default=10.0, gt=0, le=86400)
    repeats: int = Field(default=3, ge=1, le=1000)

    @property
    def needs_throughput(self) -> bool:
        """See `Section.needs_throughput`."""
        return True

    def expected(self) -> Sequence[Expected]:
        """See `Section.expected`."""
        return [Expected(self.repeats, self.overload_s + self.afterwards_s, "with an overload and after it")]

    def rows(self, scene: Scene) -> Iterator[ResultRow]:
        """See `Section.rows`: one."""
        if not scene.throughput_pps:
            yield scene.without_throughput(self.name)
            return
        overload_pps = min(OVERLOAD * scene.throughput_pps, max(scene.sendable_pps, scene.throughput_pps))
        found = recovery(
            scene.measurer(self.name, "recovery"),
            overload_pps,
            self.overload_s,
            self.afterwards_s,
            self.repeats,
            scene.repeat_invalid,
        )
        yield self._row(scene, found, scene.throughput_pps)

    def _row(self, scene: Scene, found: Repeats, throughput_pps: float) -> ResultRow:
        measured = [each for trial in found.carriers if (each := recovered(trial)) is not None]
        times = [each.seconds for each in measured if each.seconds is not None]
        warnings = scene.short("recovery: overloads", self.overload_s, TRIAL_S, "RFC 2544 section 26.5")
        warnings += found.warnings
        if 0 < len(times) < len(measured):
            warnings.append(
                f"recovery: {len(measured) - len(times)} of {len(measured)} overloads were not over in time"
            )
        offered_pps = fmean(each.offered_pps for each in measured) if measured else None
        share = offered_pps / throughput_pps if offered_pps is not None else None
        verdict = self._verdict(measured, times, share)
        if times and found.carriers[0].timeline:
            verdict = f"{verdict}, to {found.carriers[0].timeline.interval_s * 1e3:.3g} ms"
        row = replace(
            scene.row(self.name, found.trials, verdict, warnings),
            load_share=share,
            rate_pps=offered_pps,
            recovery_time_s=fmean(times) if times else None,
            final_duration_s=self.overload_s,
            trial_ids=names(found.carriers),
        )
        return with_spread(row, times)

    def _verdict(self, measured: Sequence[Recovery], times: Sequence[float], share: float | None) -> str:
        if share is None:
            return DISTURBED
        if not times:
            return f"did not recover within {self.afterwards_s:g} s"
        if not any(each.overloaded for each in measured):
            return f"nothing lost even at {share:.0%} of the throughput"
        return f"from {share:.0%} of the throughput"
