"""Tables of results made ready for pandas: settings as columns, histograms as distributions."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from nvbench.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd
    from hdrh.histogram import HdrHistogram

SETTINGS = ("settings", "client_offloads", "server_offloads")
"""Columns that hold options by name."""

BEYOND = 10
"""Frames that have to be slower than a percentile for it to mean anything."""

HIGHEST_NS = 10**10
DIGITS = 3
"""Range and resolution of the histograms of trials, so that they add up exactly."""


def wide(frame: pd.DataFrame) -> pd.DataFrame:
    """A table with a column for each option, in place of its columns of options.

    An option of the datapath or of the endpoints has its own name (`userspace_tso`, `endpoints.tso`), a flag of an end
    the end's before its own (`client.tcp-segmentation-offload`). A row that has no such option has None there.

    Args:
        frame: Of the table `results`, `trials` or `streams`.
    """
    import pandas as pd  # noqa: PLC0415 - an extra, and slow to import

    parts = [frame.drop(columns=[name for name in SETTINGS if name in frame])]
    for column in SETTINGS:
        if column in frame:
            end = "" if column == "settings" else f"{column.partition('_')[0]}."
            options = [{f"{end}{each['name']}": each["value"] for each in _listed(row)} for row in frame[column]]
            names = dict.fromkeys(name for row in options for name in row)
            values = {name: [row.get(name) for row in options] for name in names}
            parts.append(pd.DataFrame(values, index=frame.index, dtype=object))
    return pd.concat(parts, axis="columns")


def _listed(value: object) -> Iterable[dict[str, str]]:
    """What pandas makes of a list: an array, or nothing where there was none."""
    return value if isinstance(value, Iterable) else ()


def distribution(histograms: Iterable[bytes | None]) -> pd.DataFrame:
    """The latency distribution of several trials together, from the column `latency_histogram` of the table `trials`.

    Returns:
        A row for each latency that was met, in rising order: `latency_us`, `frames` that had it, and `percentile`, the
        share in percent of the frames that were at least as fast. It ends where fewer than ten frames were slower.

    Raises:
        UsageError: One of them is no histogram.
    """
    import pandas as pd  # noqa: PLC0415
    from hdrh.histogram import HdrHistogram  # noqa: PLC0415

    merged = HdrHistogram(1, HIGHEST_NS, DIGITS)
    for encoded in histograms:
        if isinstance(encoded, bytes):  # not so for a trial in which no frame came back
            merged.add(_decoded(encoded))
    bins = [place for place in range(merged.counts_len) if merged.get_count_at_index(place)]
    slowest_ns = [merged.get_highest_equivalent_value(merged.get_value_from_index(place)) for place in bins]
    counts = [merged.get_count_at_index(place) for place in bins]
    frame = pd.DataFrame({"latency_us": [value / 1000 for value in slowest_ns], "frames": counts})
    reached, total = frame.frames.cumsum(), frame.frames.sum()
    return frame.assign(percentile=100 * reached / total)[total - reached >= BEYOND]


def _decoded(encoded: bytes) -> HdrHistogram:
    from hdrh.codec import HdrCookieException, HdrHistogramSettingsException, HdrLengthException  # noqa: PLC0415
    from hdrh.histogram import HdrHistogram  # noqa: PLC0415

    faults = (ValueError, IndexError, zlib.error, HdrCookieException, HdrHistogramSettingsException, HdrLengthException)
    try:
        return HdrHistogram.decode(encoded)
    except faults as error:
        raise UsageError(f"no latency histogram: {error}", remedy="take the column latency_histogram") from error
