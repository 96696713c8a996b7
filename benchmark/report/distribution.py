"""Latency distributions from the histograms that trials stored."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nvbench.report.columns import Row

if TYPE_CHECKING:
    from nvbench.reading import Results

PER_NINE = 20
"""Points of a curve between 90 and 99 %, and likewise further on."""

BEYOND = 10
"""A percentile is told where at least so many frames lie beyond it."""

NAMED = (50.0, 90.0, 99.0, 99.9, 99.99, 99.999)


@dataclass(frozen=True, slots=True)
class Distribution:
    """How latency is distributed over frames.

    Attributes:
        frames: How many frames it is of.
        points: Percentile and latency in microseconds, up to where ten frames lie beyond.
        unreadable: Histograms that could not be read, and are missing from it.
    """

    frames: int
    points: tuple[tuple[float, float], ...]
    unreadable: int = 0


def distributions(results: Results, rows: Sequence[Row]) -> list[Distribution]:
    """The distribution of each result, merged over the trials that carry it; without points where none was stored."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import
    from pyarrow import dataset  # noqa: PLC0415

    needed = sorted({name for row in rows for name in row["trial_ids"] or ()})
    wanted = dataset.field("trial_id").isin(pa.array(needed, pa.string()))
    stored = results.trials(["run_id", "trial_id", "latency_histogram"], wanted).to_pylist() if needed else []
    encoded = {(each["run_id"], each["trial_id"]): each["latency_histogram"] for each in stored}
    found = []
    for row in rows:
        told = [encoded.get((row["run_id"], name)) for name in row["trial_ids"] or ()]
        found.append(merged(text for text in told if text))
    return found


def merged(encoded: Iterable[bytes]) -> Distribution:
    """Several stored histograms as one distribution; exact, since their bins are the same."""
    from hdrh.codec import HdrCookieException, HdrHistogramSettingsException, HdrLengthException  # noqa: PLC0415
    from hdrh.histogram import HdrHistogram  # noqa: PLC0415 - slow to import

    total: Any = None
    unreadable = 0
    for text in encoded:
        try:
            read = HdrHistogram.decode(text)
        except (HdrCookieException, HdrHistogramSettingsException, HdrLengthException, ValueError, zlib.error):
            unreadable += 1
            continue
        if total is None:
            total = read
        else:
            total.add(read)
    if total is None or not total.get_total_count():
        return Distribution(0, (), unreadable)
    frames = int(total.get_total_count())
    told = [percent for percent in _percents() if frames * (100 - percent) / 100 >= BEYOND]
    values = total.get_percentile_to_value_dict(told)
    return Distribution(frames, tuple((percent, values[percent] / 1000) for percent in told), unreadable)


def _percents() -> list[float]:
    """Percentiles that lie evenly on the scale of nines, and those that have a name."""
    even = {round(100 - 10 ** (2 - step / PER_NINE), 9) for step in range(7 * PER_NINE)}
    return sorted(even | set(NAMED))
