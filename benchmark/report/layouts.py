"""Which columns the results of each test have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from nvbench.metrics import NOTHING
from nvbench.report.columns import (
    LOAD,
    LOSS,
    REPEATS,
    VERDICT,
    Column,
    Layout,
    Row,
    goal,
    latency_points,
    load,
    of,
    said,
    seconds,
    spread,
)
from nvbench.report.identity import identity_of, is_stream, repeats

_BY_LOAD = ("latency", "frame_loss")


def layout(test: str, rows: Sequence[Row]) -> Layout:
    """The columns for these results of a test."""
    identity, _ = identity_of(rows)
    if test in _BY_LOAD:
        identity = [*identity, LOAD]
    groups = _stream(test, rows) if is_stream(rows[0]) else _GROUPS.get(test) or _throughput(rows)
    return Layout(identity, [shown for group in groups if (shown := said(group, rows))], [VERDICT])


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


def _stream(test: str, rows: Sequence[Row]) -> list[list[Column]]:
    """Of a test between two endpoints."""
    points = spread(test, ("min", "median", "max"))
    packets = [of("packet_rate", "Packets\nkpps", optional=True), of("packet_size", "Packet\nB", optional=True)]
    latency = [replace(column, optional=True) for column in latency_points("p50", "p99", "max")]
    costs = [of("cores", "CPU\ncores", optional=True), _RETRANSMITS]
    return [[*points, *packets], latency, [*costs, *([REPEATS] if len(repeats(rows)) > 1 else [])]]


_RETRANSMITS = Column(
    "Retrans-\nmits",
    lambda row: NOTHING if row["retransmits"] is None else f"{row['retransmits']:.0f}",
    optional=True,
)

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
