"""The tools that make streams between two endpoints, by name."""

from __future__ import annotations

from nvbench.errors import UsageError
from nvbench.generators.iperf2 import Iperf2
from nvbench.generators.iperf3 import Iperf3
from nvbench.generators.netperf import Netperf
from nvbench.generators.sockperf import Sockperf
from nvbench.generators.streams import StreamTool

STREAM_TOOLS: tuple[StreamTool, ...] = (Iperf3(), Iperf2(), Netperf(), Sockperf())
"""The one to be preferred first, where several can do a test."""


def stream_tool(name: str) -> StreamTool:
    """The tool of that name.

    Raises:
        UsageError: There is none.
    """
    for tool in STREAM_TOOLS:
        if tool.name == name:
            return tool
    raise UsageError(f"no stream tool `{name}`", remedy=f"one of {', '.join(tool.name for tool in STREAM_TOOLS)}")
