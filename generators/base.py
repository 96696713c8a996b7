"""What nvbench asks of a traffic generator: take frames, run trials."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from nvbench.endpoint import Link, LinkKind, Port
from nvbench.traffic import Traffic
from nvbench.trial import AbortRule, Counters, Step, Trial

OFFERS = (LinkKind.VHOST_USER, LinkKind.VETH, LinkKind.DEVICE)
"""Kinds of virtual links that a DPDK generator can be the far end of."""


@dataclass(frozen=True, slots=True)
class Live:
    """What a generator says while a trial runs, ten times a second or more.

    Attributes:
        elapsed_s: Sending time so far.
        total: Counters so far, all directions; frames on their way count as lost here.
    """

    elapsed_s: float
    total: Counters


OnLive = Callable[[Live], None]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a generator runs and what it sends through.

    Attributes:
        ports: Its two ports; direction 0 goes from the first to the second.
        cores: The cores it may poll on.
        queues: Receive and transmit queues of each port.
        descriptors: Descriptors of each queue; a device with fewer takes what it has.
        max_frame_bytes: The largest frame of any case, with FCS.
        memory_mb: Hugepage memory for it.
        hugepages: Whether the host has hugepages for it.
    """

    ports: tuple[Port, Port]
    cores: tuple[int, ...]
    queues: int = 1
    descriptors: int = 1024
    max_frame_bytes: int = 1518
    memory_mb: int = 256
    hugepages: bool = True


class Generator(Protocol):
    """A traffic generator that is up and connected."""

    name: str
    version: str
    simulated: bool
    clock: dict[str, float]
    """What it found of its processor's clock: true and DPDK's frequency, `tsc_hz` and `dpdk_hz`; empty without one."""

    def configure(self, traffic: Traffic) -> None:
        """Load the frames of a case; the next trials send them.

        Raises:
            GeneratorError: It died, hung, or refused them.
        """

    def learn(self) -> None:
        """Send learning frames out of each port (RFC 2544 section 23)."""

    def trial(
        self,
        load_pps: float,
        duration_s: float,
        abort: AbortRule,
        on_live: OnLive | None = None,
        *,
        then: Step | None = None,
        detail: bool = False,
    ) -> Trial:
        """Offer `load_pps` in each direction for `duration_s`, go on with `then`, wait for stragglers, count.

        With `detail` the trial carries a timeline and the delay variation.

        Raises:
            GeneratorError: It died or hung; the trial is lost, nothing keeps sending.
        """

    def close(self) -> None:
        """Stop sending and let go of the ports."""


def far_end(link: Link, index: int, *, queues: int, descriptors: int, max_frame_bytes: int) -> Port:
    """The generator's port at the far end of a virtual link.

    A veth pair's far end is called `gen0` or `gen1`; a device that is there already keeps its name.
    """
    if link.kind is LinkKind.VHOST_USER:
        device = f"net_virtio_user{index}"
        server = 0 if link.served else 1
        options = f"path={link.name},server={server},queues={queues},queue_size={descriptors}"
    else:
        device = f"net_af_packet{index}"
        slot = 1 << max(2048, max_frame_bytes + 128).bit_length() - 1
        slot = slot if slot >= max_frame_bytes + 128 else 2 * slot
        name = far_device(link, index)
        options = f"iface={name},qpairs={queues},framesz={slot},blocksz={max(4096, slot)},framecnt={descriptors}"
    return Port(("--vdev", f"{device},{options}"), device)


def far_device(link: Link, index: int) -> str:
    """Name of the kernel device at the generator's end of a link."""
    return f"gen{index}" if link.kind is LinkKind.VETH else link.name
