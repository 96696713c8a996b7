"""dpdk-testpmd as the switch: it moves frames between two ports of each pair, and knows nothing of addresses."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import ClassVar, Literal

from pydantic import Field

from nvbench.datapaths.base import Parameters, Place, dpdk_files, wait_for_socket
from nvbench.endpoint import Link, LinkKind
from nvbench.errors import CommandError, DatapathError
from nvbench.fingerprint import threads
from nvbench.hosts import Process
from nvbench.journal import Journal, Remove, ended
from nvbench.tables import Reading

PROGRAM = "dpdk-testpmd"
WIRE_MEMORY_MB = 256
"""What it needs where all its ports are virtual."""

_READY = "Press enter to exit"
_ETHERNET_BYTES = 18
"""Header and FCS, beside the IP packet."""


class TestpmdParameters(Parameters):
    """Options of dpdk-testpmd; the names are its own."""

    __test__ = False

    forward: Literal["io", "mac", "macswap", "5tswap"] = Field(
        default="io", description="as they are, or with MAC addresses set, or MACs swapped, or the five-tuple, too"
    )
    burst: int = Field(default=32, ge=1, le=512, description="frames that are taken from a queue at once, at most")

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
        self._process: Process | None = None
        self._pid: int | None = None
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
            dpdk = self._place.host.run(["pkg-config", "--modversion", "libdpdk"], check=False)
        self.version = f"testpmd of DPDK {dpdk.stdout.strip()}" if dpdk.ok else "testpmd"

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
        self._process = self._place.inside.spawn(self.command())
        joined = set(_streams(self._start_lines()))
        wanted = {(near, far) for pair in self._port_pairs() for near, far in (pair, pair[::-1])}
        if joined != wanted:
            raise DatapathError(f"it joins the ports {sorted(joined)}, not {sorted(wanted)}", place="testpmd")
        self._pid = self._find_pid()
        self._prefer_pollers()

    def _start_lines(self, patience_s: float = 20.0) -> list[str]:
        assert self._process is not None  # noqa: S101 - just started
        lines: list[str] = []
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            try:
                line = self._process.receive(0.1)
            except TimeoutError:
                continue
            if line is None:
                raise DatapathError(f"{PROGRAM} did not start: {self._last_words()}", place="testpmd")
            if _READY in line:
                return lines
            lines.append(line)
        raise DatapathError(f"{PROGRAM} did not start in {patience_s:g} s: {self._last_words()}", place="testpmd")

    def _find_pid(self) -> int | None:
        host = self._place.host
        for pid in host.run(["pgrep", "-x", PROGRAM], check=False).stdout.split():
            words = (host.read(f"/proc/{pid}/cmdline") or "").split("\0")
            if self._place.file_prefix in words:
                return int(pid)
        return None

    def _prefer_pollers(self) -> None:
        """Put the polling threads before whatever else the host runs on their cores."""
        found = {} if self._pid is None else threads(self._place.host, self._pid)
        workers = [str(thread) for thread, name in found.items() if "worker" in name]
        if workers:
            self._place.host.run(["renice", "-n", "-20", "-p", *workers])

    # -- the command line --------------------------------------------------------------------------------------

    def command(self) -> list[str]:
        """Its command line; it ends when its standard input closes, also when nvbench is killed."""
        place, wanted = self._place, self._parameters
        cores = [f"{index}@{core}" for index, core in enumerate((place.housekeeping_core, *place.pmd_cores))]
        order = [str(port) for pair in self._port_pairs() for port in pair]
        return [
            *("stdbuf", "-oL", PROGRAM),  # its lines as they come, though nobody has a terminal
            f"--lcores={','.join(cores)}",
            *("--in-memory", "--single-file-segments"),
            *("--file-prefix", place.file_prefix, "--socket-mem", str(place.memory_mb)),
            *self._devices(),
            "--",
            *(f"--rxq={wanted.queues}", f"--txq={wanted.queues}"),
            *(f"--rxd={wanted.descriptors}", f"--txd={wanted.descriptors}"),
            *(f"--forward-mode={wanted.forward}", f"--burst={wanted.burst}", f"--nb-cores={len(place.pmd_cores)}"),
            *("--port-topology=paired", f"--portlist={','.join(order)}"),
            *("--auto-start", "--no-lsc-interrupt", "--disable-link-check"),
            *self._buffers(),
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
        if self._process is None:
            return ""
        try:
            while self._process.receive(0.0) is not None:
                pass
        except TimeoutError:
            return ""
        return f"{PROGRAM} has ended: {self._last_words()}"

    def _last_words(self) -> str:
        """What it complained of, if it did, and its exit status; negative for a signal that killed it."""
        assert self._process is not None  # noqa: S101 - whoever asks has started it
        told = [line.strip() for line in self._process.complaints() if _COMPLAINT.search(line)]
        return " / ".join([*told[-3:], f"status {self._process.close()}"])

    def poller(self) -> int | None:
        """See `Datapath.poller`."""
        return self._pid

    def restart(self, down_s: float) -> None:
        """See `Datapath.restart`."""
        pid = self._pid
        if self._process is None or pid is None or self.crashed():
            raise DatapathError(self.crashed() or f"{PROGRAM} is not running", place="testpmd")
        began = time.monotonic()
        with _told():
            self._place.host.run(["kill", "-KILL", str(pid)])
            while not ended(self._place.host, pid):
                if time.monotonic() > began + 10.0:
                    raise DatapathError(f"{PROGRAM}, process {pid}, does not end", place="testpmd")
                time.sleep(0.005)
            self._process.close()
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
        if self._process is not None:
            self._process.close()
            self._process = self._pid = None
        if self._undo is not None:
            journal, mark = self._undo
            journal.undo_since(mark)


def _slot_bytes(mtu: int) -> int:
    """Size of a slot of af_packet's rings: a frame and its header, in halves or wholes of a page."""
    needed = mtu + _ETHERNET_BYTES + 4 + 96
    return 2048 if needed <= 2048 else -(-needed // 4096) * 4096


_COMPLAINT = re.compile(r"error|fail|cause|cannot|invalid|unable|not fit|signal", re.IGNORECASE)
_STREAM = re.compile(r"RX P=(\d+)/Q=\d+ .*-> TX P=(\d+)/Q=\d+")


def _streams(lines: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Ports from which and to which frames go, as it tells them when it starts."""
    for line in lines:
        if found := _STREAM.search(line):
            yield int(found[1]), int(found[2])


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except CommandError as error:
        raise DatapathError(str(error), place="testpmd") from error
