"""Which columns the results of each test have, and how a cell of each reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nvbench.metrics import NOTHING, metric, number
from nvbench.tables import LimitedBy

Row = Mapping[str, Any]

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
    """

    heading: str
    cell: Callable[[Row], str]
    words: bool = False
    optional: bool = False

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


def layout(test: str, rows: Sequence[Row]) -> Layout:
    """The columns for these results of a test."""
    identity, _ = identity_of(rows)
    if test in _BY_LOAD:
        identity = [*identity, LOAD]
    groups = [said(group, rows) for group in _GROUPS.get(test) or _throughput(rows)]
    return Layout(identity, groups, [VERDICT])


def said(columns: Sequence[Column], rows: Sequence[Row]) -> list[Column]:
    """The columns without the optional ones that are empty."""
    return [column for column in columns if not column.optional or any(column.cell(row) != NOTHING for row in rows)]


def identity_of(rows: Sequence[Row]) -> tuple[list[Column], str]:
    """The columns that tell rows apart, and in words what all rows share."""
    columns, same = [], []
    tells = {
        "Datapath": lambda row: row["datapath"],
        "Generator": lambda row: row["generator"],
        "Flows": lambda row: f"{row['flows']}",
        "Direction": lambda row: row["direction"],
        "Goal": goal,
    }
    words = {"Generator": "{} generator", "Flows": "flows: {}", "Goal": "{}"}
    for heading, cell in tells.items():
        if len({cell(row) for row in rows}) > 1:
            columns.append(Column(heading, cell, words=heading in ("Datapath", "Generator", "Direction")))
        else:
            same.append(words.get(heading, "{}").format(cell(rows[0])))
    if any(row["direction"] == "bidirectional" for row in rows):
        same.append("rates per direction")
    same += sorted({f"mix {row['frame_bytes']}: IMIX genome {row['imix']}" for row in rows if row["imix"]})
    always = [FRAME, Column("Queues", lambda row: f"{row['queues']}")]
    return [*columns, *always], ", ".join(text for text in same if text)


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
    invalid = f"{row['invalid_trials']} of {row['trials']} trials invalid" if row["invalid_trials"] else ""
    return ", ".join(text for text in (limit, told, invalid) if text)


def frame(row: Row) -> str:
    """A frame size, or the mean of a mix."""
    return f"mix {row['frame_bytes']}" if row["imix"] else f"{row['frame_bytes']}"


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

_BY_LOAD = ("latency", "frame_loss")


def spread(test: str, points: Sequence[str] = ("mean", "min", "max", "stdev"), what: str = "") -> list[Column]:
    """How a test's own metric differed from repeat to repeat."""
    own = metric(OWN_METRIC[test])

    def column(point: str) -> Column:
        return Column(f"{what}{point}\n{own.shown_unit}", lambda row: own.text(row[f"value_{point}"]))

    return [column(point) for point in points]


def latency_points(*points: str) -> list[Column]:
    """Points of the latency distribution."""
    return [of(f"latency_{point}", f"{point.replace('_', '.')}\nus") for point in points]


def _throughput(rows: Sequence[Row]) -> list[list[Column]]:
    kinds = {goal(row).split(" ")[0] for row in rows}
    heading = (kinds.pop() if len(kinds) == 1 else "") or "Rate"
    rates = [
        of("throughput", f"{heading}\nMpps"),
        of("rate_l1", "L1\nGbit/s"),
        of("rate_l2", "L2\nGbit/s"),
        Column("Of\nceiling", _share_of_ceiling, optional=True),
        LOSS,
    ]
    return [rates, _TAIL]


def _share_of_ceiling(row: Row) -> str:
    if not row["ceiling_pps"] or row["rate_pps"] is None:
        return NOTHING
    return f"{row['rate_pps'] / row['ceiling_pps']:.0%}".replace("%", " %")


_FLOOR = of("latency_floor", "Floor\np50 us", optional=True)
_VARIATION = [of("pdv", "PDV\nus"), of("ipdv_mean", "IPDV\nmean us"), of("ipdv_max", "IPDV\nmax us")]
_BUFFERS = [of("buffer_time", "Buffer\nus"), of("corrected_buffer_time", "Corrected\nus")]
_TAIL = latency_points("p50", "p99", "p99_9", "max")
_SECONDS = Column("Sent for\ns", lambda row: NOTHING if row["final_duration_s"] is None else seconds(row))
_EVENTS = Column("Loss\nevents", lambda row: f"{len(row['events'] or ())}")
_ADDRESSES = Column("Addresses", lambda row: NOTHING if row["addresses"] is None else f"{row['addresses']}")


def seconds(row: Row) -> str:
    """How long the trial took that settles an answer."""
    return number(row["final_duration_s"])


_GROUPS: Mapping[str, list[list[Column]]] = {
    "latency": [
        [of("throughput", "Load\nMpps"), *latency_points("min", "p50", "p90", "p99", "p99_9", "max")],
        [*_VARIATION, _FLOOR],
        [LOSS],
    ],
    "frame_loss": [[of("throughput", "Offered\nMpps"), LOSS], _TAIL],
    "back_to_back": [
        [of("throughput", "Sent at\nMpps"), *spread("back_to_back", what="Burst\n"), REPEATS],
        _BUFFERS,
    ],
    "recovery": [[of("throughput", "Overload\nMpps"), *spread("recovery", what="Recovery\n"), REPEATS]],
    "reset": [[of("throughput", "Load\nMpps"), *spread("reset", what="Outage\n"), REPEATS]],
    "mrr": [[Column("Offered,\nof line", load), *spread("mrr"), of("rate_l1", "L1\nGbit/s"), LOSS, REPEATS]],
    "soak": [[LOAD, of("throughput", "Load\nMpps"), _SECONDS, LOSS, _EVENTS], _TAIL],
    "learning": [[_ADDRESSES, of("learning_rate", "Learned at\nkpps")]],
}
