"""A simulated device: for tests and for people without root; never a default, always labelled."""

from __future__ import annotations

from pydantic import Field

from nvbench.datapaths.base import Parameters


class SimulatedParameters(Parameters):
    """What the simulated device can do."""

    capacity_mpps: float = Field(default=2.5, gt=0, description="frames per second that it forwards, in millions")
    capacity_noise: float = Field(default=0.0, ge=0, lt=1, description="relative deviation of that from trial to trial")
    background_loss: float = Field(default=0.0, ge=0, lt=1, description="loss ratio at any load")
    pause_probability: float = Field(default=0.0, ge=0, le=1, description="share of trials that the host disturbs")
