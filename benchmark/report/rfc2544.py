"""A report of a run in the order and the format of RFC 2544 section 26, from what the run stored alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from nvbench.metrics import NOTHING
from nvbench.report.columns import (
    IMPOSSIBLE,
    LOSS,
    REPEATS,
    VERDICT,
    Column,
    Layout,
    Row,
    frame,
    of,
    percent,
    seconds,
    spread,
)
from nvbench.report.conditions import conditions, deviations
from nvbench.report.document import Heading, Listing, Paragraph, Part, Points
from nvbench.report.identity import apart, identity_of, is_stream, labels
from nvbench.report.layouts import layout
from nvbench.units import bps_l2

if TYPE_CHECKING:
    from nvbench.reading import Results

EVENTS_TOLD = 20
UNDERSENT = 0.99
"""Below this share of a load that was asked for, it was not that load."""

LATENCY_METHOD = {
    "nvgen": "One-way latency, measured in software. nvgen stamps each frame with the processor's time-stamp counter "
    "as it writes the burst that the frame leaves in, and reads the counter again when the poll returns that brings "
    "the frame back; both ports have the same clock. The time therefore holds the wait in the generator's own rings "
    "and for its next poll, which the floor shows: the median with no switch in the way. Frames are whole at both "
    "stamps, so neither of RFC 1242's definitions, for store-and-forward and for bit-forwarding devices, is meant. "
    "Every frame counts, not one tagged frame a trial.",
    "trex": "One-way latency of a sample of frames, measured in software by TRex: streams of their own beside the "
    "load, 10 000 frames a second and at most a tenth of all, stamped as they are sent and read as they come back; "
    "counted by TRex to a microsecond, and kept at the upper edge of each.",
    "simulated": "No latency was measured: the simulated device makes it up.",
}
VARIATION = (
    "PDV is the 99.9th percentile less the minimum (RFC 5481 section 4.2, RFC 8219 section 7.3.1), IPDV the difference "
    "in latency of consecutive frames, sign dropped (RFC 5481 section 4.1). A percentile beyond which fewer than ten "
    f"frames lie is not told ({NOTHING})."
)

STREAMS = "TCP and UDP streams"
STREAMS_MEANING = (
    "What two endpoints get through the path: payload that arrived (goodput) or requests answered, over repeats; the "
    "packets are those that the sending endpoint's kernel gives its device, before segmentation offload. RFC 2544 has "
    "no such test."
)


@dataclass(frozen=True)
class _Section:
    """A part of the report: one test's results under their heading."""

    test: str
    title: str
    meaning: str
    body: Callable[[Sequence[Row]], Iterator[Part]]


def rfc2544_report(results: Results) -> list[Part]:
    """The report of the first run in `results`."""
    run = results.runs[0]
    rows = [row for row in results.results().to_pylist() if row["run_id"] == run.run_id]
    measured, impossible = apart(rows)
    parts: list[Part] = [*conditions(run, rows)]
    streams = [row for row in measured if is_stream(row)]
    for section in _SECTIONS if not rows or not all(map(is_stream, rows)) else ():
        own = [row for row in measured if row["test"] == section.test]
        parts += [Heading(section.title)]
        parts += [Paragraph(section.meaning), *section.body(own)] if own else [Paragraph("Not measured.")]
    parts += [Heading(STREAMS), *_streams(streams)] if streams else []
    parts += (
        [Heading("Not possible here"), Points(tuple(line.removeprefix(IMPOSSIBLE) for line in impossible))]
        if impossible
        else []
    )
    parts += [Heading("Deviations and warnings")]
    told = [*deviations(rows), *run.warnings]
    told += [f"{row['case_id']}, {row['test']}: {text}" for row in rows for text in row["warnings"] or ()]
    parts.append(Points(tuple(dict.fromkeys(told))) if told else Paragraph("None."))
    return parts


# -- 26.1 ------------------------------------------------------------------------------------------------------


def _whole(value: float | None) -> str:
    return NOTHING if value is None or not math.isfinite(value) else f"{value:,.0f}"


def _line_l2(row: Row) -> str:
    line_pps = row["line_rate_pps"]
    return NOTHING if line_pps is None else f"{bps_l2(line_pps, row['frame_bytes']) / 1e9:.3f}"


def _of_line(row: Row) -> str:
    if row["rate_pps"] is None or not row["line_rate_pps"]:
        return NOTHING
    return percent(row["rate_pps"] / row["line_rate_pps"])


_RATES = [
    Column("Measured\nframes/s", lambda row: _whole(row["rate_pps"])),
    Column("Theoretical\nframes/s", lambda row: _whole(row["line_rate_pps"])),
    Column("Of\ntheoretical", _of_line),
    of("rate_l2", "Measured\nGbit/s L2"),
    Column("Theoretical\nGbit/s L2", _line_l2),
    of("rate_l1", "Measured\nGbit/s L1"),
    LOSS,
    Column("Trial\ns", lambda row: NOTHING if row["final_duration_s"] is None else seconds(row)),
]


def _throughput(rows: Sequence[Row]) -> Iterator[Part]:
    identity, same = identity_of(rows)
    yield Paragraph(f"{same}.")
    yield Listing(Layout(identity, [_RATES], [VERDICT]), rows)
    if found := [row for row in rows if row["rate_pps"] and not row["goal_loss_ratio"]]:
        least = min(found, key=lambda row: (row["frame_bytes"], -row["rate_pps"]))
        limit = f"; the theoretical limit of the media is {_whole(least['line_rate_pps'])}"
        yield Paragraph(
            f"As a single value, for the smallest frame: {_whole(least['rate_pps'])} frames/s of {frame(least)} bytes, "
            f"UDP over IPv4{limit if least['line_rate_pps'] else ''}."
        )


# -- 26.2 ------------------------------------------------------------------------------------------------------


def _latency(rows: Sequence[Row]) -> Iterator[Part]:
    for generator in dict.fromkeys(row["generator"] for row in rows):
        if generator in LATENCY_METHOD:
            yield Paragraph(LATENCY_METHOD[generator])
    yield Paragraph(VARIATION)
    yield Paragraph(f"{identity_of(rows)[1]}. Loads are shares of the throughput; a probe's is too low for queues.")
    made = layout("latency", rows)
    averages = [*spread("latency", ("mean", "stdev"), "Medians'\n"), REPEATS]
    yield Listing(Layout(made.identity, [*made.groups[:1], averages, *made.groups[1:]], made.verdict), rows)


# -- 26.3 ------------------------------------------------------------------------------------------------------


def loss_curves(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The steps of each case under what tells it from the others, highest load first."""
    curves: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: -(row["load_share"] or 0.0)):
        curves.setdefault("\n".join([f"{frame(row)} B", *labels(row, rows)]), []).append(row)
    return dict(sorted(curves.items(), key=lambda curve: curve[1][0]["frame_bytes"]))


def undersent(row: Row) -> bool:
    """Whether the load of a step is not what was offered, since the generator cannot."""
    asked = (row["load_share"] or 0.0) * (row["line_rate_pps"] or 0.0)
    return bool(row["rate_pps"] is not None and row["rate_pps"] < UNDERSENT * asked)


def _frame_loss(rows: Sequence[Row]) -> Iterator[Part]:
    curves = loss_curves(rows)
    steps: dict[float, dict[str, str]] = {}
    for label, curve in curves.items():
        for row in curve:
            told = percent(row["loss_ratio"]) + (f" at {percent(_share(row))}" if undersent(row) else "")
            steps.setdefault(row["load_share"] or 0.0, {})[label] = told
    table: list[Mapping[str, Any]] = [{"load": share, **steps[share]} for share in sorted(steps, reverse=True)]
    columns = [[Column(f"Loss\n{label}", partial(_step, label))] for label in curves]
    yield Paragraph(f"{identity_of(rows)[1]}. x: load, a share of the line rate; y: share of the offered frames lost.")
    yield Listing(Layout([Column("Load", lambda row: f"{row['load'] * 100:.4g} %")], columns, []), table)
    if any(undersent(row) for row in rows):
        yield Paragraph("`at`: the generator cannot offer this load; it offered that share of the line rate instead.")


def _step(label: str, row: Row) -> str:
    return str(row.get(label, NOTHING))


def _share(row: Row) -> float:
    return float(row["rate_pps"] / row["line_rate_pps"])


# -- 26.4 and on -----------------------------------------------------------------------------------------------


def _plain(rows: Sequence[Row]) -> Iterator[Part]:
    """The columns of this test as they are."""
    yield Paragraph(f"{identity_of(rows)[1]}.")
    yield Listing(layout(rows[0]["test"], rows), rows)
    for row in rows:
        if events := row["events"] or ():
            yield from _events(row["case_id"], events)


def _streams(rows: Sequence[Row]) -> Iterator[Part]:
    """A table for each test between two endpoints."""
    yield Paragraph(STREAMS_MEANING)
    for test in dict.fromkeys(row["test"] for row in rows):
        own = [row for row in rows if row["test"] == test]
        yield Paragraph(f"{test.replace('_', ' ')}: {identity_of(own)[1]}.")
        yield Listing(layout(test, own), own)


def _events(case_id: str, events: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
    """When frames were lost; of many events those that cost most."""
    told = sorted(events, key=lambda event: -event["lost_frames"])[:EVENTS_TOLD]
    of_many = f", the {len(told)} largest of {len(events)}" if len(told) < len(events) else ""
    yield Paragraph(f"Loss events of {case_id}{of_many}, by the time at which the frames were sent:")
    yield Points(
        tuple(
            f"at {event['at_s']:.3f} s, for {event['duration_s']:.3f} s: {event['lost_frames']} frames"
            for event in sorted(told, key=lambda event: float(event["at_s"]))
        )
    )


_SECTIONS = (
    _Section(
        "throughput",
        "26.1 Throughput",
        "The fastest rate at which the device forwarded every frame, as measured when sent, in a trial of the given "
        "duration; beside it the theoretical frame rate of the link (appendix B). L2 counts frames with their FCS, "
        "L1 preamble and inter-frame gap as well.",
        _throughput,
    ),
    _Section("latency", "26.2 Latency", "The time that frames take, at stated loads.", _latency),
    _Section(
        "frame_loss",
        "26.3 Frame loss rate",
        "The share of frames that a device does not forward under constant load, from the line rate downwards until "
        "two steps in a row lose nothing.",
        _frame_loss,
    ),
    _Section(
        "back_to_back",
        "26.4 Back-to-back frames",
        "The longest burst that is forwarded whole, over repeats (RFC 9004), in frames of each direction; the time in "
        "which it is sent, and the part of that which buffers hold rather than forwarding (RFC 9004 section 6.4).",
        _plain,
    ),
    _Section(
        "recovery",
        "26.5 System recovery",
        "The time from the end of an overload, when the load drops to half of it, to the last frame lost.",
        _plain,
    ),
    _Section(
        "reset",
        "26.6 Reset",
        "The time without forwarding when the program that forwards is killed and started again (RFC 6201).",
        _plain,
    ),
    _Section(
        "mrr",
        "Maximum receive rate",
        "What the device forwards while it is offered all that link and generator give (RFC 2285 section 3.6.2).",
        _plain,
    ),
    _Section("soak", "Soak", "A long run at a share of the throughput.", _plain),
    _Section(
        "learning",
        "Address learning",
        "How many source addresses the device learns, and how fast (RFC 2889 sections 5.7 and 5.8).",
        _plain,
    ),
)
