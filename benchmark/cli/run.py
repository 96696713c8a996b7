"""`nvbench run`: measure a profile on a testbed."""

from __future__ import annotations

import signal
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import click

from nvbench.cli.plan import Request, planned

if TYPE_CHECKING:
    from nvbench.plan import Plan
    from nvbench.store import RunHeader


@click.command("run")
@click.argument("profile")
@click.option("--testbed", "-t", metavar="NAME|FILE", help="Where to run; default: local, or simulated.")
@click.option("-s", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of the profile.")
@click.option("--quick/--full", help="Short trials, for a first look; default: full, as RFC 2544 asks.")
@click.option("--prior", metavar="RUN", help="An earlier run, whose rates narrow where searches begin.")
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(
    profile: str, testbed: str | None, overrides: tuple[str, ...], quick: bool, prior: str | None, results: Path
) -> None:
    """Measure PROFILE, a name (see `nvbench profiles`) or a file."""
    from nvbench.bench import bench  # noqa: PLC0415 - heavy
    from nvbench.cli.progress import Progress  # noqa: PLC0415
    from nvbench.reading import open_results, throughputs  # noqa: PLC0415
    from nvbench.report.after import after_results  # noqa: PLC0415
    from nvbench.report.text import print_text, results_table, text_width  # noqa: PLC0415
    from nvbench.runs import resolve_run  # noqa: PLC0415
    from nvbench.session import Session  # noqa: PLC0415
    from nvbench.store import RunWriter  # noqa: PLC0415

    plan = planned(Request(profile, testbed, overrides, quick))
    known = throughputs(open_results(resolve_run(results, prior))) if prior else {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    with (
        bench(plan.testbed) as held,
        RunWriter.create(results, _header(plan, overrides)) as store,
        Progress(plan) as progress,
    ):
        progress.stage(held.placement.describe())
        Session(plan, held, store, progress, known).run()
    measured = open_results(store.path)
    print_text(results_table(measured, text_width()))
    for told in after_results(measured):
        print_text(told)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    """Be stopped by a signal as by Ctrl-C: everything goes down in order."""
    raise KeyboardInterrupt


def _header(plan: Plan, overrides: tuple[str, ...]) -> RunHeader:
    from nvbench.store import RunHeader  # noqa: PLC0415

    return RunHeader(
        profile_name=plan.profile.name,
        testbed_name=plan.testbed.name,
        profile=plan.profile.resolved(),
        testbed=plan.testbed.resolved(),
        seed=plan.profile.seed,
        quick=plan.profile.quick,
        simulated=plan.simulated,
        overrides=dict(override.split("=", 1) for override in overrides),
    )
