"""Synthetic results of any size, as runs that finished leave them: low in entropy, so that a disk holds them."""

from __future__ import annotations

import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from nvbench.schema import SCHEMA_VERSION, flat, schema
from nvbench.tables import ResultRow, Subject
from nvbench.trial import Counters, Latency, Trial
from nvbench.trial_rows import trial_row

RUNS, TRIALS, SAMPLES = 1000, 10_000_000, 1_000_000_000
SAMPLES_A_TRIAL = SAMPLES // TRIALS
COUNTERS = SAMPLES_A_TRIAL // 2
ROW_GROUP = 131_072
BYTES_A_TRIAL, BYTES_A_SAMPLE, BYTES_A_RUN = 140, 2.5, 150_000
"""What they take on a disk, about."""

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
CASES = tuple(
    Subject(f"{datapath}-{queues}q-{size}B", "throughput", datapath, "nvgen", size, queues=queues)
    for datapath in ("ovs_dpdk", "linux_bridge")
    for queues in (1, 2)
    for size in (64, 256, 512, 1024, 1518)
)
LABELS = ("ovs-3.1", "ovs-3.2")


def labels(run: int) -> str:
    """The first half of the runs, and the second, which is slower at small frames."""
    return LABELS[run >= RUNS // 2]


def generate(folder: Path, scale: float) -> None:
    """Fills `folder`, a run at a time."""
    trials = max(len(CASES), round(TRIALS * scale / RUNS))
    templates = trial_templates()
    rng = np.random.default_rng(1)
    begun = time.monotonic()
    for run in range(RUNS):
        started = BEGIN + timedelta(hours=8 * run)
        name = f"{started:%Y%m%dT%H%M%SZ}-nightly"
        path = folder / name
        for table in ("trials", "results", "streams", "samples"):
            (path / table).mkdir(parents=True)
        slower = 0.97 if run >= RUNS // 2 else 1.0
        rates = {subject.case_id: rate(subject, slower) * rng.normal(1, 0.005) for subject in CASES}
        write(path / "results", result_table(name, rates), len(CASES))
        write(path / "trials", trial_table(name, templates, trials, started, rng), trials)
        write(path / "samples", sample_table(name, trials, started, rng), trials)
        (path / "run.json").write_text(json.dumps(record(name, run, started), indent=2))
        if sys.stderr.isatty() or run % 100 == 99:
            print(f"\r{run + 1} of {RUNS} runs, {time.monotonic() - begun:.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)


def rate(subject: Subject, slower: float) -> float:
    """What this device would do."""
    return (2.8e6 if subject.datapath == "ovs_dpdk" else 0.9e6) * (slower if subject.frame_bytes == 64 else 1.0)


def write(folder: Path, table: pa.Table, appends: int) -> None:
    """As a run that finished leaves it: one part."""
    file = folder / f"00000001-{appends:08d}.parquet"
    with parquet.ParquetWriter(file, table.schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(table, ROW_GROUP)
        writer.add_key_value_metadata({"nvbench.table": folder.name, "nvbench.schema_version": str(SCHEMA_VERSION)})


def record(name: str, run: int, started: datetime) -> dict[str, Any]:
    """A `run.json` of the usual size, some 40 kB."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": name,
        "state": "finished",
        "started_at": started.isoformat(),
        "finished_at": (started + timedelta(hours=2)).isoformat(),
        "nvbench_version": "0.1.0",
        "profile_name": "nightly",
        "testbed_name": f"lab-{run % 4}",
        "profile": {"name": "nightly", "traffic": {"frame_bytes": [64, 256, 512, 1024, 1518]}},
        "testbed": {"name": f"lab-{run % 4}"},
        "fingerprint": {"hosts": {"switch": {"kernel": "6.1", "devices": [f"device {i}" * 8 for i in range(100)]}}},
        "seed": run,
        "quick": False,
        "simulated": False,
        "commands": [["switch", "ovs-vsctl", "--timeout=10", "set", "Open_vSwitch", f"{i}" * 40] for i in range(200)],
        "warnings": [],
        "label": labels(run),
        "versus": {},
        "cases": len(CASES),
    }


def result_table(name: str, rates: dict[str, float]) -> pa.Table:
    """An answer a case."""
    rows = [
        ResultRow(run_id=name, subject=case, rate_pps=(pps := rates[case.case_id]), lower_pps=pps, upper_pps=pps * 1.01)
        for case in CASES
    ]
    return pa.Table.from_pylist([flat(row) for row in rows], schema("results"))


def trial_templates() -> pa.Table:
    """Eight trials of each case, with histograms."""
    rows = []
    for subject in CASES:
        for lost in range(8):
            counters = Counters(sent=1_000_000, received=1_000_000 - lost)
            latency = Latency(tuple((5_000 + 40 * step, 900 // (step + 1)) for step in range(120)))
            trial = Trial(rate(subject, 1.0), 1.0, 1.0, (counters, counters), latency)
            rows.append(flat(trial_row(subject, trial, purpose="final" if lost % 4 == 0 else "search")))
    return pa.Table.from_pylist(rows, schema("trials"))


def trial_table(name: str, templates: pa.Table, count: int, started: datetime, rng: np.random.Generator) -> pa.Table:
    """So many trials, case after case."""
    case = np.arange(count) * len(CASES) // count
    table = templates.take(pa.array(case * 8 + rng.integers(0, 8, count)))
    own = {
        "run_id": pa.array([name] * count),
        "trial_id": trial_ids(count),
        "started_at": pa.array(microseconds(started, count), pa.timestamp("us", "UTC")),
        "intended_pps": pa.array(rng.integers(100, 2800, count) * 1e3),
    }
    for column, values in own.items():
        place = table.schema.get_field_index(column)
        table = table.set_column(place, table.schema.field(place), values)
    return table


def trial_ids(count: int) -> pa.Array:
    """As the store gives them."""
    return pa.array([f"t{number:05d}" for number in range(1, count + 1)])


def microseconds(started: datetime, count: int) -> np.ndarray:
    """When each trial began, a second after the last."""
    return int(started.timestamp() * 1e6) + np.arange(count) * 1_000_000


def sample_table(name: str, trials: int, started: datetime, rng: np.random.Generator) -> pa.Table:
    """Each counter before and after each trial, in the order of a merged part."""
    count = trials * SAMPLES_A_TRIAL
    counter = np.tile(np.repeat(np.arange(COUNTERS), 2), trials)
    after = np.tile(np.array([0, 1]), trials * COUNTERS)
    sources = [f"port p{number // 10}" if number < 30 else f"pmd core {number // 10}" for number in range(COUNTERS)]
    metrics = [f"counter_{number % 10}" for number in range(COUNTERS)]

    def named(index: np.ndarray, words: Any) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(index, pa.int32()), words)

    columns = {
        "run_id": named(np.zeros(count, np.int32), pa.array([name])),
        "trial_id": named(np.repeat(np.arange(trials), SAMPLES_A_TRIAL), trial_ids(trials)),
        "time": pa.array(
            np.repeat(microseconds(started, trials), SAMPLES_A_TRIAL) + after * 990_000, pa.timestamp("us", "UTC")
        ),
        "source": named(counter, pa.array(sources)),
        "metric": named(counter, pa.array(metrics)),
        "value": pa.array((rng.integers(0, 1024, count) * after).astype(np.float64)),
        "unit": named(np.zeros(count, np.int32), pa.array(["frames"])),
    }
    return pa.table(columns)
