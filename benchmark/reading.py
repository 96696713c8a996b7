"""Reading what runs wrote: `open_results`, and the tables of one run or of many.

Needs no testbed, and no end of the run: what is there is read, whatever is still being written is not.
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvbench.errors import NotReadyError, StoreError, UsageError
from nvbench.parts import live_parts, schema_version, span
from nvbench.runs import LATEST, SAMPLES, Run, check_version, resolve_runs, results_root
from nvbench.schema import schema
from nvbench.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as pads


MANY_PARTS = 32
"""From here on DuckDB opens parts in less time than pyarrow does; below, it takes longer to start."""


@dataclass(frozen=True)
class Results:
    """The tables of one run or of several, told apart by their column `run_id`."""

    runs: tuple[Run, ...]

    def trials(self, columns: list[str] | None = None, filter: pads.Expression | None = None) -> pa.Table:  # noqa: A002
        """A row for each trial; `columns` and `filter` are those of `pyarrow.dataset.Dataset.to_table`."""
        return self.table("trials", columns, filter)

    def results(self, columns: list[str] | None = None, filter: pads.Expression | None = None) -> pa.Table:  # noqa: A002
        """A row for each answer."""
        return self.table("results", columns, filter)

    def samples(self, columns: list[str] | None = None, filter: pads.Expression | None = None) -> pa.Table:  # noqa: A002
        """A row for each value that a collector read."""
        return self.table("samples", columns, filter)

    def streams(self, columns: list[str] | None = None, filter: pads.Expression | None = None) -> pa.Table:  # noqa: A002
        """A row for each run of a tool between two endpoints."""
        return self.table("streams", columns, filter)

    def table(
        self,
        name: str,
        columns: list[str] | None = None,
        filter: pads.Expression | None = None,  # noqa: A002 - pyarrow's name for it
    ) -> pa.Table:
        """A table by its name, as it is now.

        Raises:
            UsageError: There is no such table or column, or a newer nvbench wrote a part of it.
            StoreError: It cannot be read.
        """
        _known("table", [name], list(TABLES))
        _known("column", columns or [], schema(name).names)

        def read() -> pa.Table:
            parts = self._parts(name)
            many = filter is None and len(parts) > MANY_PARTS
            return _selected(name, parts, columns) if many else _scanned(name, parts, columns, filter)

        return self._lasting(read)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """What a SELECT over the tables `trials`, `results`, `streams` and `samples` answers.

        DuckDB reads just the columns and row groups that the question needs, with bounded memory; nothing is
        written, nothing is loaded from elsewhere.

        Args:
            sql: One SELECT; `$name` stands for a parameter.
            parameters: Their values by name.

        Raises:
            UsageError: The question is wrong, or a newer nvbench wrote a part.
            StoreError: A table cannot be read.
        """
        from nvbench.sql import ask  # noqa: PLC0415 - needs DuckDB

        named = [table for table in TABLES if table in sql.lower()]
        return self._lasting(lambda: ask({table: self._parts(table) for table in named}, sql, parameters))

    def to_pandas(self, table: str | pa.Table = "results") -> Any:
        """A table, or the answer to a query, as a pandas DataFrame.

        Raises:
            NotReadyError: pandas is not installed.
        """
        try:
            return (self.table(table) if isinstance(table, str) else table).to_pandas()
        except ImportError:
            raise NotReadyError("pandas is not installed", remedy="pip install 'nvbench[analysis]'") from None

    def _parts(self, table: str) -> list[Path]:
        return [part for run in self.runs for part in live_parts(run.path / table)]

    def _lasting(self, read: Callable[[], pa.Table]) -> pa.Table:
        """What is read from parts that stay there meanwhile; one that went away was merged, so they are listed again.

        Raises:
            StoreError: Parts keep going away.
        """
        for _attempt in range(10):
            with contextlib.suppress(FileNotFoundError):
                return read()
        raise StoreError("parts are listed that are not there", place=str(self.runs[0].path))


def _selected(name: str, parts: list[Path], columns: list[str] | None) -> pa.Table:
    import pyarrow as pa  # noqa: PLC0415

    from nvbench.sql import ask  # noqa: PLC0415 - needs DuckDB

    names = columns or schema(name).names
    found = ask({name: parts}, f"SELECT {', '.join(names)} FROM {name}")  # noqa: S608 - all of them are the schema's
    return found.cast(pa.schema([schema(name).field(column) for column in names], schema(name).metadata))


def _scanned(name: str, parts: list[Path], columns: list[str] | None, filter: pads.Expression | None) -> pa.Table:  # noqa: A002
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import dataset  # noqa: PLC0415

    def scan(of: list[Path]) -> pa.Table:
        paths = [str(part) for part in of]
        return dataset.dataset(paths, schema(name), format="parquet").to_table(columns=columns, filter=filter)

    try:
        for part in parts:
            check_version(schema_version(part), part)
        return scan(parts)
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException) as error:
        text = " ".join(str(error).split())
        if text.startswith("No match for FieldRef"):
            raise UsageError(f"table {name} has no such column: {text}") from None
        for part in parts:  # which of them it is
            try:
                scan([part])
            except (OSError, pa.ArrowException):
                raise StoreError(f"cannot be read: {text}", place=str(part), remedy="restore it from a copy") from error
        raise StoreError(f"table {name} cannot be read: {text}", place=str(parts[0].parent)) from error


def _known(what: str, asked: list[str], known: list[str]) -> None:
    for name in asked:
        if name not in known:
            close = get_close_matches(name, known, n=3) or known
            raise UsageError(f"unknown {what} {name!r}", remedy=f"one of: {', '.join(close)}")


def rows_after(folder: Path, appends: int, columns: Sequence[str]) -> tuple[list[dict[str, Any]], int]:
    """Some columns of the rows that came into a table after so many appends, and how many appends there are now.

    Of a table of one row an append. Only parts that hold new ones are opened, so that a run can be followed.

    Raises:
        StoreError: A part cannot be read.
    """
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    rows: list[dict[str, Any]] = []
    for part in live_parts(folder):
        first, last = span(part)
        if last <= appends:
            continue
        try:
            own = set(parquet.read_schema(part).names)
            held = parquet.read_table(part, columns=[name for name in columns if name in own], partitioning=None)
        except FileNotFoundError:
            break  # merged meanwhile: the rest comes next time
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"cannot be read: {error}", place=str(part), remedy="restore it from a copy") from error
        rows += held.slice(max(0, appends + 1 - first)).to_pylist()
        appends = last
    return [{name: row.get(name) for name in columns} for row in rows], appends


def open_results(
    runs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = LATEST, *, sample: str = ""
) -> Results:
    """Open one run or several: folders, or names, labels and globs in $NVBENCH_RESULTS or `results`.

    Args:
        runs: What each means is told by `resolve_runs`; `latest` is the newest.
        sample: Where there is no such run, this one of those that come with nvbench is opened instead, with a warning.

    Raises:
        UsageError: There is no such run, or a newer nvbench wrote it.
    """
    names = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
    try:
        paths = [path for name in names for path in resolve_runs(results_root(), name)]
    except UsageError as missing:
        if not sample:
            raise
        warnings.warn(f"{missing}; this is the sample {sample!r} that comes with nvbench", stacklevel=2)
        paths = [*resolve_runs(results_root(), f"{SAMPLES}{sample}")]
    return Results(tuple(Run.open(path) for path in paths))


def throughputs(results: Results) -> dict[str, dict[float, float]]:
    """The rates that were found, in frames per second and direction: by case, then by loss ratio."""
    found: dict[str, dict[float, float]] = {}
    for row in results.results().to_pylist():
        if row["test"] == "throughput" and row["rate_pps"] and math.isfinite(row["rate_pps"]):
            found.setdefault(row["case_id"], {})[row["goal_loss_ratio"]] = row["rate_pps"]
    return found
