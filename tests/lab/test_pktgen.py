"""The real Pktgen-DPDK, where there is one: on DPDK's software devices, through dpdk-testpmd as a wire, over veth.

The machine may be shared and noisy: no assertion on absolute rates but generous ones.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nvbench.endpoint import Link, LinkKind, Port
from nvbench.errors import GeneratorError
from nvbench.generators.base import Layout, Seat, far_end
from nvbench.generators.pktgen import MEMORY_MB, PKTGEN, Pktgen
from nvbench.hosts import Host, LocalHost, NamespaceHost
from nvbench.traffic import Direction, FlowField, Traffic
from nvbench.trial import AbortRule, Validity

pytestmark = pytest.mark.skipif(not shutil.which("pktgen"), reason="no pktgen: Pktgen-DPDK is in no distribution")

NO_ABORT = AbortRule()
ATTEMPTS = 5
NULL = (Port(("--vdev", "net_null0,no-rx=1"), "net_null0"), Port(("--vdev", "net_null1,no-rx=1"), "net_null1"))
PREFIX = f"nvtest{os.getpid()}-pktgen"
NAMESPACE = f"nvtest{os.getpid()}"
LAST_CORE = os.cpu_count() - 1  # type: ignore[operator]


@contextmanager
def pktgen(
    folder: Path, ports: tuple[Port, Port] = NULL, *, host: Host | None = None, frame_bytes: int = 1518
) -> Iterator[Pktgen]:
    layout = Layout(ports, (0,), max_frame_bytes=frame_bytes, memory_mb=MEMORY_MB, hugepages=False)
    generator = PKTGEN.start(Seat(host or LocalHost(), layout, 0, PREFIX, str(folder / "seat"), str(folder)))
    try:
        yield generator
    finally:
        generator.close()


@contextmanager
def wire(folder: Path) -> Iterator[tuple[Pktgen, subprocess.Popen[bytes]]]:
    """It, and a dpdk-testpmd that carries frames between its two ports."""
    links = [Link(LinkKind.VHOST_USER, str(folder / name)) for name in ("a", "b")]
    first, second = (
        far_end(link, index, queues=1, descriptors=1024, max_frame_bytes=1518) for index, link in enumerate(links)
    )
    with pktgen(folder, (first, second)) as generator:
        while not Path(links[0].name).exists():
            generator.check_alive()
            time.sleep(0.05)
        devices = [("--vdev", f"net_vhost{index},iface={link.name},client=1") for index, link in enumerate(links)]
        carrier = subprocess.Popen(
            [
                *("dpdk-testpmd", f"--lcores=0@0,1@{LAST_CORE}", "--no-huge", "-m", "256", "--no-pci"),
                *("--file-prefix", f"{PREFIX}-wire", *(word for device in devices for word in device), "--"),
                *("--total-num-mbufs=8192", "--port-topology=paired", "--auto-start", "--no-lsc-interrupt"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            generator.ready()
            yield generator, carrier
        finally:
            carrier.send_signal(signal.SIGCONT)
            carrier.communicate(timeout=60)
            shutil.rmtree(f"/run/dpdk/{PREFIX}-wire", ignore_errors=True)


def test_a_load_is_what_was_asked_also_after_more_than_it_can_send(as_found: None, tmp_path: Path) -> None:
    with pktgen(tmp_path) as generator:
        generator.ready()
        assert generator.version.startswith("Pktgen 2")
        assert generator.clock["tsc_hz"] == pytest.approx(generator.clock["dpdk_hz"], rel=0.005)
        generator.configure(Traffic(64))
        generator.learn()
        flat_out = generator.trial(1e9, 0.3, NO_ABORT)
        assert not flat_out.valid
        assert flat_out.offered_pps > 1e6
        for load_pps in (1_000, 123_456):
            for _ in range(ATTEMPTS):
                trial = generator.trial(load_pps, 1.0, NO_ABORT)
                if trial.valid and trial.offered_pps == pytest.approx(load_pps, rel=0.02):
                    break
            assert trial.offered_pps == pytest.approx(load_pps, rel=0.02), trial
            assert trial.elapsed_s == pytest.approx(1.0, abs=0.2)


def test_what_a_wire_brings_back_is_counted(as_found: None, tmp_path: Path) -> None:
    with wire(tmp_path) as (generator, _):
        generator.configure(Traffic(128, flows=100, direction=Direction.BIDIRECTIONAL))
        for _ in range(ATTEMPTS):
            lives = []
            trial = generator.trial(20_000, 1.0, NO_ABORT, lives.append)
            if trial.valid and trial.loss_ratio < 0.1:
                break
        assert len(trial.directions) == 2
        assert all(direction.sent > 10_000 for direction in trial.directions)
        assert trial.loss_ratio < 0.1
        assert len(lives) >= 5


def test_a_peer_that_takes_nothing_is_told_and_does_not_hold_it_up(as_found: None, tmp_path: Path) -> None:
    with wire(tmp_path) as (generator, carrier):
        generator.configure(Traffic(64))
        began: list[float] = []

        def stop_peer(_: object) -> None:
            if not began:
                began.append(time.monotonic())
                carrier.send_signal(signal.SIGSTOP)

        trial = generator.trial(100_000, 1.0, NO_ABORT, stop_peer)
        assert trial.validity is Validity.STALLED, trial
        assert "takes no frame" in trial.reason
        closing = time.monotonic()
        generator.close()
        assert time.monotonic() - closing < 10.0


@contextmanager
def veth() -> Iterator[tuple[NamespaceHost, tuple[Port, Port]]]:
    """A namespace with the devices gen0 and gen1 for the generator, and far0 and far1 behind them."""
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    inside = NamespaceHost(LocalHost(), NAMESPACE)
    try:
        for index in (0, 1):
            inside.run(["ip", "link", "add", f"gen{index}", "type", "veth", "peer", "name", f"far{index}"])
            for name in (f"gen{index}", f"far{index}"):
                inside.write(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", "1")
                inside.run(["ip", "link", "set", name, "up"])
        links = [Link(LinkKind.VETH, f"far{index}") for index in (0, 1)]
        first, second = (
            far_end(link, index, queues=1, descriptors=512, max_frame_bytes=1518) for index, link in enumerate(links)
        )
        yield inside, (first, second)
    finally:
        subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)


SNIFF = """
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(("far0", 0)); s.settimeout(30)
s.setsockopt(263, 8, 1)  # SOL_PACKET, PACKET_AUXDATA: the kernel takes tags out of frames and tells them there
print("ready", flush=True)
for _ in range(6):
    frame, aside, _, _ = s.recvmsg(2048, 256)
    print(frame.hex(), aside[0][2].hex(), flush=True)
"""


def sniffed(act: Callable[[], object]) -> list[tuple[bytes, int]]:
    """Frames without tags, and their VLAN tags, that arrive at far0 meanwhile."""
    command = ["ip", "netns", "exec", NAMESPACE, "python3", "-c", SNIFF]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sniffer:
        assert sniffer.stdout is not None
        assert sniffer.stdout.readline() == "ready\n"
        act()
        rows = [line.split() for line in sniffer.stdout]
    return [(bytes.fromhex(frame), int.from_bytes(bytes.fromhex(aside)[16:18], "little")) for frame, aside in rows]


def test_its_frames_are_those_that_were_asked_for(as_found: None, tmp_path: Path) -> None:
    with veth() as (inside, ports), pktgen(tmp_path, ports, host=inside) as generator:
        generator.ready()
        generator.configure(Traffic(128, flows=3, vary=(FlowField.UDP_SRC, FlowField.IP_DST), vlan=100))
        rows = sniffed(generator.learn)
        assert {tag for _, tag in rows} == {100}
        assert {len(frame) for frame, _ in rows} == {128 - 4 - 4}  # neither FCS nor tag
        frames = [frame for frame, _ in rows]
        assert {(frame[6:12].hex(":"), frame[:6].hex(":")) for frame in frames} == {
            ("02:00:00:00:01:00", "02:00:00:00:02:00")
        }
        assert {frame[23] for frame in frames} == {socket.IPPROTO_UDP}
        assert {socket.inet_ntoa(frame[26:30]) for frame in frames} == {"198.18.0.0"}
        flows = {(socket.inet_ntoa(frame[30:34]), int.from_bytes(frame[34:36])) for frame in frames}
        assert len(flows) == 3
        assert {port for _, port in flows} == {1024, 1025, 1026}
        assert {address for address, _ in flows} == {"198.19.0.0", "198.19.0.1", "198.19.0.2"}


def test_why_it_does_not_start_is_told_in_its_own_words(as_found: None, tmp_path: Path) -> None:
    with veth() as (inside, ports), pktgen(tmp_path, ports, host=inside, frame_bytes=9018) as generator:
        with pytest.raises(GeneratorError, match="does not start: Cannot set MTU 9216 on port 0"):
            generator.ready()
