"""Throughput (RFC 2544 section 26.1): the highest rate at which the device loses nothing, or a stated share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator

from nvbench.rfc2544.scene import DISTURBED, TRIAL_S, Expected, Scene, Section
from nvbench.search import Answer, Goal, Limits, Outcome, search
from nvbench.tables import LatencySummary, ResultRow
from nvbench.trial import Measure
from nvbench.trial_rows import latency_summary

FINAL_TRIALS = 2
"""Full-length trials that a goal is expected to need: one that fails, one that passes."""


class GoalWanted(BaseModel):
    """What counts as a pass.

    Attributes:
        loss_ratio: Share of the frames that may be lost: 0 for the throughput of RFC 1242, more for a partial drop
            rate.
        strictness: `rfc2544`: one full-length trial decides. `tst009`: a load fails when a second one fails too
            (ETSI GS NFV-TST 009 section 12.3.3). `csit`: 21 trials of 1 s, half of which may fail.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
    loss_ratio: float = Field(default=0.0, ge=0, lt=1)
    strictness: Literal["rfc2544", "tst009", "csit"] = "rfc2544"

    def goal(self, final_s: float, width: float, expected_pps: float | None) -> Goal:
        """The search's goal, with full-length trials of `final_s` and bounds `width` apart."""
        if self.strictness == "csit":
            goal = Goal.csit(self.loss_ratio, width)
        else:
            make = {"rfc2544": Goal.rfc2544, "tst009": Goal.tst009}[self.strictness]
            goal = make(self.loss_ratio, final_s, width)
        return replace(goal, expected_pps=expected_pps)


def _listed(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _once(goals: tuple[GoalWanted, ...]) -> tuple[GoalWanted, ...]:
    ratios = [goal.loss_ratio for goal in goals]
    for ratio in ratios:
        if ratios.count(ratio) > 1:
            raise ValueError(f"asks for the loss ratio {ratio:g} twice", "one goal a loss ratio")
    return goals


class ThroughputTest(Section):
    """Throughput (RFC 2544 section 26.1), searched for several goals at once.

    Attributes:
        goals: What counts as a pass; one result each.
        search_s: Duration of the trials that narrow the range.
        final_s: Duration of a full-length trial: only such ones carry an answer (RFC 2544 section 24: 60 s).
        width: How closely the rate is found, as a share of it.
        min_load: Below this share of the line rate nothing is looked for.
        max_load: Nor above this one.
        max_trials: The search ends after so many trials, with what it knows.
        budget_s: It ends within so many seconds, waits for stragglers included; null: however long it takes.
    """

    name: ClassVar[str] = "throughput"
    goals: Annotated[
        tuple[GoalWanted, ...], BeforeValidator(_listed), Field(min_length=1, max_length=10), AfterValidator(_once)
    ] = (GoalWanted(),)
    search_s: float = Field(default=1.0, gt=0, le=86400)
    final_s: float = Field(default=TRIAL_S, gt=0, le=86400)
    width: float = Field(default=0.005, ge=1e-5, le=0.5)
    min_load: float = Field(default=0.001, gt=0, lt=1)
    max_load: float = Field(default=1.0, gt=0, le=1)
    max_trials: int = Field(default=200, ge=3, le=10_000)
    budget_s: float | None = Field(default=None, gt=0, le=10_000_000)

    @field_validator("final_s")
    @classmethod
    def _longest(cls, final_s: float, info: ValidationInfo) -> float:
        search_s = info.data.get("search_s", 0.0)
        if final_s < search_s:
            raise ValueError(f"must be at least search_s, {search_s:g}, not {final_s:g}", "shorten search_s as well")
        return final_s

    @field_validator("max_load")
    @classmethod
    def _not_empty(cls, most: float, info: ValidationInfo) -> float:
        least = info.data.get("min_load")
        if least is not None and least >= most:
            raise ValueError(f"must be above min_load, {least:g}, not {most:g}", "there is nothing between them")
        return most

    @field_validator("budget_s")
    @classmethod
    def _affordable(cls, budget_s: float | None, info: ValidationInfo) -> float | None:
        final_s = info.data.get("final_s", 0.0)
        if budget_s is not None and budget_s < final_s:
            raise ValueError(f"is less than one full-length trial, final_s, of {final_s:g} s")
        return budget_s

    def expected(self) -> Sequence[Expected]:
        """See `Section.expected`: halving from line rate to the wanted width, then two trials a goal."""
        search_trials = min(self.max_trials, math.ceil(math.log2(1 / self.width)))
        expected = [Expected(search_trials, self.search_s, "that search")]
        final = sum(goal.strictness != "csit" for goal in self.goals)
        if final:
            expected.append(Expected(FINAL_TRIALS * final, self.final_s, "that confirm"))
        if final < len(self.goals):
            trials = Goal.csit().trials * FINAL_TRIALS * (len(self.goals) - final)
            expected.append(Expected(trials, Goal.csit().final_s, "that confirm by majority"))
        return expected

    def rows(self, scene: Scene) -> Iterator[ResultRow]:
        """See `Section.rows`: one a goal."""
        warnings = []
        if any(goal.strictness != "csit" for goal in self.goals):
            warnings = scene.short("trials", self.final_s, TRIAL_S, "RFC 2544 section 24")
        found = self.find(scene.measurer(self.name, "search"), scene)
        scene.answers_pps.update(
            (answer.goal.loss_ratio, answer.rate_pps)
            for answer in found.answers
            if answer.carrier or answer.nothing_passes
        )
        if scene.ceiling_pps:  # what was offered in a passing trial can be sent, whatever the ceiling looked like
            scene.ceiling_pps = max(scene.ceiling_pps, *(answer.rate_pps for answer in found.answers))
        for wanted, answer in zip(self.goals, found.answers, strict=True):
            yield _row(scene, wanted, answer, found, warnings)

    def find(self, measure: Measure, scene: Scene) -> Outcome:
        """Search for all goals at once."""
        goals = []
        for wanted in self.goals:
            expected_pps = scene.expected_pps.get(wanted.loss_ratio)
            expected_pps = min(expected_pps, scene.line_rate_pps) if expected_pps else None
            goals.append(wanted.goal(self.final_s, self.width, expected_pps))
        limits = Limits(
            top_pps=self.max_load * scene.line_rate_pps,
            bottom_pps=self.min_load * scene.line_rate_pps,
            directions=scene.directions,
            short_s=self.search_s,
            repeat_invalid=scene.repeat_invalid,
            max_trials=self.max_trials,
            budget_s=math.inf if self.budget_s is None else self.budget_s,
            overhead_s=scene.drain_s,
        )
        return search(measure, goals, limits)


def _row(scene: Scene, wanted: GoalWanted, answer: Answer, found: Outcome, warnings: Sequence[str]) -> ResultRow:
    carrier = answer.carrier
    verdict = _verdict(answer) if wanted.strictness == "rfc2544" else f"{_verdict(answer)}, {wanted.strictness}"
    return replace(
        scene.row(ThroughputTest.name, found.trials, verdict, (*warnings, *answer.warnings)),
        goal_loss_ratio=answer.goal.loss_ratio,
        rate_pps=answer.rate_pps if carrier or answer.nothing_passes else None,
        lower_pps=answer.rate_pps if carrier else None,
        upper_pps=answer.upper_pps,
        limited_by=answer.limited_by,
        load_share=answer.rate_pps / scene.line_rate_pps if carrier else None,
        loss_ratio=carrier.loss_ratio if carrier else None,
        latency=latency_summary(carrier.latency, carrier.ipdv) if carrier else LatencySummary(),
        final_duration_s=carrier.elapsed_s if carrier else None,
        trial_ids=tuple(trial.trial_id for trial in answer.carriers),
    )


def _verdict(answer: Answer) -> str:
    if answer.carrier is None and not answer.nothing_passes:
        return DISTURBED if answer.disturbed else "no load passed before the search ended"
    if answer.carrier is None:
        return "nothing passes"
    return "at least this, disturbed above" if answer.disturbed else answer.limited_by
