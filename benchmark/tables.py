"""The three tables of a run: what a row of each holds, how a trial becomes one, and their Arrow schemas."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any

from nvbench.traffic import genome_sizes
from nvbench.trial import Counters, Latency, Trial
from nvbench.units import bps_l1, bps_l2

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1


class LimitedBy(StrEnum):
    """What kept a rate from being higher."""

    SUT = "sut_limited"
    GENERATOR = "generator_limited"
    LINE_RATE = "line_rate"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Subject:
    """What was measured, and by what: the identity that trials and results share.

    `imix` is the genome of a mix of frame sizes (RFC 6985); `frame_bytes` is then their mean, rounded.
    """

    case_id: str
    test: str
    datapath: str
    generator: str
    frame_bytes: int
    flows: int = 1
    queues: int = 1
    direction: str = "unidirectional"
    imix: str = ""


@dataclass(frozen=True, slots=True)
class LatencySummary:
    """Points of a latency distribution; None where the sample does not support one.

    `pdv_us` is the packet delay variation, the 99.9th percentile less the minimum (RFC 8219 section 7.3.1, RFC 5481
    section 4.2); `ipdv_*` is the inter-packet delay variation, of trials measured in detail (RFC 5481 section 4.1).
    """

    latency_min_us: float | None = None
    latency_p50_us: float | None = None
    latency_p90_us: float | None = None
    latency_p99_us: float | None = None
    latency_p99_9_us: float | None = None
    latency_max_us: float | None = None
    pdv_us: float | None = None
    ipdv_mean_us: float | None = None
    ipdv_max_us: float | None = None


@dataclass(frozen=True, slots=True)
class LossEvent:
    """Consecutive intervals in which frames were lost: when it began, after the first frame, and how much it cost."""

    at_s: float
    duration_s: float
    lost_frames: int


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

    A trial of two loads goes on with `then_pps` for the last `then_s` of its duration. `interval_lost_frames` counts
    lost and refused frames by the time at which they were sent, in intervals of `interval_s`, where that was asked.
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
    then_pps: float | None
    then_s: float | None
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
    interval_s: float | None
    interval_lost_frames: tuple[int, ...]
    simulated: bool
    directions: tuple[Frames, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultRow:
    """A row of the table `results`: one answer; rates are measured and per direction.

    `duration_s` is all the time that traffic was sent for this answer, `final_duration_s` that of the trial
    that settled it, and `trial_ids` are the trials that carry it, out of `trials` made. A column that a test has
    nothing to say about is None.

    Attributes:
        load_share: The load, as a share of the throughput or, in a frame loss test, of the line rate.
        line_rate_pps: Theoretical frame rate of the link.
        ceiling_pps: What the generator can send with no switch in the way.
        floor_p50_us: Median latency with no switch in the way, of the same frames at a low load.
        burst_frames: Mean length of the longest burst without loss, per direction (RFC 2544 section 26.4).
        buffer_time_us: Time in which that burst is sent (RFC 9004 section 6.4).
        corrected_buffer_time_us: The part of it that the buffer holds, not the forwarding (RFC 9004 section 6.4).
        recovery_time_s: From the drop of an overload to the last frame lost (RFC 2544 section 26.5).
        outage_s: Time without forwarding around a restart (RFC 2544 section 26.6, RFC 6201).
        addresses: MAC addresses that the switch learned (RFC 2889 section 5.7).
        learning_pps: Highest rate at which it learned them all (RFC 2889 section 5.8).
        repeats: Measurements that the answer is made of.
        value_min: Least value of the test's own metric over the repeats, in that metric's unit.
        value_mean: Their mean.
        value_max: The greatest.
        value_stdev: Their sample standard deviation.
        events: When frames were lost.
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
    load_share: float | None = None
    line_rate_pps: float | None = None
    ceiling_pps: float | None = None
    loss_ratio: float | None = None
    latency: LatencySummary = LatencySummary()
    floor_p50_us: float | None = None
    burst_frames: float | None = None
    buffer_time_us: float | None = None
    corrected_buffer_time_us: float | None = None
    recovery_time_s: float | None = None
    outage_s: float | None = None
    addresses: int | None = None
    learning_pps: float | None = None
    repeats: int | None = None
    value_min: float | None = None
    value_mean: float | None = None
    value_max: float | None = None
    value_stdev: float | None = None
    events: tuple[LossEvent, ...] = ()
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
        sizes = genome_sizes(self.subject.imix) if self.subject.imix else (self.subject.frame_bytes,)
        for column, bit_rate in (("rate_bps_l1", bps_l1), ("rate_bps_l2", bps_l2)):
            rate = None if self.rate_pps is None else bit_rate(self.rate_pps, sum(sizes) / len(sizes))
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


def latency_summary(latency: Latency, ipdv: Latency | None = None) -> LatencySummary:
    """The points that are kept of a latency distribution, and of the delay variation where it was measured."""
    least, most = latency.min_us(), latency.percentile_us(99.9)
    return LatencySummary(
        latency_min_us=least,
        latency_p50_us=latency.percentile_us(50),
        latency_p90_us=latency.percentile_us(90),
        latency_p99_us=latency.percentile_us(99),
        latency_p99_9_us=most,
        latency_max_us=latency.max_us(),
        pdv_us=None if least is None or most is None else most - least,
        ipdv_mean_us=_mean_us(ipdv) if ipdv else None,
        ipdv_max_us=ipdv.max_us() if ipdv else None,
    )


def _mean_us(latency: Latency) -> float | None:
    return sum(value * count for value, count in latency.bins) / latency.count / 1000 if latency.bins else None


def frames(counted: Counters) -> Frames:
    """What is kept of counters."""
    return Frames(
        asked_frames=counted.offered + counted.late,
        sent_frames=counted.sent,
        late_frames=counted.late,
        refused_frames=counted.refused,
        received_frames=counted.received,
        lost_frames=counted.lost,
        duplicate_frames=counted.duplicate,
        reordered_frames=counted.reordered,
        foreign_frames=counted.foreign,
        loss_ratio=counted.loss_ratio,
    )


def trial_row(subject: Subject, trial: Trial, *, purpose: str, simulated: bool = False) -> TrialRow:
    """The row of `trial`; the writer names its run, and the trial itself where it has no name yet."""
    pauses = trial.pauses
    return TrialRow(
        run_id="",
        trial_id=trial.trial_id,
        subject=subject,
        purpose=purpose,
        started_at=datetime.fromtimestamp(trial.started_at, UTC),
        duration_s=trial.duration_s,
        elapsed_s=trial.elapsed_s,
        intended_pps=trial.intended_pps,
        then_pps=trial.then.load_pps if trial.then else None,
        then_s=trial.then.duration_s if trial.then else None,
        frames=frames(trial.total),
        aborted=trial.aborted,
        validity=trial.validity.name.lower(),
        reason=trial.reason,
        generator_pauses=pauses.generator_count,
        generator_pause_max_us=pauses.generator_longest_us,
        generator_pause_total_us=pauses.generator_total_us,
        device_stall_max_us=pauses.device_longest_us,
        device_stall_total_us=pauses.device_total_us,
        refused_in_stall_frames=pauses.refused_in_stall,
        send_delay_max_us=pauses.send_delay_max_us,
        latency=latency_summary(trial.latency, trial.ipdv),
        latency_histogram=trial.latency.histogram.encode() if trial.latency.bins else None,
        interval_s=trial.timeline.interval_s if trial.timeline else None,
        interval_lost_frames=trial.timeline.lost if trial.timeline else (),
        simulated=simulated,
        directions=tuple(frames(counted) for counted in trial.directions),
    )
