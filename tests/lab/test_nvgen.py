"""The real nvgen on DPDK's software devices; a dpdk-testpmd in io mode is the wire between its ports.

The machine may be shared and noisy: no assertion on absolute times but generous ones.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from nvbench.bench import BUILD_FOLDER
from nvbench.endpoint import Port
from nvbench.errors import GeneratorError
from nvbench.generators.base import Layout, Live
from nvbench.generators.nvgen import Nvgen, NvgenCommand, build
from nvbench.hosts.local import LocalHost
from nvbench.traffic import Direction, FlowField, Traffic
from nvbench.trial import AbortRule, Step, Trial, Validity
from tests.lab.conftest import running
from tests.lab.waiting import PATIENCE_S, wait_until

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not shutil.which("dpdk-testpmd"), reason="needs dpdk-testpmd"),
]

HOST = LocalHost()
HUGEPAGES = Path("/proc/sys/vm/nr_hugepages")
PAGES = 320  # two wires, each a generator and a testpmd of 128 MB
NO_ABORT = AbortRule()
ATTEMPTS = 8
JUMBO = 9018
SLACK_S = 0.05  # between a signal and its effect, on a machine that may be busy
NULL = (
    Port(("--vdev", "net_null0,no-rx=1"), "net_null0"),
    Port(("--vdev", "net_null1,no-rx=1"), "net_null1"),
)


@pytest.fixture(scope="session")
def binary() -> str:
    return build(HOST, BUILD_FOLDER)


@pytest.fixture(scope="module")
def hugepages() -> Iterator[None]:
    """Enough free ones; what was added goes again, unless somebody else changed the number since."""

    def free() -> int:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("HugePages_Free"))

    found = int(HUGEPAGES.read_text())
    wanted = found + max(0, PAGES - free())
    if wanted != found:
        HUGEPAGES.write_text(str(wanted))
    if free() < PAGES:
        pytest.skip("no hugepages to be had")
    yield
    if wanted != found and int(HUGEPAGES.read_text()) == wanted:
        HUGEPAGES.write_text(str(found))


@pytest.fixture(scope="module", autouse=True)
def runtime_folders() -> Iterator[None]:
    """DPDK programs run as root leave a folder each, even where they end well."""
    yield
    for folder in Path("/run/dpdk").glob(f"nvtest{os.getpid()}*"):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def null_generator(binary: str, *, ports: tuple[Port, Port] = NULL) -> Iterator[Nvgen]:
    layout = Layout(ports=ports, cores=(0,), hugepages=False, memory_mb=128)
    generator = Nvgen.start(
        HOST,
        layout,
        binary=binary,
        housekeeping_core=os.cpu_count() - 1,  # type: ignore[operator]
        file_prefix=f"nvtest{os.getpid()}n",
    )
    try:
        generator.ready()
        yield generator
    finally:
        generator.close()


class Wire:
    """A generator, and a dpdk-testpmd that carries frames between its two ports."""

    def __init__(
        self, binary: str, folder: Path, cores: tuple[int, ...] = (0,), queues: int = 1, frame_bytes: int = 1518
    ) -> None:
        paths = [folder / "a.sock", folder / "b.sock"]
        ports = tuple(
            Port(
                (
                    "--vdev",
                    f"net_virtio_user{i},path={path},server=1,queues={queues},queue_size=1024",
                ),
                f"net_virtio_user{i}",
            )
            for i, path in enumerate(paths)
        )
        layout = Layout((ports[0], ports[1]), cores, queues, max_frame_bytes=frame_bytes, memory_mb=128)
        prefix = f"nvtest{os.getpid()}{folder.name}"
        self.generator = Nvgen.start(HOST, layout, binary=binary, housekeeping_core=0, file_prefix=f"{prefix}g")
        wait_until(lambda: (self.generator.check_alive(), paths[0].exists())[1])
        vhosts = [f"net_vhost{i},iface={path},client=1,queues={queues}" for i, path in enumerate(paths)]
        self.testpmd = subprocess.Popen(
            [
                *(
                    "dpdk-testpmd",
                    "-l",
                    "0,1",
                    "--in-memory",
                    "--single-file-segments",
                    "--socket-mem",
                    "128",
                ),
                *("--no-pci", "--no-telemetry", "--file-prefix", f"{prefix}w"),
                *("--vdev", vhosts[0], "--vdev", vhosts[1], "--", "--forward-mode=io", "--auto-start"),
                *("--nb-cores=1", "--total-num-mbufs=16384", f"--rxq={queues}", f"--txq={queues}"),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.generator.ready(60)
            self.generator.configure(Traffic(64))
            # testpmd starts forwarding after the connection
            wait_until(lambda: self.generator.trial(1e4, 0.02, NO_ABORT).total.received)
        except BaseException:
            self.close()
            raise

    def cut(self) -> None:
        self.testpmd.kill()
        self.testpmd.wait()

    def close(self) -> None:
        self.cut()
        self.generator.close()


@pytest.fixture(scope="module")
def wire(binary: str, hugepages: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    wire = Wire(binary, tmp_path_factory.mktemp("wire"), frame_bytes=JUMBO)
    yield wire
    wire.close()


def calm(generator: Nvgen, load_pps: float, duration_s: float = 0.5, *, detail: bool = False) -> Trial:
    """A trial that nobody disturbed, or the last of some."""
    for _ in range(ATTEMPTS):
        trial = generator.trial(load_pps, duration_s, NO_ABORT, detail=detail)
        if trial.valid and trial.total.lost + trial.total.refused == 0:
            break
    return trial


def timeline_adds_up(trial: Trial) -> bool:
    """Whether the intervals hold just the trial's frames."""
    assert trial.timeline
    columns = (trial.timeline.sent, trial.timeline.refused, trial.timeline.received)
    return tuple(map(sum, columns)) == (trial.total.sent, trial.total.refused, trial.total.received)


def lost_between(trial: Trial, begin: float, end: float) -> int:
    """Frames lost of those sent between two moments of Unix time."""
    assert trial.timeline
    first, last = (round((at - trial.started_at) / trial.timeline.interval_s) for at in (begin, end))
    return sum(trial.timeline.lost[max(0, first) : max(0, last)])


class InTheMiddle:
    """Does things one after the other, once, as soon as a trial has run for a while.

    Attributes:
        times: The Unix times at which they were done.
    """

    def __init__(self, after_s: float, *acts: Callable[[], None], apart_s: float = 0.0) -> None:
        self.times: list[float] = []
        self._after_s, self._acts, self._apart_s = after_s, acts, apart_s

    def __call__(self, live: Live) -> None:
        if live.elapsed_s < self._after_s:
            return
        acts, self._acts = self._acts, ()
        for act in acts:
            act()
            self.times.append(time.time())
            time.sleep(self._apart_s)


def test_built_once(binary: str, tmp_path: Path) -> None:
    assert Path(binary).stat().st_mode & 0o100
    assert build(HOST, str(Path(binary).parent)) == binary


def test_pacing(binary: str) -> None:
    with null_generator(binary) as generator:
        generator.configure(Traffic(64))
        for load_pps in (1e3, 1e4, 1e5, 1e6, 1e6):
            trial = generator.trial(load_pps, 1.0, NO_ABORT)
            total = trial.total
            assert total.offered + total.late == load_pps
            assert trial.elapsed_s == pytest.approx(1.0, rel=2e-4)
            # Whatever was not sent was not sent because the host had taken the core: pacing itself loses nothing.
            assert total.late <= 2 * trial.pauses.generator_total_us * load_pps / 1e6


def test_the_clock_is_the_kernels(binary: str) -> None:
    """A trial takes as long by CLOCK_MONOTONIC as it says; live events come all the while."""
    with null_generator(binary) as generator:
        generator.configure(Traffic(64))
        for _ in range(ATTEMPTS):
            lives: list[Live] = []
            began, began_at = time.monotonic(), time.time()
            trial = generator.trial(1e4, 1.0, NO_ABORT, lives.append)
            took, ended_at = time.monotonic() - began, time.time()
            assert trial.elapsed_s == pytest.approx(1.0, rel=2e-4)
            assert began_at - 1e-3 < trial.started_at < ended_at - 1.0 + 1e-3
            assert took >= 1.0
            if took < 1.6:  # else the host was slow to start it, or to end it
                break
        assert took < 1.6
        assert len(lives) >= 5
        assert lives == sorted(lives, key=lambda live: live.elapsed_s)


def test_flat_out(binary: str) -> None:
    with null_generator(binary) as generator:
        generator.configure(Traffic(64))
        trial = generator.trial(1e9, 0.5, NO_ABORT)
        assert trial.elapsed_s == pytest.approx(0.5, rel=1e-3)
        assert trial.total.offered + trial.total.late == 5e8
        # A host that takes half of its core away explains half of what was not sent.
        taken_away = trial.pauses.generator_total_us > 0.2e6
        assert trial.validity is Validity.UNDERSENT or (trial.validity is Validity.PAUSED and taken_away)


def test_total_loss_ends_early(binary: str) -> None:
    """net_null returns nothing: silence counts as loss."""
    with null_generator(binary) as generator:
        generator.configure(Traffic(64))
        trial = generator.trial(1e4, 10.0, AbortRule(100), detail=True)
        assert trial.aborted
        assert trial.elapsed_s < 8.0
        assert trial.total.lost > 100
        assert timeline_adds_up(trial)
        assert trial.timeline
        interval_s = trial.timeline.interval_s
        assert len(trial.timeline.sent) * interval_s == pytest.approx(trial.elapsed_s, abs=interval_s)


@pytest.mark.parametrize(
    "traffic",
    [
        Traffic(64),
        Traffic(1518),
        Traffic(JUMBO),
        Traffic(128, vlan=7),
        Traffic.mixed("aaaaaaabbbbc"),
        Traffic.mixed("ai"),
    ],
    ids=str,
)
def test_no_loss_through_a_wire(wire: Wire, traffic: Traffic) -> None:
    wire.generator.configure(traffic)
    wire.generator.learn()
    trial = calm(wire.generator, 5e4, 0.3)
    total = trial.total
    assert trial.timeline is None
    assert trial.ipdv.count == 0
    assert total.lost == 0 or not trial.valid
    assert total.duplicate == total.reordered == total.foreign == 0
    assert total.offered + total.late == 15_000
    assert trial.latency.count == total.received
    assert 0.1 < (trial.latency.min_us() or 0) < 10_000


def test_both_directions_and_live_changes(wire: Wire) -> None:
    for load_pps, frame_bytes, flows in ((1e4, 64, 1), (5e4, 512, 1000), (2e4, 64, 7)):
        wire.generator.configure(
            Traffic(
                frame_bytes,
                flows=flows,
                vary=(FlowField.IP_SRC, FlowField.UDP_SRC),
                direction=Direction.BIDIRECTIONAL,
            )
        )
        trial = calm(wire.generator, load_pps)
        assert len(trial.directions) == 2
        assert [d.offered + d.late for d in trial.directions] == [load_pps / 2] * 2
        assert trial.total.lost == 0 or not trial.valid
        assert trial.total.received > load_pps * 0.5


def test_detail_is_exact(wire: Wire) -> None:
    wire.generator.configure(Traffic(64, direction=Direction.BIDIRECTIONAL))
    trial = calm(wire.generator, 1e4, detail=True)
    assert trial.timeline
    assert timeline_adds_up(trial)
    assert len(trial.timeline.sent) == 500
    assert trial.timeline.interval_s == pytest.approx(1e-3, rel=1e-4)
    # Every frame but the first of each direction has a neighbour to differ from, unless that was lost.
    assert trial.ipdv.count <= trial.total.received - 2
    assert trial.ipdv.count == trial.total.received - 2 or trial.total.lost + trial.total.reordered > 0
    # No two latencies differ by more than the extremes do, at the resolution of the bins.
    assert (trial.ipdv.max_us() or 0) <= (trial.latency.max_us() or 0) * 1.01 - (trial.latency.min_us() or 0)


def test_a_timeline_finds_a_device_that_stops_for_a_while(wire: Wire) -> None:
    wire.generator.configure(Traffic(64))
    stop, go_on = (partial(wire.testpmd.send_signal, number) for number in (signal.SIGSTOP, signal.SIGCONT))
    for _ in range(ATTEMPTS):
        acts = InTheMiddle(0.2, stop, go_on, apart_s=0.2)
        trial = wire.generator.trial(2e4, 0.8, NO_ABORT, acts, detail=True)
        assert timeline_adds_up(trial)
        stopped, went_on = acts.times or (0.0, 0.0)
        # What its ring held when it stopped came late, but it came: nothing is missing of the time before.
        there = lost_between(trial, stopped, went_on + SLACK_S)
        most = 2e4 * (went_on - stopped + SLACK_S)
        if there == trial.total.lost + trial.total.refused and 500 < there < most:
            return  # else the host stopped it at other times too, or was late to
    pytest.fail(f"{there} frames lost then, {most:.0f} at most, of {trial.total}")


@pytest.mark.parametrize(("load_pps", "then"), [(1e5, Step(1e4, 0.2)), (1e3, Step(1e5, 0.3))], ids=str)
def test_a_step_follows_without_a_pause(wire: Wire, load_pps: float, then: Step) -> None:
    wire.generator.configure(Traffic(64))
    for _ in range(ATTEMPTS):
        trial = wire.generator.trial(load_pps, 0.3, NO_ABORT, then=then, detail=True)
        total = trial.total
        assert total.offered + total.late == round(load_pps * 0.3 + then.load_pps * then.duration_s)
        assert (trial.intended_pps, trial.then) == (load_pps, then)
        assert trial.elapsed_s == pytest.approx(trial.duration_s, rel=2e-4)
        assert trial.duration_s == pytest.approx(0.3 + then.duration_s)
        assert timeline_adds_up(trial)
        if total.late == total.lost == total.refused == 0:
            break
    assert trial.timeline
    before, after = sum(trial.timeline.sent[:300]), sum(trial.timeline.sent[300:])
    backlog = 200  # what a pause just before the step may have left for it
    assert load_pps * 0.3 - backlog - total.late - total.refused <= before <= load_pps * 0.3 + 1
    assert after <= then.load_pps * then.duration_s + backlog


def test_trials_follow_each_other_quickly(wire: Wire) -> None:
    wire.generator.configure(Traffic(64))
    took = []
    for _ in range(10):
        began = time.monotonic()
        wire.generator.trial(1e5, 0.1, NO_ABORT)
        took.append(time.monotonic() - began - 0.1)
    assert min(took) < 0.15


def test_frames_that_vary_have_right_checksums(binary: str, tmp_path: Path) -> None:
    scapy = pytest.importorskip("scapy.all")
    capture = tmp_path / "out.pcap"
    ports = (
        Port(("--vdev", f"net_pcap0,tx_pcap={capture},rx_iface=lo"), "net_pcap0"),
        Port(("--vdev", "net_null1,no-rx=1"), "net_null1"),
    )
    vary = (FlowField.IP_SRC, FlowField.IP_DST, FlowField.UDP_DST, FlowField.MAC_SRC)
    with null_generator(binary, ports=ports) as generator:
        generator.configure(Traffic(128, flows=300, vary=vary, vlan=9))
        trial = generator.trial(4e3, 0.1, NO_ABORT)
    frames = scapy.rdpcap(str(capture))
    assert len(frames) == trial.total.sent > 0
    for i, frame in enumerate(frames):
        assert len(frame) == 124
        assert frame[scapy.Dot1Q].vlan == 9
        sent = frame[scapy.IP].chksum
        del frame[scapy.IP].chksum
        rebuilt = frame.__class__(bytes(frame))
        assert rebuilt[scapy.IP].chksum == sent
        assert frame[scapy.IP].src == f"198.18.{i % 300 // 256}.{i % 300 % 256}"
        assert frame[scapy.UDP].dport == 7 + i % 300
    assert len({frame[scapy.IP].dst for frame in frames}) == min(300, len(frames))


def test_mixed_sizes_follow_the_genome(binary: str, tmp_path: Path) -> None:
    scapy = pytest.importorskip("scapy.all")
    capture = tmp_path / "out.pcap"
    ports = (
        Port(("--vdev", f"net_pcap0,tx_pcap={capture},rx_iface=lo"), "net_pcap0"),
        Port(("--vdev", "net_null1,no-rx=1"), "net_null1"),
    )
    traffic = Traffic.mixed("aabcgaf", flows=5, vary=(FlowField.IP_SRC,))
    with null_generator(binary, ports=ports) as generator:
        generator.configure(traffic)
        trial = generator.trial(2e3, 0.1, NO_ABORT)
    frames = scapy.rdpcap(str(capture))
    assert len(frames) == trial.total.sent > 0
    for i, (frame, size) in enumerate(zip(frames, cycle(traffic.sizes), strict=False)):
        assert len(frame) == size - 4
        assert frame[scapy.IP].src == f"198.18.0.{i % 5}"
        rebuilt = frame.copy()
        for layer, name in ((scapy.IP, "len"), (scapy.IP, "chksum"), (scapy.UDP, "len")):
            rebuilt[layer].delfieldval(name)
        assert bytes(rebuilt) == bytes(frame)


def spoken(binary: str) -> subprocess.Popen[str]:
    layout = Layout(ports=NULL, cores=(0,), hugepages=False, memory_mb=128)
    command = NvgenCommand(binary, layout, 0, f"nvtest{os.getpid()}s")
    return subprocess.Popen(
        command.argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        bufsize=1,
    )


START = {"cmd": "start", "trial": 1, "rate_pps": 1000, "duration_s": 60}


def frame_of(traffic: Traffic) -> dict[str, Any]:
    return {
        **{
            "tx_port": 0,
            "rx_port": 1,
            "frames": ["02" * 12 + "0800" + "45" + "00" * (traffic.frame_bytes - 19)],
            "sequence": [0],
        },
        **{"ipv4_offset": 14, "stamp_offset": 42, "flows": 1, "fields": []},
    }


def ask(process: subprocess.Popen[str], command: object) -> dict[str, Any]:
    assert process.stdin
    assert process.stdout
    process.stdin.write((command if isinstance(command, str) else json.dumps(command)) + "\n")
    return dict(json.loads(process.stdout.readline()))


def test_nonsense_is_answered_and_survived(binary: str) -> None:
    process = spoken(binary)
    assert process.stdout
    try:
        assert json.loads(process.stdout.readline())["event"] == "ready"
        for nonsense in (
            "{bad",
            "[]",
            "7",
            {"cmd": "dance"},
            {"cmd": "stop"},
            START,
            {"cmd": "configure"},
            {"cmd": "configure", "streams": [{"tx_port": 0}]},
            {"cmd": "configure", "streams": [{**frame_of(Traffic(64)), "tx_port": 5}]},
            {"cmd": "configure", "streams": [{**frame_of(Traffic(64)), "frames": ["zz"]}]},
            {"cmd": "configure", "streams": [{**frame_of(Traffic(64)), "frames": []}]},
            {"cmd": "configure", "streams": [{**frame_of(Traffic(64)), "sequence": [1]}]},
            {"cmd": "configure", "streams": [{**frame_of(Traffic(64)), "sequence": ["a"]}]},
            {"cmd": "configure", "streams": [{**frame_of(Traffic(64)), "stamp_offset": 4000}]},
            {"cmd": "configure", "streams": [{**frame_of(Traffic(64)), "fields": [{"offset": 99}]}]},
        ):
            assert ask(process, nonsense)["event"] == "error", nonsense
        assert ask(process, {"cmd": "configure", "streams": [frame_of(Traffic(64))]})["event"] == "configured"
        assert ask(process, {**START, "rate_pps": 0})["event"] == "error"
        assert ask(process, {**START, "duration_s": "long"})["event"] == "error"
        assert ask(process, {**START, "then": {"rate_pps": 0, "duration_s": 1}})["event"] == "error"
        assert ask(process, {**START, "detail": "much"})["event"] == "error"
        assert ask(process, START)["event"] == "started"
        process.stdin.write('{"cmd": "stop"}\n')  # type: ignore[union-attr]
        while (event := json.loads(process.stdout.readline()))["event"] != "done":
            pass
        assert event["aborted"] is True
        assert ask(process, START)["event"] == "started"
        process.stdin.close()  # type: ignore[union-attr]
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it(binary: str, number: signal.Signals) -> None:
    process = spoken(binary)
    assert process.stdout
    try:
        process.stdout.readline()
        ask(process, {"cmd": "configure", "streams": [frame_of(Traffic(64))]})
        assert ask(process, START)["event"] == "started"
        process.send_signal(number)
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


PARENT = """
import subprocess, sys, time
pipe = subprocess.PIPE
child = subprocess.Popen(sys.argv[1:], stdin=pipe, stderr=subprocess.DEVNULL, stdout=pipe)
print(child.pid, child.stdout.readline()[:10], flush=True)
time.sleep(60)
"""


def test_the_death_of_its_parent_stops_it(binary: str) -> None:
    layout = Layout(ports=NULL, cores=(0,), hugepages=False, memory_mb=128)
    argv = NvgenCommand(binary, layout, 0, f"nvtest{os.getpid()}p").argv
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, *argv], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert parent.stdout
    child = int(parent.stdout.readline().split()[0])
    assert child in running(f"nvtest{os.getpid()}p")
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    try:
        wait_until(lambda: child not in running(f"nvtest{os.getpid()}p"))
    except AssertionError:
        os.kill(child, signal.SIGKILL)
        raise


def test_a_missing_device_is_named(binary: str) -> None:
    ports = (NULL[0], Port((), "net_none9"))
    layout = Layout(ports=ports, cores=(0,), hugepages=False, memory_mb=128)
    generator = Nvgen.start(HOST, layout, binary=binary, housekeeping_core=0, file_prefix=f"nvtest{os.getpid()}m")
    with pytest.raises(GeneratorError, match="net_none9: there is no such device"):
        generator.ready()
    generator.close()


def test_two_workers_and_queues(binary: str, hugepages: None, tmp_path: Path) -> None:
    wire = Wire(binary, tmp_path, cores=(0, 1), queues=2)
    try:
        wire.generator.configure(Traffic(64, flows=10, direction=Direction.BIDIRECTIONAL))
        for _ in range(ATTEMPTS):
            trial = wire.generator.trial(2e4, 0.5, NO_ABORT)
            if trial.total.received > 0.5 * trial.total.sent:
                break
        assert [d.offered + d.late for d in trial.directions] == [10_000] * 2
        assert trial.total.received > 0.5 * trial.total.sent
        assert trial.total.duplicate == 0
    finally:
        wire.close()


def test_a_cut_wire(binary: str, hugepages: None, tmp_path: Path) -> None:
    wire = Wire(binary, tmp_path)
    try:
        wire.generator.configure(Traffic(64))
        cut = InTheMiddle(0.3, wire.cut)
        while not cut.times:  # a host that stops is told nothing in time
            trial = wire.generator.trial(1e4, 1.0, NO_ABORT, cut, detail=True)
        assert timeline_adds_up(trial)
        assert trial.timeline
        after = round((cut.times[0] - trial.started_at) / trial.timeline.interval_s)
        assert sum(trial.timeline.received[after:]) == 0
        assert sum(trial.timeline.received[:after]) > 0
        # From then on every trial that may end early does.
        trial = wire.generator.trial(1e4, 10.0, AbortRule(50))
        assert trial.aborted
        assert trial.elapsed_s < 8.0
        assert trial.total.lost + trial.total.refused > 50
    finally:
        wire.close()
