"""How good is nvgen? Prints its rates beside those of dpdk-testpmd on the same devices, in turns.

    python tests/perf/generator.py [ROUNDS]

Needs root, 2 cores and dpdk-testpmd; hugepages are added and given back. The machine under test is core 0; core 1 is
the peer. Only the ratios mean anything on a shared machine.
"""

from __future__ import annotations

import os
import pty
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nvbench.endpoint import Port
from nvbench.generators.base import Layout
from nvbench.generators.nvgen import Nvgen, build
from nvbench.hosts.local import LocalHost
from nvbench.journal import Restore, locked
from nvbench.traffic import Traffic
from nvbench.trial import AbortRule, Trial

HOST = LocalHost()
HUGEPAGES = "/proc/sys/vm/nr_hugepages"
PAGES = 200
SECONDS = 1.0
FLAT_OUT_PPS = 1e9
NO_ABORT = AbortRule()
NOTHING = Port(("--vdev", "net_null9,no-rx=1"), "net_null9")
EAL = ("--in-memory", "--single-file-segments", "--socket-mem", "128", "--no-pci", "--no-telemetry")


def vdevs(kind: str, folder: str) -> tuple[str, str]:
    """The device under test, and its peer's end of the link; none for net_null."""
    if kind == "virtio_user":
        return (
            f"net_virtio_user0,path={folder}/a,server=1,queue_size=1024",
            f"net_vhost0,iface={folder}/a,client=1",
        )
    if kind == "memif":
        link = f"id=0,socket={folder}/m,socket-abstract=no"
        return f"net_memif0,role=server,{link}", f"net_memif0,role=client,{link}"
    return "net_null0", ""


class Testpmd:
    """A dpdk-testpmd on a terminal, because its output is buffered on a pipe."""

    def __init__(self, mode: str, core: int, *devices: str, wait: bool = True) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [
                *("nice", "-n", "-20", "dpdk-testpmd", "-l", "0,1", f"--main-lcore={1 - core}", *EAL),
                *(f"--file-prefix=nvperf{os.getpid()}{mode}{core}",),
                *(argument for device in devices for argument in ("--vdev", device)),
                *("--", "-i", f"--forward-mode={mode}", "--nb-cores=1", "--total-num-mbufs=16384"),
                *("--txd=1024", "--rxd=1024", "--burst=32", "--txpkts=60", "--no-lsc-interrupt"),
            ],
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)
        if wait:
            self.started()

    def started(self) -> None:
        """Waits for its prompt and lets it forward."""
        self.read()
        self.ask("start")

    def read(self) -> str:
        """All that it says up to its prompt."""
        text = ""
        while not re.search(r"testpmd> $", text):
            text += os.read(self._master, 65536).decode(errors="replace")
        return text

    def ask(self, command: str) -> str:
        """What it answers to a command."""
        os.write(self._master, (command + "\n").encode())
        return self.read()

    def packets(self, name: str) -> tuple[float, int]:
        """When, and how many."""
        text = self.ask("show port stats 0")
        found = re.search(rf"{name}-packets: *(\d+)", text)
        assert found
        return time.monotonic(), int(found[1])

    def rate_pps(self, name: str) -> float:
        """Frames per second by CLOCK_MONOTONIC."""
        began, before = self.packets(name)
        time.sleep(SECONDS)
        ended, after = self.packets(name)
        return (after - before) / (ended - began)

    def close(self) -> None:
        """Ends it."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@contextmanager
def nvgen(binary: str, ports: tuple[Port, Port], peer: tuple[str, tuple[str, ...]] | None) -> Iterator[Nvgen]:
    """An nvgen on core 0, and a testpmd on core 1 that its first ports are connected to."""
    layout = Layout(ports=ports, cores=(0,), memory_mb=128)
    generator = Nvgen.start(HOST, layout, binary=binary, housekeeping_core=0, file_prefix=f"nvperf{os.getpid()}g")
    other = None
    try:
        if peer:
            time.sleep(0.5)
            other = Testpmd(peer[0], 1, *peer[1])
        generator.ready()
        time.sleep(0.2)
        generator.configure(Traffic(64))
        yield generator
    finally:
        generator.close()
        if other:
            other.close()


def nvgen_sends(binary: str, kind: str, folder: str) -> float:
    """Frames per second that nvgen gets rid of."""
    mine, other = vdevs(kind, folder)
    device = mine if kind != "null" else f"{mine},no-rx=1"
    port = Port(("--vdev", device), mine.partition(",")[0])
    with nvgen(binary, (port, NOTHING), ("rxonly", (other,)) if other else None) as generator:
        trial = generator.trial(FLAT_OUT_PPS, SECONDS, NO_ABORT)
        return trial.total.sent / trial.elapsed_s


def nvgen_receives(binary: str, kind: str, folder: str) -> float:
    """Frames per second that nvgen looks at, sent by testpmd."""
    mine, other = vdevs(kind, folder)
    port = Port(("--vdev", mine), mine.partition(",")[0])
    with nvgen(binary, (NOTHING, port), ("txonly", (other,)) if other else None) as generator:
        trial = generator.trial(2 / SECONDS, SECONDS, NO_ABORT)
        return trial.total.foreign / (trial.elapsed_s + generator.drain_s)


def testpmd_moves(mode: str, kind: str, folder: str) -> float:
    """Frames per second of testpmd in the same place."""
    mine, other = vdevs(kind, folder)
    device = Testpmd(mode, 0, mine, wait=False)
    peer = None
    try:
        if other:
            time.sleep(0.5)
            peer = Testpmd("txonly" if mode == "rxonly" else "rxonly", 1, other)
        device.started()
        time.sleep(0.2)
        return device.rate_pps("RX" if mode == "rxonly" else "TX")
    finally:
        device.close()
        if peer:
            peer.close()


def compare(binary: str, rounds: int) -> None:
    """The table of ratios."""
    print("| path | nvgen Mpps | testpmd Mpps | ratio of medians |\n|---|---|---|---|")
    for kind in ("null", "memif", "virtio_user"):
        for mode, measure in (("txonly", nvgen_sends), ("rxonly", nvgen_receives)):
            mine, theirs = [], []
            for _ in range(rounds):
                with tempfile.TemporaryDirectory() as folder:
                    mine.append(measure(binary, kind, folder))
                with tempfile.TemporaryDirectory() as folder:
                    theirs.append(testpmd_moves(mode, kind, folder))
            ours, its = statistics.median(mine), statistics.median(theirs)
            name = f"{kind} {'sends' if mode == 'txonly' else 'receives'}"
            print(f"| {name} | {ours / 1e6:.2f} | {its / 1e6:.2f} | {ours / its:.2f} |", flush=True)


def pacing(binary: str, rounds: int) -> None:
    """Sent against asked, on CLOCK_MONOTONIC, over 2 s."""
    port = Port(("--vdev", "net_null0,no-rx=1"), "net_null0")
    print("\n| asked pps | best sent/asked | median | pauses of the median, ms |\n|---|---|---|---|")
    with nvgen(binary, (port, NOTHING), None) as generator:
        for load_pps in (1e3, 1e4, 1e5, 1e6):
            trials = [generator.trial(load_pps, 2.0, NO_ABORT) for _ in range(rounds)]
            trials.sort(key=lambda trial: abs(trial.offered_pps / load_pps - 1))
            best, middle = trials[0], trials[len(trials) // 2]
            print(
                f"| {load_pps:g} | {best.offered_pps / load_pps:.6f} | {middle.offered_pps / load_pps:.6f} "
                f"| {middle.pauses.generator_total_us / 1000:.1f} |",
                flush=True,
            )


def through_a_wire(binary: str, rounds: int) -> None:
    """Latency floor, the highest load without loss, and the time between trials."""
    with tempfile.TemporaryDirectory() as folder:
        ports = [
            Port(
                ("--vdev", f"net_virtio_user{i},path={folder}/{i},server=1,queue_size=1024"),
                f"net_virtio_user{i}",
            )
            for i in (0, 1)
        ]
        peers = tuple(f"net_vhost{i},iface={folder}/{i},client=1" for i in (0, 1))
        with nvgen(binary, (ports[0], ports[1]), ("io", peers)) as generator:
            print("\n| through testpmd io, pps | min us | p50 us | p99 us | lost | gap ms |\n|---|---|---|---|---|---|")
            for load_pps in (1e4, 1e5, 1e6):
                took: list[float] = []
                trials: list[Trial] = []
                for _ in range(rounds):
                    began = time.monotonic()
                    trials.append(generator.trial(load_pps, SECONDS, NO_ABORT))
                    took.append(time.monotonic() - began - SECONDS)
                best = min(trials, key=lambda trial: trial.latency.percentile_us(50) or 0)
                print(
                    f"| {load_pps:g} | {best.latency.min_us():.2f} | {best.latency.percentile_us(50):.2f} "
                    f"| {best.latency.percentile_us(99):.1f} | {best.total.lost + best.total.refused} "
                    f"| {statistics.median(took) * 1000:.1f} |",
                    flush=True,
                )


def main() -> None:
    """Measures all."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder, locked("perf", {HOST.name: HOST}) as journal:
        found = HOST.read(HUGEPAGES) or "0\n"
        journal.record(HOST, Restore(HUGEPAGES, found))
        HOST.write(HUGEPAGES, f"{int(found) + PAGES}\n")
        binary = build(HOST, folder)
        print(f"{rounds} rounds\n", flush=True)
        try:
            compare(binary, rounds)
            pacing(binary, rounds)
            through_a_wire(binary, rounds)
        finally:
            for left in Path("/run/dpdk").glob(f"nvperf{os.getpid()}*"):
                shutil.rmtree(left, ignore_errors=True)


if __name__ == "__main__":
    main()
