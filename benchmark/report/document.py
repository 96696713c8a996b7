"""A report as a list of parts, and the two forms that it is written in: text for a terminal, and Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from nvbench.report.columns import Column, Layout, Row
from nvbench.report.text import PIPED_WIDTH, fitted, table

BULLET = "- "


@dataclass(frozen=True, slots=True)
class Heading:
    """A title, of the whole report (level 1) or of a part of it (level 2)."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Sentences."""

    text: str


@dataclass(frozen=True, slots=True)
class Points:
    """A list of short lines."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """A table."""

    layout: Layout
    rows: Sequence[Row]


Part = Heading | Paragraph | Points | Listing


def as_text(parts: Sequence[Part], width: int = PIPED_WIDTH) -> Group:
    """The report for a terminal of this width, or for a file."""
    return Group(*(line for part in parts for line in _text(part, width)))


def _text(part: Part, width: int) -> Iterator[RenderableType]:
    match part:
        case Heading(text, level):
            yield Text(text, style="bold")
            yield Text(("=" if level == 1 else "-") * len(text))
        case Paragraph(text):
            yield Text(text)
        case Points(lines):
            for line in lines:
                yield _hanging(line, width)
        case Listing(made, rows):
            for number, columns in enumerate(fitted(made.whole, made.identity, made.pieces, rows, width)):
                yield from [Text()] if number else []
                yield table(columns, rows)
    yield Text()


def _hanging(line: str, width: int) -> Text:
    """A line of a list whose continuation is indented below its first word."""
    return Text(textwrap.fill(line, max(width, 20), initial_indent=BULLET, subsequent_indent=" " * len(BULLET)))


def as_markdown(parts: Sequence[Part]) -> str:
    """The report as Markdown."""
    return "\n".join(line for part in parts for line in (*_markdown(part), ""))


def _markdown(part: Part) -> Iterator[str]:
    match part:
        case Heading(text, level):
            yield f"{'#' * level} {text}"
        case Paragraph(text):
            yield text
        case Points(lines):
            yield from (f"{BULLET}{line}" for line in lines)
        case Listing(made, rows):
            columns = made.whole
            yield _line([column.heading for column in columns])
            yield _line([_rule(column) for column in columns])
            yield from (_line([column.cell(row) for column in columns]) for row in rows)


def _rule(column: Column) -> str:
    return "---" if column.words else "---:"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace(chr(10), ' ').replace('|', chr(92) + '|') for cell in cells)} |"
