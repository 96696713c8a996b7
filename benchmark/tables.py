"""The tables of a run: what a row of each holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from nvbench.traffic import genome_sizes
from nvbench.units import bps_l1, bps_l2


class LimitedBy(StrEnum):
    """What kept a rate from being higher."""

    SUT = "sut_limited"
    GENERATOR = "generator_limited"
    LINE_RATE = "line_rate"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Setting:
    """An option and its value, as text: `on` and `off` for switches."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What was measured, and by what: the identity that trials and results share.

    `imix` is the genome of a mix of frame sizes (RFC 6985); `frame_bytes` is then their mean, rounded, as it is where
    the setting `pcap` names a capture file, and 0 where endpoints choose their frames themselves. `guest` is the kind
    of the guests; empty where there are none. `settings` are all options of the datapath and of the
    endpoints, by name: `userspace_tso`, `endpoints.tso`.
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
    topology: str = "P2P"
    guest: str = ""
    mtu: int = 1500
    settings: tuple[Setting, ...] = ()


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
        goodput_bps: Payload between two endpoints, both directions together; the median over the repeats.
        packets_pps: Packets a second from the sending endpoint's device, before segmentation offload; likewise.
        packet_bytes: Their mean size; likewise.
        transactions_per_s: Requests answered; likewise.
        retransmits: TCP segments sent again in a repeat; likewise.
        cores: Cores that the whole host spent; likewise.
        emulated: Whether an endpoint's processor is emulated: no performance figure.
        repeats: Measurements that the answer is made of.
        value_min: Least value of the test's own metric over the repeats, in that metric's unit.
        value_mean: Their mean.
        value_median: Their median.
        value_max: The greatest.
        value_stdev: Their sample standard deviation.
        events: When frames were lost.
        block: The how-manieth time that its case was measured in this run, from 0, where cases are measured in turn
            with those of another run.
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
    goodput_bps: float | None = None
    packets_pps: float | None = None
    packet_bytes: float | None = None
    transactions_per_s: float | None = None
    retransmits: float | None = None
    cores: float | None = None
    emulated: bool = False
    repeats: int | None = None
    value_min: float | None = None
    value_mean: float | None = None
    value_median: float | None = None
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
    block: int = 0
    finished_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def __post_init__(self) -> None:
        sizes = genome_sizes(self.subject.imix) if self.subject.imix else (self.subject.frame_bytes,)
        for column, bit_rate in (("rate_bps_l1", bps_l1), ("rate_bps_l2", bps_l2)):
            rate = None if self.rate_pps is None else bit_rate(self.rate_pps, sum(sizes) / len(sizes))
            object.__setattr__(self, column, rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamRow:
    """A row of the table `streams`: one run of a tool between two endpoints.

    Attributes:
        repeat: The how-manieth of its case, from 1.
        tool: `iperf3 3.12`.
        parallel: Streams at the same time.
        duration_s: Asked.
        elapsed_s: Measured.
        goodput_bps: Payload, client to server, or all of a test that has one direction.
        reverse_bps: Payload, server to client, of a test with both directions.
        packets_pps: Packets a second that left the sending endpoint's device, as its kernel counts them: segments
            before segmentation offload, so that few and large ones show it at work.
        packet_bytes: Their mean size.
        acks_pps: Packets a second that came back.
        cores: Cores that the whole host spent, 1.0 for one.
        client_cores: Cores that the tool says the client's machine spent.
        server_cores: The server's.
        valid: Whether it counts.
        reason: Why not.
        client_offloads: The client's flags as they were while it ran, by ethtool's long names.
        server_offloads: The server's.
        emulated: Whether an endpoint's processor is emulated.
        block: See `ResultRow`.
    """

    run_id: str = ""
    trial_id: str = ""
    subject: Subject
    repeat: int
    tool: str
    parallel: int
    started_at: datetime
    duration_s: float
    elapsed_s: float | None = None
    goodput_bps: float | None = None
    reverse_bps: float | None = None
    packets_pps: float | None = None
    packet_bytes: float | None = None
    acks_pps: float | None = None
    transactions_per_s: float | None = None
    retransmits: int | None = None
    lost_ratio: float | None = None
    jitter_us: float | None = None
    latency: LatencySummary = LatencySummary()
    cores: float | None = None
    client_cores: float | None = None
    server_cores: float | None = None
    valid: bool = True
    reason: str = ""
    client_offloads: tuple[Setting, ...] = ()
    server_offloads: tuple[Setting, ...] = ()
    emulated: bool = False
    block: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """One value that a device, a program or a host tells of itself.

    Attributes:
        source: Who tells it: `pmd core 1`, `port p0`, `port p0 queue 1`.
        metric: What it is.
        value: The value; counters run on from trial to trial, gauges are as they are.
        unit: Its unit.
    """

    source: str
    metric: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A row of the table `samples`: what a collector read, at a Unix time, while a trial ran."""

    time: float
    source: str
    metric: str
    value: float
    unit: str


TABLES: Mapping[str, type] = {"trials": TrialRow, "results": ResultRow, "streams": StreamRow, "samples": Sample}
