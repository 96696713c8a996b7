"""`nvbench compare`: two sets of runs side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nvbench.cli.campaign_comparison import campaigns_meant, compare_campaigns
from nvbench.cli.output import write

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nvbench.comparison import Comparison
    from nvbench.reading import Results
    from nvbench.report.document import Part

FORMS = ("text", "markdown", "json", "csv", "junit", "html")
COLOURS = {"regressed": "bold red", "improved": "bold green", "not enough samples": "yellow", "no change": "dim"}
COLOURS |= {"▼": "bold red", "▲": "bold green", "environments differ": "yellow", "Environments differ": "yellow"}


@click.command("compare")
@click.argument("base")
@click.argument("new")
@click.option("--alpha", type=float, default=0.05, show_default=True, help="Chance of a false alarm, over all cases.")
@click.option("--min-change", type=float, default=0.01, show_default=True, help="Smallest change of interest.")
@click.option("--correction", type=click.Choice(["holm", "bh"]), default="holm", show_default=True)
@click.option("--metric", "metrics", multiple=True, help="Judge by this metric instead of each test's own; repeatable.")
@click.option("--row", "rows", multiple=True, help="Put cases together by this: a row each; repeatable.")
@click.option("--col", "columns", multiple=True, help="Put its values side by side; repeatable.")
@click.option("--filter", "kept", default="", help="Compare these cases alone: 'frame_bytes:64,128 datapath:ovs*'.")
@click.option("--format", "form", type=click.Choice(FORMS), default="text", show_default=True)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write; default: standard output.")
@click.option("--fail-on", type=click.Choice(["regression", "change"]), help="Exit with 1 if there is any.")
@click.option("--strict", is_flag=True, help="Exit with 1 if the environments differ.")
@click.option("--expect", multiple=True, help="A glob of differences that are compared on purpose; repeatable.")
@click.option("--mix-simulated", is_flag=True, help="Compare simulated with real devices.")
@click.option("--power", is_flag=True, help="Say how small a change could have been seen, and the repeats it takes.")
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(base: str, new: str, results: Path, **asked: Any) -> int:
    """Compare the runs NEW with the runs BASE.

    Both are a run's name or the start of one, a folder, a label, `latest`, `latest~1`, a glob over names and labels,
    or several of these with commas between. Or both are campaigns of `nvbench check`: names, folders, `latest-check`.
    """
    from nvbench.comparison import Correction, Criteria, compare  # noqa: PLC0415 - heavy

    if campaigns := campaigns_meant(results, base, new):
        return compare_campaigns(*campaigns, asked)
    criteria = Criteria(
        alpha=asked["alpha"],
        min_change=asked["min_change"],
        correction=Correction(asked["correction"]),
        metrics=asked["metrics"],
        filter=asked["kept"],
        expect=asked["expect"] or None,
        mix_simulated=asked["mix_simulated"],
    )
    comparison = compare(_opened(results, base), _opened(results, new), criteria)
    _told(comparison, asked)
    return _status(comparison, asked["fail_on"], strict=asked["strict"])


def _opened(root: Path, spec: str) -> Results:
    from nvbench.reading import Results  # noqa: PLC0415
    from nvbench.runs import Run, resolve_runs  # noqa: PLC0415

    return Results(tuple(map(Run.open, resolve_runs(root, spec))))


def _told(comparison: Comparison, asked: dict[str, Any]) -> None:
    from nvbench.report import comparison_files as files  # noqa: PLC0415

    form, output = asked["form"], asked["output"]
    plain: dict[str, Callable[[Comparison], str]] = {
        "json": files.as_json,
        "csv": files.as_csv,
        "junit": files.as_junit,
    }
    if form in plain:
        write(plain[form](comparison), output)
        return
    parts = _parts(comparison, asked)
    if form == "text":
        _write_text(parts, output)
    elif form == "markdown":
        from nvbench.report.document import as_markdown  # noqa: PLC0415

        write(as_markdown(parts), output)
    else:
        from nvbench.report.html import as_html  # noqa: PLC0415

        write(as_html(parts, "nvbench compare"), output)


def _parts(comparison: Comparison, asked: dict[str, Any]) -> list[Part]:
    from nvbench.comparison.power import power_of  # noqa: PLC0415
    from nvbench.report.comparison import comparison_parts  # noqa: PLC0415

    return comparison_parts(comparison, asked["rows"], asked["columns"], power_of(comparison) if asked["power"] else ())


def _write_text(parts: Sequence[Part], output: Path | None) -> None:
    from nvbench.report.document import as_text  # noqa: PLC0415
    from nvbench.report.text import print_text, rendered, text_width  # noqa: PLC0415

    if output:
        write(rendered(as_text(parts)), output)
        return
    made = as_text(parts, text_width())
    for text in _texts(made.renderables):
        for word, style in COLOURS.items():
            text.highlight_words([word], style)
    print_text(made)


def _texts(renderables: Sequence[RenderableType]) -> Iterator[Any]:
    """Every text of a report, those in tables, too."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    for each in renderables:
        if isinstance(each, Text):
            yield each
        elif isinstance(each, Table):
            yield from (cell for column in each.columns for cell in column.cells if isinstance(cell, Text))


def _status(comparison: Comparison, fail_on: str | None, *, strict: bool) -> int:
    """1 where what was asked to fail on is there."""
    from nvbench.comparison import Verdict  # noqa: PLC0415

    failing = {"regression": (Verdict.REGRESSED,), "change": (Verdict.REGRESSED, Verdict.IMPROVED), None: ()}[fail_on]
    found = sum(map(comparison.count, failing))
    if strict and comparison.environments_differ:
        click.echo("nvbench: environments differ (--strict)", err=True)
        return 1
    if found:
        click.echo(f"nvbench: {found} {'change' if found == 1 else 'changes'} (--fail-on {fail_on})", err=True)
    return 1 if found else 0
