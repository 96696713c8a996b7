"""`nvbench trend`: the runs between which a metric changed."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nvbench.errors import UsageError

if TYPE_CHECKING:
    from nvbench.trend.series import Trend

FORMATS = ("text", "markdown", "json", "csv")
FAILED = 1
"""Exit code of a gate that failed."""

_AGO = {"h": "hours", "d": "days", "w": "weeks"}


@click.command("trend")
@click.argument("metric", metavar="METRIC")
@click.argument("runs", nargs=-1)
@click.option("--filter", "filters", multiple=True, metavar="KEY:VALUE", help="Cases: `frame_bytes:64 datapath:ovs*`.")
@click.option("--since", metavar="DATE|30d", help="Leave out older runs: 2026-01-31, 12h, 30d, 8w.")
@click.option("--min-change", type=float, default=0.01, show_default=True, help="Smallest relative change of interest.")
@click.option("--alpha", type=float, default=0.05, show_default=True, help="Share of false alarms among the alarms.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True)
@click.option("--plot", type=click.Path(path_type=Path), metavar="FILE", help="Draw it, too: .png or .svg.")
@click.option("--fail-on", type=click.Choice(["regression"]), help="Exit 1 if a case's latest change is for the worse.")
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(  # noqa: PLR0913 - one a command-line option
    *,
    metric: str,
    runs: tuple[str, ...],
    filters: tuple[str, ...],
    since: str | None,
    min_change: float,
    alpha: float,
    form: str,
    plot: Path | None,
    fail_on: str | None,
    results: Path,
) -> int:
    """Find where METRIC changed over RUNS, and between which two of them.

    RUNS are names, labels, globs or folders; without any it is over all finished runs of the latest one's profile and
    testbed. METRIC is a name such as throughput, latency_p99 or goodput.
    """
    from nvbench.metrics import metric as named  # noqa: PLC0415 - heavy
    from nvbench.trend.selection import select  # noqa: PLC0415
    from nvbench.trend.series import Criteria, trend  # noqa: PLC0415

    wanted, criteria = named(metric), Criteria(alpha, min_change, " ".join(filters))
    selection = select(results, runs, _moment(since) if since else None)
    found = trend(selection.runs, wanted, criteria, selection.notes)
    if plot:
        from nvbench.report.trend_plot import draw_trend  # noqa: PLC0415

        draw_trend(found, plot)
    click.echo(_written(found, form), nl=False)
    return FAILED if fail_on and found.regressed else 0


def _written(found: Trend, form: str) -> str:
    from nvbench.report.document import as_markdown  # noqa: PLC0415 - heavy
    from nvbench.report.text import text_width  # noqa: PLC0415
    from nvbench.report.trend import as_csv, as_json, as_lines, trend_parts  # noqa: PLC0415

    if form == "markdown":
        return as_markdown(trend_parts(found))
    if form == "json":
        return as_json(found)
    return as_csv(found) if form == "csv" else "".join(f"{line}\n" for line in as_lines(found, text_width()))


def _moment(text: str) -> datetime:
    """A date, or so long ago.

    Raises:
        UsageError: It is neither.
    """
    if ago := re.fullmatch(r"(\d{1,4})([hdw])", text):
        return datetime.now(UTC) - timedelta(**{_AGO[ago[2]]: int(ago[1])})
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError("no date", place=f"--since {text!r}", remedy="write 2026-01-31, or 30d for days ago") from None
    return told if told.tzinfo else told.replace(tzinfo=UTC)
