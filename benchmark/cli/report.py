"""`nvbench report`: what runs measured, for a terminal, a pull request, a manager, or a continuous integration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nvbench.cli.campaigns import campaign_meant, tell
from nvbench.cli.output import write
from nvbench.errors import UsageError

if TYPE_CHECKING:
    from nvbench.campaign import Campaign
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

FORM_NAMES = tuple(dict.fromkeys(FORMS.values()))
PICTURES = (".png", ".svg")
"""Suffixes of pictures."""


@click.command("report")
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@click.option(
    "--format",
    "form",
    type=click.Choice(FORM_NAMES),
    help="Default: by the suffix of --output (.html .md .xml .json .txt .png .svg), otherwise text.",
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; default: standard output.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw the first run into this file, instead.")
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(runs: tuple[str, ...], form: str | None, output: Path | None, plot: Path | None, results: Path) -> None:
    """Report on each RUN: a name, the start of one, a folder, a label, a glob, or `latest`, which is the default.

    Of several runs the first is compared with the others. A campaign of `nvbench check` is reported on by itself: its
    name, the start of one, its folder, or `latest-check`.
    """
    from nvbench.reading import Results  # noqa: PLC0415 - heavy
    from nvbench.runs import LATEST, Run, resolve_runs  # noqa: PLC0415

    if not form and output and output.suffix.lower() in PICTURES:
        output, plot = None, output
    form = form or form_of(output, PICTURES)
    if campaign := _campaign(runs, results, plot):
        tell(campaign, form, output)
        return
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


def _campaign(names: tuple[str, ...], results: Path, plot: Path | None) -> Campaign | None:
    """The campaign that is asked for, if one is.

    Raises:
        UsageError: Something else is asked for at the same time.
    """
    from nvbench.campaign import Campaign  # noqa: PLC0415

    found = next(((name, path) for name in names if (path := campaign_meant(results, name))), None)
    if found is None:
        return None
    name, path = found
    if len(names) > 1:
        remedy = "`nvbench compare` puts two campaigns side by side"
        raise UsageError("a campaign of checks is reported on by itself", place=name, remedy=remedy)
    if plot:
        raise UsageError("a campaign of checks has nothing to draw", place=name, remedy="write it to a .html file")
    return Campaign.read(path)


def form_of(output: Path | None, others: tuple[str, ...] = ()) -> str:
    """The form that a file's suffix asks for; text where there is no file.

    Args:
        output: The file.
        others: Further suffixes that it might have had.

    Raises:
        UsageError: No form goes with it.
    """
    suffix = output.suffix.lower() if output else ""
    if suffix in FORMS:
        return FORMS[suffix]
    known = ", ".join(suffix for suffix in (*FORMS, *others) if suffix)
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
