"""A run's results as pictures: throughput and loss as RFC 2544 sections 26.1 and 26.3 ask for, streams as bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvbench.errors import NotReadyError, UsageError
from nvbench.metrics import metric
from nvbench.report.columns import EMULATED, OWN_METRIC, Row, goal
from nvbench.report.identity import apart, is_stream, labels
from nvbench.report.rfc2544 import loss_curves
from nvbench.units import bps_l1, line_rate_pps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nvbench.reading import Results

INCHES = (7.0, 4.5)
"""Width and height of a picture."""
BAR_INCHES = 0.3
"""Height of a bar."""


def draw(results: Results, path: Path) -> None:
    """Draw the first run in `results` into an image file: rate by frame size, and the loss curve where there is one.

    Raises:
        NotReadyError: matplotlib is not installed.
        UsageError: There is nothing to draw, or the file's name says no image format.
    """
    run = results.runs[0]
    rows, _ = apart(row for row in results.results().to_pylist() if row["run_id"] == run.run_id)
    pictures = _pictures(rows)
    if not pictures:
        raise UsageError("no throughput and no loss curve to draw, and no streams", place=str(run.path))
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        raise NotReadyError("matplotlib is not installed", remedy="pip install 'nvbench[analysis]'") from None

    bars = max((len(own) for picture, own in pictures if picture in (_medians, _packets)), default=0)
    size = (INCHES[0] * len(pictures), max(INCHES[1], 1.5 + BAR_INCHES * bars))
    figure = Figure(figsize=size, layout="constrained")
    words = [label for label in ("quick", "simulated") if getattr(run, label)]
    words += [EMULATED] if any(row["emulated"] for row in rows) else []
    figure.suptitle(", ".join([f"{run.profile_name} on {run.testbed_name}", *words]))
    for axes, (picture, own) in zip(figure.subplots(1, len(pictures), squeeze=False)[0], pictures, strict=True):
        picture(axes, own)
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise UsageError(str(error), place=str(path), remedy="end it with .png") from None
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", place=str(path)) from None


def _pictures(rows: Sequence[Row]) -> list[tuple[Callable[[Axes, Sequence[Row]], None], list[Row]]]:
    """What there is to draw, and of which results."""
    found = [row for row in rows if row["test"] == "throughput" and row["rate_pps"] is not None]
    lost = [row for row in rows if row["test"] == "frame_loss" and row["loss_ratio"] is not None]
    pictures: list[tuple[Callable[[Axes, Sequence[Row]], None], list[Row]]] = []
    pictures += [(_throughput, found)] if found else []
    pictures += [(_loss, lost)] if lost else []
    streams = [row for row in rows if is_stream(row) and row["value_median"] is not None]
    for test in dict.fromkeys(row["test"] for row in streams):
        own = [row for row in streams if row["test"] == test]
        pictures.append((_medians, own))
        pictures += [(_packets, own)] if any(row["packet_bytes"] for row in own) else []
    return pictures


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
    for label, own in _series(rows).items():
        points = sorted((row["frame_bytes"], row["rate_pps"] / 1e6) for row in own)
        axes.plot(*zip(*points, strict=True), marker="o", label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes], rotation=45)
    axes.minorticks_off()
    axes.set(xlabel="frame size, bytes with FCS", ylabel="frame rate, Mpps per direction", title="Throughput")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()


def _series(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The answers that make a line, under what tells it from the others."""
    goals = len({goal(row) for row in rows}) > 1
    mixes = len({row["imix"] for row in rows}) > 1
    series: dict[str, list[Row]] = {}
    for row in rows:
        told = [*labels(row, rows), *([row["imix"]] if mixes and row["imix"] else []), *([goal(row)] if goals else [])]
        series.setdefault(", ".join(told) or f"measured, {row['datapath']}", []).append(row)
    return series


def _loss(axes: Axes, rows: Sequence[Row]) -> None:
    """x: load as a share of the line rate; y: share of frames lost."""
    for label, own in loss_curves(rows).items():
        loads = [_offered(row) for row in own]
        axes.plot(loads, [row["loss_ratio"] * 100 for row in own], marker="o", label=label.replace("\n", ", "))
    axes.set(xlabel="offered load, % of the line rate", ylabel="frames lost, %", title="Frame loss rate")
    axes.set_xlim(0, 102)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend()


def _offered(row: Row) -> float:
    """What was offered, which is less than was asked where the generator cannot."""
    if row["rate_pps"] is None or not row["line_rate_pps"]:
        return float((row["load_share"] or 0.0) * 100)
    return float(row["rate_pps"] / row["line_rate_pps"] * 100)


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
