"""What nvbench asks of a traffic generator: take frames, run trials."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from nvbench.abilities import Ability
from nvbench.endpoint import Link, LinkKind, Port
from nvbench.hosts import Host
from nvbench.traffic import Traffic
from nvbench.trial import AbortRule, Counters, Step, Trial

DPDK_LINKS = (LinkKind.VHOST_USER, LinkKind.VETH, LinkKind.DEVICE, LinkKind.PCI, LinkKind.VDEV)
"""Kinds of links that a DPDK generator can be the far end of."""

RUNTIME = "/run/dpdk"
"""Where DPDK programs run by root have a folder each."""


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

    @property
    def devices(self) -> tuple[str, ...]:
        """EAL arguments that make its ports appear."""
        return tuple(argument for port in self.ports for argument in port.eal)

    @property
    def memory(self) -> tuple[str, ...]:
        """EAL arguments for its memory, of which nothing is left in a file system."""
        if self.hugepages:
            return "--in-memory", "--single-file-segments", "--socket-mem", str(self.memory_mb)
        return "--no-huge", "-m", str(self.memory_mb)

    @property
    def numbers(self) -> tuple[int, ...]:
        """DPDK's numbers of its ports: physical ones come first, by address, then others as named."""
        names = [port.device for port in self.ports if port.device]
        physical = sorted(port.device for port in self.ports if "-a" in port.eal)
        order = [*physical, *(name for name in names if name not in physical)]
        return tuple(order.index(name) for name in names)

    @property
    def sockets(self) -> tuple[str, ...]:
        """The sockets that it opens itself for a switch to connect to."""
        options = [dict(part.partition("=")[::2] for part in argument.split(",")) for argument in self.devices]
        return tuple(each["path"] for each in options if each.get("server") == "1" and "path" in each)


@dataclass(frozen=True, slots=True)
class Seat:
    """Where a generator sits: its host, and what it may use there.

    Attributes:
        host: Where it runs; a network namespace of the host where its ports are the kernel's.
        layout: Ports, cores, queues and memory.
        housekeeping_core: Where all of it that does not poll runs.
        file_prefix: Keeps the files of a DPDK program apart from others'; part of its command line, and of nobody
            else's, so that what is left of it can be found.
        folder: A folder of its own on the host, which goes with it.
        cache: A folder there for what outlives it: a program that was compiled.
        program: Where the testbed says that its program or its folder is; empty: where such things are.
        drain_s: Wait for stragglers after the last frame of a trial.
    """

    host: Host
    layout: Layout
    housekeeping_core: int
    file_prefix: str
    folder: str
    cache: str
    program: str = ""
    drain_s: float = 0.1


def runtime_folder(file_prefix: str) -> str:
    """What DPDK, run by root, leaves behind of a program even where that ends in order."""
    return f"{RUNTIME}/{file_prefix}"


def telemetry(file_prefix: str) -> str:
    """Where a DPDK program answers questions of its counters."""
    return f"{runtime_folder(file_prefix)}/dpdk_telemetry.v2"


class Generator(Protocol):
    """A traffic generator that was started."""

    name: str
    version: str
    simulated: bool
    clock: dict[str, float]
    """What it found of its processor's clock: true and DPDK's frequency, `tsc_hz` and `dpdk_hz`; empty without one."""

    def ready(self, timeout_s: float = ...) -> None:
        """Wait until its ports are up and connected, which may need a switch at their other ends.

        Unless told, a kind waits as long as it may well take.

        Raises:
            GeneratorError: It did not come up in time, or said why it cannot.
        """

    def check_alive(self) -> None:
        """Does nothing where it is up, or still waits for a switch.

        Raises:
            GeneratorError: It has ended, or said why it cannot go on.
        """

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


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of generator, before any is started.

    Attributes:
        name: What profiles and results call it.
        process: Name of the process that sends, as the kernel tells it.
        uses: What it needs of its host, in the words of `doctor.examine`.
        links: Kinds of links that it can be the far end of.
        abilities: What it can do beside sending flat out and counting, at the end of links of these kinds.
        cannot_send: Why it cannot send such frames, as a clause that completes "it"; empty where it can.
        missing: Why a host does not have it, given what the testbed says of where it is; empty where it has.
        start: Starts one. It is usable once `Generator.ready` returns. Raises GeneratorError or CommandError.
        prepare: Has it made on a host that lacks nothing, in that cache folder, where it has to be made.
        memory_mb: Hugepage memory for it, given that for the buffers of its ports.
        plays_files: Whether it can send the frames of `Traffic.pcap`; one that cannot is not asked for more of it.
    """

    name: str
    process: str
    uses: frozenset[str]
    links: tuple[LinkKind, ...]
    abilities: Callable[[Collection[LinkKind]], frozenset[Ability]]
    cannot_send: Callable[[Traffic], str]
    missing: Callable[[Host, str], str]
    start: Callable[[Seat], Generator]
    prepare: Callable[[Host, str], object] = lambda _host, _cache: None
    memory_mb: Callable[[int], int] = lambda buffers_mb: buffers_mb
    plays_files: bool = False


def far_end(link: Link, index: int, *, queues: int, descriptors: int, max_frame_bytes: int) -> Port:
    """The generator's port at the far end of a virtual link.

    A veth pair's far end is called `gen0` or `gen1`; a device that is there already keeps its name.
    """
    if link.kind is LinkKind.VHOST_USER:
        name, device = "", f"net_virtio_user{index}"
        server = 0 if link.served else 1
        options = f"path={link.name},server={server},queues={queues},queue_size={descriptors}"
    else:
        device = f"net_af_packet{index}"
        slot = 1 << max(2048, max_frame_bytes + 128).bit_length() - 1
        slot = slot if slot >= max_frame_bytes + 128 else 2 * slot
        name = far_device(link, index)
        options = f"iface={name},qpairs={queues},framesz={slot},blocksz={max(4096, slot)},framecnt={descriptors}"
    return Port(("--vdev", f"{device},{options}"), device, name)


def far_device(link: Link, index: int) -> str:
    """Name of the kernel device at the generator's end of a link."""
    return f"gen{index}" if link.kind is LinkKind.VETH else link.name
