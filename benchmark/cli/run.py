"""`nvbench run`: measure a profile on a testbed, alone or in turn with a variant of it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nvbench.cli.measuring import measured, stop_by_signals
from nvbench.cli.plan import BLOCKS_HELP, VERSUS_HELP, Request, planned, planned_versus

if TYPE_CHECKING:
    from nvbench.cli.measuring import Known
    from nvbench.cli.progress import Progress
    from nvbench.generators.base import Live
    from nvbench.plan import Plan
    from nvbench.tables import ResultRow
    from nvbench.trial import Trial
    from nvbench.versus import Turn, Versus


@click.command("run")
@click.argument("profile")
@click.option("--testbed", "-t", metavar="NAME|FILE", help="Where to run; default: local, or simulated.")
@click.option("-s", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of the profile.")
@click.option("--quick/--full", help="Short trials, for a first look; default: full, as RFC 2544 asks.")
@click.option("--prior", metavar="RUN", help="An earlier run, whose rates narrow where searches begin.")
@click.option("--versus", multiple=True, metavar="KEY=VALUE,...|same", help=VERSUS_HELP)
@click.option("--blocks", type=click.IntRange(1, 10_000), metavar="N", help=BLOCKS_HELP)
@click.option(
    "--label", metavar="TEXT", default="", help="What to call the run; with --versus, the start of both names."
)
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(  # noqa: PLR0913 - one a command-line option
    *,
    profile: str,
    testbed: str | None,
    overrides: tuple[str, ...],
    quick: bool,
    prior: str | None,
    versus: tuple[str, ...],
    blocks: int | None,
    label: str,
    results: Path,
) -> None:
    """Measure PROFILE, a name (see `nvbench profiles`) or a file."""
    from nvbench.reading import open_results, throughputs  # noqa: PLC0415 - heavy
    from nvbench.runs import resolve_run  # noqa: PLC0415

    request = Request(profile, testbed, overrides, quick, versus, blocks)
    both = planned_versus(request)
    known = throughputs(open_results(resolve_run(results, prior))) if prior else {}
    stop_by_signals()
    if both:
        _run_both(both, results, overrides, known, label)
    else:
        _run_one(planned(request), results, overrides, known, label)


def _run_one(plan: Plan, results: Path, overrides: tuple[str, ...], known: Known, label: str) -> None:
    """Measure a plan, and print what was found."""
    from nvbench.reading import open_results  # noqa: PLC0415 - heavy
    from nvbench.report.after import after_results  # noqa: PLC0415
    from nvbench.report.text import print_text, results_table, text_width  # noqa: PLC0415

    found = open_results(measured(plan, results, overrides, known, label))
    print_text(results_table(found, text_width()))
    for told in after_results(found):
        print_text(told)


def _run_both(versus: Versus, results: Path, overrides: tuple[str, ...], known: Known, label: str) -> None:
    """Measure two plans in turn, a run each, and print how they compare."""
    from nvbench.bench import bench  # noqa: PLC0415 - heavy
    from nvbench.cli.progress import Progress  # noqa: PLC0415
    from nvbench.plan import header  # noqa: PLC0415
    from nvbench.session import Session, arranged, run_in_turn  # noqa: PLC0415
    from nvbench.store import RunWriter  # noqa: PLC0415
    from nvbench.versus import Side  # noqa: PLC0415

    base, new = Side
    with ExitStack() as stack:
        held = stack.enter_context(bench(versus.base.testbed))
        benches = {side: stack.enter_context(arranged(held, versus.plan(side).testbed)) for side in Side}
        stores = {}
        for side in Side:
            asked = overrides if side is base else (*overrides, *versus.change.of_profile)
            named = label and f"{label} {side}"
            heading = header(versus.plan(side), asked, named, versus.expected_s)
            stores[side] = stack.enter_context(RunWriter.create(results, replace(heading, versus=versus.header(side))))
        for side, partner in ((base, new), (new, base)):
            stores[side].note_partner(stores[partner].run_id)
        names = [stores[side].run_id for side in Side]
        click.echo(f"{' and '.join(names)}; compare them with: nvbench compare {' '.join(names)}", err=True)
        progress = stack.enter_context(Progress(versus.whole()))
        observers = {side: InTurn(progress, side) for side in Side}
        sessions = {
            side: Session(versus.plan(side), benches[side], stores[side], observers[side], known) for side in Side
        }

        def announce(turn: Turn) -> None:
            observers[turn.side].turn = f"block {turn.block + 1} of {versus.blocks}, {turn.side}"

        run_in_turn(versus, sessions, announce)
    _print_comparison(stores[base].path, stores[new].path)


@dataclass
class InTurn:
    """An observer that says whose turn it is before all that it passes on.

    Attributes:
        progress: Where it is passed on to.
        turn: `block 2 of 6, new`.
    """

    progress: Progress
    turn: str

    def stage(self, text: str) -> None:
        """See `Observer.stage`."""
        self.progress.stage(f"{self.turn}: {text}")

    def live(self, where: str, load_pps: float, duration_s: float, live: Live) -> None:
        """See `Observer.live`."""
        self.progress.live(f"{self.turn}: {where}", load_pps, duration_s, live)

    def trial(self, where: str, trial: Trial) -> None:
        """See `Observer.trial`."""
        self.progress.trial(where, trial)

    def result(self, row: ResultRow) -> None:
        """See `Observer.result`."""
        named = replace(row.subject, case_id=f"{self.turn}: {row.subject.case_id}")
        self.progress.result(replace(row, subject=named))


def _print_comparison(base: Path, new: Path) -> None:
    from nvbench.comparison import compare  # noqa: PLC0415 - heavy
    from nvbench.errors import UsageError  # noqa: PLC0415
    from nvbench.reading import open_results  # noqa: PLC0415
    from nvbench.report.comparison import comparison_parts  # noqa: PLC0415
    from nvbench.report.document import as_text  # noqa: PLC0415
    from nvbench.report.text import print_text, text_width  # noqa: PLC0415

    try:
        comparison = compare(open_results(base), open_results(new))
    except UsageError as error:  # measured and kept, but without a value: a host that disturbs every trial
        click.echo(f"nvbench: {error}", err=True)
        return
    print_text(as_text(comparison_parts(comparison), text_width()))
