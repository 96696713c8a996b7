"""The real dpdk-testpmd as a generator; another one is the wire between its ports.

The machine may be shared and noisy: no assertion on absolute rates but generous ones.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path

import pytest

from nvbench.endpoint import Port
from nvbench.errors import GeneratorError
from nvbench.generators.base import Generator, Layout, Live, Seat
from nvbench.generators.capture import unrolled
from nvbench.generators.testpmd import TESTPMD
from nvbench.hosts.local import LocalHost
from nvbench.traffic import Direction, FlowField, Traffic, learning_frames, templates
from nvbench.trial import AbortRule, Trial, Validity
from tests.lab.conftest import leaves_no_trace, running
from tests.lab.waiting import until, wait_until

HOST = LocalHost()
HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
FLAT_OUT_PPS = 1e9
NO_ABORT = AbortRule()
LAST_CORE = (os.cpu_count() or 1) - 1


@pytest.fixture(autouse=True)
def as_found(tmp_path: Path) -> Iterator[None]:
    with leaves_no_trace():
        found = HUGEPAGES.read_text()
        HUGEPAGES.write_text(str(int(found) + 250))
        yield
        for folder in Path("/run/dpdk").glob(f"nvtest{os.getpid()}*"):
            shutil.rmtree(folder, ignore_errors=True)
        HUGEPAGES.write_text(found)


def peer(folder: Path, devices: list[str]) -> subprocess.Popen[bytes]:
    """A testpmd that moves frames between two devices; its standard input ends it."""
    command = f"dpdk-testpmd --lcores 0@0,1@{LAST_CORE} --in-memory --single-file-segments --socket-mem 64 --no-pci"
    options = "-- --forward-mode=io --auto-start --nb-cores=1 --total-num-mbufs=16384 --no-lsc-interrupt"
    argv = [*command.split(), "--no-telemetry", "--file-prefix", f"nvtest{os.getpid()}{folder.name}w"]
    argv += [word for device in devices for word in ("--vdev", device)]
    return subprocess.Popen(
        [*argv, *options.split()], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@contextmanager
def connected(
    folder: Path, others: Callable[[int], str] | None = None, cores: tuple[int, ...] = (0,)
) -> Iterator[Generator]:
    """A generator whose ports a testpmd joins: with each other, or with `others`."""
    paths = [folder / "0.sock", folder / "1.sock"]
    names = ["net_virtio_user0", "net_virtio_user1"]
    ports = [Port(("--vdev", f"{n},path={p},server=1,queue_size=1024"), n) for n, p in zip(names, paths, strict=True)]
    layout = Layout((ports[0], ports[1]), cores, memory_mb=TESTPMD.memory_mb(144))
    seat = Seat(HOST, layout, 0, f"nvtest{os.getpid()}{folder.name}g", str(folder), str(folder))
    generator = TESTPMD.start(seat)
    joined = None
    try:
        while not paths[0].exists():
            generator.check_alive()
            time.sleep(0.02)
        vhosts = [f"net_vhost{i},iface={path},client=1" for i, path in enumerate(paths)]
        pairs = [[vhost, others(i)] for i, vhost in enumerate(vhosts)] if others else [vhosts]
        joined = peer(folder, [device for pair in pairs for device in pair])
        generator.ready()
        time.sleep(0.3)
        yield generator
    finally:
        generator.close()
        if joined:
            joined.communicate(b"\n", timeout=60)


def passes(trial: Trial) -> bool:
    """Whether it sent what it can, and nearly all of that came back."""
    assert not trial.total.foreign
    return (
        trial.validity in (Validity.UNDERSENT, Validity.PAUSED)  # the host may take its core away
        and all(one.sent > 10_000 and one.lost <= 0.001 * one.sent for one in trial.directions)
        and trial.duration_s <= trial.elapsed_s < 2 * trial.duration_s
    )


@pytest.mark.parametrize("direction", list(Direction))
def test_it_sends_flat_out_on_one_core_and_takes_in_what_comes_back(tmp_path: Path, direction: Direction) -> None:
    lives: list[Live] = []
    with connected(tmp_path) as generator:
        generator.configure(Traffic(64, direction=direction))
        for _ in range(2):
            until(passes, lambda: generator.trial(FLAT_OUT_PPS, 0.4, NO_ABORT, lives.append))
    assert generator.version.startswith("testpmd of DPDK")
    assert len(lives) >= 5
    assert lives[-1].total.received > 0


def frames_of(path: Path) -> list[bytes]:
    """The frames of a capture file."""
    data, frames, at = path.read_bytes(), [], 24
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at + 8)
        frames.append(data[at + 16 : at + 16 + size])
        at += 16 + size
    return frames


def test_what_leaves_is_what_was_asked_for_and_learning_frames_come_first(tmp_path: Path) -> None:
    traffic = Traffic.mixed(
        "aag", flows=4, vary=(FlowField.IP_SRC, FlowField.MAC_SRC), vlan=7, direction=Direction.BIDIRECTIONAL
    )
    with connected(tmp_path, others=lambda index: f"net_pcap{index},tx_pcap={tmp_path}/{index}.out") as generator:
        generator.configure(traffic)
        generator.learn()
        generator.trial(FLAT_OUT_PPS, 0.02, NO_ABORT)
    for index, template in enumerate(templates(traffic)):
        came = frames_of(tmp_path / f"{index}.out")
        assert came[:3] == [learning_frames(traffic)[index][1]] * 3
        expected = list(unrolled(template))
        assert came[3:15] == expected
        assert set(came[3:]) == set(expected)


def test_a_burst_is_of_so_many_frames_and_takes_the_time_that_it_takes(tmp_path: Path) -> None:
    with connected(tmp_path) as generator:
        generator.configure(Traffic(64))
        for frames in (1, 219, 20_000):
            trial = until(
                lambda trial, all_of=frames: (
                    all_of == trial.total.offered == trial.total.received and trial.elapsed_s < 0.1
                ),
                lambda asked=(frames / 0.1, 0.1, NO_ABORT): generator.trial(*asked),
            )
            assert trial.elapsed_s > 0
        hasty = generator.trial(FLAT_OUT_PPS, 20_000 / FLAT_OUT_PPS, NO_ABORT)
        assert hasty.validity is Validity.UNDERSENT, hasty.reason
        assert 10_000 < hasty.offered_pps < FLAT_OUT_PPS / 10
        whole = until(lambda trial: trial.total.sent > 1000, lambda: generator.trial(FLAT_OUT_PPS, 0.2, NO_ABORT))
        assert whole.elapsed_s > 0.1  # the whole time again


def test_the_frames_of_a_burst_are_those_of_the_case_in_their_order(tmp_path: Path) -> None:
    traffic = Traffic.mixed("aag", flows=4, direction=Direction.BIDIRECTIONAL)
    with connected(tmp_path, others=lambda index: f"net_pcap{index},tx_pcap={tmp_path}/{index}.out") as generator:
        generator.configure(traffic)
        until(lambda trial: trial.total.offered == 200, lambda: generator.trial(1e3, 0.1, NO_ABORT))
    for index, template in enumerate(templates(traffic)):
        # Before them may be the first ones of a burst that was cut short.
        assert frames_of(tmp_path / f"{index}.out")[-100:] == list(islice(cycle(unrolled(template)), 100))


def test_its_end_ends_the_trial_with_a_line_that_says_so(tmp_path: Path) -> None:
    with connected(tmp_path) as generator:
        generator.configure(Traffic(64))
        threading.Timer(0.3, kill, [f"{tmp_path.name}g", "dpdk-testpmd"]).start()
        began = time.monotonic()
        with pytest.raises(GeneratorError, match="testpmd ended with status -9") as told:
            generator.trial(FLAT_OUT_PPS, 20.0, NO_ABORT)
        assert time.monotonic() - began < 15.0
        assert "\n" not in str(told.value)


def test_it_ends_with_its_minder(tmp_path: Path) -> None:
    with connected(tmp_path) as generator:
        generator.configure(Traffic(64))
        threading.Timer(0.3, kill, [f"{tmp_path.name}g", "minder.py"]).start()
        with pytest.raises(GeneratorError, match="minder of its tools ended with status -9"):
            generator.trial(FLAT_OUT_PPS, 20.0, NO_ABORT)
        wait_until(lambda: not running(f"{tmp_path.name}g"))


def kill(prefix: str, program: str) -> None:
    """Kill the one of that file prefix."""
    (pid,) = (pid for pid, command in running(prefix).items() if program in command)
    os.kill(pid, signal.SIGKILL)
