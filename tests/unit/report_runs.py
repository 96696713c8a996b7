"""Runs written by hand for tests of reports: every test of RFC 2544, with histograms and samples."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import pyarrow as pa
from pyarrow import parquet

from nvbench.schema import flat, schema
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import LatencySummary, LimitedBy, LossEvent, ResultRow, Sample, Subject, TrialRow
from nvbench.trial import Counters, Latency, Trial, Validity
from nvbench.trial_rows import latency_summary, trial_row
from nvbench.units import line_rate_pps

LATENCY = Latency(((2_000, 60_000), (8_000, 35_000), (40_000, 4_900), (900_000, 100)))
RATES = {64: 2_817_045.0, 512: 1_202_000.0, 1518: 812_743.0}
CEILINGS = {64: 4_200_000.0, 512: 2_500_000.0, 1518: 1_300_000.0}
PROFILE = {"name": "mine", "link_gbps": 10.0, "traffic": {"flows": [1], "direction": ["unidirectional"]}, "seed": 7}


def subject(test: str = "throughput", frame_bytes: int = 64, datapath: str = "ovs_dpdk") -> Subject:
    return Subject(f"{datapath}-{frame_bytes}B", test, datapath, "nvgen", frame_bytes)


def trial(of: Subject, load_pps: float = 1e6, *, purpose: str = "search", **more: object) -> TrialRow:
    made = Trial(load_pps, 1.0, 1.0, (Counters(round(load_pps), received=round(load_pps)),), LATENCY, **more)  # type: ignore[arg-type]
    return trial_row(of, made, purpose=purpose)


def result(of: Subject, **values: object) -> ResultRow:
    base: dict[str, object] = {
        "rate_pps": None,
        "line_rate_pps": line_rate_pps(1e10, of.frame_bytes),
        "ceiling_pps": CEILINGS.get(of.frame_bytes),
        "final_duration_s": 1.0,
    }
    return ResultRow(subject=of, **(base | values))  # type: ignore[arg-type]


def write_run(root: Path, scale: float = 1.0, **header: object) -> Path:
    """A run of throughput, latency, loss and restart at three frame sizes; its rates are `scale` times the usual."""
    told: dict[str, object] = {"profile": PROFILE, "testbed": {"name": "bench"}, "seed": 7, "quick": True}
    with RunWriter.create(root, RunHeader("mine", "bench", **(told | header))) as run:  # type: ignore[arg-type]
        run.note_fingerprint({"hosts": {"switch": {"kernel": "6.1", "nics": [{"name": "eth0"}]}}})
        run.warn("the generator shares its core")
        for size, rate in RATES.items():
            _write_size(run, size, rate * scale)
    return run.path


def _write_size(run: RunWriter, size: int, rate: float) -> None:
    of = subject("throughput", size)
    run.append_trial(trial(of, rate * 1.2, validity=Validity.PAUSED, reason="for 3 ms"))
    settled = run.append_trial(trial(of, rate, purpose="final"))
    run.append_samples(settled, samples(rate))
    limit = LimitedBy.LINE_RATE if size == 1518 else LimitedBy.SUT
    run.append_result(result(of, rate_pps=rate, loss_ratio=0.0, limited_by=limit, trial_ids=(settled,), trials=2))
    for share in (0.0, 0.5, 1.0):
        of = subject("latency", size)
        names = tuple(run.append_trial(trial(of, rate * share or 1e3, purpose="latency")) for _ in range(2))
        double = latency_summary(Latency(tuple((value, 2 * count) for value, count in LATENCY.bins)))
        run.append_result(
            result(of, rate_pps=rate * share, load_share=share, latency=double, trial_ids=names, trials=2)
        )
    for share, lost in ((1.0, 0.7), (0.5, 0.1), (0.1, 0.0)):
        of = subject("frame_loss", size)
        name = run.append_trial(trial(of, share * line_rate_pps(1e10, size), purpose="loss"))
        offered = share * line_rate_pps(1e10, size)
        run.append_result(result(of, rate_pps=offered, load_share=share, loss_ratio=lost, trial_ids=(name,), trials=1))
    of = subject("reset", size)
    name = run.append_trial(trial(of, rate, purpose="restart"))
    event = LossEvent(1.0, 0.75, 1000)
    spread = dict.fromkeys(("value_min", "value_mean", "value_median", "value_max", "value_stdev"), 0.75)
    run.append_result(result(of, rate_pps=rate, outage_s=0.75, events=(event,), trial_ids=(name,), repeats=1, **spread))


def samples(rate: float) -> list[Sample]:
    """Two readings of each counter, a second apart: 240 busy cycles per packet, half of 2.5 GHz busy."""
    risen: Mapping[tuple[str, str, str], float] = {
        ("pmd core 1", "processing_cycles", "cycles"): 240 * rate,
        ("pmd core 1", "idle_cycles", "cycles"): 240 * rate,
        ("pmd core 1", "packets_received", "count"): rate,
        ("cpu core 0", "user_s", "s"): 0.25,
        ("cpu core 0", "idle_s", "s"): 0.75,
        ("cpu core 1", "user_s", "s"): 0.9,
        ("cpu core 1", "softirq_s", "s"): 0.1,
        ("collector", "cpu_s", "s"): 0.002,
    }
    return [
        Sample(1e9 + second, source, metric, 1e6 + second * value, unit)
        for second in (0, 1)
        for (source, metric, unit), value in risen.items()
    ]


def append(run: Path, table: str, rows: Iterable[object]) -> None:
    """Rows as one part of an empty table, as many appends make."""
    made = pa.Table.from_pylist([flat(row) | {"run_id": run.name} for row in rows], schema(table))
    parquet.write_table(made, run / table / f"00000001-{made.num_rows:08d}.parquet")


EMPTY = LatencySummary()
