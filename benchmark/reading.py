"""Reading what runs wrote: `open_results`, and the tables of one run or of many.

Needs no testbed, and no end of the run: what is there is read, whatever is still being written is not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nvbench.errors import NotReadyError, StoreError, UsageError
from nvbench.runs import LATEST, Run, check_version, resolve_run, results_root
from nvbench.schema import schema
from nvbench.store import live_parts
from nvbench.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.dataset as pads


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

    def table(
        self,
        name: str,
        columns: list[str] | None = None,
        filter: pads.Expression | None = None,  # noqa: A002 - pyarrow's name for it
    ) -> pa.Table:
        """A table by its name, as it is now."""
        return self._read(name, lambda dataset: dataset.to_table(columns=columns, filter=filter))

    def to_pandas(self, table: str = "results") -> Any:
        """A table as a pandas DataFrame.

        Raises:
            NotReadyError: pandas is not installed.
        """
        try:
            return self.table(table).to_pandas()
        except ImportError:
            raise NotReadyError("pandas is not installed", remedy="pip install 'nvbench[analysis]'") from None

    def _read(self, table: str, read: Callable[[pads.Dataset], pa.Table]) -> pa.Table:
        import pyarrow as pa  # noqa: PLC0415
        from pyarrow import dataset, parquet  # noqa: PLC0415

        if table not in TABLES:
            raise UsageError(f"unknown table {table!r}", remedy=f"one of: {', '.join(TABLES)}")
        while True:  # a part that went away between listing and reading was merged: list again
            parts = [part for run in self.runs for part in live_parts(run.path / table)]
            try:
                if parts:
                    metadata = parquet.read_schema(parts[-1]).metadata or {}
                    check_version(int(metadata.get(b"nvbench.schema_version", 1)), parts[-1])
                return read(dataset.dataset([str(part) for part in parts], schema(table), format="parquet"))
            except FileNotFoundError:
                continue
            except (OSError, pa.ArrowInvalid) as error:
                raise StoreError(f"table {table} cannot be read: {error}", place=str(self.runs[0].path)) from error


def open_results(runs: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = LATEST) -> Results:
    """Open one run or several: folders, or names in $NVBENCH_RESULTS or `results`; `latest` is the newest.

    Raises:
        UsageError: There is no such run, or a newer nvbench wrote it.
    """
    names = [runs] if isinstance(runs, str | os.PathLike) else list(runs)
    return Results(tuple(Run.open(resolve_run(results_root(), name)) for name in names))


def throughputs(results: Results) -> dict[str, dict[float, float]]:
    """The rates that were found, in frames per second and direction: by case, then by loss ratio."""
    found: dict[str, dict[float, float]] = {}
    for row in results.results().to_pylist():
        if row["test"] == "throughput" and row["rate_pps"]:
            found.setdefault(row["case_id"], {})[row["goal_loss_ratio"]] = row["rate_pps"]
    return found
