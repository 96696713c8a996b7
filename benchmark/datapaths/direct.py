"""No switch: the generator's own two ports joined, to know the generator's ceiling and latency floor."""

from __future__ import annotations

from nvbench.datapaths.base import Parameters


class DirectParameters(Parameters):
    """A wire has no options of its own."""
