"""`nvbench report`: a run's results in the order of RFC 2544, and as pictures."""

from __future__ import annotations

from pathlib import Path

import click

from nvbench.errors import UsageError


@click.command("report")
@click.argument("run", default="latest")
@click.option("--format", "form", type=click.Choice(["text", "markdown"]), default="text", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; default: standard output.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw throughput and loss into this file (PNG), instead.")
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(run: str, form: str, output: Path | None, plot: Path | None, results: Path) -> None:
    """Report on RUN: a name, the start of one, a folder, or `latest`."""
    from nvbench.reading import open_results  # noqa: PLC0415 - heavy
    from nvbench.report.document import as_markdown, as_text  # noqa: PLC0415
    from nvbench.report.rfc2544 import rfc2544_report  # noqa: PLC0415
    from nvbench.report.text import print_text, rendered, text_width  # noqa: PLC0415
    from nvbench.runs import resolve_run  # noqa: PLC0415 - heavy

    opened = open_results(resolve_run(results, run))
    if plot:
        from nvbench.report.plots import draw  # noqa: PLC0415

        draw(opened, plot)
        return
    parts = rfc2544_report(opened)
    if form == "markdown":
        text = as_markdown(parts)
    elif output:
        text = rendered(as_text(parts))
    else:
        print_text(as_text(parts, text_width()))
        return
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text)
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", place=str(output)) from None
