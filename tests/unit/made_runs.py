"""Runs as the store has them, made for tests: rates in, folders out."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from nvbench.reading import Results
from nvbench.runs import Run
from nvbench.schema import flat, schema
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import ResultRow, Setting, StreamRow, Subject, TrialRow

SUBJECT = Subject("ovs_dpdk-1q-64B", "throughput", "ovs_dpdk", "nvgen", 64, settings=(Setting("emc", "on"),))
HEADER = RunHeader("p", "bench", fingerprint={"ovs_dpdk": "OVS 3.1.0"})


def result(rate: float | None = None, subject: Subject = SUBJECT, **columns: Any) -> ResultRow:
    """A result; a rate that was searched for has no more width than a plain value."""
    if rate is not None and subject.test == "throughput":
        columns = {"lower_pps": rate, "upper_pps": rate} | columns
    return ResultRow(subject=subject, rate_pps=rate, **columns)


def mrr(rate: float | None, **columns: Any) -> ResultRow:
    """A forwarding rate at which some of what was offered was lost."""
    return result(rate, replace(SUBJECT, test="mrr"), **({"loss_ratio": 0.2} | columns))


def run(
    root: Path,
    rows: Iterable[ResultRow] = (),
    header: RunHeader = HEADER,
    trials: Iterable[TrialRow] = (),
    streams: Iterable[StreamRow] = (),
) -> Path:
    """A finished run with these rows, all written at once."""
    writer = RunWriter.create(root, header)
    for table, found in (("results", rows), ("trials", trials), ("streams", streams)):
        named = [flat(replace(row, run_id=writer.run_id)) for row in found]
        if named:
            part = writer.path / table / "00000001-00000001.parquet"
            parquet.write_table(pa.Table.from_pylist(named, schema(table)), part)
    writer.finish()
    return writer.path


def opened(*paths: Path) -> Results:
    """Runs, to be read."""
    return Results(tuple(map(Run.open, paths)))


def rates(root: Path, *values: float, **header: Any) -> Results:
    """A run for each rate."""
    return opened(*(run(root, [mrr(value)], replace(HEADER, **header)) for value in values))
