"""Results as text: tables that read well on a terminal and in a file, and that never cut a number off."""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from rich import box
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from nvbench.metrics import number
from nvbench.report.columns import EMULATED, LOSS, Column, Row, latency_points
from nvbench.report.identity import apart, identity_of
from nvbench.report.layouts import layout

if TYPE_CHECKING:
    from nvbench.reading import Results
    from nvbench.runs import Run

__all__ = [
    "Column",
    "fitted",
    "print_text",
    "rendered",
    "results_table",
    "table",
    "text_width",
    "title",
    "trials_table",
]

TONES = {"good": "green", "note": "dim", "warn": "yellow", "bad": "bold red"}
"""How a cell is meant -> how a terminal shows it."""

PIPED_WIDTH = 140
"""Width where there is no terminal, so that the same results make the same text everywhere."""


def print_text(renderable: RenderableType, file: IO[str] | None = None) -> None:
    """Print to a terminal with its colours, and to anything else plainly."""
    file = file or sys.stdout
    if not file.isatty():
        file.write(rendered(renderable))
        return
    console = Console(file=file, highlight=False, markup=False, emoji=False)
    console.width = max(console.width, _minimum(console, renderable))
    console.print(renderable)


def rendered(renderable: RenderableType, width: int = PIPED_WIDTH) -> str:
    """`renderable` as plain text, without trailing blanks."""
    file = io.StringIO()
    console = Console(file=file, width=width, highlight=False, markup=False, emoji=False, color_system=None)
    console.width = max(width, _minimum(console, renderable))
    console.print(renderable)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines()) + "\n"


def text_width(file: IO[str] | None = None) -> int:
    """Characters in a line of the terminal, or the fixed width of a file."""
    file = file or sys.stdout
    return Console(file=file).width if file.isatty() else PIPED_WIDTH


def _minimum(console: Console, renderable: RenderableType) -> int:
    """Below this a table would lose digits: a narrower terminal folds the lines instead."""
    if isinstance(renderable, Group):
        return max((_minimum(console, part) for part in renderable.renderables), default=0)
    wide = console.options.update_width(10_000)
    return Measurement.get(console, wide, renderable).minimum if isinstance(renderable, Table) else 0


def results_table(results: Results, width: int = PIPED_WIDTH) -> Group:
    """Every run's answers, under its title and above its warnings and its folder."""
    parts: list[RenderableType] = []
    rows = results.results().to_pylist()
    for run in results.runs:
        parts += [Text()] if parts else []
        own = [row for row in rows if row["run_id"] == run.run_id]
        parts += [*title(run), *([Text(EMULATED, style="yellow")] if any(row["emulated"] for row in own) else [])]
        parts.append(Text())
        measured, impossible = apart(own)
        for test in dict.fromkeys(row["test"] for row in own):
            parts += _answers(test, [row for row in measured if row["test"] == test], width)
        parts += [] if own else [Text("no results"), Text()]
        parts += [*map(Text, impossible), *([Text()] if impossible else [])]
        texts = [*run.warnings]
        texts += [f"{row['case_id']}: {text}" for row in own for text in row["warnings"] or () if text not in texts]
        parts += [Text(f"warning: {text}", style="yellow") for text in dict.fromkeys(texts)]
        parts.append(Text(f"results: {run.path}"))
    return Group(*parts)


def title(run: Run) -> list[Text]:
    """A run's heading: profile, testbed, name, and what its numbers are not."""
    lines = [Text(f"{run.profile_name} on {run.testbed_name}, run {run.run_id}", style="bold")]
    if run.state != "finished":
        lines.append(Text(f"{run.state}: what was measured until then", style="yellow"))
    if run.quick:
        lines.append(Text("quick: short trials, not RFC 2544 durations", style="yellow"))
    if run.simulated:
        lines.append(Text("simulated: no device was measured", style="yellow"))
    return lines


def _answers(test: str, rows: Sequence[Row], width: int) -> list[RenderableType]:
    if not rows:
        return []
    parts: list[RenderableType] = [Text(f"{test.replace('_', ' ')}: {identity_of(rows)[1]}"), Text()]
    made = layout(test, rows)
    for columns in fitted(made.whole, made.identity, made.pieces, rows, width):
        parts += [table(columns, rows), Text()]
    return parts


def trials_table(rows: Sequence[Row], width: int = PIPED_WIDTH) -> Group:
    """Every trial, in the order in which it was made."""

    def count(name: str) -> Column:
        return Column(name.capitalize(), lambda row: f"{row[f'{name}_frames']}")

    identity = [
        Column("Trial", lambda row: row["trial_id"], words=True),
        Column("Case", lambda row: row["case_id"], words=True),
        Column("Purpose", lambda row: row["purpose"], words=True),
    ]
    load = [
        Column("Load\nMpps", lambda row: number(row["intended_pps"] * 1e-6)),
        Column("Sent for\ns", lambda row: number(row["elapsed_s"])),
    ]
    counts = [count(name) for name in ("sent", "late", "refused", "lost")]
    loss = [LOSS, *latency_points("p99")]
    validity = Column("Validity", _validity, words=True)
    whole = [*identity, *load, *counts, *loss, validity]
    tables = fitted(whole, identity[:1], [[*identity[1:], *load], loss, counts, [validity]], rows, width)
    return Group(*(part for columns in tables for part in (table(columns, rows), Text())))


def _validity(row: Row) -> str:
    reason = f": {row['reason']}" if row["reason"] else ""
    return f"{row['validity']}{reason}{', aborted' if row['aborted'] else ''}"


def fitted(
    whole: list[Column],
    identity: list[Column],
    groups: list[list[Column]],
    rows: Sequence[Row],
    width: int,
) -> list[list[Column]]:
    """One table of all columns where the width allows it.

    Else several below each other, each led by `identity`, that keep a group together if it fits.
    """

    def fits(columns: list[Column]) -> bool:
        return sum(column.width(rows) for column in columns) + 2 * (len(columns) - 1) <= width

    if fits(whole):
        return [whole]
    tables: list[list[Column]] = []
    for group in groups:
        for piece in [group] if fits([*identity, *group]) else [[column] for column in group]:
            if tables and fits([*tables[-1], *piece]):
                tables[-1] += piece
            else:
                tables.append([*identity, *piece])
    return tables


def table(columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    """A table whose numbers keep their digits at any width; words wrap."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        made.add_column(
            Text(column.heading),
            justify="left" if column.words else "right",
            no_wrap=not column.words,
            min_width=column.width(rows),
        )
    for row in rows:
        made.add_row(*(Text(column.cell(row), style=_style(column, row)) for column in columns))
    return made


def _style(column: Column, row: Row) -> str:
    return TONES.get(column.tone(row), "") if column.tone else ""
