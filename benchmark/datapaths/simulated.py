"""A simulated device: for tests and for people without root; never a default, always labelled."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, Protocol

from pydantic import Field

from nvbench.datapaths.base import Parameters
from nvbench.endpoint import LinkKind
from nvbench.journal import Journal
from nvbench.tables import Reading

CLOCK_HZ = 2.5e9
"""Of the simulated processor."""


class SimulatedParameters(Parameters):
    """What the simulated device can do."""

    capacity_mpps: float = Field(default=2.5, gt=0, description="frames per second that it forwards, in millions")
    capacity_noise: float = Field(
        default=0.0, ge=0, lt=1, description="relative standard deviation of that from trial to trial"
    )
    background_loss: float = Field(default=0.0, ge=0, le=1, description="loss ratio at any load")
    buffer_frames: int = Field(default=0, ge=0, description="frames that wait where more come than it forwards")
    cold_share: float = Field(default=0.0, ge=0, lt=1, description="share of its capacity that it lacks when cold")
    stalls_per_s: float = Field(default=0.0, ge=0, description="how often it stops for a moment")
    stall_s: float = Field(default=0.002, ge=0, le=1, description="how long such a moment is, in seconds")
    restart_s: float = Field(default=0.5, ge=0, description="seconds that it needs to come back after its end")
    address_table: int = Field(default=4096, ge=0, description="MAC addresses that it can learn")
    learning_pps: float = Field(default=100_000.0, gt=0, description="MAC addresses a second that it can learn")
    pause_probability: float = Field(default=0.0, ge=0, le=1, description="share of trials that the host disturbs")


class SimulatedCount(Protocol):
    """Frames taken in and missed at each of two ports, and the seconds of traffic that it was busy and idle."""

    taken: list[int]
    missed: list[int]
    busy_s: float
    idle_s: float


class SimulatedDevice(Protocol):
    """The device itself; the simulated generator sends through it."""

    addresses: int

    @property
    def count(self) -> SimulatedCount:
        """What it has counted since it came up."""

    def crash(self, seconds: float) -> None:
        """Forward nothing for so long."""


class Simulated:
    """Nothing to bring up: the simulated generator drives the device."""

    takes: ClassVar[tuple[LinkKind, ...]] = ()
    version = "simulated"
    restarts = True

    def __init__(self, device: SimulatedDevice, parameters: SimulatedParameters) -> None:
        self._device = device
        self._parameters = parameters
        self.findings: list[str] = []

    def missing(self) -> str:
        """See `Datapath.missing`."""
        return ""

    def up(self, journal: Journal) -> None:
        """See `Datapath.up`."""

    def attach(self) -> None:
        """See `Datapath.attach`."""

    def readings(self) -> Sequence[Reading]:
        """See `Datapath.readings`: as a switch would count them that polls its two ports on a core of its own."""
        count, found = self._device.count, []
        for port, (taken, missed) in enumerate(zip(count.taken, count.missed, strict=True)):
            told = {"rx_packets": taken, "rx_missed_errors": missed, "tx_packets": count.taken[1 - port]}
            found += [Reading(f"port nvp{port}", name, float(value), "frames") for name, value in told.items()]
        forwarded = float(sum(count.taken))
        return [
            *found,
            Reading("pmd core 1", "packets_received", forwarded, "count"),
            Reading("pmd core 1", "processing_cycles", round(count.busy_s * CLOCK_HZ), "cycles"),
            Reading("pmd core 1", "idle_cycles", round(count.idle_s * CLOCK_HZ), "cycles"),
            Reading("datapath", "lookups_hit", forwarded, "frames"),
        ]

    def crashed(self) -> str:
        """See `Datapath.crashed`."""
        return ""

    def poller(self) -> int | None:
        """See `Datapath.poller`."""
        return None

    def restart(self, down_s: float) -> None:
        """See `Datapath.restart`; time is the device's own."""
        self._device.crash(max(down_s, self._parameters.restart_s))

    def learned_addresses(self) -> int | None:
        """See `Datapath.learned_addresses`."""
        return self._device.addresses

    def learning(self) -> AbstractContextManager[None]:
        """See `Datapath.learning`."""
        return nullcontext()

    def forget_addresses(self) -> None:
        """See `Datapath.forget_addresses`."""
        self._device.addresses = 0

    def down(self) -> None:
        """See `Datapath.down`."""
