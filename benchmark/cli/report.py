"""`nvbench report`: what runs measured, for a terminal, a pull request, a manager, or a continuous integration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nvbench.cli.output import write
from nvbench.errors import UsageError

if TYPE_CHECKING:
    from nvbench.reading import Results

FORMS = {
    ".txt": "text",
    "": "text",
    ".md": "markdown",
    ".html": "html",
    ".htm": "html",
    ".xml": "junit",
    ".json": "json",
}
"""Suffix of a file -> the form that it is written in."""

PICTURES = (".png", ".svg")
"""Suffixes of pictures."""


@click.command("report")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(dict.fromkeys(FORMS.values()))),
    help="Default: by the suffix of --output (.html .md .xml .json .txt .png .svg), otherwise text.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; default: standard output.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the first run into this file, instead.")
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(runs: tuple[str, ...], form: str | None, output: Path | None, plot: Path | None, results: Path) -> None:
    """Report on each RUN: a name, the start of one, a folder, a label, a glob, or `latest`, which is the default.

    Of several runs the first is compared with the others.
    """
    from nvbench.reading import Results  # noqa: PLC0415 - heavy
    from nvbench.runs import LATEST, Run, resolve_runs  # noqa: PLC0415

    if not form and output and output.suffix.lower() in PICTURES:
        output, plot = None, output
    form = form or _form_of(output)
    paths = dict.fromkeys(path for name in runs or (LATEST,) for path in resolve_runs(results, name))
    opened = Results(tuple(map(Run.open, paths)))
    if plot:
        from nvbench.report.plots import draw  # noqa: PLC0415

        draw(opened, plot)
    elif output is None and form == "text":
        from nvbench.report.document import as_text  # noqa: PLC0415
        from nvbench.report.page import brief  # noqa: PLC0415
        from nvbench.report.text import print_text, text_width  # noqa: PLC0415

        print_text(as_text(brief(opened), text_width()))
    else:
        write(_made(opened, form), output)


def _form_of(output: Path | None) -> str:
    suffix = output.suffix.lower() if output else ""
    if suffix in FORMS:
        return FORMS[suffix]
    known = ", ".join(suffix for suffix in (*FORMS, *PICTURES) if suffix)
    raise UsageError(f"no form goes with {suffix!r}", place=str(output), remedy=f"end it with {known}, or use --format")


def _made(results: Results, form: str) -> str:
    """The report in one of its forms, each loaded when it is asked for."""
    if form == "junit":
        from nvbench.report.junit import as_junit  # noqa: PLC0415

        return as_junit(results)
    if form == "json":
        from nvbench.report.data import as_json  # noqa: PLC0415

        return as_json(results)
    from nvbench.report.page import brief, page, title  # noqa: PLC0415

    if form == "html":
        from nvbench.report.html import as_html  # noqa: PLC0415

        return as_html(page(results), title(results))
    from nvbench.report.document import as_markdown, as_text  # noqa: PLC0415
    from nvbench.report.text import rendered  # noqa: PLC0415

    return as_markdown(brief(results)) if form == "markdown" else rendered(as_text(brief(results)))
