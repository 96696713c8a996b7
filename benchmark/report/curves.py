"""Results as charts: which of them make a line, and what each point says when it is pointed at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from nvbench.metrics import number
from nvbench.report.chart import COLOURS, Chart, Dot, Series
from nvbench.report.columns import LIMITS, Row, frame, goal, load, percent
from nvbench.report.distribution import NAMED, Distribution
from nvbench.report.identity import labels
from nvbench.report.scales import Axis, Tick
from nvbench.tables import LimitedBy
from nvbench.units import bps_l1, line_rate_pps

MOST_ROWS = 160
"""Results that charts are made of; what tells each from the others takes time that grows with the square."""

SIZES = "frame size, bytes with FCS"
POINTS = (
    ("p50", "latency_p50_us"),
    ("p99", "latency_p99_us"),
    ("p99.9", "latency_p99_9_us"),
    ("max", "latency_max_us"),
)


def lines(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The answers that make a line, under what tells it from the others."""
    rows = rows[:MOST_ROWS]
    goals = len({goal(row) for row in rows}) > 1
    mixes = len({row["imix"] for row in rows if row["imix"]}) > 1
    runs = len({row.get("run") for row in rows}) > 1
    found: dict[str, list[Row]] = {}
    for row in rows:
        told = [str(row["run"])] if runs else []
        told += labels(row, rows)
        told += [row["imix"]] if mixes and row["imix"] else []
        told += [goal(row)] if goals else []
        found.setdefault(", ".join(told) or f"measured, {row['datapath']}", []).append(row)
    return found


def left_out(found: dict[str, list[Row]]) -> str:
    """What a chart has no room for."""
    more = len(found) - COLOURS
    return f" The first {COLOURS} of {len(found)} lines; the tables have all." if more > 0 else ""


def _first(found: dict[str, list[Row]]) -> list[tuple[str, list[Row]]]:
    return list(found.items())[:COLOURS]


# -- throughput ----------------------------------------------------------------------------------------------------


def frame_rates(found: dict[str, list[Row]]) -> Chart:
    """x: frame size; y: frames per second, beside the theoretical rate of the link (RFC 2544 section 26.1)."""

    def rate(value_pps: float, _bytes: float) -> float:
        return value_pps / 1e6

    return _by_size(found, "Frame rate by frame size", "Mpps per direction", rate)


def bit_rates(found: dict[str, list[Row]]) -> Chart:
    """x: frame size; y: bits per second on the wire, where the link's theoretical rate is level."""

    def rate(value_pps: float, frame_bytes: float) -> float:
        return bps_l1(value_pps, frame_bytes) / 1e9

    return _by_size(found, "Bit rate by frame size", "Gbit/s on the wire (L1) per direction", rate)


def _by_size(found: dict[str, list[Row]], title: str, unit: str, rate: Callable[[float, float], float]) -> Chart:
    rows = [row for own in found.values() for row in own]
    sizes = sorted({row["frame_bytes"] for row in rows if row["frame_bytes"]}) or [64]
    series = list(_theory(rows, sizes, rate))
    for name, own in _first(found):
        ordered = sorted(own, key=lambda row: row["frame_bytes"])
        dots = [_rate_dot(row, rate(row["rate_pps"], row["frame_bytes"])) for row in ordered]
        series.append(Series(name, tuple(dots)))
    ticks = tuple((float(size), str(size)) for size in sizes)
    ends = (sizes[0] * 0.7, sizes[-1] * 1.4) if len(sizes) == 1 else (None, None)
    return Chart(title, Axis(SIZES, "log", ticks, *ends), Axis(unit, low=0.0), tuple(series))


def _theory(rows: Sequence[Row], sizes: Sequence[int], rate: Callable[[float, float], float]) -> list[Series]:
    """What the link carries, and what the generator can send with no switch in the way."""
    found = []
    told = next((row for row in rows if row["line_rate_pps"] and row["frame_bytes"]), None)
    if told:
        link_bps = bps_l1(told["line_rate_pps"], told["frame_bytes"])
        low, high = (sizes[0] * 0.75, sizes[0] * 1.3) if len(sizes) == 1 else (sizes[0], sizes[-1])
        every = [low * (high / low) ** (step / 60) for step in range(61)]
        dots = tuple(Dot(size, rate(line_rate_pps(link_bps, size), size)) for size in every)
        found.append(Series(f"theoretical, {link_bps / 1e9:.4g} Gbit/s link", dots, "theory"))
    ceilings = {row["frame_bytes"]: row["ceiling_pps"] for row in rows if row["ceiling_pps"] and row["frame_bytes"]}
    if ceilings:
        dots = tuple(
            Dot(size, rate(pps, size), f"generator alone, {size} B: {number(pps / 1e6)} Mpps")
            for size, pps in sorted(ceilings.items())
        )
        found.append(Series("generator with no switch in the way", dots, "ceiling"))
    return found


def _rate_dot(row: Row, value: float) -> Dot:
    pps = row["rate_pps"]
    share = f", {percent(pps / row['line_rate_pps'])} of the line rate" if row["line_rate_pps"] else ""
    limit = LIMITS.get(row["limited_by"], str(row["limited_by"]))
    title = f"{named(row)}, {frame(row)} B: {pps:,.0f} frames/s{share}, {limit}"
    hollow = row["limited_by"] in (LimitedBy.GENERATOR, LimitedBy.UNKNOWN)
    return Dot(row["frame_bytes"], value, title, anchor(row), hollow)


def named(row: Row) -> str:
    """A result's datapath and goal, with its run where there are several."""
    return ", ".join(text for text in (str(row.get("run") or ""), row["datapath"], goal(row)) if text)


def anchor(row: Row) -> str:
    """Where a page tells of the trials of a result."""
    return str(row.get("anchor") or "")


# -- loss ----------------------------------------------------------------------------------------------------------


def loss(found: dict[str, list[Row]]) -> Chart:
    """x: load as a share of the line rate; y: share of the frames lost (RFC 2544 section 26.3)."""
    series = []
    for name, own in _first(found):
        dots = []
        for row in sorted(own, key=offered_percent):
            title = f"{name}: {percent(row['loss_ratio'])} lost at {offered_percent(row):.4g} % of the line rate"
            dots.append(Dot(offered_percent(row), row["loss_ratio"] * 100, title, anchor(row)))
        series.append(Series(name, tuple(dots)))
    return Chart(
        "Frame loss by load",
        Axis("offered load, % of the line rate", low=0.0, high=100.0),
        Axis("frames lost, %", low=0.0),
        tuple(series),
    )


def offered_percent(row: Row) -> float:
    """What was offered of the line rate, which is less than was asked where the generator cannot."""
    if row["rate_pps"] is None or not row["line_rate_pps"]:
        return float((row["load_share"] or 0.0) * 100)
    return float(row["rate_pps"] / row["line_rate_pps"] * 100)


# -- latency -------------------------------------------------------------------------------------------------------


def percentiles(title: str, measured: Sequence[tuple[str, Row, Distribution]]) -> Chart:
    """x: percentile, on a scale of nines; y: latency."""
    series = []
    for name, row, distribution in measured[:COLOURS]:
        dots = []
        for percentile, value_us in distribution.points:
            said = f"{name}: {percentile:g} % of {distribution.frames:,} frames within {number(value_us)} us"
            dots.append(Dot(percentile, value_us, said if percentile in NAMED else "", anchor(row)))
        series.append(Series(name, tuple(dots), "step"))
    return Chart(title, Axis("percentile of frames", "nines"), Axis("one-way latency, us", "log"), tuple(series))


def latency_by_load(title: str, measured: Sequence[tuple[str, Row]]) -> Chart:
    """x: load as a share of the throughput; y: points of the latency distribution at that load."""
    prefixes = list(dict.fromkeys(name for name, _ in measured))
    points = POINTS if len(prefixes) == 1 else POINTS[:2]
    series = []
    for prefix in prefixes:
        own = sorted((row for name, row in measured if name == prefix), key=lambda row: row["load_share"])
        for point, column in points:
            told = [row for row in own if row[column] is not None]
            name = f"{prefix} {point}".strip()
            dots = tuple(
                Dot(row["load_share"] * 100, row[column], f"{name} {_at(row)}: {number(row[column])} us", anchor(row))
                for row in told
            )
            series += [Series(name, dots)] if dots else []
    x_axis = Axis("load, % of the throughput found", ticks=_loads([row for _, row in measured]), low=0.0)
    return Chart(title, x_axis, Axis("one-way latency, us", "log"), tuple(series[:COLOURS]))


def _at(row: Row) -> str:
    return f"at {load(row)}" + ("" if row["load_share"] else "'s load")


def _loads(rows: Sequence[Row]) -> tuple[Tick, ...]:
    shares = sorted({row["load_share"] for row in rows})
    return tuple((share * 100, f"{share * 100:.4g}" if share else "probe") for share in shares)
