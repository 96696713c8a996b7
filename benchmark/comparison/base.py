"""The words of a comparison: observations, changes, verdicts, and what else differed between the benches."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nvbench.metrics import Metric


class Verdict(StrEnum):
    """What can be said of a change."""

    IMPROVED = "improved"
    REGRESSED = "regressed"
    NO_CHANGE = "no change"
    NOT_ENOUGH = "not enough samples"


@dataclass(frozen=True, slots=True)
class Observation:
    """One measurement of a metric.

    Attributes:
        value: In the metric's unit.
        run_id: The run that it is of.
        block: The block of that run, where runs were measured in turn.
        lower: Of a rate that was searched for: it is at least this; None where the value is not of a search.
        upper: It is below this; None where no higher load was seen to fail.
        trial_ids: The trials that carry it.
    """

    value: float
    run_id: str
    block: int = 0
    lower: float | None = None
    upper: float | None = None
    trial_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Side:
    """A metric of a case on one side of a comparison.

    Attributes:
        observations: All there are.
        median: Their median; None where there are none.
        low: Lower end of the 95 % confidence interval of the median; None where there are too few for one.
        high: Upper end.
    """

    observations: tuple[Observation, ...]
    median: float | None
    low: float | None
    high: float | None

    @property
    def values(self) -> tuple[float, ...]:
        """The observations' values."""
        return tuple(each.value for each in self.observations)


@dataclass(frozen=True, slots=True)
class Change:
    """How a metric of a case differs between two sets of runs.

    Attributes:
        case_id: The case.
        test: The test, `throughput`.
        goal: The loss that was allowed, as printed (`NDR`, `PDR 0.5 %`), or the load of a latency; empty otherwise.
        metric: The metric.
        identity: What tells the case from others, by name: `datapath`, `frame_bytes`, `queues`, settings.
        base: Before.
        new: After.
        change: new / base - 1 of the medians; None where it cannot be said.
        low: Lower end of its 95 % confidence interval.
        high: Upper end.
        p: Two-sided p value of "no difference"; None where no test can be made.
        p_adjusted: The same, adjusted for all cases of the comparison.
        verdict: In one of four words.
        reason: Why that one, in words: `within noise`, `below the smallest change of interest`, `the search's interval
            overlaps`, `1 sample on a side`.
    """

    case_id: str
    test: str
    goal: str
    metric: Metric
    identity: tuple[tuple[str, str], ...]
    base: Side
    new: Side
    change: float | None
    low: float | None
    high: float | None
    p: float | None
    p_adjusted: float | None
    verdict: Verdict
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact that differs between the benches or the profiles of two sets of runs.

    Attributes:
        name: Dotted: `hosts.switch.kernel`, `profile.datapath.0.mtu`, `offloads.client.tso`.
        base: Its value or values there.
        new: And there.
        expected: Whether it is what the comparison is about.
    """

    name: str
    base: str
    new: str
    expected: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sets of runs side by side.

    Attributes:
        base: Names of the runs of one side.
        new: Of the other.
        changes: A row for each metric of each case that both sides have.
        differences: What differs beside the results.
        only_base: Cases that the other side lacks.
        only_new: Likewise.
        warnings: What a reader must know of it: quick runs, simulated ones, interrupted ones.
        alpha: Chance of a false alarm over the whole comparison (Holm) or the share of false ones among the alarms
            (Benjamini-Hochberg).
        min_change: Smallest change of interest.
        method: Test and correction, in words.
    """

    base: tuple[str, ...]
    new: tuple[str, ...]
    changes: tuple[Change, ...]
    differences: tuple[Difference, ...]
    only_base: tuple[str, ...]
    only_new: tuple[str, ...]
    warnings: tuple[str, ...]
    alpha: float
    min_change: float
    method: str

    @property
    def environments_differ(self) -> bool:
        """Whether something other than the compared thing differs."""
        return any(not difference.expected for difference in self.differences)

    def count(self, verdict: Verdict) -> int:
        """How many changes have this verdict."""
        return sum(change.verdict is verdict for change in self.changes)
