"""`nvbench check`: functional checks of a bench, with evidence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nvbench.cli.campaigns import tell
from nvbench.cli.measuring import stop_by_signals
from nvbench.cli.report import FORM_NAMES, form_of

if TYPE_CHECKING:
    from nvbench.campaign import Campaign
    from nvbench.checking import Case
    from nvbench.testbed import Testbed


@click.command("check")
@click.argument("words", nargs=-1, metavar="[CASE|TAG|PATH]...")
@click.option("--testbed", "-t", default="local", show_default=True, metavar="NAME|FILE", help="Where.")
@click.option("--list", "listed", is_flag=True, help="Show what there is to check, and check nothing.")
@click.option("--format", "form", type=click.Choice(FORM_NAMES), help="As of `nvbench report`.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write the report to, too.")
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(
    *, words: tuple[str, ...], testbed: str, listed: bool, form: str | None, output: Path | None, results: Path
) -> int:
    """Check whether what a bench does is right: connectivity, isolation, MTU, VLANs, rates, multicast, restarts.

    Words choose: a case's number (5.4.6.1), a check (mtu), a tag (vlan), a path (sriov); none chooses all. Exit code 1
    if something came out otherwise than the testbed expects, or failed where it says nothing.
    """
    from nvbench.checking import all_cases, check_expectations, chosen  # noqa: PLC0415 - heavy
    from nvbench.errors import UsageError  # noqa: PLC0415
    from nvbench.testbed import load_testbed  # noqa: PLC0415

    cases = chosen(words, all_cases())
    if listed:
        _list(cases)
        return 0
    form = form or form_of(output)

    def told(campaign: Campaign) -> None:
        if output:  # the terminal has its own form of it
            tell(campaign, "text", None)
        tell(campaign, form, output)

    bed = load_testbed(testbed)
    if bed.simulated:
        raise UsageError("a simulated testbed has nothing to check", place=bed.name, remedy="give --testbed local")
    check_expectations(bed, all_cases())
    stop_by_signals()
    done = _checked(cases, bed, results, told)
    return 1 if done.surprises else 0


def _checked(cases: list[Case], bed: Testbed, results: Path, told: Callable[[Campaign], None]) -> Campaign:
    """Look at the cases, and tell what came of them, however far that got."""
    from nvbench.bench import bench  # noqa: PLC0415 - heavy
    from nvbench.campaign import Campaign  # noqa: PLC0415
    from nvbench.checking import Conductor  # noqa: PLC0415
    from nvbench.checks.description import setup_tables  # noqa: PLC0415
    from nvbench.cli.check_progress import CheckProgress  # noqa: PLC0415
    from nvbench.stands import BENCH, PATHS  # noqa: PLC0415

    paths = tuple(path for path in (BENCH, *PATHS) if any(case.path == path for case in cases))
    conductor = None
    try:
        with bench(bed) as held, CheckProgress(len(cases)) as progress:
            progress.stage("taking the bench's fingerprint")
            fingerprint = held.fingerprint()
            campaign = Campaign.begin(results, bed.name, fingerprint, paths, setup_tables(fingerprint))
            conductor = Conductor(held, campaign, progress)
            conductor.run(cases)
    finally:
        if conductor is not None:
            click.echo(f"evidence: {conductor.campaign.path}", err=True)
            told(conductor.campaign)
    return conductor.campaign


def _list(cases: list[Case]) -> None:
    names, paths = (max(map(len, told)) for told in zip(*((case.name, case.path) for case in cases), strict=True))
    for case in cases:
        tags = " ".join((case.check.name, *case.check.tags))
        click.echo(f"{case.name:{names}}  {case.path:{paths}}  {case.check.title}  [{tags}]")
