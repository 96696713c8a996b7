"""A trend as a picture: a panel a case, its runs as points, its levels as lines, the runs at each change marked."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from nvbench.comparison.base import Verdict
from nvbench.errors import NotReadyError, UsageError
from nvbench.report.trend import labels, title
from nvbench.trend.series import Series, Shift, Trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANEL_INCHES = (6.0, 2.6)
MOST_PANELS = 24
MOST_TICKS = 6
COLOURS = {Verdict.REGRESSED: "tab:red", Verdict.IMPROVED: "tab:green", None: "tab:purple"}


def draw_trend(trend: Trend, path: Path) -> None:
    """Draw into an image file; of many cases those that changed come first, and what is left out is said.

    Raises:
        NotReadyError: matplotlib is not installed.
        UsageError: The file cannot be written, or its name says no image format.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        raise NotReadyError("matplotlib is not installed", remedy="pip install 'nvbench[analysis]'") from None

    names, same = labels(trend)
    both = sorted(zip(names, trend.series, strict=True), key=lambda each: not each[1].shifts)[:MOST_PANELS]
    columns = 1 if len(both) == 1 else 2
    rows = math.ceil(len(both) / columns)
    size = PANEL_INCHES[0] * (1.4 if columns == 1 else columns), PANEL_INCHES[1] * rows + 1.0
    figure = Figure(figsize=size, layout="constrained")
    left_out = len(trend.series) - len(both)
    more = f"; {left_out} more cases not drawn" if left_out else ""
    figure.suptitle(f"{title(trend)}\n{same}{more}", fontsize="medium")
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for (name, series), axes in zip(both, panels, strict=False):
        _panel(axes, name, series, trend)
    for axes in list(panels)[len(both) :]:
        axes.set_visible(False)
    try:
        figure.savefig(path, dpi=150)
    except ValueError as error:
        raise UsageError(str(error), place=str(path), remedy="end it with .png or .svg") from None
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", place=str(path)) from None


def _panel(axes: Axes, name: str, series: Series, trend: Trend) -> None:
    """x: runs in order; y: the metric."""
    metric = trend.metric
    values = [value * metric.scale for value in series.values]
    axes.plot(range(len(values)), values, "o", markersize=3.5, color="tab:blue", alpha=0.8)
    edges = [0, *(shift.position for shift in series.shifts), len(values)]
    for first, last in pairwise(edges):
        axes.hlines(median(values[first:last]), first - 0.4, last - 0.6, color="black", linewidth=1.2)
    for shift in series.shifts:
        _mark(axes, shift, series, values)
    told = f": {series.lacking}" if series.lacking else ""
    axes.set_title(f"{name}{told}", fontsize="small")
    axes.set_ylabel(f"{metric.label}, {metric.shown_unit}", fontsize="small")
    step = max(1, math.ceil(len(values) / MOST_TICKS))
    ticks = range(0, len(values), step)
    axes.set_xticks(ticks, [f"{series.points[tick].run.started_at:%m-%d %H:%M}" for tick in ticks], fontsize="x-small")
    axes.tick_params(axis="y", labelsize="x-small")
    middle, half = median(values), (max(values) - min(values)) / 2 * 1.3
    room = max(half, 2.5 * trend.criteria.min_change * abs(middle))
    centre = (max(values) + min(values)) / 2
    if room:
        axes.set_ylim(centre - room, centre + room)
    axes.grid(alpha=0.3)


def _mark(axes: Axes, shift: Shift, series: Series, values: list[float]) -> None:
    """The two runs that bracket a change, its size, and the range in which it lies."""
    colour = COLOURS[shift.verdict]
    between = (shift.position - 1, shift.position)
    axes.plot(between, [values[place] for place in between], "o", markersize=8, fillstyle="none", color=colour)
    axes.axvline(shift.position - 0.5, color=colour, linestyle="--", linewidth=1)
    places = {point.run.run_id: place for place, point in enumerate(series.points)}
    first, last = (places[run.run_id] for run in (shift.earliest, shift.latest))
    if first < last:
        axes.axvspan(first - 0.5, last - 0.5, color=colour, alpha=0.12, linewidth=0)
    size = "from 0" if shift.change is None else f"{shift.change:+.1%}".replace("%", " %")
    where = axes.get_xaxis_transform()
    axes.text(shift.position - 0.3, 0.97, size, color=colour, fontsize="small", va="top", transform=where)
