"""Measuring from the command line: what a run is headed by, and how a signal ends it."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nvbench.plan import Plan
    from nvbench.store import RunHeader

    Known = Mapping[str, Mapping[float, float]]
    """Throughputs of an earlier run."""


def stop_by_signals() -> None:
    """Be stopped by a signal as by Ctrl-C: everything goes down in order."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def header(plan: Plan, overrides: Sequence[str], label: str = "", expected_s: float | None = None) -> RunHeader:
    """What is known of a run before it starts."""
    from nvbench.store import RunHeader  # noqa: PLC0415 - heavy

    return RunHeader(
        profile_name=plan.profile.name,
        testbed_name=plan.testbed.name,
        profile=plan.profile.resolved(),
        testbed=plan.testbed.resolved(),
        seed=plan.profile.seed,
        quick=plan.profile.quick,
        simulated=plan.simulated,
        overrides=dict(override.split("=", 1) for override in overrides),
        label=label,
        planned_cases=len(plan.cases),
        expected_s=plan.expected_s if expected_s is None else expected_s,
    )


def measured(plan: Plan, results: Path, overrides: Sequence[str], known: Known | None = None, label: str = "") -> Path:
    """Measure a plan; the folder of its run.

    Raises:
        NvbenchError: It could not be measured, or not all of it.
    """
    from nvbench.bench import bench  # noqa: PLC0415 - heavy
    from nvbench.cli.progress import Progress  # noqa: PLC0415
    from nvbench.session import Session  # noqa: PLC0415
    from nvbench.store import RunWriter  # noqa: PLC0415

    with (
        bench(plan.testbed) as held,
        RunWriter.create(results, header(plan, overrides, label)) as store,
        Progress(plan) as progress,
    ):
        progress.stage(held.placement.describe())
        Session(plan, held, store, progress, known or {}).run()
    return store.path
