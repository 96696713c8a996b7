"""How a trial becomes a row of the table `trials`."""

from __future__ import annotations

from datetime import UTC, datetime

from nvbench.tables import Frames, LatencySummary, Subject, TrialRow
from nvbench.trial import Counters, Latency, Trial


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
