"""What a test sees of a case, and how a test is asked for in a profile."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from statistics import fmean, stdev
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from nvbench.abilities import Ability
from nvbench.tables import ResultRow, Subject
from nvbench.trial import DetailedMeasure, Trial, Validity
from nvbench.units import scaled

TRIAL_S = 60.0
"""Least duration of a trial that counts (RFC 2544 section 24)."""

DISTURBED = "too disturbed for an answer"
LIE = 0.01
"""Share by which frames offered may differ from those asked for before it is worth a word."""

STEADY = 0.95
"""Share of its ceiling that a generator holds in every trial; at the ceiling itself it is late now and then."""

JUDGED = frozenset({Validity.VALID})
FLAT_OUT = frozenset({Validity.VALID, Validity.UNDERSENT})
"""Trials that count where the generator need not reach the load: what it offered is measured."""


@dataclass(frozen=True, slots=True)
class Expected:
    """Trials that a test will probably make: how many, how long each, and what for (`20 of 60 s for latency`)."""

    trials: int
    seconds: float
    purpose: str


class Section(BaseModel):
    """A test as a profile asks for it: frozen, strict, and knows no keys but its own.

    Attributes:
        name: Its key in a profile's `tests`, and the name of its results.
        needs: What it needs of the generator.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    name: ClassVar[str]
    needs: ClassVar[frozenset[Ability]] = frozenset({Ability.PACED})

    @property
    def needs_throughput(self) -> bool:
        """Whether its load is a share of the throughput, which another test has to find first."""
        return False

    @abstractmethod
    def expected(self) -> Sequence[Expected]:
        """The trials that it will probably make in a case."""

    @abstractmethod
    def rows(self, scene: Scene) -> Iterator[ResultRow]:
        """Measure, and tell each answer as soon as it is there; never none at all."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """A switch that learns MAC addresses.

    Attributes:
        measure: Makes a measure whose frames come from so many source addresses in turn, in one direction.
        learned: How many addresses the switch knows now.
        forget: Makes it forget them all.
        learning: A context in which it forwards by them.
    """

    measure: Callable[[int], DetailedMeasure]
    learned: Callable[[], int]
    forget: Callable[[], None]
    learning: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass
class Scene:
    """A case, as its tests see it.

    Attributes:
        subject: What is measured; each test puts its own name in.
        line_rate_pps: Theoretical frame rate of the link, per direction (RFC 2544 appendix B).
        directions: Directions that carry traffic.
        measurer: Makes a measure for a test's name and a purpose, under which its trials are stored.
        ceiling_pps: What the generator can send with no switch in the way; None where that was not measured.
        floor_p50_us: Median latency with no switch in the way; None likewise.
        repeat_invalid: How often an invalid trial is measured again.
        drain_s: Wait for stragglers after each trial.
        quick: Whether durations were shortened on purpose.
        simulated: Whether nothing real is measured.
        paced: Whether the generator offers the load that it is asked for, and no more.
        expected_pps: Answers of the neighbouring frame size, by loss ratio.
        answers_pps: Throughputs that were found here, by loss ratio; 0 where nothing passes.
        restarting: Makes a measure whose trials see the program that forwards killed, and started again: how many
            seconds after the first frame, and for how many at least. None where nvbench cannot do that.
        renew: Brings the rig up anew, in place of one that does not come back.
        addresses: The switch's address table; None where nvbench cannot ask it.
    """

    subject: Subject
    line_rate_pps: float
    directions: int
    measurer: Callable[[str, str], DetailedMeasure]
    ceiling_pps: float | None = None
    floor_p50_us: float | None = None
    repeat_invalid: int = 3
    drain_s: float = 0.0
    quick: bool = False
    simulated: bool = False
    paced: bool = True
    expected_pps: Mapping[float, float] = field(default_factory=dict)
    answers_pps: dict[float, float] = field(default_factory=dict)
    restarting: Callable[[float, float], DetailedMeasure] | None = None
    renew: Callable[[], None] = lambda: None
    addresses: Addresses | None = None

    @property
    def throughput_pps(self) -> float | None:
        """The throughput that was found, for the least loss ratio asked for; None if it was not, 0 if nothing passes.

        In frames per second and direction.
        """
        return self.answers_pps[min(self.answers_pps)] if self.answers_pps else None

    @property
    def sendable_pps(self) -> float:
        """The most that can be offered again and again: the line rate, or what the generator holds if that is less."""
        return min(self.line_rate_pps, STEADY * (self.ceiling_pps or math.inf))

    def row(self, test: str, trials: Sequence[Trial], verdict: str, warnings: Sequence[str] = ()) -> ResultRow:
        """A result of `test` that says what `trials` were made, without its numbers."""
        return ResultRow(
            subject=replace(self.subject, test=test),
            rate_pps=None,
            line_rate_pps=self.line_rate_pps,
            ceiling_pps=self.ceiling_pps,
            trials=len(trials),
            invalid_trials=sum(not trial.valid for trial in trials),
            duration_s=sum(trial.elapsed_s for trial in trials),
            verdict=verdict,
            warnings=(*warnings, *_odd(trials, paced=self.paced)),
            quick=self.quick,
            simulated=self.simulated,
        )

    def impossible(self, test: str, reason: str) -> ResultRow:
        """The result of a test that cannot be made here."""
        return self.row(test, (), f"not possible here: {reason}")

    def without_throughput(self, test: str) -> ResultRow:
        """The result of a test whose load would be a share of a throughput that there is not."""
        return self.impossible(test, "no throughput to take a share of was found")

    def short(self, what: str, seconds: float, least_s: float, section: str) -> list[str]:
        """A warning where trials are shorter than an RFC allows; none in a quick run, which says so of everything."""
        if self.quick or seconds >= least_s:
            return []
        return [f"{what} of {seconds:g} s, {section} asks for at least {least_s:g} s"]


@dataclass(frozen=True)
class Repeats:
    """Trials that were to be alike.

    Attributes:
        carriers: Those that count, one a repeat.
        trials: All that were made, in order.
        wanted: How many repeats were asked for.
    """

    carriers: tuple[Trial, ...]
    trials: tuple[Trial, ...]
    wanted: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """That the bench was too disturbed for all of them, if it was."""
        if len(self.carriers) >= self.wanted:
            return ()
        return (f"{len(self.carriers)} of {self.wanted} trials undisturbed; the last: {self.trials[-1].reason}",)


def repeated(
    ask: Callable[[], Trial], repeats: int, repeat_invalid: int, counts: frozenset[Validity] = JUDGED
) -> Repeats:
    """Ask for a trial so many times; one that does not count is made again, within a bound, after which all ends."""
    trials: list[Trial] = []
    carriers: list[Trial] = []
    for _ in range(repeats):
        for _ in range(repeat_invalid + 1):
            trials.append(ask())
            if trials[-1].validity in counts:
                carriers.append(trials[-1])
                break
        else:
            break
    return Repeats(tuple(carriers), tuple(trials), repeats)


def with_spread(row: ResultRow, values: Sequence[float]) -> ResultRow:
    """`row`, with how a test's own metric differed from repeat to repeat."""
    if not values:
        return replace(row, repeats=0)
    return replace(
        row,
        repeats=len(values),
        value_min=min(values),
        value_mean=fmean(values),
        value_max=max(values),
        value_stdev=stdev(values) if len(values) > 1 else None,
    )


def names(trials: Sequence[Trial]) -> tuple[str, ...]:
    """The names under which trials are stored."""
    return tuple(trial.trial_id for trial in trials)


def loss_ratio(trials: Sequence[Trial]) -> float | None:
    """Frames lost or refused as a share of those offered in all of these trials; None if none were offered."""
    offered = sum(trial.total.offered for trial in trials)
    return sum(trial.total.lost + trial.total.refused for trial in trials) / offered if offered else None


def _odd(trials: Sequence[Trial], *, paced: bool) -> list[str]:
    """What trials that count have against the generator that made them."""
    for trial in trials:
        asked = trial.intended_pps * trial.elapsed_s * len(trial.directions)
        offered = trial.total.offered + trial.total.late
        plain = trial.valid and not trial.aborted and trial.then is None
        if plain and abs(offered - asked) > max(LIE * asked, 2 * len(trial.directions)):
            told = f"{scaled(trial.offered_pps, 'pps')} where {scaled(trial.intended_pps, 'pps')} were asked for"
            why = "and did not say why" if paced else "as it cannot be paced"
            return [f"the generator offered {told}, {why}; rates are what it offered"]
    return []
