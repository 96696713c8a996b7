"""What tells the results of a test apart: their order, the columns that name them, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from nvbench.metrics import NOTHING
from nvbench.report.columns import FRAME, IMPOSSIBLE, OWN_METRIC, Column, Row, goal, pcap


def is_stream(row: Row) -> bool:
    """Whether a result is of TCP or UDP between two endpoints, which choose their frames themselves."""
    return OWN_METRIC.get(row["test"]) in ("goodput", "transactions")


def settings(row: Row) -> dict[str, str]:
    """The options of a result by name, the datapath's before those of the endpoints."""
    named = sorted(row["settings"] or (), key=lambda setting: "." in setting["name"])
    return {setting["name"]: setting["value"] for setting in named}


def repeats(rows: Sequence[Row]) -> set[int]:
    """How often results were measured, of those that could be."""
    return {row["repeats"] for row in rows if row["repeats"]}


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Results by what identifies them, as they are measured in any order; those of one case as they come."""
    return sorted(rows, key=_place)


def _place(row: Row) -> tuple[object, ...]:
    where = (row["datapath"], row["topology"] or "", row["guest"] or "", row["queues"], row["mtu"] or 0)
    options = [_rank(*setting) for setting in settings(row).items()]
    return (*where, row["flows"], row["direction"], options, row["frame_bytes"])


def _rank(name: str, value: str) -> tuple[str, float, str]:
    """Numbers by their size, words by the alphabet."""
    try:
        return name, float(value), ""
    except ValueError:
        return name, 0.0, value


def apart(rows: Iterable[Row]) -> tuple[list[Row], list[str]]:
    """What was measured, in order, and what the bench cannot do, a line a reason."""
    ordered = in_order(rows)
    refused: dict[str, list[str]] = {}
    for row in ordered:
        if row["verdict"].startswith(IMPOSSIBLE):
            refused.setdefault(row["verdict"].removeprefix(IMPOSSIBLE), []).append(row["case_id"])
    lines = [f"{IMPOSSIBLE}{', '.join(dict.fromkeys(cases))}: {reason}" for reason, cases in refused.items()]
    return [row for row in ordered if not row["verdict"].startswith(IMPOSSIBLE)], lines


_CELLS: Mapping[str, Callable[[Row], str]] = {
    "Datapath": lambda row: str(row["datapath"]),
    "Generator": lambda row: str(row["generator"]),
    "Topology": lambda row: str(row["topology"] or ""),
    "Guest": lambda row: str(row["guest"] or ""),
    "MTU": lambda row: str(row["mtu"] or ""),
    "Queues": lambda row: str(row["queues"]),
    "Flows": lambda row: "" if pcap(row) else str(row["flows"]),
    "Direction": lambda row: str(row["direction"]),
    "Goal": goal,
}
_WORDY = ("Datapath", "Generator", "Topology", "Guest", "Direction")
_OF_FRAMES = ("Datapath", "Generator", "Topology", "Guest", "MTU", "Flows", "Direction", "Goal")
_OF_STREAMS = ("Datapath", "Topology", "Guest", "Queues", "MTU", "Generator")
_SAID = {"Generator": "{} generator", "Flows": "flows: {}", "Queues": "queues: {}", "MTU": "MTU {}", "Guest": "in {}"}
_PLAIN = {"Topology": "P2P", "MTU": "1500"}
"""Not said of frames that all have it."""
_ABSENT = {"off", NOTHING}
_LABELS = {"Flows": "{} flows", "Queues": "{} queues", "MTU": "MTU {}"}


def identity_of(rows: Sequence[Row]) -> tuple[list[Column], str]:
    """The columns that tell rows apart, and in words what all rows share."""
    stream = is_stream(rows[0])
    columns, same = [], []
    for heading in _OF_STREAMS if stream else _OF_FRAMES:
        cell = _CELLS[heading]
        text = cell(rows[0])
        if len({cell(row) for row in rows}) > 1:
            columns.append(Column(heading, cell, words=heading in _WORDY))
        elif text and (stream or text != _PLAIN.get(heading)):
            same.append(_SAID.get(heading, "{}").format(text))
    columns += _options(rows)
    if stream:
        same += [f"repeats: {count}" for count in repeats(rows) if len(repeats(rows)) == 1]
        return columns or [Column("Datapath", _CELLS["Datapath"], words=True)], ", ".join(same)
    if any(row["direction"] == "bidirectional" for row in rows):
        same.append("rates per direction")
    same += sorted({f"mix {row['frame_bytes']}: IMIX genome {row['imix']}" for row in rows if row["imix"]})
    same += sorted({f"mix {row['frame_bytes']}: frames of {pcap(row)}" for row in rows if pcap(row)})
    return [*columns, FRAME, Column("Queues", _CELLS["Queues"])], ", ".join(same)


def _options(rows: Sequence[Row]) -> list[Column]:
    """A column for each option that differs; one that some datapaths do not have differs if it does where it is."""
    values: dict[str, set[str]] = {}
    for row in rows:
        for name, value in settings(row).items():
            values.setdefault(name, set()).add(value)
    differing = sorted((name for name, found in values.items() if len(found) > 1), key=lambda name: "." in name)
    short = [name.rpartition(".")[2] for name in differing]
    headings = [plain if short.count(plain) == 1 else name for plain, name in zip(short, differing, strict=True)]
    return [
        Column(heading.replace("_", "\n"), partial(_option, name))
        for heading, name in zip(headings, differing, strict=True)
    ]


def _option(name: str, row: Row) -> str:
    return settings(row).get(name) or NOTHING


def labels(row: Row, rows: Sequence[Row]) -> list[str]:
    """What tells a case from the others of a picture, beside its frames: `["ovs_dpdk", "2 queues", "tso"]`."""
    told = []
    for heading in ("Datapath", "Generator", "Topology", "Guest", "MTU", "Flows", "Direction", "Queues"):
        cell = _CELLS[heading]
        if len({cell(other) for other in rows}) > 1 and cell(row):
            told.append(_LABELS.get(heading, "{}").format(cell(row)))
    options = {column.heading.replace("\n", " "): column.cell(row) for column in _options(rows)}
    told += [name if value == "on" else f"{name} {value}" for name, value in options.items() if value not in _ABSENT]
    return [*told, "all off"] if options and {*options.values()} <= _ABSENT else told
