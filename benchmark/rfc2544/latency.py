"""Latency (RFC 2544 section 26.2): the distribution at a fixed load, over repeated trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from nvbench.trial import AbortRule, Latency, Measure, Trial


@dataclass(frozen=True)
class LatencyAnswer:
    """The answer of a latency test.

    Attributes:
        latency: The valid trials' distributions, merged.
        carriers: The valid trials.
        trials: All trials, in order.
        warnings: What the reader has to know.
    """

    latency: Latency
    carriers: tuple[Trial, ...]
    trials: tuple[Trial, ...]
    warnings: tuple[str, ...] = ()


def latency(
    measure: Measure, load_pps: float, duration_s: float, *, repeats: int = 1, repeat_invalid: int = 3
) -> LatencyAnswer:
    """Measure `repeats` valid trials at a load; invalid ones are measured again, within a bound."""
    trials: list[Trial] = []
    carriers: list[Trial] = []
    while len(carriers) < repeats and len(trials) - len(carriers) <= repeat_invalid:
        trial = measure(load_pps, duration_s, AbortRule())
        trials.append(trial)
        if trial.valid:
            carriers.append(trial)
    return LatencyAnswer(merged(carriers), tuple(carriers), tuple(trials), tuple(_warnings(carriers, trials, repeats)))


def merged(trials: Sequence[Trial]) -> Latency:
    """The distributions of several trials as one; exact, since their bins are the same."""
    bins: Counter[int] = Counter()
    for trial in trials:
        bins.update(dict(trial.latency.bins))
    return Latency(tuple(sorted(bins.items())))


def _warnings(carriers: Sequence[Trial], trials: Sequence[Trial], repeats: int) -> list[str]:
    warnings = []
    if len(carriers) < repeats:
        warnings.append(f"latency: {len(carriers)} of {repeats} trials undisturbed; the last: {trials[-1].reason}")
    lossy = [trial.loss_ratio for trial in carriers if trial.loss_ratio]
    if lossy:
        warnings.append(f"latency was measured with a loss ratio up to {max(lossy):.2g}")
    return warnings
