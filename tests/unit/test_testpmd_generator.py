"""dpdk-testpmd as a generator, against what it was recorded to say: nothing runs here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest

from nvbench.abilities import Ability
from nvbench.endpoint import LinkKind, Port
from nvbench.errors import GeneratorError, LostConnectionError
from nvbench.generators import testpmd
from nvbench.generators.base import Layout, OnLive, Seat
from nvbench.generators.minder import PortCounters, Type, Watched, Window
from nvbench.generators.testpmd import TESTPMD, Testpmd, TestpmdCommand
from nvbench.hosts.base import Completed
from nvbench.traffic import Direction, FlowField, Traffic
from nvbench.trial import AbortRule, Counters, Step, Validity

RECORDED = Path(__file__).parents[1] / "recorded" / "testpmd-22.11"
NO_ABORT = AbortRule()
BOTH_WAYS = Traffic(64, direction=Direction.BIDIRECTIONAL)


def virtual(index: int) -> Port:
    return Port(("--vdev", f"net_virtio_user{index},path=/run/{index},server=1"), f"net_virtio_user{index}")


VIRTUAL = (virtual(0), virtual(1))
NICS = (Port(("-a", "0000:3b:00.1"), "0000:3b:00.1"), Port(("-a", "0000:3b:00.0"), "0000:3b:00.0"))


class FakeHost:
    name = "lab1"

    def __init__(self, *there: str) -> None:
        self.there = there
        self.files: dict[str, bytes] = {}
        self.removed: list[str] = []
        self.lost = False

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "", check: bool = True) -> Completed:
        if self.lost:
            raise LostConnectionError("the SSH connection is gone", place="host lab1")
        return Completed(tuple(argv), 0 if argv[-1] in self.there else 1, "", "", 0.0)

    def upload(self, source: Path, path: str) -> None:
        self.files[path] = source.read_bytes()

    def remove(self, path: str) -> None:
        self.removed.append(path)


def row(received: int = 0, sent: int = 0, missed: int = 0) -> PortCounters:
    return PortCounters(received, sent, missed, 0)


@dataclass
class FakeMinder:
    """A testpmd that answers as it was recorded to; its trials are told."""

    looks: tuple[PortCounters, ...] = ()
    duration_s: float = 1.0
    waited_s: float = 0.0
    refuses: str = ""
    stops: str = "stop"
    says: str = ""
    links: Iterator[Any] = field(default_factory=lambda: repeat({"status": "UP", "speed": 10000, "duplex": "full"}))
    typed: list[str] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    attached: int = 2

    def act(self, action: Type) -> str:
        line = action.text.strip()
        self.typed.append(line)
        if self.refuses and line.startswith(self.refuses):
            name = "rate-refused" if "rate" in line else "attach-refused"
            return (RECORDED / f"{name}.txt").read_text()
        if line.startswith("port attach"):
            text = (RECORDED / "attach.txt").read_text()
            self.attached += 1
            return re.sub("Port 2", f"Port {self.attached - 1}", text)
        if line.startswith("port detach"):
            self.attached -= 1
        recorded = {"start": "start", "stop": self.stops}
        said = (RECORDED / f"{recorded[line]}.txt").read_text() if line in recorded else f"{line}\ntestpmd> "
        return said.replace("RX-packets", f"{self.says}RX-packets", 1)

    def ask(self, tool: int, question: str) -> Any:
        return {"version": "DPDK 22.11.11"} if question == "/info" else next(self.links)

    def read(self, tool: int, until: str, timeout_s: float) -> str:
        return "testpmd> "

    def trial(self, window: Window, on_live: OnLive | None = None) -> Watched:
        self.windows.append(window)
        texts = tuple(self.act(action) for action in (*window.go, *window.halt) if isinstance(action, Type))
        zero = tuple(row() for _ in self.looks)
        samples = ((0.0, zero), (self.duration_s, self.looks))
        return Watched(zero, self.looks, samples, False, 0.0, 5.0, self.waited_s, self.waited_s, texts)

    def close(self) -> None:
        self.typed.append("closed")


def generator(
    minder: FakeMinder, ports: tuple[Port, Port] = VIRTUAL, cores: tuple[int, ...] = (1,), **layout: Any
) -> tuple[Testpmd, FakeHost]:
    host = FakeHost()
    seat = Seat(host, Layout(ports, cores, memory_mb=224, **layout), 0, "nv-gen", "/run/nv", "/cache")
    return Testpmd(minder, 0, TestpmdCommand("dpdk-testpmd", seat.layout, 0, "nv-gen"), seat), host


def test_command_with_virtual_devices() -> None:
    layout = Layout(VIRTUAL, (2, 3), queues=2, max_frame_bytes=9018, memory_mb=512)
    command = TestpmdCommand("dpdk-testpmd", layout, 0, "nv-gen")
    assert command.argv == (
        *("nice", "-n", "-20", "taskset", "-c", "0,2,3", "dpdk-testpmd", "--lcores=0@0,1@2,2@3"),
        *("--in-memory", "--single-file-segments", "--socket-mem", "512", "--no-pci", "--file-prefix", "nv-gen"),
        *("--vdev", "net_virtio_user0,path=/run/0,server=1", "--vdev", "net_virtio_user1,path=/run/1,server=1"),
        *("--", "-i", "--nb-cores=2", "--rxq=2", "--txq=2", "--rxd=1024", "--txd=512"),
        *("--mbuf-size=9402", "--total-num-mbufs=45056"),
        *("--port-topology=paired", "--disable-link-check", "--no-flush-rx"),
    )
    assert command.layout.sockets == ("/run/0", "/run/1")


def test_command_with_nics_knows_that_dpdk_numbers_them_by_address() -> None:
    layout = Layout(NICS, (2,), max_frame_bytes=9018, hugepages=False)
    command = TestpmdCommand("dpdk-testpmd", layout, 0, "nv-gen")
    assert command.layout.numbers == (1, 0)
    assert "--max-pkt-len=9018" in command.argv
    assert "--no-pci" not in command.argv
    assert command.argv[8:11] == ("--no-huge", "-m", "256")


def test_buffers_have_room_for_a_slot_of_af_packet() -> None:
    port = Port(("--vdev", "net_af_packet0,iface=gen0,framesz=16384"), "net_af_packet0")
    assert "--mbuf-size=16512" in TestpmdCommand("x", Layout((port, port), (1,)), 0, "p").argv


def test_frames_are_played_out_of_a_port_that_is_joined_with_a_file() -> None:
    minder = FakeMinder()
    sender, host = generator(minder, queues=2)
    sender.ready()
    assert sender.version == "testpmd of DPDK 22.11.11"
    sender.configure(Traffic(64, flows=3))
    assert minder.typed == [
        "stop",
        "port attach net_pcap0,rx_pcap=/run/nv/0.0.pcap,rx_pcap=/run/nv/0.0.pcap,infinite_rx=1",
        "port start 2",
        "port attach net_null91,no-rx=1",
        "port start 3",
        *("stop", "set portlist 0,1", "set fwd rxonly", "start"),
    ]
    assert len(host.files["/run/nv/0.0.pcap"]) == 24 + 3 * (16 + 60)
    minder.typed.clear()
    sender.configure(BOTH_WAYS)
    assert minder.typed[:5] == ["stop", "port stop 2", "port detach 2", "port stop 3", "port detach 3"]
    assert "port attach net_pcap1,rx_pcap=/run/nv/1.0.pcap,rx_pcap=/run/nv/1.0.pcap,infinite_rx=1" in minder.typed


def test_learning_frames_are_played_once_out_of_both_ports() -> None:
    minder = FakeMinder()
    sender, _ = generator(minder)
    sender.configure(Traffic(64))
    minder.typed.clear()
    sender.learn()
    attached = [line for line in minder.typed if "attach" in line]
    assert attached == [
        "port attach net_pcap0,rx_pcap=/run/nv/0.0.pcap",
        "port attach net_pcap1,rx_pcap=/run/nv/1.0.pcap",
        "port attach net_pcap0,rx_pcap=/run/nv/0.0.pcap,infinite_rx=1",
        "port attach net_null91,no-rx=1",
    ]
    sent = minder.typed.index("set fwd io")
    assert minder.typed.index(attached[1]) < sent < minder.typed.index(attached[2])


def test_what_a_port_did_not_take_was_refused_by_its_device() -> None:
    looks = (row(5, 900_000), row(890_000, 0), row(1_000_000, 5), row())
    minder = FakeMinder(looks=looks, duration_s=0.5)
    sender, _ = generator(minder)
    sender.configure(Traffic(64))
    trial = sender.trial(14.88e6, 0.5, NO_ABORT)
    assert minder.windows[0].ports == ((0, 0), (0, 1), (0, 2), (0, 3))
    assert minder.windows[0].ends == 2
    assert [action.text for action in minder.windows[0].go if isinstance(action, Type)] == [
        "stop\n",
        "set portlist 2,0,3,1\n",
        "set fwd io\n",
        "start\n",
    ]
    assert trial.directions == (Counters(sent=900_000, late=6_440_000, refused=100_000, received=890_000),)
    assert trial.elapsed_s == 0.5
    assert trial.offered_pps == 2e6
    assert (trial.validity, trial.reason) == (Validity.UNDERSENT, "sent 2.00 of 14.88 Mpps")


def test_both_ways_each_port_has_its_source() -> None:
    looks = (row(30, 40), row(39, 31), row(41, 0), row(32, 0))
    sender, _ = generator(FakeMinder(looks=looks))
    sender.configure(BOTH_WAYS)
    trial = sender.trial(1.0, 1.0, NO_ABORT)
    assert trial.directions == (
        Counters(sent=40, refused=1, received=39),
        Counters(sent=31, refused=1, received=30),
    )


def test_a_reflector_sends_back_to_the_only_port() -> None:
    minder = FakeMinder(looks=(row(99, 100), row(100, 0)))
    sender, _ = generator(minder, (virtual(0), Port((), "")))
    sender.configure(Traffic(64))
    assert "set portlist 0" in minder.typed
    assert sender.trial(1.0, 1.0, NO_ABORT).total.received == 99


def test_nothing_that_leaves_is_a_trial_of_the_time_asked_for() -> None:
    sender, _ = generator(FakeMinder(looks=(row(),) * 4))
    sender.configure(Traffic(64))
    trial = sender.trial(1000.0, 0.5, NO_ABORT)
    assert (trial.elapsed_s, trial.total.late) == (0.5, 500)


def test_frames_that_it_missed_are_not_the_devices_loss() -> None:
    sender, _ = generator(FakeMinder(looks=(row(0, 100), row(90, 0, missed=10), row(100), row())))
    sender.configure(Traffic(64))
    trial = sender.trial(1e6, 1.0, NO_ABORT)
    assert (trial.validity, trial.reason) == (
        Validity.PAUSED,
        "testpmd did not take in 10 frames that came back to it",
    )
    assert sender.trial(1e6, 1.0, AbortRule(10)).validity is Validity.UNDERSENT


# What was recorded: 219 frames went out and came back, in 291252 cycles of 2500 MHz.
BURST_S = 291252 / 2500e6


def frames_of(capture: bytes) -> int:
    """How many frames of 64 bytes a capture file holds."""
    return (len(capture) - 24) // (16 + 60)


def burst_of(frames: int, *, missed: int = 0) -> tuple[PortCounters, ...]:
    """What is counted of a burst that all comes back, of one direction."""
    return row(0, frames), row(frames - missed, 0, missed), row(frames), row()


def test_a_burst_is_a_file_of_so_many_frames_that_is_played_once() -> None:
    minder = FakeMinder(looks=burst_of(219), stops="stop-burst")
    sender, host = generator(minder)
    sender.configure(Traffic(64, flows=3))
    minder.typed.clear()
    trial = sender.trial(1e6, 219e-6, NO_ABORT)
    assert frames_of(host.files["/run/nv/0.0.pcap"]) == 219
    assert minder.typed == [
        *("stop", "port stop 2", "port detach 2", "port stop 3", "port detach 3"),
        *("port attach net_pcap0,rx_pcap=/run/nv/0.0.pcap", "port start 2"),
        *("port attach net_null91,no-rx=1", "port start 3"),
        *("stop", "set portlist 2,0,3,1", "set record-core-cycles on", "set fwd io", "start"),
        *("stop", "set portlist 0,1", "set fwd rxonly", "start"),
    ]
    assert trial.directions == (Counters(sent=219, received=219),)
    assert trial.elapsed_s == pytest.approx(BURST_S)
    assert trial.offered_pps == pytest.approx(1.88e6, rel=0.001)
    assert trial.valid


def test_a_burst_that_leaves_slower_than_asked_is_told_and_at_what_speed() -> None:
    sender, _ = generator(FakeMinder(looks=burst_of(219), stops="stop-burst", waited_s=0.02))
    sender.configure(Traffic(64))
    trial = sender.trial(2e6, 219 / 2e6, NO_ABORT)
    assert trial.total.late == round(2e6 * BURST_S) - 219
    assert (trial.validity, trial.reason) == (Validity.UNDERSENT, "sent 1.88 of 2.00 Mpps")


def test_a_burst_that_did_not_leave_whole_is_late() -> None:
    sender, _ = generator(FakeMinder(looks=burst_of(100), stops="stop-burst"))
    sender.configure(Traffic(64))
    trial = sender.trial(1e6, 219e-6, NO_ABORT)
    assert (trial.total.late, trial.validity) == (119, Validity.UNDERSENT)


def test_frames_that_are_sent_in_one_go_are_never_late() -> None:
    sender, _ = generator(FakeMinder(looks=burst_of(32), stops="stop-burst"))
    sender.configure(Traffic(64))
    assert sender.trial(14.88e6, 32 / 14.88e6, NO_ABORT).valid


def test_a_burst_whose_frames_were_missed_does_not_count() -> None:
    sender, _ = generator(FakeMinder(looks=burst_of(219, missed=9), stops="stop-burst"))
    sender.configure(Traffic(64))
    assert sender.trial(1e6, 219e-6, NO_ABORT).validity is Validity.PAUSED


def test_a_burst_is_shared_out_among_queues_and_sent_by_one_core() -> None:
    minder = FakeMinder(looks=burst_of(219), stops="stop-burst")
    sender, host = generator(minder, cores=(1, 2), queues=2)
    sender.configure(Traffic(64))
    sender.trial(1e6, 219e-6, NO_ABORT)
    assert minder.typed[-10:-7] == ["stop", "set nbcore 1", "set portlist 2,0,3,1"]
    assert [frames_of(host.files[f"/run/nv/0.{queue}.pcap"]) for queue in (0, 1)] == [110, 109]
    assert "port attach net_pcap0,rx_pcap=/run/nv/0.0.pcap,rx_pcap=/run/nv/0.1.pcap" in minder.typed
    sender.trial(1e6, 1.0, NO_ABORT)
    assert minder.typed[-9:-6] == ["stop", "set nbcore 2", "set portlist 2,0,3,1"]


def test_what_lasts_longer_or_fits_into_no_file_is_sent_for_its_time() -> None:
    minder = FakeMinder(looks=burst_of(219), stops="stop-burst")
    sender, _ = generator(minder)
    sender.configure(Traffic(64))
    for load_pps, duration_s, endless in ((2190.0, 0.1, False), (1e6, 0.11, True), (1e7, 0.1, True)):
        minder.typed.clear()
        sender.trial(load_pps, duration_s, NO_ABORT)
        assert minder.windows[-1].duration_s == pytest.approx(duration_s if endless else duration_s + 0.01)
        assert any("rx_pcap" in line for line in minder.typed) == (duration_s != 0.1 or not endless)
        assert ("set record-core-cycles on" not in minder.typed) == endless


def test_a_burst_out_of_a_nic_lasts_as_long_as_the_wire_needs() -> None:
    minder = FakeMinder(looks=burst_of(2190), stops="stop-burst")
    sender, _ = generator(minder, NICS)
    sender.configure(Traffic(64))
    trial = sender.trial(14.88e6, 2190 / 14.88e6, NO_ABORT)
    assert "set fwd io retry" in minder.typed
    assert trial.elapsed_s == pytest.approx(2190 / 14.88e6, rel=0.001)
    assert trial.valid


def test_without_cycles_it_cannot_be_said_how_long_a_burst_took() -> None:
    sender, _ = generator(FakeMinder(looks=burst_of(219)))
    sender.configure(Traffic(64))
    with pytest.raises(GeneratorError, match="does not tell how long it was busy"):
        sender.trial(1e6, 219e-6, NO_ABORT)


def test_nics_are_held_to_a_load_and_let_go_of() -> None:
    # 1 Mpps of 64 bytes are 512 Mbit/s, in two queues.
    looks = (row(0, 1_000_000), row(1_000_000), row(8_000_000), row())
    minder = FakeMinder(looks=looks)
    sender, _ = generator(minder, NICS, queues=2)
    sender.configure(Traffic(64))
    minder.typed.clear()
    trial = sender.trial(1e6, 1.0, NO_ABORT)
    assert minder.typed[:2] == ["set port 1 queue 0 rate 256", "set port 1 queue 1 rate 256"]
    assert trial.directions == (Counters(sent=1_000_000, received=1_000_000),)
    assert trial.valid
    minder.typed.clear()
    sender.trial(20e6, 1.0, NO_ABORT)
    assert minder.typed[:2] == ["set port 1 queue 0 rate 0", "set port 1 queue 1 rate 0"]
    minder.typed.clear()
    sender.trial(20e6, 1.0, NO_ABORT)
    assert minder.typed[0] == "stop"


def test_what_a_nic_cannot_send_at_line_rate_was_never_offered_to_the_device() -> None:
    # A source in memory is several times as fast as the wire of 10 Gbit/s, which carries 812743 frames of 1518 bytes.
    looks = (row(0, 812_740), row(812_740), row(3_000_000), row())
    sender, _ = generator(FakeMinder(looks=looks), NICS)
    sender.configure(Traffic(1518))
    at_line_rate = sender.trial(812_743.0, 1.0, NO_ABORT)
    assert at_line_rate.directions == (Counters(sent=812_740, late=3, received=812_740),)
    assert at_line_rate.valid
    flat_out = sender.trial(1e9, 1.0, NO_ABORT)
    assert (flat_out.validity, flat_out.total.refused) == (Validity.UNDERSENT, 0)
    assert flat_out.offered_pps == pytest.approx(812_740)


def test_a_nic_with_a_reflector_behind_it_is_held_to_a_load_too() -> None:
    minder = FakeMinder(looks=(row(1_000_000, 1_000_000), row(8_000_000)))
    sender, _ = generator(minder, (NICS[1], Port((), "")))
    sender.configure(Traffic(64))
    assert sender.trial(1e6, 1.0, NO_ABORT).valid
    assert "set port 0 queue 0 rate 512" in minder.typed


def test_the_faster_of_two_nics_is_held_to_the_line_rate_of_the_slower() -> None:
    speeds = ({"status": "UP", "speed": speed} for speed in (10_000, 25_000))
    minder = FakeMinder(looks=(row(),) * 4, links=speeds)
    sender, _ = generator(minder, NICS)
    sender.configure(BOTH_WAYS)
    minder.typed.clear()
    sender.trial(10e9 / 8 / 84, 1.0, NO_ABORT)
    assert minder.typed[:2] == ["set port 1 queue 0 rate 7620", "set port 0 queue 0 rate 7620"]


DOWN = {"status": "DOWN"}
UP = {"status": "UP", "speed": 10000, "duplex": "full-duplex"}


def test_nics_are_ready_when_their_links_are_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testpmd, "LOOK_S", 0.0)
    minder = FakeMinder(links=iter([DOWN, DOWN, UP, UP]))
    generator(minder, NICS)[0].ready()
    assert list(minder.links) == []
    generator(FakeMinder(links=iter([])))[0].ready()  # virtual links have switches at their ends


@pytest.mark.parametrize("told", [DOWN, {"status": "UP", "speed": 0}, None])
def test_a_link_that_is_down_is_named(told: Any) -> None:
    sender, _ = generator(FakeMinder(links=repeat(told)), NICS)
    with pytest.raises(GeneratorError, match=r"^host lab1: port 0000:3b:00.1: its link is down$"):
        sender.ready(0.0)
    sender, _ = generator(FakeMinder(links=chain([UP, UP, UP], repeat(told))), NICS)
    sender.ready(0.0)
    sender.configure(BOTH_WAYS)
    with pytest.raises(GeneratorError, match=r"^host lab1: port 0000:3b:00.0: its link is down$"):
        sender.trial(1e6, 1.0, NO_ABORT)


def test_errors_that_a_port_counted_are_no_complaint() -> None:
    minder = FakeMinder(looks=burst_of(219), says="RX-error: 1\n  RX-nombufs: 0             \n  ")
    sender, _ = generator(minder)
    sender.configure(Traffic(64))
    assert sender.trial(219.0, 1.0, NO_ABORT).valid


def test_a_nic_that_does_not_hold_its_rate_is_told() -> None:
    looks = (row(0, 1_312_500), row(1_312_500), row(8_000_000), row())
    sender, _ = generator(FakeMinder(looks=looks), NICS)
    sender.configure(Traffic(64))
    trial = sender.trial(1e6, 1.0, NO_ABORT)
    assert trial.validity is Validity.UNDERSENT
    assert trial.reason == "sent 1.312 Mpps of 1 Mpps: its NIC does not hold the rate that it was told"


@pytest.mark.parametrize(
    ("refuses", "told"),
    [
        (
            "set port 1 queue 0",
            "testpmd: set port 0 queue 0 rate 1000: rte_eth_set_queue_rate_limit for port_id=0 failed diag=-95",
        ),
        ("port attach", "testpmd: port attach .*: EAL: Failed to attach device on primary process"),
    ],
)
def test_what_it_refuses_is_told_in_its_words(refuses: str, told: str) -> None:
    minder = FakeMinder(looks=(row(),) * 4, refuses=refuses)
    sender, _ = generator(minder, NICS)
    with pytest.raises(GeneratorError, match=f"^host lab1: {told}$"):
        sender.configure(Traffic(64))
        sender.trial(1e6, 1.0, NO_ABORT)


def test_what_it_cannot_do_is_said_before_it_is_tried() -> None:
    sender, _ = generator(FakeMinder())
    with pytest.raises(GeneratorError, match="configure comes before learn"):
        sender.learn()
    with pytest.raises(GeneratorError, match="configure comes before a trial"):
        sender.trial(1.0, 1.0, NO_ABORT)
    sender.configure(Traffic(64))
    with pytest.raises(GeneratorError, match="one load in a trial"):
        sender.trial(1.0, 1.0, NO_ABORT, then=Step(1.0, 1.0))


def test_it_takes_its_sockets_and_folders_with_it() -> None:
    minder = FakeMinder()
    sender, host = generator(minder)
    sender.close()
    assert minder.typed == ["closed"]
    assert host.removed == ["/run/0", "/run/1", "/run/dpdk/nv-gen"]


def test_the_kind() -> None:
    assert TESTPMD.abilities([LinkKind.VHOST_USER, LinkKind.VHOST_USER]) == {Ability.BURSTS}
    assert TESTPMD.abilities([LinkKind.PCI, LinkKind.PCI]) == {Ability.BURSTS, Ability.PACED}
    assert TESTPMD.abilities([LinkKind.PCI, LinkKind.VETH]) == {Ability.BURSTS}
    assert TESTPMD.cannot_send(Traffic.mixed("aag", flows=10, vlan=7, vary=(FlowField.MAC_DST,))) == ""
    assert TESTPMD.cannot_send(Traffic(64, flows=10_000)) == (
        "holds 8192 frames, and these are 10000 before they repeat"
    )
    assert TESTPMD.missing(FakeHost("dpdk-testpmd", "python3"), "") == ""
    assert TESTPMD.missing(FakeHost("python3"), "") == "no dpdk-testpmd"
    assert TESTPMD.missing(FakeHost("/opt/testpmd"), "/opt/testpmd") == "no python3"
    assert TESTPMD.memory_mb(144) == 224


def test_a_host_that_cannot_be_heard_does_not_lack_testpmd() -> None:
    host = FakeHost("dpdk-testpmd", "python3")
    host.lost = True
    with pytest.raises(LostConnectionError):
        TESTPMD.missing(host, "")
