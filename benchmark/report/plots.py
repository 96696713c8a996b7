"""A run's throughput and loss as pictures, in the form that RFC 2544 sections 26.1 and 26.3 ask for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvbench.errors import NotReadyError, UsageError
from nvbench.report.columns import Row, goal
from nvbench.report.rfc2544 import loss_curves
from nvbench.units import bps_l1, line_rate_pps

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from nvbench.reading import Results

INCHES = (7.0, 4.5)
"""Width and height of a picture."""

_SERIES = ("datapath", "generator", "flows", "direction", "queues", "imix")


def draw(results: Results, path: Path) -> None:
    """Draw the first run in `results` into an image file: rate by frame size, and the loss curve where there is one.

    Raises:
        NotReadyError: matplotlib is not installed.
        UsageError: There is nothing to draw, or the file's name says no image format.
    """
    run = results.runs[0]
    rows = [row for row in results.results().to_pylist() if row["run_id"] == run.run_id]
    found = [row for row in rows if row["test"] == "throughput" and row["rate_pps"] is not None]
    lost = [row for row in rows if row["test"] == "frame_loss" and row["loss_ratio"] is not None]
    pictures: list[tuple[Any, list[Row]]] = []
    if found:
        pictures.append((_throughput, found))
    if lost:
        pictures.append((_loss, lost))
    if not pictures:
        raise UsageError("no throughput and no loss curve to draw", place=str(run.path))
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        raise NotReadyError("matplotlib is not installed", remedy="pip install 'nvbench[analysis]'") from None

    figure = Figure(figsize=(INCHES[0] * len(pictures), INCHES[1]), layout="constrained")
    labels = [label for label in ("quick", "simulated") if getattr(run, label)]
    figure.suptitle(", ".join([f"{run.profile_name} on {run.testbed_name}", *labels]))
    for axes, (picture, own) in zip(figure.subplots(1, len(pictures), squeeze=False)[0], pictures, strict=True):
        picture(axes, own)
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise UsageError(str(error), place=str(path), remedy="end it with .png") from None
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", place=str(path)) from None


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
    telling = [name for name in _SERIES if len({row[name] for row in rows}) > 1]
    goals = len({goal(row) for row in rows}) > 1
    words = {"flows": "{} flows", "queues": "{} queues", "imix": "{}"}
    series: dict[str, list[Row]] = {}
    for row in rows:
        told = [words.get(name, "{}").format(row[name]) for name in telling if row[name] != ""]
        label = ", ".join([*told, *([goal(row)] if goals else [])])
        series.setdefault(label or f"measured, {row['datapath']}", []).append(row)
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
