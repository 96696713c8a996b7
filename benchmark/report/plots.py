"""A run's results as pictures: throughput, latency and loss as RFC 2544 section 26 asks for, streams as bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvbench.errors import NotReadyError, UsageError
from nvbench.metrics import metric
from nvbench.reading import Results
from nvbench.report.columns import EMULATED, OWN_METRIC, Row, frame, load
from nvbench.report.curves import lines, offered_percent
from nvbench.report.distribution import Distribution, distributions
from nvbench.report.identity import apart, is_stream, labels
from nvbench.report.rfc2544 import loss_curves
from nvbench.report.summary import known
from nvbench.units import bps_l1, line_rate_pps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INCHES = (7.0, 4.5)
"""Width and height of a picture."""
ACROSS = 3
"""Pictures side by side."""
MOST_CASES = 6
"""Cases whose latency is drawn."""
BAR_INCHES = 0.3
"""Height of a bar."""


def draw(results: Results, path: Path) -> None:
    """Draw the first run in `results` into an image file: rates, latency and the loss curve, and streams.

    Raises:
        NotReadyError: matplotlib is not installed.
        UsageError: There is nothing to draw, or the file's name says no image format.
    """
    run = results.runs[0]
    own = Results((run,))
    rows, _ = apart(own.results().to_pylist())
    pictures = _pictures(own, rows)
    if not pictures:
        what = "no throughput and no loss curve to draw, and neither latency nor streams"
        raise UsageError(what, place=str(run.path))
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        raise NotReadyError("matplotlib is not installed", remedy="pip install 'nvbench[analysis]'") from None

    across = 2 if len(pictures) == 4 else min(len(pictures), ACROSS)
    down = -(-len(pictures) // across)
    bars = max((len(each.rows) for each in pictures if each.draw in (_medians, _packets)), default=0)
    height = max(INCHES[1], 1.5 + BAR_INCHES * bars)
    figure = Figure(figsize=(INCHES[0] * across, height * down), layout="constrained")
    words = [label for label in ("quick", "simulated") if getattr(run, label)]
    words += [EMULATED] if any(row["emulated"] for row in rows) else []
    figure.suptitle(", ".join([f"{run.profile_name} on {run.testbed_name}", *words]))
    places = figure.subplots(down, across, squeeze=False).flat
    for axes, picture in zip(places, pictures, strict=False):
        picture.draw(axes, picture.rows)
    for axes in places[len(pictures) :]:
        axes.remove()
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise UsageError(str(error), place=str(path), remedy="end it with .png or .svg") from None
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", place=str(path)) from None


@dataclass(frozen=True)
class _Picture:
    """A picture to draw, and of which results."""

    draw: Callable[[Axes, Sequence[Row]], None]
    rows: Sequence[Row]


def _pictures(results: Results, rows: Sequence[Row]) -> list[_Picture]:
    """What there is to draw."""

    def of(test: str, column: str) -> list[Row]:
        return [row for row in rows if row["test"] == test and known(row[column])]

    found: list[_Picture] = []
    if own := of("throughput", "rate_pps"):
        found.append(_Picture(_throughput, own))
    if own := of("latency", "latency_p50_us"):
        cases = list(dict.fromkeys(row["case_id"] for row in own))[:MOST_CASES]
        drawn = [row for row in own if row["case_id"] in cases]
        tops = list({row["case_id"]: row for row in sorted(drawn, key=lambda row: row["load_share"] or 0.0)}.values())
        told = distributions(results, tops)
        found += [_Picture(partial(_percentiles, told), tops)] if any(each.points for each in told) else []
        found += [_Picture(_latencies, drawn)] if len({row["load_share"] for row in drawn}) > 1 else []
    if own := of("frame_loss", "loss_ratio"):
        found.append(_Picture(_loss, own))
    streams = [row for row in rows if is_stream(row) and known(row["value_median"])]
    for test in dict.fromkeys(row["test"] for row in streams):
        own = [row for row in streams if row["test"] == test]
        found.append(_Picture(_medians, own))
        found += [_Picture(_packets, own)] if any(row["packet_bytes"] for row in own) else []
    return found


def _throughput(axes: Axes, rows: Sequence[Row]) -> None:
    """x: frame size; y: frame rate; one line the theoretical rate, the others what was measured."""
    sizes = sorted({row["frame_bytes"] for row in rows})
    told = next((row for row in rows if row["line_rate_pps"]), None)
    if told:
        link_bps = bps_l1(told["line_rate_pps"], told["frame_bytes"])
        every = range(sizes[0], sizes[-1] + 1)
        marker = "" if len(every) > 1 else "_"  # of one size there is no line, but a mark
        theory = [line_rate_pps(link_bps, size) / 1e6 for size in every]
        axes.plot(every, theory, color="black", linestyle="--", marker=marker, markersize=20, label="theoretical")
    for label, own in lines(rows).items():
        points = sorted((row["frame_bytes"], row["rate_pps"] / 1e6) for row in own)
        axes.plot(*zip(*points, strict=True), marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes], rotation=45)
    axes.minorticks_off()
    axes.set(xlabel="frame size, bytes with FCS", ylabel="frame rate, Mpps per direction", title="Throughput")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()


def _percentiles(told: Sequence[Distribution], axes: Axes, rows: Sequence[Row]) -> None:
    """x: percentile, 90, 99 and 99.9 equally far apart; y: latency at the highest load; a line a case."""
    most = 0.0
    for row, found in zip(rows, told, strict=True):
        if found.points:
            nines = [-math.log10(1 - percent / 100) for percent, _ in found.points]
            axes.step(nines, [value_us for _, value_us in found.points], where="post", label=_at(row))
            most = max(most, *nines)
    whole = range(math.floor(most) + 1)
    axes.set_xticks(list(whole), [f"{100 - 10.0 ** (2 - nines):.{max(0, nines - 2)}f}" for nines in whole])
    axes.set(xlabel="percentile of frames", ylabel="one-way latency, us", title="Latency at the highest load")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _at(row: Row) -> str:
    return f"{row['datapath']}, {frame(row)} B at {load(row)}"


def _latencies(axes: Axes, rows: Sequence[Row]) -> None:
    """x: load as a share of the throughput; y: median and 99th percentile of the latency, a colour a case."""
    for number, case in enumerate(dict.fromkeys(row["case_id"] for row in rows)):
        own = sorted((row for row in rows if row["case_id"] == case), key=lambda row: row["load_share"] or 0.0)
        for point, line in (("p50", "-"), ("p99", "--")):
            told = [row for row in own if known(row[f"latency_{point}_us"]) and row["load_share"] is not None]
            values = [row[f"latency_{point}_us"] for row in told]
            label = f"{own[0]['datapath']}, {frame(own[0])} B {point}"
            shares = [row["load_share"] * 100 for row in told]
            axes.plot(shares, values, line, color=f"C{number}", marker="o", label=label)
    axes.set(xlabel="load, % of the throughput found", ylabel="one-way latency, us", title="Latency by load")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def _loss(axes: Axes, rows: Sequence[Row]) -> None:
    """x: load as a share of the line rate; y: share of frames lost."""
    for label, own in loss_curves(rows).items():
        loads = [offered_percent(row) for row in own]
        axes.plot(loads, [row["loss_ratio"] * 100 for row in own], marker="o", label=label.replace("\n", ", "))
    axes.set(xlabel="offered load, % of the line rate", ylabel="frames lost, %", title="Frame loss rate")
    axes.set_xlim(0, 102)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()


def _medians(axes: Axes, rows: Sequence[Row]) -> None:
    """A bar a case: the median over the repeats, and a whisker from the least to the greatest."""
    own = metric(OWN_METRIC[rows[0]["test"]])
    medians, least, most = ([row[f"value_{point}"] * own.scale for row in rows] for point in ("median", "min", "max"))
    below = [median - low for median, low in zip(medians, least, strict=True)]
    above = [high - median for median, high in zip(medians, most, strict=True)]
    _bars(axes, rows, medians, xerr=[below, above], capsize=3)
    test = rows[0]["test"].replace("_", " ")
    axes.set(xlabel=f"{own.label.lower()}, {own.shown_unit} (median, min to max)", title=test)


def _packets(axes: Axes, rows: Sequence[Row]) -> None:
    """A bar a case: the mean size of what the sender gives its device."""
    _bars(axes, rows, [(row["packet_bytes"] or 0.0) / 1000 for row in rows])
    axes.set_yticklabels([])  # they stand beside the picture before this one
    axes.set(xlabel="mean, before segmentation offload, kB", title="packet size at the sender")


def _bars(axes: Axes, rows: Sequence[Row], values: Sequence[float], **more: Any) -> None:
    """Bars from the top downwards, a colour for each datapath."""
    paths = list(dict.fromkeys(row["datapath"] for row in rows))
    colours = [f"C{paths.index(row['datapath'])}" for row in rows]
    axes.barh(range(len(rows)), values, color=colours, **more)
    names = [", ".join(labels(row, rows)) or row["datapath"] for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize="small")
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set_xlim(left=0)
    axes.grid(axis="x", alpha=0.3)
