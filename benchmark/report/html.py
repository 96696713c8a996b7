"""A report as one HTML file that needs nothing else: styles, charts and a small script are in it, and no network.

Its content security policy names the hashes of its own style and script: whatever a label of a run may hold, nothing
else is ever run or loaded.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby

from nvbench import __version__
from nvbench.metrics import NOTHING
from nvbench.report import bars, chart
from nvbench.report.bars import Bars
from nvbench.report.chart import Chart
from nvbench.report.columns import Column, Row
from nvbench.report.document import Heading, Listing, Part, Picture
from nvbench.report.text import fitted

WIDTH = 112
"""Characters in a line of a table on a page of usual width, and on paper."""

_RFC = re.compile(r"RFC (\d{3,5})(?: (section|appendix) ([0-9A-Z][0-9A-Za-z.]*[0-9A-Za-z]|[0-9A-Z]))?")
_CODE = re.compile(r"`([^`]+)`")
_UNIT = re.compile(r"(?<=\d) (?=(?:%|us|ms|s|Mpps|Gbit/s|bytes)(?![\w/]))")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What HTML has no place for."""


@dataclass(frozen=True)
class Chapter:
    """What stands below a heading of level 2; of the first there is none."""

    title: str
    anchor: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table: what it says, how, and where its number comes from."""

    text: str
    classes: str
    head: bool
    link: str


FROM_TRIALS = (
    "from the results folder alone. Every number in a table and every mark in a chart leads to the trials that it "
    "comes from."
)


def as_html(parts: Sequence[Part], title: str, source: str = FROM_TRIALS) -> str:
    """The report as a whole page.

    Args:
        parts: What it says; its heading of level 1 is the page's.
        title: The page's name in a browser.
        source: What it was made from, as its last line ends.
    """
    import jinja2  # noqa: PLC0415 - slow to import

    here = files("nvbench.report")
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"prose": _prose, "kind": lambda part: type(part).__name__}
    environment.globals |= {"picture": _drawn, "tables": _tables, "rows": _rows, "runs_of": _runs_of}
    style, script = (here.joinpath(name).read_text(encoding="utf-8") for name in ("style.css", "page.js"))
    lead, *chapters = _chapters(parts)
    page = environment.from_string(here.joinpath("page.html.j2").read_text(encoding="utf-8")).render(
        title=title,
        lead=lead,
        chapters=chapters,
        style=style,
        script=script,
        policy=f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        version=__version__,
        source=source,
    )
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", page)


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _chapters(parts: Sequence[Part]) -> Iterator[Chapter]:
    """What stands before the first heading of level 2, then each chapter under an anchor of its own."""
    title, held, used = "", list[Part](), set[str]()
    for part in parts:
        if isinstance(part, Heading) and part.level == 2:
            yield Chapter(title, _anchor(title, used), tuple(held))
            title, held = part.text, []
        else:
            held.append(part)
    yield Chapter(title, _anchor(title, used), tuple(held))


def _anchor(title: str, used: set[str]) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "part"
    name = next(each for each in (plain, *(f"{plain}-{n}" for n in range(2, 10_000))) if each not in used)
    used.add(name)
    return name


def _prose(text: str) -> str:
    """Sentences: what is between backticks is code, an RFC leads to its text, and a number keeps its unit."""

    def rfc(found: re.Match[str]) -> str:
        number, what, section = found.groups()
        place = f"#{what}-{section}" if what else ""
        return f'<a href="https://www.rfc-editor.org/rfc/rfc{number}{place}">{found[0]}</a>'

    kept = _UNIT.sub("\N{NO-BREAK SPACE}", html.escape(text))
    return _CODE.sub(r"<code>\1</code>", _RFC.sub(rfc, kept))


def _runs_of(parts: Sequence[Part]) -> Iterator[tuple[bool, list[Part]]]:
    """Pictures that follow each other stand beside each other."""
    for pictures, group in groupby(parts, lambda part: isinstance(part, Picture)):
        yield pictures, list(group)


def _tables(listing: Listing) -> list[list[Column]]:
    """The columns of a table, or of several below each other where one would be wider than the page."""
    layout = listing.layout
    return fitted(layout.whole, layout.identity, layout.pieces, listing.rows, WIDTH)


def _rows(listing: Listing, columns: Sequence[Column]) -> Iterator[list[Cell]]:
    """The cells of each row; its numbers lead to where they come from, what identifies it does not."""
    identity = len(listing.layout.identity)
    for row in listing.rows:
        link = _link(listing, row)
        yield [
            Cell(text, _classes(column, row), head=place == 0, link=column.link(row) if column.link else found)
            for place, column in enumerate(columns)
            for text in (column.cell(row),)
            for found in ("" if place < identity or column.words else link(text),)
        ]


def _classes(column: Column, row: Row) -> str:
    tone = column.tone(row) if column.tone else ""
    return " ".join(name for name in ("w" if column.words else "", tone) if name)


def _link(listing: Listing, row: Row) -> Callable[[str], str]:
    target = listing.link(row) if listing.link else ""
    return lambda text: "" if text in (NOTHING, "") else target


def _drawn(drawn: Chart | Bars) -> tuple[str, list[tuple[str, str]]]:
    """A chart, and its legend: how each series is drawn, and its name."""
    if isinstance(drawn, Bars):
        return bars.svg(drawn), [(bars.key(number), name) for number, name in enumerate(drawn.parts)]
    return chart.svg(drawn), [(chart.key(drawn, series), series.name) for series in drawn.series]
