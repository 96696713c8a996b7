"""Two campaigns of checks side by side: which cases came out otherwise, and what else differs between the benches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from nvbench.campaign import Campaign, Outcome, Verdict
from nvbench.comparison.base import Difference
from nvbench.comparison.surroundings import EXPECTED, Facts, compared, flat


class Turn(StrEnum):
    """How what came of a case differs, the worst first."""

    REGRESSED = "regressed"
    """It passed, and does not hold now, or the check breaks."""

    BLOCKED = "blocked now"
    OTHERWISE = "otherwise"
    """Neither better nor worse: failed before, breaks now."""

    POSSIBLE = "possible now"
    """It was blocked."""

    FIXED = "fixed"
    NEW = "new"
    GONE = "gone"
    SAME = "unchanged"


@dataclass(frozen=True, slots=True)
class Turned:
    """A case in two campaigns.

    Attributes:
        turn: How it differs.
        base: What came of it before; None where it was not looked at.
        new: And after.
    """

    turn: Turn
    base: Verdict | None
    new: Verdict | None

    @property
    def verdict(self) -> Verdict:
        """The later one that there is."""
        found = self.new or self.base
        assert found is not None  # noqa: S101 - it is in one of them
        return found

    @property
    def accepted(self) -> bool:
        """Whether the testbed expects what comes of it now."""
        return self.new is not None and not self.new.surprising


@dataclass(frozen=True, slots=True)
class CampaignComparison:
    """Two campaigns side by side.

    Attributes:
        base: Before.
        new: After.
        cases: Every case of either, those of `new` first, in its order.
        differences: What differs between the benches.
    """

    base: Campaign
    new: Campaign
    cases: tuple[Turned, ...]
    differences: tuple[Difference, ...]

    @property
    def environments_differ(self) -> bool:
        """Whether something other than what is compared on purpose differs."""
        return any(not difference.expected for difference in self.differences)

    @property
    def regressions(self) -> tuple[Turned, ...]:
        """What regressed, and is not what the testbed expects."""
        return tuple(case for case in self.cases if case.turn is Turn.REGRESSED and not case.accepted)

    def count(self, turn: Turn) -> int:
        """How many cases differ like that."""
        return sum(case.turn is turn for case in self.cases)


def compare_campaigns(base: Campaign, new: Campaign, expect: Sequence[str] | None = None) -> CampaignComparison:
    """Compare two campaigns, case by case.

    Args:
        base: Before.
        new: After.
        expect: Globs of differences that are compared on purpose; None for the versions of what is on the hosts.
    """
    before = {verdict.key: verdict for verdict in base.verdicts}
    after = {verdict.key: verdict for verdict in new.verdicts}
    cases = tuple(
        Turned(_turn(before.get(key), after.get(key)), before.get(key), after.get(key))
        for key in dict.fromkeys([*after, *before])
    )
    globs = EXPECTED if expect is None else expect
    found = tuple(
        Difference(name, one, other, any(fnmatchcase(name, glob) for glob in globs))
        for name, one, other in compared(_facts(base), _facts(new))
    )
    return CampaignComparison(base, new, cases, found)


def _turn(base: Verdict | None, new: Verdict | None) -> Turn:
    if base is None or new is None:
        return Turn.NEW if base is None else Turn.GONE
    before, after = base.outcome, new.outcome
    if before is after:
        return Turn.SAME
    if after is Outcome.BLOCKED:
        return Turn.BLOCKED
    if before is Outcome.PASS:
        return Turn.REGRESSED
    if before is Outcome.BLOCKED:
        return Turn.POSSIBLE
    return Turn.FIXED if after is Outcome.PASS else Turn.OTHERWISE


def _facts(campaign: Campaign) -> Facts:
    found: dict[str, set[str]] = defaultdict(set)
    for name, value in _told(campaign):
        found[name].add(value)
    return found


def _told(campaign: Campaign) -> Iterator[tuple[str, str]]:
    yield "testbed", campaign.testbed
    yield from flat({**campaign.fingerprint, "nvbench": campaign.nvbench})
