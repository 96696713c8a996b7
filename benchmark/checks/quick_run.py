"""A packaged profile, cut short and measured within a check; its run is kept with the evidence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nvbench.errors import NotPossibleError, NotReadyError, UsageError
from nvbench.generators.base import Live
from nvbench.plan import Case, Plan, header, make_plan
from nvbench.profile import load_profile
from nvbench.rigs import taken_down
from nvbench.session import Session
from nvbench.stands import Ground, Record
from nvbench.store import RunWriter
from nvbench.tables import ResultRow
from nvbench.trial import Trial

IMPOSSIBLE = "not possible here: "
PROGRESS = "progress.txt"


@dataclass
class Notes:
    """See `Observer`: what it is told is noted.

    Attributes:
        lines: As on a terminal.
        rows: The answers.
    """

    lines: list[str] = field(default_factory=list)
    rows: list[ResultRow] = field(default_factory=list)

    def stage(self, text: str) -> None:
        """See `Observer.stage`."""
        self.lines.append(text)

    def live(self, where: str, load_pps: float, duration_s: float, live: Live) -> None:
        """See `Observer.live`."""

    def trial(self, where: str, trial: Trial) -> None:
        """See `Observer.trial`."""
        if not trial.valid:
            self.lines.append(f"{where}: set aside, {trial.reason}")

    def result(self, row: ResultRow) -> None:
        """See `Observer.result`."""
        self.rows.append(row)
        self.lines.append(f"{row.subject.case_id} {row.subject.test}: {row.verdict}")


def measured(
    ground: Ground,
    record: Record,
    profile: str,
    overrides: Sequence[str],
    wanted: Callable[[Case], bool] | None = None,
) -> tuple[Path, list[ResultRow]]:
    """Measure a packaged profile, as `nvbench run --quick` does.

    Args:
        ground: On what.
        record: Where the run is kept.
        profile: The profile's name.
        overrides: What cuts it short.
        wanted: Which of its cases are measured; None: all.

    Returns:
        The run's folder, and its results.

    Raises:
        NotPossibleError: This bench can have none of it, or lacks what it needs.
        NvbenchError: The run broke.
    """
    plan = _planned(ground, profile, overrides, wanted)
    notes = Notes()
    try:
        with taken_down(ground.bench), RunWriter.create(record.folder(), header(plan, overrides)) as store:
            Session(plan, ground.bench, store, notes).run()
    except NotReadyError as error:
        raise NotPossibleError(error.what) from error
    finally:
        record.keep(PROGRESS, "".join(f"{line}\n" for line in notes.lines))
    if all(row.verdict.startswith(IMPOSSIBLE) for row in notes.rows):
        raise NotPossibleError(notes.rows[0].verdict.removeprefix(IMPOSSIBLE) if notes.rows else "nothing to measure")
    record.advise(f"trials are cut short here; `nvbench run {profile}` measures it in full")
    record.advise(f"`nvbench show {store.path}` opens this run")
    return store.path, notes.rows


def _planned(ground: Ground, name: str, overrides: Sequence[str], wanted: Callable[[Case], bool] | None) -> Plan:
    profile = load_profile(name, overrides, quick=True)
    try:
        plan = make_plan(profile, ground.bench.testbed)
    except UsageError as error:
        raise NotPossibleError(error.what) from error
    return replace(plan, cases=tuple(case for case in plan.cases if wanted is None or wanted(case)))
