"""Runs on disk: what `run.json` says of each, and which one a name means."""

from __future__ import annotations

import fcntl
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from nvbench.errors import StoreError, UsageError
from nvbench.schema import SCHEMA_VERSION
from nvbench.store import RUN_FILE, RunState, durable_file

LATEST = "latest"
SAMPLES = "sample/"
"""How the name of a run begins that comes with nvbench: `sample/offload-tso`."""
LONGEST_LABEL = 120
LONGEST_NAME = 255
"""Of a file, on most systems."""

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
            for moment in ("started_at", "finished_at"):  # edited by hand, perhaps
                datetime.fromisoformat(record.get(moment) or "1970-01-01")
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
    def label(self) -> str:
        """What a person calls it; empty for nothing."""
        return str(self.record.get("label") or "")

    @property
    def versus(self) -> Mapping[str, str]:
        """Of a run that was made in turn with another what `RunHeader.versus` says; empty otherwise."""
        return dict(self.record.get("versus") or {})

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
    """The folder of the run that `name` means: a folder, a run's name, the start of just one, `latest`, a label.

    Raises:
        UsageError: No run has that name, or several do.
    """
    paths = resolve_runs(root, name)
    if len(paths) == 1:
        return paths[0]
    raise UsageError(
        f"{os.fspath(name)!r} means {len(paths)} runs, where one is needed",
        place=str(root),
        remedy=_some([path.name for path in paths]),
    )


def resolve_runs(root: Path, spec: str | os.PathLike[str]) -> tuple[Path, ...]:
    """The folders of the runs that `spec` means, in the order in which it names them, and otherwise the oldest first.

    It is a folder, a run's name, a label (all runs that have it), `latest`, `latest~1` for the one before, the start
    of just one run's name, a glob over names and labels, or several of these with commas between; behind `sample/`, of
    the runs that come with nvbench.

    Raises:
        UsageError: It means no run, or the start of a name is that of several.
    """
    text = os.fspath(spec)
    if text.startswith(SAMPLES):
        root, text = Path(__file__).parent / SAMPLES, text.removeprefix(SAMPLES)
    for path in (root / text, Path(text)):
        if text and _is_run(path):
            return (path,)
    if isinstance(spec, os.PathLike):
        return (Run.open(Path(text)).path,)  # says what is wrong with it
    runs = find_runs(root)
    parts = [part.strip() for part in text.split(",")]
    found = _meant(root, runs, text)
    if not found and len(parts) > 1:
        found = [run for part in parts for run in _part(root, runs, part)]
    if found:
        return tuple(dict.fromkeys(run.path for run in found))
    if os.sep in text or (0 < len(text) < LONGEST_NAME and Path(text).is_dir()):
        return (Run.open(Path(text)).path,)
    raise _unknown(root, runs, text)


def _is_run(path: Path) -> bool:
    try:
        return (path / RUN_FILE).is_file()
    except OSError:  # too long for a name: a list of names, perhaps
        return False


def _part(root: Path, runs: Sequence[Run], text: str) -> Sequence[Run]:
    """What a part of a list with commas means."""
    if os.sep in text and _is_run(Path(text)):
        return [Run.open(Path(text))]
    if found := _meant(root, runs, text):
        return found
    raise _unknown(root, runs, text)


def _meant(root: Path, runs: Sequence[Run], text: str) -> Sequence[Run]:
    """The runs that a word means; none where it is no name, no label, no start of a name, and no glob of any.

    Raises:
        UsageError: It is the start of several names.
    """
    back = re.fullmatch(rf"{LATEST}(?:~(\d+))?", text)
    if back and (place := int(back[1] or 0)) < len(runs):
        return [runs[-1 - place]]
    if exact := [run for run in runs if run.path.name == text] or [run for run in runs if text and run.label == text]:
        return exact
    started = [run for run in runs if text and run.path.name.startswith(text)]
    if len(started) > 1:
        names = _some(run.path.name for run in started)
        raise UsageError(f"several runs start with {text!r}", place=str(root), remedy=names)
    return started or [
        run for run in runs if any(fnmatchcase(told, text) for told in (run.path.name, run.label) if told)
    ]


def _unknown(root: Path, runs: Sequence[Run], text: str) -> UsageError:
    if not runs:
        return UsageError("no runs yet", place=str(root), remedy="`nvbench run` makes one")
    if re.fullmatch(rf"{LATEST}~\d+", text):
        return UsageError(f"no run is {text!r}", place=str(root), remedy=f"there are {len(runs)}")
    names = [run.path.name for run in runs]
    known = [*names, *(run.label for run in runs if run.label)]
    close = get_close_matches(text, known, n=3) or names[-3:]
    return UsageError(f"no run is called {text!r}", place=str(root), remedy=f"there are {_some(close)}")


def set_label(path: Path, label: str) -> None:
    """Give the run in `path` a label, or take it away with an empty one; whole or not at all.

    Raises:
        UsageError: There is no run, it still goes on, or the label would mean something else.
        StoreError: Its `run.json` cannot be read or written.
    """
    run = Run.open(path)
    if run.state == RunState.RUNNING:
        raise UsageError("still goes on, and keeps its own record", place=run.run_id, remedy="label it when it ended")
    if label and (fault := _label_fault(path.parent, label)):
        raise UsageError(fault, place=f"label {label[:LONGEST_LABEL]!r}", remedy="choose another")
    with durable_file(path / RUN_FILE) as file:
        file.write(json.dumps({**run.record, "label": label}, indent=2).encode() + b"\n")


_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
"""Control characters, halves of others, and ends of lines and paragraphs."""


def _label_fault(root: Path, label: str) -> str:
    """Why a text cannot be a label; empty where it can."""
    if label != label.strip() or any(unicodedata.category(letter) in _UNPRINTABLE for letter in label):
        return "begins or ends with a blank, or has a character that cannot be printed"
    if len(label) > LONGEST_LABEL:
        return f"is longer than {LONGEST_LABEL} characters"
    if re.fullmatch(rf"{LATEST}(~\d+)?", label):
        return "means a run by its place already"
    if label in (".", "..") or _is_run(root / label) or _is_run(Path(label)):
        return "is the name of a run"
    return ""


def _some(names: Iterable[str]) -> str:
    names = list(names)
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
