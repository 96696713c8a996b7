"""Which runs make a trend: those that can be held against each other, in the order in which they were made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from nvbench.errors import UsageError
from nvbench.runs import Run, find_runs, resolve_runs
from nvbench.store import RunState

NEW_SIDE = "new"
"""Of two runs that were made in turn, the one with something changed on purpose."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Runs for a trend.

    Attributes:
        runs: Finished ones of one testbed, the oldest first.
        notes: What was left out or is mixed, a line each.
    """

    runs: tuple[Run, ...]
    notes: tuple[str, ...]


def select(root: Path, specs: Sequence[str] = (), since: datetime | None = None) -> Selection:
    """The runs that are named, or else all that were made as the latest was: its profile, testbed and trial lengths.

    Args:
        root: Where runs are kept.
        specs: Names, labels, globs, folders.
        since: Leave out older ones.

    Raises:
        UsageError: There are none, or they cannot be held against each other.
    """
    named = [Run.open(path) for spec in specs for path in resolve_runs(root, spec)]
    known = list({run.path.resolve(): run for run in named}.values()) if specs else list(find_runs(root))
    if not known:
        raise UsageError("no runs yet", place=str(root), remedy="`nvbench run` makes one")
    finished = sorted(
        (run for run in known if run.state == RunState.FINISHED), key=lambda run: (run.started_at, run.run_id)
    )
    if not finished:
        states = ", ".join(sorted({run.state for run in known}))
        raise UsageError(f"no finished runs: {len(known)} {states}", place=str(root), remedy="`nvbench list` tells why")
    runs = finished if specs else _like_latest(finished)
    notes = [] if not specs else _left_out(known)
    if since:
        runs = [run for run in runs if run.started_at >= since]
        if not runs:
            latest = finished[-1].started_at
            raise UsageError(f"no finished run since {since:%Y-%m-%d %H:%M}", remedy=f"the latest is of {latest:%F %R}")
    _check_alike(runs)
    profiles = sorted({run.profile_name for run in runs})
    if len(profiles) > 1:
        notes.append(f"runs of {len(profiles)} profiles: {', '.join(profiles)}")
    return Selection(tuple(runs), tuple(notes))


def _like_latest(finished: Iterable[Run]) -> list[Run]:
    """Those made as the latest was; a run with something changed on purpose says nothing of what changed in time."""
    plain = [run for run in finished if run.versus.get("side") != NEW_SIDE]
    return [run for run in plain if _kind(run) == _kind(plain[-1])]


def _kind(run: Run) -> tuple[object, ...]:
    return run.profile_name, run.testbed_name, run.quick, run.simulated


def _left_out(known: Iterable[Run]) -> list[str]:
    return [f"left out: {run.run_id}, {run.state}" for run in known if run.state != RunState.FINISHED]


def _check_alike(runs: Sequence[Run]) -> None:
    """Refuse runs that differ in what makes numbers of another kind.

    Raises:
        UsageError: They do.
    """
    if len({run.simulated for run in runs}) > 1:
        raise UsageError("runs of simulated and of real devices do not make one trend", remedy="name runs of one kind")
    if len({run.quick for run in runs}) > 1:
        raise UsageError("quick and full runs do not make one trend", remedy="name runs of one kind")
    testbeds = sorted({run.testbed_name for run in runs})
    if len(testbeds) > 1:
        told = ", ".join(testbeds)
        raise UsageError(f"runs of {len(testbeds)} testbeds do not make one trend: {told}", remedy="name runs of one")
