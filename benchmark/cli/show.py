"""`nvbench show`: a run's results, or a campaign's verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from nvbench.cli.campaigns import campaign_meant, tell
from nvbench.errors import UsageError

FACTS_SHOWN = 40


@click.command("show")
@click.argument("run", default="latest")
@click.option("--trials", is_flag=True, help="Show every trial, too.")
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(run: str, trials: bool, results: Path) -> None:
    """Show RUN: a name, the start of one, a folder, or `latest`; or a campaign of checks, as `latest-check`."""
    from nvbench.campaign import Campaign  # noqa: PLC0415 - heavy
    from nvbench.runs import resolve_run  # noqa: PLC0415

    if campaign := campaign_meant(results, run):
        if trials:
            raise UsageError("a campaign of checks has no trials", place=run, remedy="leave out --trials")
        tell(Campaign.read(campaign), "text", None)
        return
    show_run(resolve_run(results, run), trials=trials)


def show_run(path: Path, *, trials: bool = False) -> None:
    """Print the run in `path`: its results, small pictures of them, its warnings, its bench."""
    from nvbench.reading import open_results  # noqa: PLC0415 - heavy
    from nvbench.report.after import after_results  # noqa: PLC0415
    from nvbench.report.text import print_text, results_table, text_width, trials_table  # noqa: PLC0415
    from nvbench.schema import schema  # noqa: PLC0415

    results = open_results(path)
    print_text(results_table(results, text_width()))
    for told in after_results(results):
        print_text(told)
    if label := results.runs[0].label:
        click.echo(f"\nlabel: {label}")
    if facts := list(_facts(results.runs[0].fingerprint)):
        click.echo("\nbench:")
        for name, value in facts[:FACTS_SHOWN]:
            click.echo(f"  {name}: {value}")
        if len(facts) > FACTS_SHOWN:
            click.echo(f"  and {len(facts) - FACTS_SHOWN} more in {path / 'run.json'}")
    if trials:
        click.echo()
        columns = [name for name in schema("trials").names if name != "latency_histogram"]
        print_text(trials_table(results.trials(columns).to_pylist(), text_width()))


def _facts(fingerprint: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """A fingerprint's facts, a line each: what is nested gets a dotted name."""
    for name, value in fingerprint.items():
        if isinstance(value, Mapping):
            yield from _facts(value, f"{above}{name}.")
        elif isinstance(value, list):
            yield f"{above}{name}", "; ".join(_words(item) for item in value)
        else:
            yield f"{above}{name}", str(value)


def _words(item: object) -> str:
    return " ".join(map(str, item.values())) if isinstance(item, Mapping) else str(item)
