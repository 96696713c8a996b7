"""What nvbench asks of a datapath: come up, name its endpoints, count, go down."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Parameters(BaseModel):
    """What every datapath can be asked; each kind adds its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    queues: int = Field(default=1, ge=1, le=64, description="receive and transmit queues of each port")
    mtu: int = Field(default=1500, ge=68, le=16110, description="largest IP packet, in bytes")
