"""The metrics that results carry, in one table: name, column, unit, which way is better, and how each is printed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum

from nvbench.errors import UsageError


class Better(StrEnum):
    """Which way a metric improves."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"


NOTHING = "-"
"""Printed where there is no value, such as a percentile that its sample does not support."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that a result carries.

    Attributes:
        name: What a person calls it, on a command line or in a profile.
        column: Its column in the table `results`, in base units.
        unit: The unit of that column.
        better: Which way it improves.
        label: Its heading.
        shown_unit: The unit in which it is printed.
        scale: Factor from the column to the printed unit.
    """

    name: str
    column: str
    unit: str
    better: Better
    label: str
    shown_unit: str
    scale: float = 1.0

    def text(self, value: float | None) -> str:
        """`value`, in the column's unit, as printed; its unit stands in the heading."""
        return NOTHING if value is None else number(value * self.scale)


def number(value: float, digits: int = 4) -> str:
    """`value` at so many significant digits, never with an exponent and never rounding whole digits away."""
    if not math.isfinite(value):
        return NOTHING
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    decimals = digits - 1 - math.floor(math.log10(abs(rounded)))
    return f"{value:.{max(0, decimals)}f}"


def _latency(point: str, label: str) -> Metric:
    return Metric(f"latency_{point}", f"latency_{point}_us", "us", Better.LOWER, label, "us")


METRICS = (
    Metric("throughput", "rate_pps", "pps", Better.HIGHER, "Rate", "Mpps", 1e-6),
    Metric("rate_l1", "rate_bps_l1", "bit/s", Better.HIGHER, "L1", "Gbit/s", 1e-9),
    Metric("rate_l2", "rate_bps_l2", "bit/s", Better.HIGHER, "L2", "Gbit/s", 1e-9),
    Metric("load_share", "load_share", "1", Better.NEITHER, "Load", "%", 100.0),
    Metric("line_rate", "line_rate_pps", "pps", Better.NEITHER, "Line rate", "Mpps", 1e-6),
    Metric("ceiling", "ceiling_pps", "pps", Better.NEITHER, "Ceiling", "Mpps", 1e-6),
    Metric("loss", "loss_ratio", "1", Better.LOWER, "Loss", "%", 100.0),
    _latency("min", "min"),
    _latency("p50", "p50"),
    _latency("p90", "p90"),
    _latency("p99", "p99"),
    _latency("p99_9", "p99.9"),
    _latency("max", "max"),
    Metric("latency_floor", "floor_p50_us", "us", Better.NEITHER, "Floor p50", "us"),
    Metric("pdv", "pdv_us", "us", Better.LOWER, "PDV", "us"),
    Metric("ipdv_mean", "ipdv_mean_us", "us", Better.LOWER, "IPDV mean", "us"),
    Metric("ipdv_max", "ipdv_max_us", "us", Better.LOWER, "IPDV max", "us"),
    Metric("burst", "burst_frames", "frames", Better.HIGHER, "Burst", "frames"),
    Metric("buffer_time", "buffer_time_us", "us", Better.HIGHER, "Buffer", "us"),
    Metric("corrected_buffer_time", "corrected_buffer_time_us", "us", Better.HIGHER, "Corrected buffer", "us"),
    Metric("recovery_time", "recovery_time_s", "s", Better.LOWER, "Recovery", "ms", 1e3),
    Metric("outage", "outage_s", "s", Better.LOWER, "Outage", "s"),
    Metric("addresses", "addresses", "addresses", Better.HIGHER, "Addresses", "addresses"),
    Metric("learning_rate", "learning_pps", "pps", Better.HIGHER, "Learning", "kpps", 1e-3),
    Metric("goodput", "goodput_bps", "bit/s", Better.HIGHER, "Goodput", "Gbit/s", 1e-9),
    Metric("packet_rate", "packets_pps", "pps", Better.NEITHER, "Packets", "kpps", 1e-3),
    Metric("packet_size", "packet_bytes", "bytes", Better.NEITHER, "Packet", "B"),
    Metric("transactions", "transactions_per_s", "1/s", Better.HIGHER, "Transactions", "1/s"),
    Metric("retransmits", "retransmits", "segments", Better.LOWER, "Retransmits", "segments"),
    Metric("cores", "cores", "cores", Better.LOWER, "CPU", "cores"),
)
"""Every metric, in the order in which reports show them."""

_BY_NAME = {metric.name: metric for metric in METRICS}


def metric(name: str) -> Metric:
    """The metric of this name.

    Raises:
        UsageError: There is none.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    close = get_close_matches(name, _BY_NAME, n=3) or list(_BY_NAME)
    raise UsageError(f"unknown metric {name!r}", remedy=f"one of: {', '.join(close)}")
