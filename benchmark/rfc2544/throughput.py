"""Throughput (RFC 2544 section 26.1): the highest rate at which the device loses nothing, or a stated share."""

from __future__ import annotations

from collections.abc import Sequence

from nvbench.search import Goal, Limits, Outcome, search
from nvbench.trial import Measure


def throughput(measure: Measure, goals: Sequence[Goal], limits: Limits) -> Outcome:
    """Search for the throughput, and for any partial drop rates beside it."""
    return search(measure, goals, limits)
