"""TCP and UDP between two endpoints, as a profile asks for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from nvbench.generators.streams import Ask, StreamTest
from nvbench.rfc2544 import Expected

TOOL_START_S = 0.4
"""A tool starting and connecting."""


class StreamSection(BaseModel):
    """A run of a tool between two endpoints, repeated.

    Attributes:
        tool: Which.
        duration_s: How long each run counts.
        warmup_s: What goes before and is left out.
        parallel: Streams at the same time.
        repeats: Runs; they are spread over the set-up, so that a slow drift of the host does not look like a setting's.
        message_bytes: Size of each write; null for the tool's own.
        rate_mbps: What UDP streams offer together; null for as much as can be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    tool: Literal["iperf3", "iperf2", "netperf", "sockperf"] = "iperf3"
    duration_s: float = Field(default=10.0, ge=0.5, le=86400)
    warmup_s: float = Field(default=1.0, ge=0, le=600)
    parallel: int = Field(default=1, ge=1, le=128)
    repeats: int = Field(default=5, ge=1, le=1000)
    message_bytes: int | None = Field(default=None, ge=1, le=1 << 20)
    rate_mbps: float | None = Field(default=None, gt=0)

    def expected(self) -> Sequence[Expected]:
        """The runs that it will make in a case."""
        return (Expected(self.repeats, self.warmup_s + self.duration_s + TOOL_START_S, f"by {self.tool}"),)

    def ask(self, test: StreamTest, address: str, port: int) -> Ask:
        """What the tool is asked for."""
        return Ask(
            test,
            address,
            port,
            duration_s=self.duration_s,
            warmup_s=self.warmup_s,
            parallel=self.parallel,
            message_bytes=self.message_bytes,
            rate_bps=None if self.rate_mbps is None else self.rate_mbps * 1e6,
        )
