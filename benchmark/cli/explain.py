"""`nvbench explain`: where a run's frames went, and what was saturated."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nvbench.errors import UsageError

if TYPE_CHECKING:
    from nvbench.diagnosis import Contrast, Diagnosis
    from nvbench.report.document import Part


@click.command("explain")
@click.argument("run", default="latest")
@click.argument("case", required=False)
@click.option("--against", metavar="RUN2", help="Say what changed from RUN2 to RUN.")
@click.option("--trial", metavar="ID", help="The trial to look at; default: the one that tells most.")
@click.option("--format", "form", type=click.Choice(["text", "markdown", "json"]), default="text", show_default=True)
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(run: str, case: str | None, against: str | None, trial: str | None, form: str, results: Path) -> None:
    """Explain RUN, or one CASE of it: where frames went hop by hop, what was saturated, and by which evidence."""
    from nvbench.diagnosis import contrast, diagnose  # noqa: PLC0415 - heavy
    from nvbench.reading import open_results  # noqa: PLC0415
    from nvbench.report.diagnosis import contrast_parts, diagnosis_parts  # noqa: PLC0415
    from nvbench.runs import resolve_run  # noqa: PLC0415

    if trial and against:
        raise UsageError("--trial and --against cannot be had together: two runs are held against each other by many")
    if trial and not case:
        raise UsageError("--trial needs the CASE that the trial is of", remedy="nvbench explain RUN CASE --trial ID")
    opened = open_results(resolve_run(results, run))
    if against:
        contrasts = contrast(open_results(resolve_run(results, against)), opened, case)
        _print(form, contrast_parts(contrasts), contrasts)
        return
    diagnoses = diagnose(opened, case, trial)
    _print(form, diagnosis_parts(diagnoses), diagnoses)


def _print(form: str, parts: list[Part], told: Sequence[Diagnosis] | Sequence[Contrast]) -> None:
    from dataclasses import asdict  # noqa: PLC0415

    from nvbench.report.document import as_markdown, as_text  # noqa: PLC0415
    from nvbench.report.text import print_text, text_width  # noqa: PLC0415

    if form == "json":
        click.echo(json.dumps([asdict(each) for each in told], indent=2))
    elif form == "markdown":
        click.echo(as_markdown(parts), nl=False)
    else:
        print_text(as_text(parts, text_width()))
