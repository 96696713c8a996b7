"""CPU and cycles: what processors did while the trials ran that carry the results, from the collectors' samples."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from nvbench.metrics import NOTHING, number
from nvbench.report.bars import Bar, Bars
from nvbench.report.columns import Column, Layout, Row, frame, percent, said
from nvbench.report.curves import anchor, named
from nvbench.report.document import Listing, Paragraph, Part, Picture
from nvbench.report.identity import identity_of, in_order
from nvbench.report.scales import Axis

if TYPE_CHECKING:
    from nvbench.reading import Results

TESTS = ("throughput", "mrr", "tcp_stream", "udp_stream", "tcp_rr", "tcp_crr", "udp_rr")
"""Tests at whose load a processor's work tells something."""

MOST_RESULTS = 40
MOST_BARS = 16

SPENT = {"user_s": "user", "system_s": "system", "irq_s": "irq", "softirq_s": "softirq", "steal_s": "stolen"}
_COUNTERS = (*SPENT, "idle_s", "iowait_s", "processing_cycles", "idle_cycles", "packets_received", "cpu_s")

Rises = Mapping[tuple[str, str], float]
"""By how much a counter rose during a trial, by source and metric."""

MEANING = (
    "Between the reading just before a trial and the one just after it, of the last trial that carries each result. "
    "A polling thread is busy while it has packets; cycles per packet are those that it was busy, over the packets "
    "that it received. Cycles are those of the time-stamp counter, which runs on while another task has the core."
)


def processor_parts(results: Results, rows: Sequence[Row]) -> Iterator[Part]:
    """A table and pictures; nothing where no samples were stored."""
    own = [row for row in rows if row["test"] in TESTS and row["trial_ids"]][:MOST_RESULTS]
    risen = rises(results, [row["trial_ids"][-1] for row in own])
    told = [{**row, **spent(risen[row["trial_ids"][-1]])} for row in own if row["trial_ids"][-1] in risen]
    told = [row for row in told if row["busy"] is not None or row["host_cores"] is not None]
    if not told:
        return
    yield Paragraph(MEANING)
    yield from _pictures(told)
    for test in dict.fromkeys(row["test"] for row in told):
        ordered = in_order(row for row in told if row["test"] == test)
        identity, same = identity_of(ordered)
        yield Listing(
            Layout(identity, [said(_COLUMNS, ordered)], []),
            ordered,
            caption=f"{test.replace('_', ' ')}: {same}",
            link=anchor,
        )


def rises(results: Results, trials: Sequence[str]) -> Mapping[str, Rises]:
    """By how much counters rose in each of these trials of a run; one that began anew within a trial is left out."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import
    from pyarrow import dataset  # noqa: PLC0415

    wanted = dataset.field("trial_id").isin(pa.array(sorted(set(trials)), pa.string()))
    wanted &= dataset.field("metric").isin(pa.array(_COUNTERS))
    read = results.samples(["trial_id", "time", "source", "metric", "value"], wanted).sort_by("time")
    grouped = read.group_by(["trial_id", "source", "metric"], use_threads=False)
    ends = grouped.aggregate([("value", "first"), ("value", "last"), ("value", "count")])
    found: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
    for each in ends.to_pylist():
        if each["value_count"] > 1 and each["value_last"] >= each["value_first"]:
            found[each["trial_id"]][each["source"], each["metric"]] = each["value_last"] - each["value_first"]
    return found


def spent(risen: Rises) -> Mapping[str, float | int | None]:
    """What processors did: the polling threads' busy share and cycles, and the cores that the host spent."""
    cycles: dict[str, float] = defaultdict(float)
    seconds: dict[str, float] = defaultdict(float)
    cores, pollers = set(), set()
    for (source, metric), value in risen.items():
        if re.fullmatch(r"pmd core \d+", source):
            pollers.add(source)
            cycles[metric] += value
        elif re.fullmatch(r"cpu core \d+", source):
            cores.add(source)
            seconds[metric] += value
    every = cycles["processing_cycles"] + cycles["idle_cycles"]
    elapsed = sum(seconds.values()) / len(cores) if cores else 0.0
    shares = {f"{name}_cores": seconds[name] / elapsed if elapsed else None for name in SPENT}
    packets = cycles["packets_received"]
    return {
        "pollers": len(pollers) or None,
        "busy": cycles["processing_cycles"] / every if every else None,
        "cycles": cycles["processing_cycles"] / packets if packets else None,
        "host_cores": sum(value or 0.0 for value in shares.values()) if elapsed else None,
        "of_cores": len(cores),
        **shares,
        "collector": risen.get(("collector", "cpu_s"), 0.0) / elapsed if elapsed else None,
    }


def _plain(name: str, heading: str) -> Column:
    return Column(heading, lambda row: NOTHING if row[name] is None else number(row[name], 3), optional=True)


_COLUMNS = [
    _plain("pollers", "Polling\nthreads"),
    Column("Polling\nbusy", lambda row: percent(row["busy"]), optional=True),
    _plain("cycles", "Cycles\nper packet"),
    _plain("host_cores", "Host\ncores spent"),
    *(_plain(f"{name}_cores", f"{word.capitalize()}\ncores") for name, word in SPENT.items()),
    Column("Collectors,\nof a core", lambda row: percent(row["collector"]), optional=True),
]


def _pictures(rows: Sequence[Row]) -> Iterator[Part]:
    cycles = [row for row in rows if row["cycles"] is not None][:MOST_BARS]
    if cycles:
        bars = tuple(
            Bar(
                _label(row),
                (row["cycles"],),
                number(row["cycles"], 3),
                f"{_label(row)}: {_busy(row)}",
                link=anchor(row),
            )
            for row in cycles
        )
        chart = Bars("Cycles per packet", Axis("cycles that a polling thread was busy, per packet", low=0.0), bars)
        yield Picture(chart, "What a packet costs the polling threads.")
    hosts = [row for row in rows if row["host_cores"] is not None][:MOST_BARS]
    if hosts:
        parts = tuple(SPENT.values())
        bars = tuple(_host_bar(row) for row in hosts)
        axis = Axis(f"cores spent, of {max(row['of_cores'] for row in hosts)}", low=0.0)
        yield Picture(Bars("Host processor time", axis, bars, parts), "What the whole host's cores did meanwhile.")


def _host_bar(row: Row) -> Bar:
    values = tuple(row[f"{name}_cores"] or 0.0 for name in SPENT)
    told = ", ".join(f"{word} {number(value, 3)}" for word, value in zip(SPENT.values(), values, strict=True))
    label = _label(row)
    return Bar(label, values, number(row["host_cores"], 3), f"{label}: {told} cores", link=anchor(row))


def _label(row: Row) -> str:
    queues = f"{row['queues']} queue{'' if row['queues'] == 1 else 's'}"
    size = f"{frame(row)} B" if row["frame_bytes"] else row["case_id"]
    return ", ".join([named(row), size, queues, *([f"block {row['block']}"] if row["block"] else [])])


def _busy(row: Row) -> str:
    return f"{number(row['cycles'], 3)} cycles per packet, busy {percent(row['busy'])} of the time"
