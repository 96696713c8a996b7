"""Runs on disk: what `run.json` says of each, and which one a name means."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from nvbench.errors import StoreError, UsageError
from nvbench.schema import SCHEMA_VERSION
from nvbench.store import RUN_FILE, RunState

LATEST = "latest"
UNREADABLE = "unreadable"
"""The state of a run whose `run.json` cannot be read, or was written by a newer nvbench."""


def results_root() -> Path:
    """Where runs are kept: $NVBENCH_RESULTS, or `results` in the current folder."""
    return Path(os.environ.get("NVBENCH_RESULTS") or "results")


@dataclass(frozen=True)
class Run:
    """A run on disk: its folder, and what its `run.json` says."""

    path: Path
    record: Mapping[str, Any]

    @classmethod
    def open(cls, path: Path) -> Run:
        """The run in `path`.

        Raises:
            UsageError: There is no run, or a newer nvbench wrote it.
            StoreError: Its `run.json` cannot be read.
        """
        file = path / RUN_FILE
        try:
            record = json.loads(file.read_bytes())
            version = int(record["schema_version"])
        except (FileNotFoundError, NotADirectoryError):
            what = f"no run here: it has no {RUN_FILE}" if path.is_dir() else "no such folder"
            raise UsageError(what, place=str(path), remedy="`nvbench list` shows the runs") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"cannot be read: {error}", place=str(file), remedy="restore it from a copy") from error
        check_version(version, path)
        return cls(path, record)

    @property
    def run_id(self) -> str:
        """Its name."""
        return str(self.record.get("run_id", self.path.name))

    @property
    def profile_name(self) -> str:
        """Name of the profile that it ran."""
        return str(self.record.get("profile_name", ""))

    @property
    def testbed_name(self) -> str:
        """Name of the testbed that it ran on."""
        return str(self.record.get("testbed_name", ""))

    @property
    def quick(self) -> bool:
        """Whether its trials were shortened."""
        return bool(self.record.get("quick"))

    @property
    def simulated(self) -> bool:
        """Whether nothing real was measured."""
        return bool(self.record.get("simulated"))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the run warned of."""
        return tuple(self.record.get("warnings", ()))

    @property
    def fingerprint(self) -> Mapping[str, Any]:
        """What its bench was."""
        return dict(self.record.get("fingerprint", {}))

    @property
    def started_at(self) -> datetime:
        """When it began."""
        told = self.record.get("started_at")
        return datetime.fromisoformat(told) if told else datetime.fromtimestamp(0, UTC)

    @property
    def finished_at(self) -> datetime | None:
        """When it ended; None while it runs, and for ever if it was killed."""
        told = self.record.get("finished_at")
        return datetime.fromisoformat(told) if told else None

    @property
    def duration_s(self) -> float | None:
        """How long it took, or has taken until now; None if it was killed."""
        if self.finished_at:
            return (self.finished_at - self.started_at).total_seconds()
        if self.state == RunState.RUNNING:
            return (datetime.now(UTC) - self.started_at).total_seconds()
        return None

    @property
    def state(self) -> str:
        """How far it got; a run that says `running` with no writer holding its folder was interrupted."""
        told = str(self.record.get("state", UNREADABLE))
        if told == RunState.RUNNING and not self._has_writer():
            return str(RunState.INTERRUPTED)
        return told

    def _has_writer(self) -> bool:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        else:
            return False
        finally:
            os.close(descriptor)


def find_runs(root: Path) -> tuple[Run, ...]:
    """The runs below `root`, the oldest first; one that cannot be read has the state `unreadable`."""
    runs = []
    for path in root.iterdir() if root.is_dir() else ():
        if (path / RUN_FILE).is_file():
            try:
                runs.append(Run.open(path))
            except (UsageError, StoreError):
                runs.append(Run(path, {}))
    return tuple(sorted(runs, key=lambda run: (run.started_at, run.run_id)))


def resolve_run(root: Path, name: str | os.PathLike[str]) -> Path:
    """The folder of the run that `name` means: a folder, a run's name, the start of just one, or `latest`.

    Raises:
        UsageError: No run has that name, or several do.
    """
    text = os.fspath(name)
    for path in (root / text, Path(text)):
        if (path / RUN_FILE).is_file():
            return path
    if isinstance(name, os.PathLike) or os.sep in text or Path(text).is_dir():
        return Run.open(Path(text)).path  # says what is wrong with it
    names = [run.path.name for run in find_runs(root)]
    if not names:
        raise UsageError("no runs yet", place=str(root), remedy="`nvbench run` makes one")
    matches = names[-1:] if text == LATEST else [known for known in names if known.startswith(text)]
    if len(matches) == 1:
        return root / matches[0]
    if matches:
        raise UsageError(f"several runs start with {text!r}", place=str(root), remedy=_some(matches))
    close = get_close_matches(text, names, n=3) or names[-3:]
    raise UsageError(f"no run is called {text!r}", place=str(root), remedy=f"there are {_some(close)}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def check_version(version: int, place: Path) -> None:
    """Refuse what a newer nvbench wrote.

    Raises:
        UsageError: It is newer.
    """
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"written by a newer nvbench (schema {version}, this one reads up to {SCHEMA_VERSION})",
            place=str(place),
            remedy="install that nvbench to read it",
        )
