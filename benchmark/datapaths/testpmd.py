"""dpdk-testpmd as the switch: it moves frames between two ports of each pair, and knows nothing of addresses."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from nvbench.datapaths.base import Parameters, Place, dpdk_files, power_of_two, wait_for_socket
from nvbench.endpoint import Link, LinkKind
from nvbench.errors import CommandError, DatapathError
from nvbench.journal import Journal, Remove, ended
from nvbench.tables import Reading
from nvbench.testpmd import PROGRAM, Program, eal, version

WIRE_MEMORY_MB = 256
"""What it needs where all its ports are virtual."""

_ETHERNET_BYTES = 18
"""Header and FCS, beside the IP packet."""


class TestpmdParameters(Parameters):
    """Options of dpdk-testpmd; the names are its own."""

    __test__ = False

    forward: Literal["io", "mac", "macswap", "5tswap", "noisy"] = Field(
        default="io",
        description="as they are, or with MAC addresses set, or MACs swapped, or the five-tuple, too, or as a function "
        "does that buffers frames and looks things up for each",
    )
    burst: int = Field(default=32, ge=1, le=512, description="frames that are taken from a queue at once, at most")
    noisy_buffer: Annotated[int, AfterValidator(power_of_two)] = Field(
        default=0, ge=0, le=65536, description="frames that each port's buffer holds back; 0: none (forward: noisy)"
    )
    noisy_flush_ms: int = Field(
        default=0, ge=0, le=60_000, description="time after which the buffer is sent out all the same (forward: noisy)"
    )
    noisy_memory_mb: int = Field(
        default=0, ge=0, le=65536, description="hugepage memory of each port that is looked up in (forward: noisy)"
    )
    noisy_reads: int = Field(default=0, ge=0, le=65535, description="reads from it for each frame (forward: noisy)")
    noisy_writes: int = Field(default=0, ge=0, le=65535, description="writes to it for each frame (forward: noisy)")

    @model_validator(mode="after")
    def _noise_is_whole(self) -> Self:
        given = [name for name in type(self).model_fields if name.startswith("noisy_") and getattr(self, name)]
        if given and self.forward != "noisy":
            raise ValueError(f"{given[0]} needs forward: noisy")
        if self.noisy_buffer and self.noisy_buffer <= self.burst:
            raise ValueError("a noisy_buffer has to hold more than a burst")
        if bool(self.noisy_buffer) != bool(self.noisy_flush_ms):
            raise ValueError(
                "noisy_buffer and noisy_flush_ms go together: what is in it at the end would never come out"
            )
        if bool(self.noisy_memory_mb) != bool(self.noisy_reads + self.noisy_writes):
            raise ValueError("noisy_memory_mb and noisy_reads or noisy_writes go together")
        return self

    def noise(self) -> list[str]:
        """Words of its command line for what it does in forward mode noisy."""
        words = {
            "tx-sw-buffer-size": self.noisy_buffer,
            "tx-sw-buffer-flushtime": self.noisy_flush_ms,
            "lkup-memory": self.noisy_memory_mb,
            "lkup-num-reads": self.noisy_reads,
            "lkup-num-writes": self.noisy_writes,
        }
        return [f"--noisy-{word}={value}" for word, value in words.items() if value]

    @property
    def carries_offloads(self) -> bool:
        """See `Parameters.carries_offloads`."""
        return False


class Testpmd:
    """A dpdk-testpmd that joins the pairs of links."""

    __test__ = False

    takes: ClassVar[tuple[LinkKind, ...]] = (LinkKind.VHOST_USER, LinkKind.VETH, LinkKind.PCI, LinkKind.VDEV)
    restarts = True

    def __init__(self, place: Place, parameters: TestpmdParameters) -> None:
        self._place = place
        self._parameters = parameters
        self._program = Program(place.host, place.inside, place.file_prefix)
        self._undo: tuple[Journal, int] | None = None
        self.version = ""
        self.findings: list[str] = []

    def missing(self) -> str:
        """See `Datapath.missing`."""
        found = self._place.host.run(["which", PROGRAM], check=False).ok
        return "" if found else f"{PROGRAM} is not installed"

    # -- coming up ---------------------------------------------------------------------------------------------

    def up(self, journal: Journal) -> None:
        """See `Datapath.up`; the program itself needs the far ends, and starts when they are attached."""
        self._undo = (journal, journal.mark())
        journal.record(self._place.host, Remove(self._place.folder))
        journal.record(self._place.host, dpdk_files(self._place.file_prefix))
        with _told():
            self._place.host.make_folder(self._place.folder)
            self.version = version(self._place.host)

    def attach(self) -> None:
        """See `Datapath.attach`."""
        with _told():
            for link in self._place.links:
                if link.kind is LinkKind.VETH:
                    self._place.inside.run(["ip", "link", "set", link.name, "mtu", str(self._parameters.mtu), "up"])
            # A far end may not serve its second socket before somebody has connected to its first.
            others = [link for link in self._place.links if link.kind is LinkKind.VHOST_USER and not link.served]
            for link in others[:1]:
                wait_for_socket(self._place.host, link)
            self._start()
            for link in others:
                wait_for_socket(self._place.host, link)

    def _start(self) -> None:
        """Start it, and see that it joins what it was asked to join."""
        for link in self._place.links:
            if link.served:
                self._place.host.remove(link.name)  # one that was killed left it, and it cannot be bound twice
        self._program.start(self.command())
        joined = self._program.begun()
        wanted = {(near, far) for pair in self._port_pairs() for near, far in (pair, pair[::-1])}
        if joined != wanted:
            raise DatapathError(f"it joins the ports {sorted(joined)}, not {sorted(wanted)}", place="testpmd")
        self._program.prefer_pollers()

    # -- the command line --------------------------------------------------------------------------------------

    def command(self) -> list[str]:
        """Its command line."""
        place, wanted = self._place, self._parameters
        order = [str(port) for pair in self._port_pairs() for port in pair]
        return [
            *eal((place.housekeeping_core, *place.pmd_cores), place.file_prefix, place.memory_mb),
            *self._devices(),
            "--",
            *(f"--rxq={wanted.queues}", f"--txq={wanted.queues}"),
            *(f"--rxd={wanted.descriptors}", f"--txd={wanted.descriptors}"),
            *(f"--forward-mode={wanted.forward}", f"--burst={wanted.burst}", f"--nb-cores={len(place.pmd_cores)}"),
            *("--port-topology=paired", f"--portlist={','.join(order)}"),
            *("--auto-start", "--no-lsc-interrupt", "--disable-link-check"),
            *self._buffers(),
            *wanted.noise(),
        ]

    def _devices(self) -> list[str]:
        devices = [self._device(index, link) for index, link in enumerate(self._place.links)]
        words = [word for device in devices for word in device]
        return words if "-a" in words else ["--no-pci", *words]

    def _device(self, index: int, link: Link) -> tuple[str, str]:
        queues = self._parameters.queues
        if link.kind is LinkKind.PCI:
            return "-a", link.name
        if link.kind is LinkKind.VHOST_USER:
            client = 0 if link.served else 1
            return "--vdev", f"net_vhost{index},iface={link.name},client={client},queues={queues}"
        if link.kind is LinkKind.VETH:
            slot, frames = _slot_bytes(self._parameters.mtu), self._parameters.descriptors
            block = max(4096, slot)
            ring = f"framesz={slot},blocksz={block},framecnt={frames}"
            return "--vdev", f"net_af_packet{index},iface={link.name},qpairs={queues},{ring}"
        return "--vdev", link.name

    def _port_pairs(self) -> list[tuple[int, int]]:
        """DPDK's numbers of the ports of each pair: physical ones come first, by address, then others as named."""
        links = self._place.links
        physical = sorted(link.name for link in links if link.kind is LinkKind.PCI)
        others = [link.name for link in links if link.kind is not LinkKind.PCI]
        number = {name: index for index, name in enumerate([*physical, *others])}
        return [(number[first.name], number[second.name]) for first, second in self._place.segments]

    def _buffers(self) -> list[str]:
        """Room for a frame in one buffer, and buffers for every descriptor of a physical port."""
        wanted, kinds = self._parameters, [link.kind for link in self._place.links]
        size = max(2176, wanted.mtu + 400)
        if LinkKind.VETH in kinds:
            size = max(size, _slot_bytes(wanted.mtu) + 128)  # af_packet wants room for a whole slot
        count = 8192 + kinds.count(LinkKind.PCI) * wanted.queues * 2 * wanted.descriptors
        count += len(kinds) * wanted.noisy_buffer
        words = [f"--total-num-mbufs={count}", f"--mbuf-size={size}"]
        # Virtual devices take frames of any size unasked, and af_packet refuses to be asked.
        return [*words, f"--max-pkt-len={wanted.mtu + _ETHERNET_BYTES}"] if LinkKind.PCI in kinds else words

    # -- while it runs -----------------------------------------------------------------------------------------

    def readings(self) -> Sequence[Reading]:
        """See `Datapath.readings`: it tells its own when it ends, and not before; its ports' are had by `telemetry`."""
        return ()

    @property
    def telemetry(self) -> tuple[str, dict[int, str]]:
        """Its telemetry socket, and its ports there: DPDK's number -> nvp0, nvp1 and on, in the order of the links."""
        numbers = (number for pair in self._port_pairs() for number in pair)
        names = {number: f"nvp{index}" for index, number in enumerate(numbers)}
        return f"/run/dpdk/{self._place.file_prefix}/dpdk_telemetry.v2", names

    def crashed(self) -> str:
        """See `Datapath.crashed`."""
        return self._program.crashed()

    def poller(self) -> int | None:
        """See `Datapath.poller`."""
        return self._program.pid

    def restart(self, down_s: float) -> None:
        """See `Datapath.restart`."""
        pid = self._program.pid
        if pid is None or self.crashed():
            raise DatapathError(self.crashed() or f"{PROGRAM} is not running", place="testpmd")
        began = time.monotonic()
        with _told():
            self._place.host.run(["kill", "-KILL", str(pid)])
            while not ended(self._place.host, pid):
                if time.monotonic() > began + 10.0:
                    raise DatapathError(f"{PROGRAM}, process {pid}, does not end", place="testpmd")
                time.sleep(0.005)
            self._program.close()
            time.sleep(max(0.0, began + down_s - time.monotonic()))
            self._start()

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
        self._program.close()
        if self._undo is not None:
            journal, mark = self._undo
            journal.undo_since(mark)


def _slot_bytes(mtu: int) -> int:
    """Size of a slot of af_packet's rings: a frame and its header, in halves or wholes of a page."""
    needed = mtu + _ETHERNET_BYTES + 4 + 96
    return 2048 if needed <= 2048 else -(-needed // 4096) * 4096


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise DatapathError(str(error), place="testpmd") from error
