"""`nvbench list`: the runs there are."""

from __future__ import annotations

from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nvbench.runs import Run


@click.command("list")
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(results: Path) -> None:
    """List the runs, the oldest first."""
    from nvbench.report.text import Column, fitted, print_text, table, text_width  # noqa: PLC0415
    from nvbench.runs import find_runs  # noqa: PLC0415 - heavy

    runs = find_runs(results)
    if not runs:
        click.echo(f"no runs in {results}")
        return
    rows = [_row(run) for run in runs]
    run_name = Column("Run", itemgetter("Run"), words=True)
    profile, *state = (Column(name, itemgetter(name), words=True) for name in ("Profile", "Testbed", "State", ""))
    cases, started, took = (Column(name, itemgetter(name)) for name in ("Cases", "Started (UTC)", "Duration"))
    whole = [run_name, profile, *state, cases, started, took]
    narrow = [[*state, cases, took]]
    for columns in fitted(whole, [run_name], narrow, rows, text_width()):
        print_text(table(columns, rows))


def _row(run: Run) -> dict[str, Any]:
    """What a line says; the run's name holds profile and start, which may go where there is no room."""
    from nvbench.units import duration  # noqa: PLC0415

    known = bool(run.record)
    return {
        "Run": run.path.name,
        "Profile": run.profile_name,
        "Testbed": run.testbed_name,
        "State": run.state,
        "": " ".join(label for label in ("quick", "simulated") if getattr(run, label)),
        "Cases": _cases(run) if known else "-",
        "Started (UTC)": f"{run.started_at:%Y-%m-%d %H:%M:%S}" if known else "-",
        "Duration": "-" if run.duration_s is None else duration(run.duration_s),
    }


def _cases(run: Run) -> str:
    from nvbench.errors import StoreError  # noqa: PLC0415
    from nvbench.reading import Results  # noqa: PLC0415

    try:
        return str(len(Results((run,)).results(columns=["case_id"])["case_id"].unique()))
    except StoreError:
        return "-"
