"""A simulated device: for tests and for people without root; never a default, always labelled."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from nvbench.datapaths.base import Parameters, Place, Reading
from nvbench.journal import Journal


class SimulatedParameters(Parameters):
    """What the simulated device can do."""

    capacity_mpps: float = Field(default=2.5, gt=0, description="frames per second that it forwards, in millions")
    capacity_noise: float = Field(
        default=0.0, ge=0, lt=1, description="relative standard deviation of that from trial to trial"
    )
    background_loss: float = Field(default=0.0, ge=0, lt=1, description="loss ratio at any load")
    pause_probability: float = Field(default=0.0, ge=0, le=1, description="share of trials that the host disturbs")


class Simulated:
    """Nothing to bring up: the simulated generator is the device too."""

    version = "simulated"

    def __init__(self, place: Place | None, parameters: SimulatedParameters) -> None:
        """Neither matters: the simulated generator is given the parameters."""

    def up(self, journal: Journal) -> None:
        """See `Datapath.up`."""

    def attach(self) -> None:
        """See `Datapath.attach`."""

    def readings(self) -> Sequence[Reading]:
        """See `Datapath.readings`."""
        return ()

    def poller(self) -> int | None:
        """See `Datapath.poller`."""
        return None

    def down(self) -> None:
        """See `Datapath.down`."""
