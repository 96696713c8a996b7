"""How do the generators compare? What each offers of what it is asked for, on the same devices, in turns.

    python tests/perf/generators.py [ROUNDS [DEVICE ...]] [NAME=PROGRAM ...]

A device is net_null, virtio_user or veth; `pktgen=/opt/pktgen` says where a program is, as a testbed would. Every kind
that this machine has is compared. Needs root and 2 cores; hugepages are added and given back. The generator has core 0,
the other has all else. Only the ratios mean anything on a shared machine.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from nvbench.abilities import Ability
from nvbench.cabling import make_namespace, make_veth
from nvbench.datapaths.base import dpdk_files
from nvbench.endpoint import Link, LinkKind, Port
from nvbench.errors import NvbenchError
from nvbench.generators import KINDS, Kind
from nvbench.generators.base import Generator, Layout, Seat, far_end
from nvbench.hosts import Host, LocalHost
from nvbench.journal import EndPrograms, Journal, Remove, Restore, locked, state_folder
from nvbench.traffic import Traffic
from nvbench.trial import AbortRule

HOST = LocalHost()
HUGEPAGES = "/proc/sys/vm/nr_hugepages"
HUGEPAGE_MB = 2
BUFFERS_MB = 144
PEER_MB = 64
CACHE = "/var/cache/nvbench"
SECONDS = 1.0
LOADS_PPS = (1e3, 1e4, 1e5, 1e6)
FLAT_OUT_PPS = 1e9
PREFIX = "nvperf-generators"


@dataclass(frozen=True)
class Device:
    """What generators are compared on.

    Attributes:
        kind: Of the links.
        ports: Makes both ports in a folder of their own; where they are; and the command line of what takes frames in.
    """

    kind: LinkKind
    ports: Callable[[Journal, str], tuple[tuple[Port, Port], Host, list[str]]]


def net_null(_journal: Journal, _folder: str) -> tuple[tuple[Port, Port], Host, list[str]]:
    """Ports that swallow what is sent."""
    first, second = (Port(("--vdev", f"net_null{i},no-rx=1"), f"net_null{i}") for i in (0, 1))
    return (first, second), HOST, []


def virtio_user(_journal: Journal, folder: str) -> tuple[tuple[Port, Port], Host, list[str]]:
    """Ports whose other ends a dpdk-testpmd empties."""
    links = [Link(LinkKind.VHOST_USER, f"{folder}/{i}.sock") for i in (0, 1)]
    first, second = (far_end(link, i, queues=1, descriptors=1024, max_frame_bytes=1518) for i, link in enumerate(links))
    vhosts = [word for i, link in enumerate(links) for word in ("--vdev", f"net_vhost{i},iface={link.name},client=1")]
    peer = f"nice -n -20 dpdk-testpmd --lcores 0@1,1@1 --in-memory --single-file-segments --socket-mem {PEER_MB}"
    options = "--no-pci --no-telemetry -- --forward-mode=rxonly --auto-start --total-num-mbufs=16384"
    before, after = options.split(" -- ")
    return (
        (first, second),
        HOST,
        [*peer.split(), *before.split(), "--file-prefix", f"{PREFIX}-peer", *vhosts, "--", *after.split()],
    )


def veth(journal: Journal, _folder: str) -> tuple[tuple[Port, Port], Host, list[str]]:
    """Kernel devices whose other ends drop what comes."""
    near, far = (make_namespace(HOST, journal, f"{PREFIX}-{name}") for name in ("near", "far"))
    links = [Link(LinkKind.VETH, f"nvp{i}") for i in (0, 1)]
    first, second = (far_end(link, i, queues=1, descriptors=1024, max_frame_bytes=1518) for i, link in enumerate(links))
    for link, port in zip(links, (first, second), strict=True):
        make_veth(near, link.name, far, port.kernel)
        near.run(["ip", "link", "set", link.name, "up"])
        far.run(["ip", "link", "set", port.kernel, "up"])
    return (first, second), far, []


DEVICES = {
    "net_null": Device(LinkKind.VDEV, net_null),
    "virtio_user": Device(LinkKind.VHOST_USER, virtio_user),
    "veth": Device(LinkKind.VETH, veth),
}


@contextmanager
def started(kind: Kind, device: Device, journal: Journal, program: str) -> Iterator[Generator]:
    """A generator that is ready to send."""
    mark = journal.mark()
    folder = f"{state_folder()}/{PREFIX}"
    for undo in (dpdk_files(PREFIX), dpdk_files(f"{PREFIX}-peer"), Remove(folder), EndPrograms(PREFIX)):
        journal.record(HOST, undo)
    generator = peer = None
    try:
        HOST.make_folder(folder)
        ports, host, emptying = device.ports(journal, folder)
        layout = Layout(ports=ports, cores=(0,), memory_mb=kind.memory_mb(BUFFERS_MB))
        generator = kind.start(Seat(host, layout, 1, PREFIX, folder, CACHE, program))
        if emptying:
            while not Path(folder, "0.sock").exists():
                generator.check_alive()
                time.sleep(0.02)
            peer = subprocess.Popen(
                emptying, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        generator.ready()
        time.sleep(0.3)
        generator.configure(Traffic(64))
        yield generator
    finally:
        if generator:
            generator.close()
        if peer:
            peer.kill()
            peer.wait()
        journal.undo_since(mark)


@dataclass
class Table:
    """What was found of a device: load and kind -> frames per second, one a round; and why a kind has none.

    Of a set load it counts what was offered, whether or not the device took it; flat out what it took.
    """

    found_pps: dict[tuple[float, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    faults: dict[str, str] = field(default_factory=dict)

    def measure(self, kind: Kind, device: Device, journal: Journal, program: str) -> None:
        """One round of one kind."""
        paced = Ability.PACED in kind.abilities({device.kind})
        try:
            with started(kind, device, journal, program) as generator:
                for load_pps in (*(LOADS_PPS if paced else ()), FLAT_OUT_PPS):
                    trial = generator.trial(load_pps, SECONDS, AbortRule())
                    sent_pps = trial.total.sent / trial.elapsed_s
                    self.found_pps[load_pps, kind.name].append(
                        sent_pps if load_pps == FLAT_OUT_PPS else trial.offered_pps
                    )
        except NvbenchError as error:
            self.faults[kind.name] = str(error)

    def tell(self, device: str, kinds: list[Kind]) -> None:
        """Print it."""
        names = [kind.name for kind in kinds]
        print(f"\n| {device}, 64 B, offered/asked at pps | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
        for load_pps in LOADS_PPS:
            cells = (
                f"{median(found) / load_pps:.5f}" if (found := self.found_pps.get((load_pps, name))) else "-"
                for name in names
            )
            print(f"| {load_pps:,.0f} | {' | '.join(cells)} |")
        most = {name: median(found) for name in names if (found := self.found_pps.get((FLAT_OUT_PPS, name)))}
        print(
            f"| flat out, Mpps | {' | '.join(f'{most[name] / 1e6:.3f}' if name in most else '-' for name in names)} |"
        )
        first = most.get(names[0])
        ratios = (f"{most[name] / first:.2f}" if first and name in most else "-" for name in names)
        print(f"| flat out, of {names[0]}'s | {' | '.join(ratios)} |")
        for name, fault in self.faults.items():
            print(f"{name}: {fault}")


def main() -> None:
    """Measures all."""
    programs = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    words = [word for word in sys.argv[1:] if "=" not in word]
    rounds = int(words[0]) if words else 3
    kinds = []
    for kind in KINDS:
        if lacking := kind.missing(HOST, programs.get(kind.name, "")):
            print(f"{kind.name} is not compared: {lacking}")
        else:
            kinds.append(kind)
    with locked("perf", {HOST.name: HOST}) as journal:
        found = int(HOST.read(HUGEPAGES) or 0)
        journal.record(HOST, Restore(HUGEPAGES, f"{found}\n"))
        most_mb = max(kind.memory_mb(BUFFERS_MB) for kind in kinds) + 2 * PEER_MB
        HOST.write(HUGEPAGES, f"{found + most_mb // HUGEPAGE_MB}\n")
        for kind in kinds:
            kind.prepare(HOST, CACHE)
        print(f"{rounds} rounds of {SECONDS:g} s")
        for name in words[1:] or DEVICES:
            device = DEVICES[name]
            able = [kind for kind in kinds if device.kind in kind.links]
            table = Table()
            for _ in range(rounds):
                for kind in able:
                    table.measure(kind, device, journal, programs.get(kind.name, ""))
            table.tell(name, able)


if __name__ == "__main__":
    main()
