"""`nvbench list`: the runs there are, and below them the campaigns of checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from itertools import zip_longest
from operator import itemgetter
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nvbench.report.text import Column
    from nvbench.runs import Run

SHORT = {"profile": "profile_name", "testbed": "testbed_name", "version": "nvbench_version"}
"""What a person says for a key of `run.json`."""

OF_FOLDER = ("run", "state")
"""Keys that are found out, not read from there."""


@click.command("list")
@click.option("--filter", "filters", multiple=True, metavar="KEY:VALUE", help="Only these runs; repeatable, see above.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest so many.")
@click.option("--label", "labelled", is_flag=True, help="Only runs that have a label.")
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(filters: tuple[str, ...], limit: int | None, labelled: bool, results: Path) -> None:
    """List the runs, the oldest first, and below them the campaigns of checks where nothing but --limit is asked.

    A filter's KEY is run, profile, testbed, state, label, version, or any other of run.json with dots between
    (fingerprint.hosts.local.kernel); its VALUE may have wildcards, and commas between several: testbed:lab-*,local
    """
    from nvbench.runs import find_runs  # noqa: PLC0415 - heavy

    runs = find_runs(results)
    campaigns = [] if filters or labelled else _campaigns(results, limit)
    kept = [run for run in _filtered(runs, filters) if run.record.get("label") or not labelled]
    if not kept:
        click.echo(f"none of the {len(runs)} runs in {results} is like that" if runs else f"no runs in {results}")
    else:
        _list_runs(kept, limit)
    if campaigns:
        click.echo()
        _list_campaigns(campaigns)


def _list_runs(kept: Sequence[Run], limit: int | None) -> None:
    from nvbench.report.text import Column  # noqa: PLC0415 - heavy

    rows = [_row(run) for run in kept[-limit if limit else 0 :]]
    run_name = Column("Run", itemgetter("Run"), words=True)
    profile, *state = (Column(name, itemgetter(name), words=True) for name in ("Profile", "Testbed", "State", ""))
    if any(row["Label"] for row in rows):
        state.append(Column("Label", itemgetter("Label"), words=True))
    cases, started, took = (Column(name, itemgetter(name)) for name in ("Cases", "Started (UTC)", "Duration"))
    _print([run_name, profile, *state, cases, started, took], [[*state, cases, took]], rows)


def _campaigns(results: Path, limit: int | None) -> list[dict[str, Any]]:
    """What a line says of each campaign."""
    from nvbench.campaign import Campaign, Outcome, find_campaigns  # noqa: PLC0415
    from nvbench.errors import StoreError  # noqa: PLC0415
    from nvbench.units import duration  # noqa: PLC0415

    rows = []
    for path in find_campaigns(results)[-limit if limit else 0 :]:
        row: dict[str, Any] = {"Campaign": path.name, "State": "unreadable"}
        with suppress(StoreError):
            campaign = Campaign.read(path)
            row |= {"Testbed": campaign.testbed, "State": campaign.state, "Surprises": str(len(campaign.surprises))}
            row |= {str(outcome): str(campaign.count(outcome)) for outcome in Outcome}
            row |= {"Duration": duration(campaign.duration_s)}
        rows.append(row)
    return rows


def _list_campaigns(rows: Sequence[Mapping[str, Any]]) -> None:
    from nvbench.campaign import Outcome  # noqa: PLC0415
    from nvbench.report.text import Column  # noqa: PLC0415

    def column(name: str, *, words: bool = False) -> Column:
        return Column(name, lambda row: row.get(name, "-"), words=words)

    named, testbed, state = (column(name, words=True) for name in ("Campaign", "Testbed", "State"))
    counts = [column(name) for name in (*map(str, Outcome), "Surprises")]
    took = column("Duration")
    _print([named, testbed, state, *counts, took], [[state, *counts, took]], rows)


def _print(whole: list[Column], narrow: list[list[Column]], rows: Sequence[Mapping[str, Any]]) -> None:
    from nvbench.report.text import fitted, text_width  # noqa: PLC0415 - heavy

    for columns in fitted(whole, whole[:1], narrow, rows, text_width()):
        click.echo("\n".join(_lines(columns, rows, text_width())))


def _lines(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]], width: int) -> Iterator[str]:
    """A table without what takes a second for a thousand rows; words wrap."""
    widths = [column.width(rows) for column in columns]
    for index, column in enumerate(columns):
        if column.words:
            room = width - sum(widths) - 2 * (len(widths) - 1)
            longest = max(len(column.cell(row)) for row in rows)
            widths[index] += max(0, min(room, longest - widths[index]))
    cells = [[column.heading for column in columns], *([column.cell(row) for column in columns] for row in rows)]
    for number, line in enumerate(cells):
        wrapped = [wrap(text, room) if len(text) > room else [text] for text, room in zip(line, widths, strict=True)]
        for texts in zip_longest(*wrapped, fillvalue=""):
            placed = zip(texts, widths, columns, strict=True)
            yield "  ".join(f"{text:{'<' if at.words else '>'}{room}}" for text, room, at in placed).rstrip()
        if not number:
            yield "─" * (sum(widths) + 2 * (len(widths) - 1))


def _filtered(runs: Sequence[Run], filters: Sequence[str]) -> list[Run]:
    """The runs that each filter lets through.

    Raises:
        UsageError: A filter has no value, or a key that no run has.
    """
    from nvbench.errors import UsageError  # noqa: PLC0415

    kept = list(runs)
    for text in filters:
        key, colon, pattern = text.partition(":")
        if not (key and colon):
            raise UsageError(f"{text!r} is not KEY:VALUE", place="--filter", remedy="for example profile:10ge-*")
        if runs and key not in OF_FOLDER and all(_value(run, key) is None for run in runs):
            raise UsageError(f"no run has {key!r}", place="--filter", remedy="the keys are those of run.json")
        kept = [run for run in kept if _matches(_value(run, key), pattern)]
    return kept


def _value(run: Run, key: str) -> Any:
    """What a run says of a key; None for nothing."""
    if key in OF_FOLDER:
        return run.path.name if key == "run" else run.state
    value: Any = run.record
    for name in SHORT.get(key, key).split("."):
        if isinstance(value, list) and name.isdecimal():
            value = value[int(name)] if int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _matches(value: Any, pattern: str) -> bool:
    if isinstance(value, list):
        return any(_matches(item, pattern) for item in value)
    text = str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
    return any(text == each or fnmatchcase(text, each) for each in (pattern, *pattern.split(",")))


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
        "Label": str(run.record.get("label") or ""),
        "Cases": _cases(run) if known else "-",
        "Started (UTC)": f"{run.started_at:%Y-%m-%d %H:%M:%S}" if known else "-",
        "Duration": "-" if run.duration_s is None else duration(run.duration_s),
    }


def _cases(run: Run) -> str:
    """As its record says; the tables of a run are opened only where an older nvbench wrote no such number."""
    from nvbench.errors import NvbenchError  # noqa: PLC0415
    from nvbench.reading import Results  # noqa: PLC0415

    if isinstance(told := run.record.get("cases"), int):
        return str(told)
    try:
        return str(len(Results((run,)).results(columns=["case_id"])["case_id"].unique()))
    except NvbenchError:
        return "-"
