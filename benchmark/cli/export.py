"""`nvbench export`: a run's tables for other programs."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

if TYPE_CHECKING:
    import pyarrow as pa

    from nvbench.runs import Run


@click.command("export")
@click.argument("run", default="latest")
@click.option("--format", "form", type=click.Choice(["json", "csv", "parquet"]), default="json", show_default=True)
@click.option(
    "--table",
    type=click.Choice(["trials", "results", "streams", "samples"]),
    default="results",
    show_default=True,
    help="Which rows.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; default: standard output.")
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(run: str, form: str, table: str, output: Path | None, results: Path) -> None:
    """Write a table of RUN: a name, the start of one, a folder, or `latest`."""
    from nvbench.errors import UsageError  # noqa: PLC0415 - heavy
    from nvbench.reading import open_results  # noqa: PLC0415
    from nvbench.runs import resolve_run  # noqa: PLC0415

    if form == "parquet" and not output:
        raise UsageError("Parquet is not for a terminal", remedy="name a file with -o")
    opened = open_results(resolve_run(results, run))
    rows = opened.table(table)
    if form == "parquet" and output:
        from pyarrow import parquet  # noqa: PLC0415

        with _target(output) as file:
            parquet.write_table(rows, file, compression="zstd")
        return
    forms: dict[str, Callable[[Run, str, pa.Table], Iterator[str]]] = {"json": as_json, "csv": as_csv}
    texts = forms[form](opened.runs[0], table, rows)
    if output:
        with _target(output) as file:
            file.writelines(text.encode() for text in texts)
    else:
        for text in texts:
            click.echo(text, nl=False)


def _target(path: Path) -> AbstractContextManager[BinaryIO]:
    """A file that appears when it is whole; a pipe or a device is written to as it is."""
    from nvbench.store import durable_file  # noqa: PLC0415 - heavy

    special = path.is_symlink() or (path.exists() and not path.is_file())
    return path.open("wb") if special else durable_file(path)


def as_json(run: Run, name: str, table: pa.Table) -> Iterator[str]:
    """One object: `run` is what run.json says, `rows` has an object a row."""
    yield f'{{\n"run": {json.dumps(run.record, indent=1)},\n"table": {json.dumps(name)},\n"rows": ['
    separator = "\n"
    for row in _rows(table):
        yield separator + json.dumps(_plain(row), allow_nan=False)
        separator = ",\n"
    yield "\n]\n}\n"


def as_csv(run: Run, name: str, table: pa.Table) -> Iterator[str]:  # noqa: ARG001 - as as_json
    """A heading and a line a row; no value is an empty field, and a list is JSON in one field."""
    yield _line(table.column_names)
    for row in _rows(table):
        yield _line([json.dumps(value) if isinstance(value, list) else value for value in _plain(row).values()])


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=1024):
        yield from batch.to_pylist()


def _line(values: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _plain(value: Any) -> Any:
    """`value` in what JSON knows: times in ISO 8601, histograms as their text, NaN as no value."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("ascii")
    return None if isinstance(value, float) and not math.isfinite(value) else value
