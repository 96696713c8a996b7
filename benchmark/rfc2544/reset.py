"""Reset (RFC 2544 section 26.6, RFC 6201): how long a device does not forward when its program is restarted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from pydantic import Field

from nvbench.abilities import Ability
from nvbench.rfc2544.events import loss_events
from nvbench.rfc2544.scene import Expected, Scene, Section, names, with_spread
from nvbench.tables import LossEvent, ResultRow
from nvbench.trial import AbortRule, DetailedMeasure, Timeline, Trial, Validity

EXPLAINED = frozenset({Validity.VALID, Validity.STALLED, Validity.GONE, Validity.PAUSED})
"""Verdicts on a trial that saw a restart: that the device took nothing, or went, is what is measured.

A program that starts may keep the generator off a core that they share. What was not sent then was not lost either:
the time without forwarding is as long, told to within the generator's longest pause.
"""


@dataclass(frozen=True)
class Outage:
    """What a restart did.

    Attributes:
        seconds: Frames lost over offered load (RFC 6201 section 1.3, frame-loss method); where the generator was
            kept from sending meanwhile, `silent_s`.
        silent_s: The longest time in which no frame sent came back (time-stamp method); None without a timeline.
        back: Whether frames passed again at the end of the trial.
        events: When frames were lost.
    """

    seconds: float
    silent_s: float | None
    back: bool
    events: tuple[LossEvent, ...]


def outage(trial: Trial) -> Outage:
    """What a trial in which the device was restarted tells."""
    timeline = trial.timeline
    lost = trial.total.lost + trial.total.refused
    offered_pps = trial.offered_pps * len(trial.directions)
    by_loss_s = lost / offered_pps if offered_pps else trial.elapsed_s
    silent_s = _longest_silence_s(timeline) if timeline else None
    return Outage(
        seconds=silent_s if trial.validity is Validity.PAUSED and silent_s is not None else by_loss_s,
        silent_s=silent_s,
        back=any(timeline.received[-_tail(len(timeline.received)) :]) if timeline else trial.total.received > 0,
        events=tuple(loss_events(timeline)) if timeline else (),
    )


def _longest_silence_s(timeline: Timeline) -> float:
    """The longest time in which nothing came back of what was sent; a pause of the sender within it does not end it."""
    longest = run = lost = 0
    columns = zip(timeline.sent, timeline.refused, timeline.received, strict=True)
    for sent, refused, received in columns:
        run, lost = (0, 0) if received else (run + 1, lost + sent + refused)
        longest = max(longest, run) if lost else longest
    return longest * timeline.interval_s


def _tail(intervals: int) -> int:
    """The last twentieth: a single frame there shows that it forwards again."""
    return max(1, intervals // 20)


def reset(
    measure: DetailedMeasure, load_pps: float, duration_s: float, repeats: int, repeat_invalid: int = 3
) -> tuple[Trial, ...]:
    """Trials that see a restart each, until so many can be believed, or the device does not come back."""
    trials: list[Trial] = []
    believed = 0
    while believed < repeats and len(trials) - believed <= repeat_invalid:
        trials.append(measure(load_pps, duration_s, AbortRule(), detail=True))
        believed += trials[-1].validity in EXPLAINED
        if not outage(trials[-1]).back:
            break
    return tuple(trials)


class ResetTest(Section):
    """Reset (RFC 2544 section 26.6): nvbench kills the switch's program under load and starts it again.

    Attributes:
        load: Share of the throughput that is offered meanwhile (RFC 2544: all of it).
        before_s: Traffic before the restart.
        down_s: How long the program stays away at least.
        patience_s: How long frames are awaited after the restart; a device that forwards none then has not come back.
        repeats: How often.
    """

    name: ClassVar[str] = "reset"
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.PACED, Ability.TIMELINE})
    load: float = Field(default=1.0, gt=0, le=1)
    before_s: float = Field(default=1.0, gt=0, le=3600)
    down_s: float = Field(default=0.0, ge=0, le=3600)
    patience_s: float = Field(default=30.0, gt=0, le=3600)
    repeats: int = Field(default=3, ge=1, le=100)

    @property
    def needs_throughput(self) -> bool:
        """See `Section.needs_throughput`."""
        return True

    @property
    def trial_s(self) -> float:
        """Duration of a trial."""
        return self.before_s + self.down_s + self.patience_s

    def expected(self) -> Sequence[Expected]:
        """See `Section.expected`."""
        return [Expected(self.repeats, self.trial_s, "with a restart")]

    def rows(self, scene: Scene) -> Iterator[ResultRow]:
        """See `Section.rows`: one."""
        if scene.restarting is None:
            yield scene.impossible(self.name, f"nvbench cannot restart {scene.subject.datapath}")
            return
        if not scene.throughput_pps:
            yield scene.without_throughput(self.name)
            return
        measure = scene.restarting(self.before_s, self.down_s)
        load_pps = self.load * scene.throughput_pps
        trials = reset(measure, load_pps, self.trial_s, self.repeats, scene.repeat_invalid)
        row = self._row(scene, trials)
        yield row
        if not outage(trials[-1]).back:
            scene.renew()

    def _row(self, scene: Scene, trials: Sequence[Trial]) -> ResultRow:
        carriers = [trial for trial in trials if trial.validity in EXPLAINED]
        found = [outage(trial) for trial in carriers]
        gone = bool(trials) and not outage(trials[-1]).back
        times = [each.seconds for each in found if each.back]
        warnings = []
        if len(times) < self.repeats:
            warnings.append(
                f"reset: {len(times)} of {self.repeats} restarts measured; {trials[-1].reason}".rstrip("; ")
            )
        silences = [each.silent_s for each in found if each.silent_s is not None and each.back]
        verdict = f"did not come back within {self.patience_s:g} s" if gone else "no restart could be measured"
        if times and not gone:
            seen = f", silent for {max(silences):.3g} s at most" if silences else ""
            verdict = f"came back{seen}"
        row = replace(
            scene.row(self.name, trials, verdict, warnings),
            load_share=self.load,
            rate_pps=sum(trial.offered_pps for trial in carriers) / len(carriers) if carriers else None,
            outage_s=sum(times) / len(times) if times else None,
            final_duration_s=self.trial_s,
            trial_ids=names(carriers),
            events=tuple(event for each in found for event in each.events),
        )
        return with_spread(row, times)
