"""What a comparison could have seen: the smallest change that noise lets it find, and the repeats for a smaller one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from nvbench import stats
from nvbench.comparison.base import Change, Comparison, Observation

MOST_REPEATS = 10_000
"""Beyond this it is no number to plan with."""

CHANCE = 0.8
"""With which a change is found."""


@dataclass(frozen=True, slots=True)
class Power:
    """What a metric of a case could show.

    Attributes:
        change: The metric of the case.
        noise: Relative standard deviation from measurement to measurement; None where none is known.
        count: Measurements a side, of the side that has fewer.
        smallest: The smallest relative change that so many find; None where they find none, however large.
        needed: Measurements a side that find the smallest change of interest; None where none do, or far too many.
        reason: Why there is no number, or what it is limited by.
    """

    change: Change
    noise: float | None
    count: int
    smallest: float | None
    needed: int | None
    reason: str = ""


def power_of(comparison: Comparison) -> tuple[Power, ...]:
    """What each change could have shown, if it were the only one there is among all of the comparison.

    The noise is that within both sides, of the logs, taken as normal; a test is the rank sum, at `alpha` shared out
    among all tests, which is what both corrections ask of a lone change; see `nvbench.stats.smallest_change`.
    """
    tests = sum(change.p is not None for change in comparison.changes)
    alpha = comparison.alpha / max(1, tests)
    return tuple(_power(change, alpha, comparison.min_change) for change in comparison.changes)


def _power(change: Change, alpha: float, min_change: float) -> Power:
    sides = change.base, change.new
    count = min(len(side.observations) for side in sides)
    noise = stats.noise(*(side.values for side in sides))
    if noise is None:
        return Power(change, None, count, None, None, "no side has two values that tell the noise")
    if _at_limit([*change.base.observations, *change.new.observations]):
        return Power(change, noise, count, None, None, "more could not be offered: nothing above it can be seen")
    width = _width([*change.base.observations, *change.new.observations])
    smallest = stats.smallest_change(noise, count, alpha, CHANCE)
    smallest = None if smallest is None else max(smallest, width)
    if width > min_change > 0:
        return Power(change, noise, count, smallest, None, f"the search's interval is {width * 100:.2g} % wide")
    needed = stats.repeats_needed(noise, min_change, alpha, CHANCE) if min_change else None
    too_many = needed is not None and needed > MOST_REPEATS
    return Power(change, noise, count, smallest, None if too_many else needed, "too noisy" if too_many else "")


def _at_limit(found: Sequence[Observation]) -> bool:
    return all(each.lower is not None and each.upper is None for each in found)


def _width(found: Sequence[Observation]) -> float:
    """Relative width of a search's interval: what lies within it looks the same; 0 where nothing was searched."""
    widths = [each.upper / each.lower - 1 for each in found if each.lower and each.upper is not None]
    return median(widths) if widths else 0.0
