"""Back-to-back frames (RFC 2544 section 26.4, RFC 9004): the longest burst without loss, and the buffer it tells of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import ClassVar

from pydantic import Field

from nvbench.abilities import Ability
from nvbench.rfc2544.scene import (
    DISTURBED,
    FLAT_OUT,
    JUDGED,
    STEADY,
    Expected,
    Scene,
    Section,
    names,
    repeated,
    with_spread,
)
from nvbench.tables import ResultRow
from nvbench.trial import AbortRule, Measure, Trial, Validity
from nvbench.units import scaled

RFC_TRIAL_S = 2.0
"""RFC 2544 section 26.4: the trial length must be at least 2 seconds."""

SHRINK = 16
"""While only much longer bursts are known, each is so many times shorter than the one before."""

GUESSES = 8
"""Bursts of a repeat whose length follows from what was lost; after them the range is halved."""

TRIALS_A_REPEAT = 4
"""Bursts that one repeat is expected to need, once the first is known."""

SHORT_S = 0.2
PATIENCE = 5
"""Bursts up to `SHORT_S` cost next to nothing: disturbed ones are sent again so many times as often as long ones."""

SHORTEST_S = 0.002
"""Where longer first bursts are disturbed, none shorter than this is tried in their place."""

SETTLING_S, SETTLING = (0.064, 0.016, 0.004, 0.001), 3
"""Lengths of the bursts by which a generator that cannot be paced shows what it holds, and how many of each."""

SURPLUS = 0.2
"""Such a generator's burst that has more frames than asked for, by this share, was not counted out."""


@dataclass(frozen=True)
class Bursts:
    """What was found.

    Attributes:
        rate_pps: The rate within a burst, in frames per second and direction.
        longest: The longest burst without loss of each repeat, in frames per direction.
        at_least: Whether even the longest burst that was tried lost nothing.
        most_s: How long that one was.
        carriers: The trials that passed with those bursts.
        trials: All trials, in order.
        warnings: What the reader has to know.
    """

    rate_pps: float
    longest: tuple[int, ...]
    at_least: bool
    most_s: float
    carriers: tuple[Trial, ...]
    trials: tuple[Trial, ...]
    warnings: tuple[str, ...] = ()

    @property
    def mean(self) -> float | None:
        """Mean of the longest bursts, in frames."""
        return fmean(self.longest) if self.longest else None


def back_to_back(
    measure: Measure,
    rate_pps: float,
    most_s: float,
    width: float,
    repeats: int,
    repeat_invalid: int = 3,
    *,
    paced: bool = True,
) -> Bursts:
    """Find the longest burst at `rate_pps` that loses nothing, to `width` of it, so many times.

    The first burst lasts `most_s`. If the generator cannot send it, the rate becomes one that it can; if that is
    disturbed again and again, a shorter one takes its place. Beyond the longest burst each frame more costs the same
    loss, so that bursts that lose frames tell where loss begins; a few about that length confirm it. Later repeats
    begin with what the earlier ones found.

    A generator that cannot be paced may send short bursts at another speed than long ones, and may count out short
    ones only. The rate is then what it holds in short ones, and the first burst the longest that it counts out.
    """
    search = _BurstSearch(measure, rate_pps, width, repeat_invalid, paced=paced)
    longest: list[int] = []
    carriers: list[Trial] = []
    warnings: list[str] = []
    at_least = False
    try:
        at_least = search.first(most_s)
        if search.most_s < most_s:
            why = "were disturbed again and again" if paced else "were disturbed, or are of more frames than asked for"
            warnings.append(f"back-to-back: bursts longer than {search.most_s:.3g} s {why}")
        for _ in range(0 if at_least else repeats):
            frames, carrier = search.longest(round(fmean(longest)) if longest else 0)
            longest.append(frames)
            carriers += [carrier] if carrier else []
    except _DisturbedError as disturbed:
        warnings.append(f"back-to-back: {len(longest)} of {repeats} repeats undisturbed; the last: {disturbed}")
    if topped := sum(frames >= (1 - width) * search.most for frames in longest):
        warnings.append(f"back-to-back: {topped} of {repeats} repeats passed at the longest burst that was tried")
    if at_least:
        longest, carriers = [search.most], [search.trials[-1]]
    return Bursts(
        search.rate_pps,
        tuple(longest),
        at_least,
        search.most_s,
        tuple(carriers),
        tuple(search.trials),
        tuple(warnings),
    )


class _DisturbedError(Exception):
    """A burst was disturbed more often than it may be repeated."""


class _BurstSearch:
    def __init__(self, measure: Measure, rate_pps: float, width: float, repeat_invalid: int, *, paced: bool) -> None:
        self._measure = measure
        self._width = width
        self._repeat_invalid = repeat_invalid
        self._paced = paced
        self._most_lost = 0
        self.rate_pps = rate_pps
        self.most_s = 0.0
        self.most = 0
        self.trials: list[Trial] = []

    def first(self, most_s: float) -> bool:
        """Send the longest burst of all; whether nothing of it is lost."""
        if not self._paced:
            self._settle()
        while True:
            self.most_s = most_s
            try:
                trial = self._sendable(most_s)
                break
            except _DisturbedError:
                most_s /= SHRINK if self._paced else 2
                if most_s < SHORTEST_S:
                    raise
        self.most, self._most_lost = max(1, round(self.rate_pps * most_s)), _lost(trial)
        return not self._most_lost

    def _settle(self) -> None:
        """Lower the rate to what the generator holds in bursts of any length: usually, where it is slowest."""
        speeds = []
        for seconds in SETTLING_S:
            sent = [self._measure(self.rate_pps, seconds, AbortRule()) for _ in range(SETTLING)]
            self.trials += sent
            speeds.append(median(trial.offered_pps for trial in sent))
        self.rate_pps = min(self.rate_pps, STEADY * min(speeds) or self.rate_pps)

    def _sendable(self, seconds: float) -> Trial:
        """A burst that the generator can send: as long as it cannot, the rate becomes what it offered, and less."""
        for _ in range(self._repeat_invalid + 1):
            trial = self._burst(round(self.rate_pps * seconds), FLAT_OUT)
            if trial.validity is not Validity.UNDERSENT:
                asked = trial.intended_pps * trial.duration_s * len(trial.directions)
                if not self._paced and trial.total.offered > (1 + SURPLUS) * asked:
                    raise _DisturbedError(f"{trial.total.offered} frames were sent, not {asked:.0f}")
                return trial
            self.rate_pps = STEADY * trial.offered_pps or self.rate_pps
        raise _DisturbedError(trial.reason)

    def longest(self, known: int) -> tuple[int, Trial | None]:
        """The longest burst that passes, and its trial; `known` is where to begin, 0 if nothing is known."""
        low, high, lost, carrier = 0, self.most, self._most_lost, None
        frames, step, tries = known, 0.9 * self._width, 0
        while high - low > max(1, self._width * high):
            if not low < frames < high:
                frames = self._next(low, high, lost if tries < GUESSES else 0, step)
            trial = self._burst(frames)
            tries += 1
            if _lost(trial):
                high, lost = frames, _lost(trial)
            else:
                step = 2 * step if low else step
                low, carrier = frames, trial
            frames = 0
        return low, carrier

    def _next(self, low: int, high: int, lost: int, step: float) -> int:
        """A burst between one that passes and one that loses frames."""
        slope = (self._most_lost - lost) / (self.most - high) if high < self.most else self._most_lost / self.most
        root = high - lost / slope if lost and slope > 0 else 0.0
        margin = max(1.0, self._width * root / 3)
        if root * SHRINK > high:  # near enough to be believed: just below it should pass, just above it fail
            frames = round(root - margin if low < root - margin else root + margin)
        elif high > SHRINK * max(1, low):
            frames = round(low * (1 + step)) + 1 if low else high // SHRINK
        else:
            frames = 0
        return frames if low < frames < high else (low + high) // 2

    def _burst(self, frames: int, counts: frozenset[Validity] = JUDGED) -> Trial:
        """A burst of so many frames in each direction."""
        seconds = frames / self.rate_pps

        def ask() -> Trial:
            return self._measure(self.rate_pps, seconds, AbortRule())

        found = repeated(ask, 1, self._repeat_invalid * (PATIENCE if seconds <= SHORT_S else 1), counts)
        self.trials += found.trials
        if not found.carriers:
            raise _DisturbedError(found.trials[-1].reason)
        return found.carriers[0]


def _lost(trial: Trial) -> int:
    return trial.total.lost + trial.total.refused


def buffer_time_us(burst_frames: float, rate_pps: float) -> float:
    """The implied buffer time of RFC 9004 section 6.4: the time in which the burst is sent, in microseconds."""
    return burst_frames / rate_pps * 1e6


def corrected_buffer_time_us(burst_frames: float, rate_pps: float, throughput_pps: float) -> float:
    """The corrected buffer time of RFC 9004 section 6.4, in microseconds.

    Implied - implied x measured throughput / maximum theoretical frame rate: while the burst came, the device
    forwarded part of it.
    """
    implied_us = buffer_time_us(burst_frames, rate_pps)
    return max(0.0, implied_us - implied_us * throughput_pps / rate_pps)


class BackToBackTest(Section):
    """Back-to-back frames (RFC 2544 section 26.4, RFC 9004).

    Attributes:
        most_s: Duration of the longest burst (RFC 2544: at least 2 s); one that loses nothing ends the test.
        width: How closely the longest burst is found, as a share of it.
        repeats: How often it is found (RFC 9004 section 6.3: at least 50 times).
    """

    name: ClassVar[str] = "back_to_back"
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.BURSTS})
    most_s: float = Field(default=RFC_TRIAL_S, gt=0, le=600)
    width: float = Field(default=0.01, ge=1e-5, le=0.5)
    repeats: int = Field(default=50, ge=1, le=1000)

    def expected(self) -> Sequence[Expected]:
        """See `Section.expected`; after the first, bursts are too short to count."""
        return [
            Expected(1, self.most_s, "flat out"),
            Expected(TRIALS_A_REPEAT * (self.repeats + 1), 0.0, "about the longest burst"),
        ]

    def rows(self, scene: Scene) -> Iterator[ResultRow]:
        """See `Section.rows`: one."""
        measure = scene.measurer(self.name, "burst")
        asked = scene.sendable_pps, self.most_s, self.width, self.repeats, scene.repeat_invalid
        found = back_to_back(measure, *asked, paced=scene.paced)
        rate_pps = found.rate_pps
        warnings = scene.short("back-to-back: bursts", self.most_s, RFC_TRIAL_S, "RFC 2544 section 26.4")
        if rate_pps < scene.line_rate_pps:
            told = f"{scaled(rate_pps, 'pps')}, which the generator holds, not at {scaled(scene.line_rate_pps, 'pps')}"
            warnings.append(f"back-to-back: bursts were sent at {told}")
        verdict = _verdict(found)
        offered_pps = fmean(trial.offered_pps for trial in found.carriers) if found.carriers else None
        rate_pps = offered_pps or rate_pps  # a generator that cannot be paced sends faster than it is asked to
        row = replace(
            scene.row(self.name, found.trials, verdict, (*warnings, *found.warnings)),
            rate_pps=offered_pps,
            load_share=rate_pps / scene.line_rate_pps,
            loss_ratio=0.0 if found.carriers else None,
            burst_frames=found.mean,
            final_duration_s=found.mean / rate_pps if found.mean is not None else None,
            trial_ids=names(found.carriers),
        )
        if found.mean is not None:
            row = replace(row, buffer_time_us=buffer_time_us(found.mean, rate_pps))
            if scene.throughput_pps is not None and not found.at_least:
                corrected_us = corrected_buffer_time_us(found.mean, rate_pps, scene.throughput_pps)
                row = replace(row, corrected_buffer_time_us=corrected_us)
        yield with_spread(row, found.longest)


def _verdict(found: Bursts) -> str:
    if not found.longest:
        return DISTURBED
    if found.at_least:
        return f"at least this: nothing lost in {found.most_s:.3g} s"
    return "device limited" if found.mean else "not one frame passes"
