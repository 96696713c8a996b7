"""What there is to say of a run below its results."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.text import Text

from nvbench.report.attribution import explained
from nvbench.report.scaling import by_flows, by_queues
from nvbench.report.sketch import glyphs, sketches
from nvbench.report.text import text_width

if TYPE_CHECKING:
    from nvbench.reading import Results


def after_results(results: Results) -> Iterator[RenderableType]:
    """Each picture and table that these results have something to put into.

    Small pictures of what was found; why paths differ, what queues bring, and flows.
    """
    for lines in sketches(results.results().to_pylist(), text_width(), glyphs(sys.stdout.encoding)):
        yield Text("\n".join(("", *lines)))
    for made in (explained, by_queues, by_flows):
        if (found := made(results)) is not None:
            yield found
