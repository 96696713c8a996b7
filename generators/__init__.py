"""Traffic generators, one interface."""

from __future__ import annotations

from nvbench.generators.base import Kind
from nvbench.generators.nvgen import NVGEN
from nvbench.generators.pktgen import PKTGEN
from nvbench.generators.tcpreplay import TCPREPLAY
from nvbench.generators.testpmd import TESTPMD
from nvbench.generators.trex import TREX

KINDS: tuple[Kind, ...] = (NVGEN, TREX, PKTGEN, TESTPMD, TCPREPLAY)
"""Every kind of generator, best first: `auto` takes the first that can do what is asked and that the host has."""

AUTO = "auto"

__all__ = ["AUTO", "KINDS", "Kind"]
