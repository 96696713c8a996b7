"""What is kept of a measurement: the columns of a run's three tables, and the metrics among them.

The metrics are one table: name, column, unit, and which way is better.
"""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from nvbench.errors import UsageError
from nvbench.units import bps_l1, bps_l2

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1


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
    Metric("ceiling", "ceiling_pps", "pps", Better.NEITHER, "Ceiling", "Mpps", 1e-6),
    Metric("loss", "loss_ratio", "1", Better.LOWER, "Loss", "%", 100.0),
    _latency("min", "min"),
    _latency("p50", "p50"),
    _latency("p90", "p90"),
    _latency("p99", "p99"),
    _latency("p99_9", "p99.9"),
    _latency("max", "max"),
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


class LimitedBy(StrEnum):
    """What kept a rate from being higher."""

    SUT = "sut_limited"
    GENERATOR = "generator_limited"
    LINE_RATE = "line_rate"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Subject:
    """What was measured, and by what: the identity that trials and results share."""

    case_id: str
    test: str
    datapath: str
    generator: str
    frame_bytes: int
    flows: int = 1
    queues: int = 1
    direction: str = "unidirectional"


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Points of a latency distribution; None where the sample does not support one."""

    latency_min_us: float | None = None
    latency_p50_us: float | None = None
    latency_p90_us: float | None = None
    latency_p99_us: float | None = None
    latency_p99_9_us: float | None = None
    latency_max_us: float | None = None


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames of a trial or of one direction of it: asked = sent + late + refused, lost = sent - received."""

    asked_frames: int
    sent_frames: int
    late_frames: int
    refused_frames: int
    received_frames: int
    lost_frames: int
    duplicate_frames: int
    reordered_frames: int
    foreign_frames: int
    loss_ratio: float


@dataclass(frozen=True, slots=True)
class TrialRow:
    """A row of the table `trials`; a field that is a record stands for that record's columns.

    `latency_histogram` is an HDR histogram in nanoseconds, V2 compressed: `HdrHistogram.decode` reads it.
    """

    run_id: str
    trial_id: str
    subject: Subject
    purpose: str
    started_at: datetime
    duration_s: float
    elapsed_s: float
    intended_pps: float
    frames: Frames
    aborted: bool
    validity: str
    reason: str
    generator_pauses: int
    generator_pause_max_us: float
    generator_pause_total_us: float
    device_stall_max_us: float
    device_stall_total_us: float
    refused_in_stall_frames: int
    send_delay_max_us: float
    latency: LatencySummary
    latency_histogram: bytes | None
    simulated: bool
    directions: tuple[Frames, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """A row of the table `results`: one answer; rates are measured and per direction.

    `duration_s` is all the time that traffic was sent for this answer, `final_duration_s` that of the trial
    that settled it, and `trial_ids` are the trials that carry it, out of `trials` made.
    """

    run_id: str = ""
    subject: Subject
    goal_loss_ratio: float = 0.0
    rate_pps: float | None
    rate_bps_l1: float | None = field(init=False)
    rate_bps_l2: float | None = field(init=False)
    lower_pps: float | None = None
    upper_pps: float | None = None
    limited_by: LimitedBy = LimitedBy.UNKNOWN
    ceiling_pps: float | None = None
    loss_ratio: float | None = None
    latency: LatencySummary = LatencySummary()
    trials: int = 0
    invalid_trials: int = 0
    duration_s: float = 0.0
    final_duration_s: float | None = None
    trial_ids: tuple[str, ...] = ()
    verdict: str = ""
    warnings: tuple[str, ...] = ()
    quick: bool = False
    simulated: bool = False
    finished_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        for column, bit_rate in (("rate_bps_l1", bps_l1), ("rate_bps_l2", bps_l2)):
            rate = None if self.rate_pps is None else bit_rate(self.rate_pps, self.subject.frame_bytes)
            object.__setattr__(self, column, rate)


@dataclass(frozen=True, slots=True)
class Sample:
    """A row of the table `samples`: what a collector read, at a Unix time, while a trial ran."""

    time: float
    source: str
    metric: str
    value: float
    unit: str


TABLES: Mapping[str, type] = {"trials": TrialRow, "results": ResultRow, "samples": Sample}


@cache
def schema(table: str) -> pa.Schema:
    """The Arrow schema of a table, from its row's fields; carries the schema version."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import, needed with rows only

    columns = [pa.field(*column) for column in _columns(TABLES[table])]
    if table == "samples":
        columns = [pa.field("run_id", pa.string()), pa.field("trial_id", pa.string()), *columns]
        columns[2] = pa.field("time", _arrow_type(datetime))
    return pa.schema(columns, {"nvbench.table": table, "nvbench.schema_version": str(SCHEMA_VERSION)})


def _columns(row: type) -> Iterator[tuple[str, pa.DataType]]:
    for name, hint in typing.get_type_hints(row).items():
        if is_dataclass(hint):
            yield from _columns(typing.cast(type, hint))
        else:
            yield name, _arrow_type(hint)


def _arrow_type(hint: Any) -> pa.DataType:
    import pyarrow as pa  # noqa: PLC0415

    if isinstance(hint, types.UnionType):
        return _arrow_type(hint.__args__[0])
    if typing.get_origin(hint) is tuple:
        return pa.list_(_arrow_type(hint.__args__[0]))
    if is_dataclass(hint):
        return pa.struct(list(_columns(typing.cast(type, hint))))
    if hint is datetime:
        return pa.timestamp("us", tz="UTC")
    plain = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), bytes: pa.binary()}
    return plain.get(hint, pa.string())


def flat(row: Any) -> dict[str, Any]:
    """A row's columns: the records in it spread out, those in a list kept as records."""
    columns: dict[str, Any] = {}
    for name in (column.name for column in fields(row)):
        value = getattr(row, name)
        if is_dataclass(value):
            columns |= flat(value)
        elif isinstance(value, tuple):
            columns[name] = [flat(item) if is_dataclass(item) else item for item in value]
        else:
            columns[name] = value
    return columns
