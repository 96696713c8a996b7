"""What the samples of a trial say: counters before and after it, gauges, and the line that quotes them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nvbench.reading import Results

GAUGE_UNITS = ("core", "hertz", "state")
GAUGE_SOURCES = ("memory",)
"""Sources whose bytes are what there is, not what has passed."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A metric before and after a trial, as it was sampled.

    Attributes:
        source: Who told it: `pmd core 1`, `port nvp1`, `trial`.
        metric: What.
        unit: Its unit.
        before: Its value before the trial, or at the first sample.
        after: After it, or at the last sample.
    """

    source: str
    metric: str
    unit: str
    before: float
    after: float

    @property
    def change(self) -> float:
        """By how much it went on."""
        return self.after - self.before

    @property
    def line(self) -> str:
        """`port nvp1 ovs_tx_qos_drops: 0 -> 43292 frames (+43292)`."""
        before, after, change = (exact(value) for value in (self.before, self.after, self.change))
        sign = "+" if self.change >= 0 else ""
        return f"{self.source} {self.metric}: {before} -> {after} {self.unit} ({sign}{change})"


def exact(value: float) -> str:
    """A counter with all its digits, a time to the microsecond."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.6f}".rstrip("0")


@dataclass(frozen=True, slots=True)
class _Series:
    """What there is of one metric: its first and last sample."""

    unit: str
    first_at: datetime
    first: float
    last_at: datetime
    last: float
    count: int


@dataclass(frozen=True)
class Samples:
    """The samples of one trial.

    Attributes:
        faults: What of them cannot be used, in words.
    """

    _series: Mapping[tuple[str, str], _Series]
    faults: tuple[str, ...] = ()

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> Samples:
        """From rows of the table `samples`, in any order; values that are no numbers are left out and told."""
        series: dict[tuple[str, str], _Series] = {}
        strange: dict[str, None] = {}
        for row in rows:
            key, value, time = (row["source"], row["metric"]), row["value"], row["time"]
            if value is None or time is None or not math.isfinite(value):
                strange[f"{row['source']} {row['metric']}"] = None
                continue
            known = series.get(key)
            if known is None:
                series[key] = _Series(row["unit"] or "", time, value, time, value, 1)
                continue
            first_at, first = (time, value) if time < known.first_at else (known.first_at, known.first)
            last_at, last = (time, value) if time >= known.last_at else (known.last_at, known.last)
            series[key] = _Series(known.unit, first_at, first, last_at, last, known.count + 1)
        made = cls(series)
        return cls(series, (*_not_numbers(list(strange)), *made._backwards()))

    def _backwards(self) -> Iterator[str]:
        """Counters that are less than before: of a program that was started again meanwhile."""
        sources = {
            source for (source, metric) in self._series if (told := self.counter(source, metric)) and told.change < 0
        }
        if sources:
            yield f"counters of {_some(sorted(sources))} ran backwards: restarted during the trial"

    def __bool__(self) -> bool:
        return bool(self._series)

    def counter(self, source: str, metric: str) -> Evidence | None:
        """A counter before and after the trial; None where there are not two samples of it."""
        found = self._series.get((source, metric))
        if found is None or found.count < 2 or _is_gauge(source, found.unit):
            return None
        return Evidence(source, metric, found.unit, found.first, found.last)

    def change(self, source: str, metric: str) -> float | None:
        """By how much a counter went on; None where that is not known, also because it ran backwards."""
        told = self.counter(source, metric)
        return None if told is None or told.change < 0 else told.change

    def window_s(self, source: str, metric: str) -> float:
        """Seconds between the first and the last sample of a metric; 0 where there are not two."""
        found = self._series.get((source, metric))
        return (found.last_at - found.first_at).total_seconds() if found else 0.0

    def gauge(self, source: str, metric: str) -> Evidence | None:
        """A gauge at the first and the last sample."""
        found = self._series.get((source, metric))
        return None if found is None else Evidence(source, metric, found.unit, found.first, found.last)

    def sources(self, pattern: str) -> list[str]:
        """The sources whose whole name matches, by number."""
        found = {source for source, _ in self._series if re.fullmatch(pattern, source)}
        return sorted(
            found, key=lambda name: [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]
        )

    def counters(self, source: str, pattern: str) -> Iterator[Evidence]:
        """The counters of a source whose whole name matches and which went on."""
        names = (metric for known, metric in sorted(self._series) if known == source and re.fullmatch(pattern, metric))
        told = (self.counter(source, metric) for metric in names)
        return (each for each in told if each is not None and each.change > 0)

    def lone(self) -> bool:
        """Whether no counter was sampled twice: nothing can be said of what happened between."""
        return not any(each.count > 1 for each in self._series.values())


def _is_gauge(source: str, unit: str) -> bool:
    return unit in GAUGE_UNITS or source in GAUGE_SOURCES


def _not_numbers(names: list[str]) -> Iterator[str]:
    if names:
        yield f"samples that are no numbers were left out: {_some(names)}"


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def samples_of(results: Results, run_id: str, trial_ids: Iterable[str], pattern: str = "") -> dict[str, Samples]:
    """The samples of some trials of a run, read in one go.

    Args:
        results: The run, or several.
        run_id: Which.
        trial_ids: The trials.
        pattern: Sources wanted, as a regular expression of their beginning; all if empty.
    """
    from pyarrow import compute  # noqa: PLC0415 - heavy
    from pyarrow.dataset import field  # noqa: PLC0415

    names = list(trial_ids)
    if not names:
        return {}
    wanted = (field("run_id") == run_id) & field("trial_id").isin(names)
    if pattern:
        wanted &= compute.match_substring_regex(field("source"), f"^({pattern})")
    table = results.samples(filter=wanted)
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault(row["trial_id"], []).append(row)
    return {trial_id: Samples.of(own) for trial_id, own in rows.items()}
