"""The store: what a run leaves on disk, and the writer that makes each trial durable before the next begins.

The folder of a run::

    results/20250131T120000Z-rfc2544/
        run.json                                the run: profile, testbed, fingerprint, state, warnings
        trials/ results/ streams/ samples/      one folder a table, of Parquet parts, see `nvbench.parts`
            00000001-00000100.parquet
            00000101-00000101.parquet
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvbench import __version__
from nvbench.errors import NotReadyError, StoreError
from nvbench.parts import durable_file, live_parts, merge_parts, span, sync_folder, write_part
from nvbench.schema import SCHEMA_VERSION, flat, schema
from nvbench.tables import TABLES, ResultRow, Sample, StreamRow, TrialRow

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["MERGE_EVERY", "RUN_FILE", "RunHeader", "RunState", "RunWriter", "durable_file", "live_parts"]

RUN_FILE = "run.json"
MERGE_EVERY = 100
"""Appends after which a table's single parts become one."""


class RunState(StrEnum):
    """How far a run got."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    BROKE = "broke"


class _Table:
    """A table being written: its folder of parts."""

    def __init__(self, run: Path, name: str) -> None:
        self.folder = run / name
        self.name = name
        self.appends = 0
        self.folder.mkdir()

    def append(self, tables: Iterable[pa.Table]) -> None:
        """Make rows durable, as one part; they are there when this returns."""
        number = self.appends + 1
        write_part(self.folder, schema(self.name), tables, (number, number))
        self.appends = number
        if self.appends % MERGE_EVERY == 0:
            self.merge(singles=True)

    def merge(self, *, singles: bool = False) -> None:
        """Make one part of all, or of the single ones. Where that fails they stay as they are: nothing is lost."""
        with contextlib.suppress(StoreError, OSError):
            parts = live_parts(self.folder)
            spans = [span(part) for part in parts]
            first = next((i for i, (begin, end) in enumerate(spans) if not singles or begin == end), len(parts))
            if len(parts) - first > 1:
                merge_parts(parts[first:])


@dataclass(frozen=True, slots=True)
class RunHeader:
    """What is known of a run when it starts; `profile` and `testbed` are the resolved ones.

    Attributes:
        label: What a person calls it: `ovs-3.2`, `before the update`.
        versus: Of a run that was made in turn with another: `side` (`base` or `new`), `partner` (that run's name) and
            `change` (what differs).
        planned_cases: Cases that it is to measure; 0 where that is not known.
        expected_s: How long that is to take.
    """

    profile_name: str
    testbed_name: str
    profile: Mapping[str, Any] = field(default_factory=dict)
    testbed: Mapping[str, Any] = field(default_factory=dict)
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    quick: bool = False
    simulated: bool = False
    overrides: Mapping[str, Any] = field(default_factory=dict)
    commands: Sequence[Sequence[str]] = ()
    warnings: Sequence[str] = ()
    label: str = ""
    versus: Mapping[str, str] = field(default_factory=dict)
    planned_cases: int = 0
    expected_s: float = 0.0


class RunWriter:
    """Writes one run. As a context manager it ends the run: finished, interrupted or broke.

    For one thread. A lock on the run's folder tells readers a run that goes on from a killed one.

    Attributes:
        path: The run's folder.
        block: What results and streams are stamped with from now on; see `ResultRow`.
    """

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        self.path = path
        self.block = 0
        self._record = record
        self._cases: set[str] = set()
        self._lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):  # some network file systems lock no folders
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._tables = {name: _Table(path, name) for name in TABLES}
        self._write_record()
        sync_folder(path.parent)

    @classmethod
    def create(cls, root: Path, header: RunHeader) -> RunWriter:
        """Start a run in a new folder below `root`.

        Raises:
            NotReadyError: Nothing can be written there.
        """
        now = datetime.now(UTC)
        run_id = f"{now:%Y%m%dT%H%M%SZ}-{re.sub(r'[^A-Za-z0-9._-]+', '-', header.profile_name)}"
        path = None
        try:
            path = _new_folder(root, run_id)
            record = {
                "schema_version": SCHEMA_VERSION,
                "run_id": path.name,
                "state": RunState.RUNNING,
                "started_at": now.isoformat(),
                "finished_at": None,
                "nvbench_version": __version__,
                "cases": 0,
            }
            return cls(path, record | {name: getattr(header, name) for name in RunHeader.__slots__})
        except (OSError, StoreError) as error:
            if path:
                shutil.rmtree(path, ignore_errors=True)
            what = error.what if isinstance(error, StoreError) else error.strerror
            raise NotReadyError(
                f"results cannot be written here: {what}",
                place=str(root),
                remedy="make it writable, or choose another folder with --results",
            ) from error

    @property
    def run_id(self) -> str:
        """The run's name, which is its folder's."""
        return str(self._record["run_id"])

    def append_trial(self, row: TrialRow) -> str:
        """Make a trial durable; its name, given here if it has none yet."""
        trial_id = row.trial_id or f"t{self._tables['trials'].appends + 1:05d}"
        self._append("trials", replace(row, run_id=self.run_id, trial_id=trial_id))
        return trial_id

    def append_stream(self, row: StreamRow) -> str:
        """Make a run of a stream tool durable; the name that it is given."""
        trial_id = f"s{self._tables['streams'].appends + 1:05d}"
        self._append("streams", replace(row, run_id=self.run_id, trial_id=trial_id, block=self.block))
        return trial_id

    def append_result(self, row: ResultRow) -> None:
        """Make a result durable."""
        self._append("results", replace(row, run_id=self.run_id, block=self.block))
        if row.subject.case_id not in self._cases:  # so that a list of runs needs to open none of their tables
            self._cases.add(row.subject.case_id)
            self._note("cases", len(self._cases))

    def append_samples(self, trial_id: str, samples: Iterable[Sample]) -> None:
        """Make a trial's samples durable, all at once; however many, they are not held in memory."""
        remaining = iter(samples)
        chunks = iter(lambda: list(itertools.islice(remaining, 8192)), [])
        if first := next(chunks, None):
            chunks = itertools.chain([first], chunks)
            self._tables["samples"].append(self._sample_table(trial_id, chunk) for chunk in chunks)

    def warn(self, text: str) -> None:
        """Keep a warning with the run, once."""
        if text not in self._record["warnings"]:
            self._note("warnings", [*self._record["warnings"], text])

    def note_partner(self, name: str) -> None:
        """Keep the name of the run that this one is made in turn with."""
        self._note("versus", {**self._record["versus"], "partner": name})

    def note_commands(self, *commands: Sequence[str]) -> None:
        """Keep commands that were run on the bench, each as its argv."""
        self._note("commands", [*self._record["commands"], *commands])

    def note_fingerprint(self, facts: Mapping[str, Any]) -> None:
        """Keep what was found out about the bench; a fact known before is replaced."""
        self._note("fingerprint", {**self._record["fingerprint"], **facts})

    def finish(self, state: RunState = RunState.FINISHED) -> None:
        """End the run: one part a table, and its last state. Once ended, it stays as it is."""
        if self._record["finished_at"]:
            return
        for table in self._tables.values():
            table.merge()
        self._record["finished_at"] = datetime.now(UTC).isoformat()
        try:
            self._note("state", state)
        finally:
            os.close(self._lock)

    def __enter__(self) -> RunWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.finish()
            return
        stopped = issubclass(kind, KeyboardInterrupt | SystemExit)
        with contextlib.suppress(StoreError):  # the error on its way says more
            self.finish(RunState.INTERRUPTED if stopped else RunState.BROKE)

    def _append(self, table: str, row: TrialRow | ResultRow | StreamRow) -> None:
        import pyarrow as pa  # noqa: PLC0415

        self._tables[table].append([pa.Table.from_pylist([flat(row)], schema(table))])

    def _sample_table(self, trial_id: str, samples: Sequence[Sample]) -> pa.Table:
        import pyarrow as pa  # noqa: PLC0415

        columns: dict[str, list[Any]] = {
            "run_id": [self.run_id] * len(samples),
            "trial_id": [trial_id] * len(samples),
            "time": [round(sample.time * 1e6) for sample in samples],
        }
        for name in ("source", "metric", "value", "unit"):
            columns[name] = [getattr(sample, name) for sample in samples]
        return pa.Table.from_pydict(columns, schema("samples"))

    def _note(self, key: str, value: Any) -> None:
        self._record[key] = value
        self._write_record()

    def _write_record(self) -> None:
        text = json.dumps(self._record, indent=2, default=_plain)
        with durable_file(self.path / RUN_FILE) as file:
            file.write(text.encode() + b"\n")


def _new_folder(root: Path, name: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for count in itertools.count(1):
        with contextlib.suppress(FileExistsError):
            path = root / (name if count == 1 else f"{name}-{count}")
            path.mkdir()
            return path
    raise AssertionError


def _plain(value: object) -> object:
    """What JSON has no word for, in one that it has."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, set | frozenset | tuple) else str(value)
