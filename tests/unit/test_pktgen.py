"""Pktgen-DPDK as a generator: its command line, its words, and trials of a stand-in under the real minder."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from nvbench.abilities import Ability
from nvbench.endpoint import Port
from nvbench.errors import GeneratorError
from nvbench.generators import base
from nvbench.generators import pktgen as module
from nvbench.generators.base import Layout, Live, Seat
from nvbench.generators.minder import PortCounters, Watched
from nvbench.generators.pktgen import PKTGEN, Pktgen, PktgenCommand
from nvbench.generators.pktgen.account import Asked, trial_of
from nvbench.generators.pktgen.lua import Hello, Pace, Stream, answer, answered, done, faulted, script
from nvbench.hosts import LocalHost
from nvbench.traffic import Direction, FlowField, Traffic, templates
from nvbench.trial import AbortRule, Step, Trial, Validity
from tests.unit.undisturbed import undisturbed

RECORDED = Path(__file__).parents[1] / "recorded" / "pktgen-23.03"
NO_ABORT = AbortRule()
VIRTIO = (
    Port(("--vdev", "net_virtio_user0,path=/run/a,server=1,queues=1"), "net_virtio_user0"),
    Port(("--vdev", "net_virtio_user1,path=/run/b,server=1,queues=1"), "net_virtio_user1"),
)
PCI = (Port(("-a", "0000:3b:00.1"), "0000:3b:00.1"), Port(("-a", "0000:3b:00.0"), "0000:3b:00.0"))


# -- the command line --------------------------------------------------------------------------------------------


def test_command_of_one_polling_core_with_hugepages() -> None:
    command = PktgenCommand("pktgen", Layout(VIRTIO, (2,), memory_mb=3072), 0, "nv7-gen", "/run/nv7/pktgen.lua")
    assert command.argv == (
        *("nice", "-n", "-20", "pktgen", "--lcores=0@0,1@2"),
        *("--in-memory", "--single-file-segments", "--socket-mem", "3072", "--no-pci"),
        *("--file-prefix", "nv7-gen"),
        *("--vdev", "net_virtio_user0,path=/run/a,server=1,queues=1,speed=10000"),
        *("--vdev", "net_virtio_user1,path=/run/b,server=1,queues=1,speed=10000"),
        *("--", "-P", "-m", "1.0, 1.1", "-f", "/run/nv7/pktgen.lua"),
    )
    assert command.layout.sockets == ("/run/a", "/run/b")
    assert base.telemetry(command.file_prefix) == "/run/dpdk/nv7-gen/dpdk_telemetry.v2"


def test_command_of_more_cores_jumbo_frames_and_physical_ports_without_hugepages() -> None:
    layout = Layout(PCI, (2, 3, 4), max_frame_bytes=9018, memory_mb=3072, hugepages=False)
    command = PktgenCommand("pktgen", layout, 1, "x", "s.lua")
    words = command.argv
    assert "--lcores=0@1,1@2,2@3" in words  # two sending cores would share one schedule
    assert words[words.index("-m", words.index("--")) + 1] == "[1:2].0, [1:2].1"
    assert words[words.index("--no-huge") : words.index("--no-huge") + 3] == ("--no-huge", "-m", "3072")
    assert "-j" in words
    assert "--no-pci" not in words
    assert command.layout.numbers == (1, 0)  # DPDK numbers them by address
    assert command.layout.sockets == ()


def test_a_port_that_reflects_is_the_only_one() -> None:
    command = PktgenCommand("pktgen", Layout((VIRTIO[0], Port((), "")), (2,)), 0, "x", "s.lua")
    assert command.layout.numbers == (0,)
    assert command.argv[-3] == "1.0"
    assert 'local PORTS, LEAST_PERCENT, PATIENCE_MS, LINK_PATIENCE_MS = "0",' in script(1)
    assert '"0-1",' in script(2)


# -- what is said ------------------------------------------------------------------------------------------------


def test_frames_in_its_words() -> None:
    traffic = Traffic(64, flows=10, vary=(FlowField.UDP_SRC, FlowField.IP_DST, FlowField.MAC_SRC))
    (template,) = templates(traffic)
    assert Stream.of(template, 64, None).lua(0) == (
        'frames("0", {size=64, '
        'src_mac={"02:00:00:00:01:00", "02:00:00:00:01:09", "00:00:00:00:00:01"}, '
        'dst_mac={"02:00:00:00:02:00", "02:00:00:00:02:00", "00:00:00:00:00:00"}, '
        'src_ip={"198.18.0.0", "198.18.0.0", "0.0.0.0"}, '
        'dst_ip={"198.19.0.0", "198.19.0.9", "0.0.0.1"}, '
        "src_port={1024, 1033, 1}, dst_port={7, 7, 0}})"
    )


def test_tagged_frames_and_those_of_the_other_direction() -> None:
    _, back = templates(Traffic(128, vlan=100, direction=Direction.BIDIRECTIONAL))
    told = Stream.of(back, 128, 100).lua(1)
    assert told.startswith('frames("1", {size=128, vlan=100, src_mac={"02:00:00:00:02:00"')
    assert 'src_ip={"198.19.0.0"' in told


def test_frames_to_a_multicast_group_go_to_its_mac_address() -> None:
    (template,) = templates(Traffic(64))
    told = Stream.of(template, 64, None).to_group("224.0.0.1").lua(0)
    assert 'dst_mac={"01:00:5e:00:00:01", "01:00:5e:00:00:01", "00:00:00:00:00:00"}' in told
    assert 'dst_ip={"224.0.0.1", "224.0.0.1", "0.0.0.0"}' in told


@pytest.mark.parametrize(
    ("load_pps", "burst", "cycles"),
    [(1, 1, 2_500_000_000), (1_000, 1, 2_500_000), (250_000, 1, 10_000), (1_000_000, 4, 10_000), (1e9, 64, 160)],
)
def test_a_load_is_the_smallest_bursts_that_give_it_exactly(load_pps: float, burst: int, cycles: int) -> None:
    pace = Pace.of(load_pps, 2.5e9, 14_880_952)
    assert (pace.burst, pace.cycles) == (burst, cycles)
    assert 2.5e9 * pace.burst / pace.cycles == pytest.approx(load_pps, rel=1e-4)


def test_a_load_is_paced_by_the_true_clock() -> None:
    assert Pace.of(1e5, 2_445_424_062, 14_880_952).cycles == 24_454
    assert Pace.of(1e5, 2_445_424_062, 14_880_952).lua == "go(0.6720, 1, 24454)"


def test_recorded_answers() -> None:
    said = (RECORDED / "session.txt").read_text()
    ends = [text[: text.rindex("@@") + 2] for text in said.split("<<<")[1:]]
    assert answer(ends[0]) == "nil"
    assert answer(ends[7]) == "2"
    assert faulted(ends[3]) == """[string "nosuch()"]:1: attempt to call a nil value (global 'nosuch')"""
    with pytest.raises(GeneratorError, match=r"host lab1: Pktgen: .*set does not support speed"):
        answer(ends[5], "host lab1")
    assert re.search(answered(5), said)
    assert re.search(done(8), said)
    assert not re.search(done(5), said)


def test_recorded_start() -> None:
    said = (RECORDED / "start.txt").read_text()
    found = re.search(answered(0), said)
    assert found
    hello = Hello.parse(answer(found[0]))
    assert (hello.version, hello.dpdk, hello.dpdk_hz) == ("23.03.0", "DPDK 22.11.11", 2499999216.0)
    assert hello.release == (23, 3)
    with pytest.raises(GeneratorError, match="says of itself 'nil'"):
        Hello.parse("nil")


# -- before it runs ----------------------------------------------------------------------------------------------


def test_what_it_is_for() -> None:
    assert PKTGEN.abilities(()) == {Ability.PACED}
    assert PKTGEN.memory_mb(128) == 3072
    assert PKTGEN.cannot_send(Traffic(64, flows=1000, vlan=5)) == ""
    assert PKTGEN.cannot_send(Traffic.mixed("aag")) == "sends frames of one size only"
    assert PKTGEN.cannot_send(Traffic(64, flows=100_000)) == "has no more than 24576 flows"
    assert PKTGEN.cannot_send(Traffic(9600)) == "sends frames of at most 9234 bytes"


def test_where_it_is_looked_for(tmp_path: Path) -> None:
    host = LocalHost("lab1")
    assert PKTGEN.missing(host, "/nowhere").startswith(
        "Pktgen-DPDK is not installed (build release 23.03 of github.com"
    )
    program = tmp_path / "build" / "app" / "pktgen"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    assert PKTGEN.missing(host, str(tmp_path)) == ""
    assert PKTGEN.missing(host, str(program)) == ""


def test_ports_of_two_queues_are_refused(tmp_path: Path) -> None:
    layout = Layout(VIRTIO, (1,), queues=2)
    with pytest.raises(GeneratorError, match="one queue of each port"):
        PKTGEN.start(Seat(LocalHost(), layout, 0, "x", str(tmp_path), str(tmp_path), program="/bin/true"))


def test_its_clock_as_the_kernel_tells_it() -> None:
    cpuinfo = "processor\t: 0\nbogomips\t: 4890.84\n"
    assert module._kernel_hz(cpuinfo, 2.45e9) == 2_445_420_000
    assert module._kernel_hz(cpuinfo, 2.5e9) is None  # of some other clock
    assert module._kernel_hz("", 2.5e9) is None


# -- a trial's account -------------------------------------------------------------------------------------------


def watched(rows: list[tuple[float, int, int]], *, missed: int = 0, waited_s: float = 0.0, slow: int = 0) -> Watched:
    """Of rows of seconds, frames sent by port 0 and received by port 1; `slow` frames were sent before."""
    looks = tuple(
        (at, (PortCounters(0, slow + sent, 0, 0), PortCounters(slow + got, 0, 0, 0))) for at, sent, got in rows
    )
    last = looks[-1][1]
    after = (last[0], PortCounters(last[1].ipackets - missed, 0, missed, 0))
    return Watched((PortCounters(0, 0, 0, 0),) * 2, after, looks, False, 0.0, 7.0, waited_s, waited_s, ("",))


def asked(load_pps: float, max_lost: int | None = None) -> Asked:
    return Asked(load_pps, 1.0, 1, ((0, 1),), 1024, max_lost)


def test_a_trial_counts_all_its_frames_at_the_rate_of_its_window() -> None:
    trial = trial_of(watched([(0.0, 0, 0), (0.5, 5_000, 5_000), (1.0, 10_000, 10_000)], slow=10), asked(10_000))
    assert (trial.total.sent, trial.total.received, trial.total.late) == (10_010, 10_010, 0)
    assert trial.elapsed_s == pytest.approx(1.001)
    assert trial.offered_pps == pytest.approx(10_000)
    assert trial.valid
    assert trial.started_at == 7.0


def test_frames_that_were_asked_for_and_not_sent_are_late() -> None:
    trial = trial_of(watched([(0.0, 0, 0), (1.0, 9_000, 9_000)]), asked(10_000))
    assert trial.total.late == 1_000
    assert (trial.validity, trial.reason) == (Validity.UNDERSENT, "sent 9 kpps of 10 kpps")


def test_a_device_that_takes_nothing_for_a_while_is_not_a_slow_generator() -> None:
    rows = [(0.0, 0, 0), (0.4, 4_000, 4_000), (0.6, 4_000, 4_000), (1.0, 8_000, 8_000)]
    trial = trial_of(watched(rows), asked(10_000))
    assert (trial.validity, trial.reason) == (Validity.STALLED, "device took nothing for 200.0 ms")
    descheduled = trial_of(watched(rows, waited_s=0.2), asked(10_000))
    assert descheduled.validity is Validity.PAUSED


def test_loss_at_its_own_full_ring_is_not_the_devices() -> None:
    trial = trial_of(watched([(0.0, 0, 0), (1.0, 10_000, 10_000)], missed=50), asked(10_000))
    assert trial.total.lost == 50
    assert (trial.validity, trial.reason) == (
        Validity.PAUSED,
        "Pktgen did not take in 50 frames that came back to it",
    )
    assert trial_of(watched([(0.0, 0, 0), (1.0, 10_000, 10_000)], missed=50), asked(10_000, max_lost=60)).valid


def test_more_frames_than_it_sent_are_foreign() -> None:
    trial = trial_of(watched([(0.0, 0, 0), (1.0, 10_000, 10_500)]), asked(10_000))
    assert (trial.total.received, trial.total.foreign) == (10_000, 500)
    assert trial.validity is Validity.FOREIGN


def test_a_port_that_never_took_a_frame() -> None:
    trial = trial_of(watched([(0.0, 0, 0), (1.0, 0, 0)]), asked(10_000))
    assert (trial.offered_pps, trial.total.late) == (0.0, 10_000)
    assert trial.validity is Validity.STALLED


# -- a stand-in under the real minder ----------------------------------------------------------------------------

Up = Callable[..., Pktgen]


class Bench(LocalHost):
    """This machine, whose kernel tells nothing of its clock."""

    def read(self, path: str) -> str | None:
        return "" if path == "/proc/cpuinfo" else super().read(path)


@contextmanager
def standing_in(folder: Path, ports: tuple[Port, Port] = VIRTIO, **quirks: Any) -> Iterator[Pktgen]:
    program = folder / "pktgen"
    source = Path(__file__).with_name("fake_pktgen.py").read_text()
    program.write_text(f"#!{sys.executable}\n{source}")
    program.chmod(0o755)
    (folder / "quirks.json").write_text(json.dumps(quirks))
    layout = Layout(ports, (0,), hugepages=False, memory_mb=3072)
    seat = Seat(Bench("lab1"), layout, 0, "nvfake", str(folder), str(folder), program=str(program), drain_s=0.05)
    generator = PKTGEN.start(seat)
    try:
        yield generator
    finally:
        generator.close()


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    """Starts one, ready and with frames to send."""
    monkeypatch.setattr(base, "RUNTIME", str(tmp_path / "run"))
    monkeypatch.setattr(module, "ANSWER_S", 30.0)
    monkeypatch.setattr(module, "BUFFERS_S", 30.0)
    with ExitStack() as stack:

        def make(traffic: Traffic = Traffic(64), **quirks: Any) -> Pktgen:  # noqa: B008 - frozen
            generator = stack.enter_context(standing_in(tmp_path, **quirks))
            generator.ready(60.0)
            generator.configure(traffic)
            return generator

        yield make


def test_it_sends_what_was_asked_and_no_burst_at_its_start(up: Up) -> None:
    generator = up()
    assert generator.version == "Pktgen 23.03.0 on DPDK 22.11.11"
    lives: list[Live] = []

    def right(trial: Trial) -> bool:
        assert trial.total.lost == 0
        exactly = trial.offered_pps == pytest.approx(100_000, rel=0.005)
        return exactly and trial.total.sent == pytest.approx(30_000, rel=0.2)

    assert undisturbed(lambda: generator.trial(100_000, 0.3, NO_ABORT, lives.append), right)
    assert len(lives) >= 5


def test_flat_out_leaves_no_debt_to_the_next_trial(up: Up) -> None:
    generator = up(most_pps=1e6)

    def both() -> tuple[Trial, Trial]:
        return generator.trial(1e9, 0.2, NO_ABORT), generator.trial(10_000, 0.2, NO_ABORT)

    def right(trials: tuple[Trial, Trial]) -> bool:
        flat_out, after = trials
        assert flat_out.validity is Validity.UNDERSENT
        rates = [flat_out.offered_pps / 1e6, after.offered_pps / 10_000]
        return rates[0] == pytest.approx(1, rel=0.1) and rates[1] == pytest.approx(1, rel=0.02)

    assert undisturbed(both, right)


def test_both_directions(up: Up, tmp_path: Path) -> None:
    generator = up(Traffic(64, direction=Direction.BIDIRECTIONAL))
    generator.learn()
    trial = generator.trial(10_000, 0.2, NO_ABORT)
    assert len(trial.directions) == 2
    assert trial.directions[0] == trial.directions[1]
    told = (tmp_path / "frames.txt").read_text().splitlines()
    assert [line[:3] for line in told] == ['"0"', '"1"']


def test_learning_sends_some_frames_out_of_each_port(up: Up) -> None:
    generator = up()
    generator.learn()
    stats = [generator._minder.ask(0, f"/ethdev/stats,{port}") for port in (0, 1)]
    assert all(2 <= port["opackets"] <= 1000 for port in stats)


def test_loss_is_exact_and_ends_a_trial_that_has_failed(up: Up) -> None:
    generator = up(loses=2)
    trial = generator.trial(20_000, 0.2, NO_ABORT)
    assert trial.total.lost == trial.total.sent // 2
    failed = generator.trial(20_000, 5.0, AbortRule(20))
    assert failed.aborted
    assert failed.elapsed_s < 5.0


def test_a_clock_that_dpdk_tells_wrong_is_measured_by_the_first_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "RUNTIME", str(tmp_path / "run"))

    def measured() -> list[float]:
        with standing_in(tmp_path, true_hz=0.9981 * 2.5e9) as generator:
            generator.ready(60.0)
            generator.configure(Traffic(64))
            # Long enough for the looks at it to be told apart from the clock.
            first, second = (generator.trial(100_000, 0.8, NO_ABORT).offered_pps for _ in range(2))
            assert generator.clock["dpdk_hz"] == 2.5e9
            return [first / 0.9981, generator.clock["tsc_hz"] / 0.9981 / 25_000, second]

    assert undisturbed(measured, lambda found: found == pytest.approx([100_000] * 3, rel=0.0015))


def test_a_port_that_takes_nothing_more_is_told(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = up(stuck=0.1)
    trial = generator.trial(10_000, 0.3, NO_ABORT)
    assert (trial.validity, trial.reason) == (
        Validity.STALLED,
        "Pktgen did not stop in time: it waits for a port that takes no frame",
    )
    monkeypatch.setattr(module, "ANSWER_S", 0.5)
    with pytest.raises(GeneratorError, match="fault it waits for a port that takes no frame"):
        generator.trial(10_000, 0.3, NO_ABORT)


@pytest.mark.parametrize(
    ("quirks", "words"),
    [
        ({"dies": "go"}, "pktgen ended with status -6"),
        ({"dies": "trial"}, "pktgen (ended with status -6|does not answer by telemetry)"),
        ({"garbles": "begin"}, "pktgen did not answer in 0.5 s.*attempt to@@"),
    ],
)
def test_a_trial_that_it_does_not_survive_is_lost(
    up: Up, monkeypatch: pytest.MonkeyPatch, quirks: dict[str, str], words: str
) -> None:
    generator = up(**quirks)
    if "garbles" in quirks:
        monkeypatch.setattr(module, "ANSWER_S", 0.5)
    with pytest.raises(GeneratorError, match=f"host lab1: {words}"):
        generator.trial(10_000, 30.0, NO_ABORT)
    with pytest.raises(GeneratorError):
        generator.check_alive()


def test_a_halt_that_it_does_not_understand_ends_it(up: Up, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = up(garbles="halt")
    monkeypatch.setattr(module, "ANSWER_S", 0.5)
    with pytest.raises(GeneratorError, match="did not answer"):
        generator.trial(10_000, 0.1, NO_ABORT)


def test_what_it_does_not_know_is_told_in_its_words(up: Up) -> None:
    generator = up()
    with pytest.raises(GeneratorError, match=r"host lab1: Pktgen: .*attempt to call a nil value \(global 'nosuch'\)"):
        generator._ask("nosuch()")


def test_a_second_load_and_frames_of_nothing_are_refused(up: Up) -> None:
    generator = up()
    with pytest.raises(GeneratorError, match="one load in a trial"):
        generator.trial(10, 1.0, NO_ABORT, then=Step(20, 1.0))
    with pytest.raises(GeneratorError, match="one load in a trial"):
        generator.trial(10, 1.0, NO_ABORT, detail=True)
    generator._traffic = None
    with pytest.raises(GeneratorError, match="configure comes before"):
        generator.learn()


@pytest.mark.parametrize(
    ("says", "words"),
    [
        ("panic-memory.txt", r"does not start: Cannot create mbuf pool \(Rate TX .*: Cannot allocate memory$"),
        ("panic-mtu.txt", r"does not start: Cannot set MTU 1500 on port 0, \(95\)Operation not supported$"),
        ("usage.txt", "does not start: EAL: Option --legacy-mem is not compatible with --in-memory$"),
        ("usage-of-its-own.txt", "does not start: pktgen: invalid option -- 'Z'$"),
        ("session.txt", "pktgen ended with status -6"),
    ],
)
def test_why_it_does_not_start(up: Up, says: str, words: str) -> None:
    with pytest.raises(GeneratorError, match=words):
        up(says=str(RECORDED / says))


def test_releases_that_hold_no_load_are_refused(up: Up) -> None:
    with pytest.raises(
        GeneratorError, match=r"Pktgen 24\.10\.3 is not one that holds a load here \(22\.07 to 24\.03 do"
    ):
        up(version="24.10.3")


def test_it_ends_with_its_minder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "RUNTIME", str(tmp_path / "run"))
    with standing_in(tmp_path) as generator:
        generator.ready(60.0)
        assert (tmp_path / "run" / "nvfake").exists()
    assert not (tmp_path / "run" / "nvfake").exists()
