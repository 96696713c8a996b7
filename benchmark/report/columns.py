"""Columns of printed tables, and how a cell of each reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nvbench.metrics import NOTHING, metric, number
from nvbench.tables import LimitedBy

Row = Mapping[str, Any]

EMULATED = "emulated: not a performance figure"
IMPOSSIBLE = "not possible here: "
"""How the verdict on a case begins that the bench cannot do."""

LIMITS = {
    LimitedBy.SUT: "device limited",
    LimitedBy.GENERATOR: "generator limited",
    LimitedBy.LINE_RATE: "line rate",
    LimitedBy.UNKNOWN: "limit unknown",
}

OWN_METRIC = {
    "latency": "latency_p50",
    "back_to_back": "burst",
    "recovery": "recovery_time",
    "reset": "outage",
    "mrr": "throughput",
    "soak": "loss",
    "tcp_stream": "goodput",
    "tcp_maerts": "goodput",
    "tcp_bidir": "goodput",
    "udp_stream": "goodput",
    "tcp_rr": "transactions",
    "tcp_crr": "transactions",
    "udp_rr": "transactions",
}
"""Test -> the metric that its `value_*` columns are of: how it differed from repeat to repeat."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a printed table.

    Attributes:
        heading: What stands above it.
        cell: What a row puts there.
        words: Whether it wraps, as words do.
        optional: Whether it is left out where no row has anything to say.
        tone: How a row's cell is meant, in the words of a notice's tones; empty for plainly.
        link: The anchor that a row's cell leads to; where none is given that of the row's listing.
    """

    heading: str
    cell: Callable[[Row], str]
    words: bool = False
    optional: bool = False
    tone: Callable[[Row], str] | None = None
    link: Callable[[Row], str] | None = None

    def width(self, rows: Sequence[Row]) -> int:
        """Characters that it needs."""
        cells = [self.cell(row) for row in rows]
        lines = [line for text in (self.heading, *cells) for line in text.splitlines()]
        if not self.words:
            return max(map(len, lines), default=0)
        longest_word = max((len(word) for line in lines for word in line.split()), default=0)
        return max(longest_word, min(20, max(map(len, lines), default=0)))


@dataclass(frozen=True)
class Layout:
    """The columns of a table.

    Attributes:
        identity: Those that tell its rows apart; they lead each part of a table that does not fit.
        groups: The others, kept together as far as the width allows.
        verdict: What there is to say in words; the last of a whole table, after the first group of a divided one.
    """

    identity: list[Column]
    groups: list[list[Column]]
    verdict: list[Column]

    @property
    def whole(self) -> list[Column]:
        """All columns side by side."""
        return [*self.identity, *(column for group in self.groups for column in group), *self.verdict]

    @property
    def pieces(self) -> list[list[Column]]:
        """The groups in the order in which they stand below each other."""
        return [*self.groups[:1], self.verdict, *self.groups[1:]]


def said(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """The columns without the optional ones that are empty."""
    return [column for column in columns if not column.optional or any(column.cell(row) != NOTHING for row in rows)]


def goal(row: Row) -> str:
    """The loss that a throughput search allowed, in the words of the trade."""
    if row["test"] != "throughput":
        return ""
    return f"PDR {number(row['goal_loss_ratio'] * 100)} %" if row["goal_loss_ratio"] else "NDR"


def verdict(row: Row) -> str:
    """What limited the rate, and what went wrong."""
    known = row["test"] == "throughput" or row["limited_by"] != LimitedBy.UNKNOWN
    limit = LIMITS.get(row["limited_by"], str(row["limited_by"])) if known else ""
    told = "" if row["verdict"] == row["limited_by"] else row["verdict"]
    emulated = EMULATED if row["emulated"] else ""
    invalid = f"{row['invalid_trials']} of {row['trials']} trials invalid" if row["invalid_trials"] else ""
    return ", ".join(text for text in (limit, told, invalid, emulated) if text)


def frame(row: Row) -> str:
    """A frame size, or the mean of a mix or of a file's frames."""
    return f"mix {row['frame_bytes']}" if row["imix"] or pcap(row) else f"{row['frame_bytes']}"


def pcap(row: Row) -> str:
    """The capture file whose frames were sent, `NAME@DIGEST`; empty where there was none."""
    return next((str(setting["value"]) for setting in row["settings"] or () if setting["name"] == "pcap"), "")


def percent(share: float | None, digits: int = 3) -> str:
    """A ratio as printed."""
    if not share:
        return NOTHING if share is None else "0"
    return f"{number(share * 100, digits)} %"


def load(row: Row) -> str:
    """A load, as a share of what the test takes shares of; none is that of a probe."""
    share = row["load_share"]
    if share is None:
        return NOTHING
    return f"{share * 100:.4g} %" if share else "probe"


def of(name: str, heading: str, *, optional: bool = False) -> Column:
    """A column for a metric."""
    shown = metric(name)
    return Column(heading, lambda row: shown.text(row[shown.column]), optional=optional)


FRAME = Column("Frame\nB", frame)
LOAD = Column("Load", load)
LOSS = Column("Loss", lambda row: percent(row["loss_ratio"]))
REPEATS = Column("Repeats", lambda row: NOTHING if row["repeats"] is None else f"{row['repeats']}")
VERDICT = Column("Verdict", verdict, words=True)


def spread(test: str, points: Sequence[str] = ("mean", "min", "max", "stdev"), what: str = "") -> list[Column]:
    """How a test's own metric differed from repeat to repeat."""
    own = metric(OWN_METRIC[test])

    def column(point: str) -> Column:
        return Column(f"{what}{point}\n{own.shown_unit}", lambda row: own.text(row[f"value_{point}"]))

    return [column(point) for point in points]


def latency_points(*points: str) -> list[Column]:
    """Points of the latency distribution."""
    return [of(f"latency_{point}", f"{point.replace('_', '.')}\nus") for point in points]


def seconds(row: Row) -> str:
    """How long the trial took that settles an answer."""
    return number(row["final_duration_s"])
