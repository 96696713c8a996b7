"""Measuring from the command line, and how a signal ends it."""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nvbench.plan import Plan

    Known = Mapping[str, Mapping[float, float]]
    """Throughputs of an earlier run."""


def stop_by_signals() -> None:
    """Be stopped by a signal as by Ctrl-C: everything goes down in order."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)


def measured(plan: Plan, results: Path, overrides: Sequence[str], known: Known | None = None, label: str = "") -> Path:
    """Measure a plan; the folder of its run.

    Raises:
        NvbenchError: It could not be measured, or not all of it.
    """
    from nvbench.bench import bench  # noqa: PLC0415 - heavy
    from nvbench.cli.progress import Progress  # noqa: PLC0415
    from nvbench.plan import header  # noqa: PLC0415
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
