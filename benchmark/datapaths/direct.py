"""No switch: two ends joined, to know the generator's ceiling and its latency floor.

Physical ports are joined by a cable, devices of the kernel by a veth pair of which each end has one: nothing to do.
For a vhost-user link dpdk-testpmd in io mode moves frames from one device to the other and does nothing else: the
nearest thing to a cable that there is.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import ClassVar, Literal

from pydantic import Field

from nvbench.datapaths.base import Parameters, Place
from nvbench.datapaths.testpmd import WIRE_MEMORY_MB, Testpmd, TestpmdParameters
from nvbench.endpoint import LinkKind
from nvbench.errors import DatapathError
from nvbench.journal import Journal
from nvbench.tables import Reading


class DirectParameters(Parameters):
    """Options of the wire."""

    cable: Literal["vhost_user", "veth"] = Field(
        default="vhost_user", description="what joins two virtual ports: dpdk-testpmd in io mode, or a veth pair"
    )


class Direct:
    """Two ends, joined."""

    takes: ClassVar[tuple[LinkKind, ...]] = (
        LinkKind.VHOST_USER,
        LinkKind.VETH,
        LinkKind.DEVICE,
        LinkKind.PCI,
        LinkKind.VDEV,
    )
    restarts = False

    def __init__(self, place: Place, parameters: Parameters) -> None:
        self.version = "wire"
        self.findings: list[str] = []
        self._wire: Testpmd | None = None
        if any(link.kind is LinkKind.VHOST_USER for link in place.links):
            options = parameters.model_dump(include=set(Parameters.model_fields))
            self._wire = Testpmd(replace(place, memory_mb=WIRE_MEMORY_MB), TestpmdParameters(**options))

    def missing(self) -> str:
        """See `Datapath.missing`."""
        return self._wire.missing() if self._wire else ""

    def up(self, journal: Journal) -> None:
        """See `Datapath.up`."""
        if self._wire:
            self._wire.up(journal)

    def attach(self) -> None:
        """See `Datapath.attach`."""
        if self._wire:
            self._wire.attach()

    def readings(self) -> Sequence[Reading]:
        """See `Datapath.readings`."""
        return ()

    def crashed(self) -> str:
        """See `Datapath.crashed`."""
        return self._wire.crashed() if self._wire else ""

    def poller(self) -> int | None:
        """See `Datapath.poller`."""
        return None

    def restart(self, down_s: float) -> None:  # noqa: ARG002 - nothing to wait for
        """See `Datapath.restart`."""
        raise DatapathError("a wire cannot be restarted", place="direct")

    def learned_addresses(self) -> int | None:
        """See `Datapath.learned_addresses`."""
        return None

    def learning(self) -> AbstractContextManager[None]:
        """See `Datapath.learning`."""
        return nullcontext()

    def forget_addresses(self) -> None:
        """See `Datapath.forget_addresses`."""

    def down(self) -> None:
        """See `Datapath.down`."""
        if self._wire:
            self._wire.down()
