"""Throughput (RFC 2544 section 26.1): the highest rate at which the device loses nothing, or a stated share."""

from __future__ import annotations

from dataclasses import dataclass

from nvbench.search import Answer, Goal, Limits, search
from nvbench.tables import LimitedBy
from nvbench.trial import Measure


@dataclass(frozen=True)
class Throughput:
    """The answer of a throughput test.

    Attributes:
        answer: What the search found.
        limited_by: What kept the rate from being higher.
    """

    answer: Answer
    limited_by: LimitedBy


def throughput(measure: Measure, goal: Goal, limits: Limits) -> Throughput:
    """Search for the throughput and say what limits it."""
    answer = search(measure, goal, limits)
    return Throughput(answer, _limited_by(answer))


def _limited_by(answer: Answer) -> LimitedBy:
    if answer.carrier is None:
        return LimitedBy.SUT if answer.nothing_passes else LimitedBy.UNKNOWN
    if answer.disturbed:
        return LimitedBy.UNKNOWN
    if answer.generator_limited:
        return LimitedBy.GENERATOR
    return LimitedBy.LINE_RATE if answer.upper_pps is None else LimitedBy.SUT
