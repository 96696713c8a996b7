"""How fast and how well does the switch forward? Short measurements, which say numbers and judge none.

What is judged is whether the measurement came to valid answers at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from nvbench.checks.quick_run import IMPOSSIBLE, measured
from nvbench.stands import OVS, Check, Ground, Record, Wish
from nvbench.tables import ResultRow
from nvbench.units import scaled

SHORT = (
    "tests.throughput.search_s=0.1",
    "tests.throughput.final_s=0.3",
    "tests.throughput.width=0.02",
    "tests.throughput.budget_s=7",
    "tests.latency.duration_s=0.5",
    "tests.latency.repeats=1",
)
FRAMES = ("datapath.queues=1", "traffic.frame_bytes=[64,1518]", *SHORT)
QUALITY_FRAMES = (
    "traffic.frame_bytes=512",
    *SHORT,
    "tests.latency.loads=[0.1,0.9]",
    "tests.frame_loss.step=0.1",
    "tests.frame_loss.duration_s=0.2",
    "tests.soak.duration_s=3",
    "tests.soak.slice_s=0.5",
    "repeat_invalid=2",
)
_NOTHING = "-"


def forward(ground: Ground, record: Record) -> None:
    """Throughput by RFC 2544, and latency at it, of small and of large frames."""
    _told(record, measured(ground, record, "10ge-forwarding", (f"datapath.kind={ground.path}", *FRAMES))[1])


def qualify(ground: Ground, record: Record) -> None:
    """The loss curve, latency and its variation at a low and at a high load, and some seconds of soak."""
    _told(record, measured(ground, record, "10ge-quality", (f"datapath.kind={ground.path}", *QUALITY_FRAMES))[1])


def _told(record: Record, rows: Sequence[ResultRow]) -> None:
    record.draw(
        "What was measured",
        ["test", "frame, bytes", "load", "rate", "of line rate", "loss", "p50 us", "p99 us", "max us", "set aside"],
        [_cells(row) for row in rows],
    )
    for (case, test), group in groupby(rows, key=lambda row: (row.subject.case_id, row.subject.test)):
        own = list(group)
        answers = [row for row in own if answered(row)]
        subject = f"{test.replace('_', ' ')} of {own[0].subject.frame_bytes}-byte frames"
        if not answers:
            if not own[0].verdict.startswith(IMPOSSIBLE):  # else for want of another answer, which is told
                told = f"{subject}: no valid answer, {own[0].verdict}; {_aside(own)} trials set aside"
                record.observe(False, told, f"{case} {test}: {'; '.join(own[0].warnings) or own[0].verdict}")
            continue
        left = f"; {len(own) - len(answers)} of {len(own)} loads without an answer" if len(answers) < len(own) else ""
        last = answers[-1]
        told = f"{subject}: {'; '.join(map(sentence, answers))}{left}"
        record.observe(True, told, f"{case} {test}: {last.verdict}, {_aside(own)} trials set aside")


def answered(row: ResultRow) -> bool:
    """Whether a result says anything: of a throughput its rate, of a loss curve a loss, of others a latency too."""
    if row.subject.test == "throughput":
        return bool(row.rate_pps)
    return row.loss_ratio is not None or row.latency.latency_p50_us is not None


def sentence(row: ResultRow) -> str:
    """What a result says, in a clause."""
    loss = "nothing lost" if not row.loss_ratio else f"{row.loss_ratio:.2%} lost"
    load = f"{row.load_share:.0%}" if row.load_share is not None else _NOTHING
    latency = row.latency
    spread = f"half within {_us(latency.latency_p50_us)} us, 99 % within {_us(latency.latency_p99_us)} us"
    match row.subject.test:
        case "throughput":
            rate = scaled(row.rate_pps or 0.0, "pps")
            return f"{rate} without loss, {load} of the line rate ({row.verdict}); {spread}"
        case "frame_loss":
            return f"{loss} at {load}"
        case "soak":
            return f"{loss} in {row.duration_s:.1f} s at {scaled(row.rate_pps or 0.0, 'pps')}, {spread}"
    return f"{spread} {row.verdict}, {loss}"


def _cells(row: ResultRow) -> list[str]:
    latency = row.latency
    rate, line = row.rate_pps, row.line_rate_pps
    return [
        row.subject.test.replace("_", " "),
        str(row.subject.frame_bytes),
        f"{row.load_share:.0%}" if row.load_share is not None else _NOTHING,
        scaled(rate, "pps") if rate else _NOTHING,
        f"{rate / line:.1%}" if rate and line else _NOTHING,
        f"{row.loss_ratio:.3%}" if row.loss_ratio is not None else _NOTHING,
        _us(latency.latency_p50_us),
        _us(latency.latency_p99_us),
        _us(latency.latency_max_us),
        f"{row.invalid_trials} of {row.trials}",
    ]


def _aside(rows: Sequence[ResultRow]) -> str:
    return f"{sum(row.invalid_trials for row in rows)} of {sum(row.trials for row in rows)}"


def _us(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:.4g}"


FORWARDING = Check(
    name="forwarding",
    title="how many frames a second pass, and how long they take",
    cases={OVS: "7.3.5.1"},
    act=forward,
    tags=("performance",),
    wish=Wish(alone=True),
    limit_s=90.0,
)
QUALITY = Check(
    name="quality",
    title="what is lost, and how much latency varies",
    cases={OVS: "7.3.6.1"},
    act=qualify,
    tags=("performance",),
    wish=Wish(alone=True),
    limit_s=90.0,
)
