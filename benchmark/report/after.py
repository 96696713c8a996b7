"""What there is to say of a run below its results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType

from nvbench.report.attribution import explained
from nvbench.report.scaling import by_flows, by_queues

if TYPE_CHECKING:
    from nvbench.reading import Results


def after_results(results: Results) -> Iterator[RenderableType]:
    """Each table that these results have something to put into: why paths differ, what queues bring, and flows."""
    for made in (explained, by_queues, by_flows):
        if (found := made(results)) is not None:
            yield found
