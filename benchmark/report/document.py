"""A report as a list of parts, and the two plain forms that it is written in: text for a terminal, and Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.console import Group, RenderableType
from rich.text import Text

from nvbench.report.bars import Bars
from nvbench.report.chart import Chart
from nvbench.report.columns import Column, Layout, Row
from nvbench.report.text import PIPED_WIDTH, fitted, table

BULLET = "- "


class Tone(StrEnum):
    """How a notice is meant."""

    GOOD = "good"
    NOTE = "note"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Heading:
    """A title, of the whole report (level 1), of a part of it (level 2) or of a part of that."""

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
    """A table.

    Attributes:
        layout: Its columns.
        rows: Its rows.
        caption: What it shows, where no heading says so.
        anchor: What other parts of a page link to it by.
        link: The anchor of what a row's numbers come from; empty where there is none.
    """

    layout: Layout
    rows: Sequence[Row]
    caption: str = ""
    anchor: str = ""
    link: Callable[[Row], str] | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that must not be overlooked."""

    text: str
    tone: Tone = Tone.NOTE


@dataclass(frozen=True, slots=True)
class Card:
    """A number that says much: `2.817 Mpps`, what it is, what to hold it against, and the anchor of its evidence."""

    value: str
    label: str
    note: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Cards:
    """The few numbers that a reader in a hurry takes along."""

    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart and what it shows; text and Markdown, which have no charts, leave it out."""

    chart: Chart | Bars
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    """Lines to be typed, or to be read as they are."""

    text: str


@dataclass(frozen=True, slots=True)
class Files:
    """Files beside the report: the name of each, and where it is seen from the report; empty where it is not."""

    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Details:
    """What most readers pass over: folded away on a page, under a line that says what it is."""

    summary: str
    parts: tuple[Part, ...]
    anchor: str = ""


Part = Heading | Paragraph | Points | Listing | Notice | Cards | Picture | Code | Files | Details


def as_text(parts: Sequence[Part], width: int = PIPED_WIDTH) -> Group:
    """The report for a terminal of this width, or for a file."""
    return Group(*(line for part in parts for line in _text(part, width)))


def _text(part: Part, width: int) -> Iterator[RenderableType]:
    match part:
        case Picture():
            return
        case Details(summary, within):
            yield from (Text(summary), Text())
            yield from (line for each in within for line in _text(each, width))
            return
        case Points() | Cards() | Files():
            yield from (_hanging(line, width) for line in _lines(part))
        case Listing(made, rows):
            for number, columns in enumerate(fitted(made.whole, made.identity, made.pieces, rows, width)):
                yield from [Text()] if number else []
                yield table(columns, rows)
        case _:
            yield from _words(part)
    yield Text()


def _words(part: Heading | Paragraph | Notice | Code) -> Iterator[Text]:
    match part:
        case Heading(text, level):
            yield Text(text, style="bold")
            yield Text(("=" if level == 1 else "-") * len(text))
        case Notice(text, tone):
            yield Text(text, style="yellow" if tone in (Tone.WARN, Tone.BAD) else "")
        case Paragraph(text) | Code(text):
            yield Text(text)


def _lines(part: Points | Cards | Files) -> Iterator[str]:
    if isinstance(part, Points):
        yield from part.lines
        return
    if isinstance(part, Files):
        yield from (name for name, _ in part.files)
        return
    for card in part.cards:
        yield f"{card.label}: {card.value}" + (f" ({card.note})" if card.note else "")


def _hanging(line: str, width: int) -> Text:
    """A line of a list whose continuation is indented below its first word."""
    return Text(textwrap.fill(line, max(width, 20), initial_indent=BULLET, subsequent_indent=" " * len(BULLET)))


def as_markdown(parts: Sequence[Part]) -> str:
    """The report as Markdown."""
    return "\n".join(line for part in parts for line in (*_markdown(part), "") if not isinstance(part, Picture))


def _markdown(part: Part) -> Iterator[str]:
    match part:
        case Heading(text, level):
            yield f"{'#' * level} {_safe(text)}"
        case Paragraph(text):
            yield _safe(text)
        case Notice(text):
            yield f"> {_safe(text)}"
        case Points() | Cards() | Files():
            yield from (f"{BULLET}{_safe(line)}" for line in _lines(part))
        case Code(text):
            fence = "`" * max(3, 1 + max(map(len, "".join(c if c == "`" else " " for c in text).split()), default=0))
            yield from (fence, text.rstrip("\n"), fence)
        case Listing(made, rows):
            columns = made.whole
            yield _line([column.heading for column in columns])
            yield _line([_rule(column) for column in columns])
            yield from (_line([column.cell(row) for column in columns]) for row in rows)
        case Details(summary, within):
            yield from ("<details>", f"<summary>{_safe(summary)}</summary>", "")
            yield from as_markdown(within).split("\n")
            yield "</details>"


def _safe(text: str) -> str:
    """`text` with no tag of HTML in it, as those of a label would be taken for one."""
    return text.replace("<", "&lt;")


def _rule(column: Column) -> str:
    return "---" if column.words else "---:"


def _line(cells: Sequence[str]) -> str:
    escaped = (_safe(cell).replace("\n", " ").replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"
