"""Small pictures in plain text for a terminal: bars, curves and distributions, a line a case."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from nvbench.metrics import metric, number
from nvbench.report.columns import OWN_METRIC, Row, frame, goal, load, percent
from nvbench.report.identity import in_order, is_stream, labels

MOST_LINES = 24
"""Of one picture: what is longer is no glance any more."""

WIDEST = 60
"""Characters of a bar: beyond, eyes lose the line."""

INDENT = "  "
LEAST_LABEL = 12


@dataclass(frozen=True)
class Glyphs:
    """What pictures are made of.

    Attributes:
        eighths: A bar's end, by how much of its cell is full.
        track: The rest of a bar, up to the whole.
        levels: Heights of a curve, the lowest first.
        zero: A point of it that is exactly zero.
        shades: Parts of a distribution: up to p50, p90, p99, p99.9, and the greatest.
    """

    eighths: str
    track: str
    levels: str
    zero: str
    shades: str


BLOCKS = Glyphs("▏▎▍▌▋▊▉█", "·", "▁▂▃▄▅▆▇█", "0", "█▓▒░·")
ASCII = Glyphs("#", ".", ".:-=+*%#", "0", "#=+-.")
POINTS = ("latency_p50_us", "latency_p90_us", "latency_p99_us", "latency_p99_9_us", "latency_max_us")


def glyphs(encoding: str | None) -> Glyphs:
    """Blocks where a terminal of this encoding has them, ASCII elsewhere."""
    try:
        "".join((BLOCKS.eighths, BLOCKS.track, BLOCKS.levels, BLOCKS.shades)).encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return ASCII
    return BLOCKS


def sketches(rows: Sequence[Row], width: int, made_of: Glyphs = BLOCKS) -> Iterator[list[str]]:
    """The lines of each picture that these results have something to put into.

    Throughput beside the line rate, loss by load, latency percentiles, and what streams carried.
    """
    ordered = in_order(rows)
    for draw in (_throughput, _loss, _latency, _streams):
        if lines := list(draw(ordered, width, made_of)):
            yield lines


def _throughput(rows: Sequence[Row], width: int, made_of: Glyphs) -> Iterator[str]:
    found = _middle([row for row in rows if row["test"] == "throughput" and _finite(row["rate_pps"])], "rate_pps")
    if not found:
        return
    shown = found[:MOST_LINES]
    known = all(_finite(row["line_rate_pps"]) and row["line_rate_pps"] for row in shown)
    whole = "line_rate_pps" if known else "rate_bps_l1"
    rate = metric("throughput") if known else metric("rate_l1")
    greatest = max(row[rate.column] for row in shown) or 1.0
    shares = [row[rate.column] / (row[whole] if known else greatest) for row in shown]
    texts = _right([rate.text(row[rate.column]) for row in shown], f" {rate.shown_unit}")
    if known:
        texts = [f"{part}  {text}" for part, text in zip(_right(map(percent, shares)), texts, strict=True)]
    yield "throughput, of the line rate" if known else "throughput on the wire, of the fastest"
    yield from _bars(_names(shown), shares, texts, width, made_of)
    yield from _more(found)


def _streams(rows: Sequence[Row], width: int, made_of: Glyphs) -> Iterator[str]:
    for test in dict.fromkeys(row["test"] for row in rows if is_stream(row)):
        found = _middle([row for row in rows if row["test"] == test and _finite(row["value_median"])], "value_median")
        if len(found) < 2:
            continue
        own, shown = metric(OWN_METRIC[test]), found[:MOST_LINES]
        greatest = max(row["value_median"] for row in shown) or 1.0
        yield f"{test.replace('_', ' ')}, {own.label.lower()}, of the fastest"
        texts = [f"{own.text(row['value_median'])} {own.shown_unit}" for row in shown]
        yield from _bars(_names(shown), [row["value_median"] / greatest for row in shown], texts, width, made_of)
        yield from _more(found)


def _bars(
    names: Sequence[str], shares: Sequence[float], texts: Sequence[str], width: int, made_of: Glyphs
) -> Iterator[str]:
    ends = max(map(len, texts))
    label, room = _rooms(names, width - ends - 1)
    for name, share, text in zip(names, shares, texts, strict=True):
        yield f"{INDENT}{_cut(name, label)} {_bar(share, room, made_of)} {text:>{ends}}"


def _bar(share: float, room: int, made_of: Glyphs) -> str:
    """A bar as long as its share, which never rounds to nothing where there is something."""
    steps = len(made_of.eighths)
    filled = min(max(round(share * room * steps), 1 if share > 0 else 0), room * steps)
    full, rest = divmod(filled, steps)
    bar = made_of.eighths[-1] * full + (made_of.eighths[rest - 1] if rest else "")
    return bar.ljust(room, made_of.track)


def _loss(rows: Sequence[Row], width: int, made_of: Glyphs) -> Iterator[str]:
    """A curve a case: how much was lost at each load, of the most that any lost."""
    known = [row for row in rows if row["test"] == "frame_loss" and _finite(row["loss_ratio"]) and row["load_share"]]
    found = _middle(known, "loss_ratio")
    loads = sorted({row["load_share"] for row in found})
    if len(loads) < 2:
        return
    curves: dict[str, dict[float, float]] = {}
    for row in found:
        curves.setdefault(row["case_id"], {})[row["load_share"]] = row["loss_ratio"]
    shown = [next(row for row in found if row["case_id"] == case) for case in list(curves)[:MOST_LINES]]
    greatest = max(row["loss_ratio"] for row in found)
    names = _names(shown)
    most = [max(curves[row["case_id"]].values()) for row in shown]
    ends = [f"up to {percent(loss)}" if loss else "none" for loss in most]
    label, room = _rooms(names, width - max(map(len, ends)) - 1)
    cell = max(1, min(6, room // len(loads)))
    heads = [f"{share * 100:.4g}" for share in loads]
    axis = "".join(f"{head:>{cell}}" for head in heads) if max(map(len, heads)) < cell else ""
    yield f"loss by load, {heads[0]} to {heads[-1]} % of the line rate"
    if axis:
        yield f"{INDENT}{' ' * label} {axis} %"
    for row, name, end in zip(shown, names, ends, strict=True):
        points = [_level(curves[row["case_id"]].get(share), greatest, cell, made_of) for share in loads]
        yield f"{INDENT}{_cut(name, label)} {''.join(points)}  {end}"
    yield from _more(list(curves))


def _level(loss: float | None, greatest: float, cell: int, made_of: Glyphs) -> str:
    """A point of a loss curve; the least loss stands above none at all."""
    if loss is None:
        return " " * cell
    if not loss:
        return made_of.zero.rjust(cell)
    height = math.ceil(loss / greatest * len(made_of.levels)) - 1
    return (made_of.levels[height] * max(1, cell - 2)).rjust(cell)


def _latency(rows: Sequence[Row], width: int, made_of: Glyphs) -> Iterator[str]:
    """A strip a case from the least to the greatest latency, the darker the more frames were as quick."""
    timed = [row for row in rows if _finite(row["latency_p50_us"]) and _finite(row["latency_max_us"])]
    tests = [[row for row in timed if row["test"] == test] for test in ("latency", "throughput")]
    found = _middle(tests[0] or tests[1], "latency_p50_us")
    shown = found[:MOST_LINES]
    if not shown:
        return
    lows = [row["latency_min_us"] if _finite(row["latency_min_us"]) else row["latency_p50_us"] for row in shown]
    low = math.floor(math.log10(max(min(lows), 1e-3)))
    high = max(low + 1, math.ceil(math.log10(max(row["latency_max_us"] for row in shown))))
    names = _names(shown, with_load=shown[0]["test"] == "latency")
    texts = [f"{number(row['latency_p50_us'], 3):>6} {number(row['latency_max_us'], 3):>7}" for row in shown]
    label, room = _rooms(names, width - max(map(len, texts)) - 1)

    def place(latency_us: float) -> int:
        share = (math.log10(max(latency_us, 10.0**low)) - low) / (high - low)
        return min(room - 1, round(share * (room - 1)))

    parts = ("half the frames", "90 %", "99 %", "99.9 %", "all")
    legend = "  ".join(f"{shade} {part}" for shade, part in zip(made_of.shades, parts, strict=True))
    yield f"latency, us, logarithmic: {legend}"
    ticks = {place(10.0**power): f"{10**power:g}" for power in range(low, high + 1)}
    yield f"{INDENT}{' ' * label} {_axis(ticks, room)} {'p50':>6} {'max':>7}"
    for row, least, name, text in zip(shown, lows, names, texts, strict=True):
        yield f"{INDENT}{_cut(name, label)} {_strip(row, place(least), place, room, made_of)} {text}"
    yield from _more(found)


def _strip(row: Row, start: int, place: Callable[[float], int], room: int, made_of: Glyphs) -> str:
    strip = [" "] * room
    at = start
    for column, shade in zip(POINTS, made_of.shades, strict=True):
        if _finite(row[column]):
            end = max(place(row[column]), start)  # what falls into one cell gets the shade of the first
            strip[at : end + 1] = shade * (end + 1 - at)
            at = end + 1
    return "".join(strip)


def _axis(ticks: Mapping[int, str], room: int) -> str:
    """Numbers of an axis, each beginning at its place, as far as there is room."""
    line = ""
    for at, text in ticks.items():
        start = min(at, room - len(text))
        if start >= len(line) + (1 if line else 0):
            line = line.ljust(start) + text
    return line.ljust(room)


def _middle(rows: Sequence[Row], column: str) -> list[Row]:
    """Of what was measured several times, block by block, the one with the median."""
    same: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        asked = row["goal_loss_ratio"] if row["test"] == "throughput" else row["load_share"]
        same.setdefault((row["run_id"], row["case_id"], asked), []).append(row)
    return [sorted(group, key=itemgetter(column))[len(group) // 2] for group in same.values()]


def _names(rows: Sequence[Row], *, with_load: bool = False) -> list[str]:
    """What tells each row from the others, its frames last, in columns."""
    goals = len({goal(row) for row in rows}) > 1
    cells, names = [], []
    for row in rows:
        stream = is_stream(row)
        first = " ".join(labels(row, rows)) or (str(row["datapath"]) if stream else "")
        frames = [] if stream else [f"{frame(row)} B"]
        cells.append([first, *frames, *([load(row)] if with_load else []), *([goal(row)] if goals else [])])
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    sides = ["<", *[">"] * (len(widths) - 1)]
    for line in cells:
        placed = zip(line, sides, widths, strict=True)
        names.append(" ".join(f"{text:{side}{room}}" for text, side, room in placed if room))
    return names


def _rooms(names: Sequence[str], width: int) -> tuple[int, int]:
    """Characters for labels and for what is drawn beside them: a picture gets at least half of the width."""
    free = width - len(INDENT) - 1
    label = min(max(map(len, names)), max(LEAST_LABEL, free // 2))
    return label, max(8, min(WIDEST, free - label))


def _cut(name: str, room: int) -> str:
    return f"{name:{room}}" if len(name) <= room else f"{name[: room - 2]}.."


def _right(texts: Iterable[str], unit: str = "") -> list[str]:
    told = list(texts)
    return [f"{text:>{max(map(len, told))}}{unit}" for text in told]


def _more(found: Sequence[object]) -> Iterable[str]:
    hidden = len(found) - MOST_LINES
    return [f"{INDENT}and {hidden} more in `nvbench report`"] if hidden > 0 else []


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
