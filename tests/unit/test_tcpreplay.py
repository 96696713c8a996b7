"""tcpreplay: the frames of its files, its command line, what it prints held against what the kernel counts."""

from __future__ import annotations

import ast
import io
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Dot1Q, Ether
from scapy.utils import rdpcap

from nvbench.abilities import Ability
from nvbench.endpoint import LinkKind, Port
from nvbench.errors import GeneratorError
from nvbench.generators.base import Layout, Seat
from nvbench.generators.capture import capture, read_capture, unrolled
from nvbench.generators.tcpreplay import TCPREPLAY, Tcpreplay, TcpreplayCommand
from nvbench.generators.tcpreplay.account import Account, Printed
from nvbench.hosts import Completed
from nvbench.traffic import Direction, FlowField, Traffic, templates
from nvbench.trial import AbortRule, Counters, Validity

RECORDED = Path(__file__).parent.parent / "recorded" / "tcpreplay-4.4.3"
FAR = Path(__file__).parents[2] / "generators" / "tcpreplay" / "far.py"
PATHS = (("gen0", "gen1"), ("gen1", "gen0"))


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text()


# -- frames --------------------------------------------------------------------------------------------------


def captured(path: Path, frames: list[bytes]) -> Traffic:
    path.write_bytes(capture(frames))
    return Traffic.captured(read_capture(str(path))[0])


def test_flows_and_sizes_follow_each_other_until_both_repeat_and_every_checksum_holds() -> None:
    traffic = Traffic.mixed("aab", flows=2, vary=(FlowField.UDP_SRC, FlowField.IP_DST, FlowField.MAC_SRC), vlan=7)
    frames = list(unrolled(templates(traffic)[0]))
    assert [len(frame) for frame in frames] == [60, 60, 124] * 2
    packets = rdpcap(io.BytesIO(capture(frames)))
    assert [bytes(packet) for packet in packets] == frames
    assert [packet[UDP].sport for packet in packets] == [1024, 1025] * 3
    assert {packet[Ether].src for packet in packets} == {"02:00:00:00:01:00", "02:00:00:00:01:01"}
    assert {packet[Dot1Q].vlan for packet in packets} == {7}
    for packet in packets:
        told = packet[IP].chksum
        del packet[IP].chksum
        assert IP(bytes(packet[IP])).chksum == told


def test_too_many_different_frames_are_refused() -> None:
    assert TCPREPLAY.cannot_send(Traffic(64, flows=100_000)) == ""
    assert "1000000 of them" in TCPREPLAY.cannot_send(Traffic(64, flows=1_000_000))
    assert "137 MB" in TCPREPLAY.cannot_send(Traffic(1518, flows=90_000, direction=Direction.BIDIRECTIONAL))


def test_a_file_that_could_be_read_is_not_too_large(tmp_path: Path) -> None:
    assert TCPREPLAY.cannot_send(captured(tmp_path / "x.pcap", [bytes(60)])) == ""
    assert TCPREPLAY.plays_files


# -- what is run, and what it prints -------------------------------------------------------------------------


def test_the_command_is_bounded_by_frames_and_by_time() -> None:
    command = TcpreplayCommand("tcpreplay", "gen0", "/f/x.pcap", 2, 1234.5, 1.5)
    assert command.argv == (
        *("nice", "-n", "-20", "taskset", "-c", "2", "tcpreplay", "-q", "--no-flow-stats", "--intf1=gen0"),
        *("--preload-pcap", "--loop=0", "--pps=1234.500000", "--limit=1852", "--duration=3", "/f/x.pcap"),
    )


def test_flat_out_is_bounded_by_time_alone() -> None:
    argv = TcpreplayCommand("tcpreplay", "gen0", "/f/x.pcap", 2, 14.88e6, 1).argv
    assert "--topspeed" in argv
    assert not [word for word in argv if word.startswith(("--pps", "--limit"))]


def test_what_it_prints() -> None:
    assert Printed.parse(recorded("flat-out")) == Printed(723001, 721849.64, 723001, 0, 0, 0)
    assert Printed.parse(recorded("paced-with-flows")).elapsed_s == pytest.approx(1.5, rel=1e-4)
    assert Printed.parse(recorded("interrupted")).successful == 250216


def test_a_complaint_is_told() -> None:
    with pytest.raises(GeneratorError, match="Invalid interface name/alias: nosuch"):
        Printed.parse(recorded("no-device"))


# -- the account of a trial ----------------------------------------------------------------------------------


def told(packets: int, pps: float, failed: int = 0, retried: int = 0) -> str:
    return (
        f"Actual: {packets} packets (1 bytes) sent in 1.00 seconds\n"
        f"Rated: 1.0 Bps, 0.01 Mbps, {pps:.2f} pps\n\tSuccessful packets:        {packets}\n"
        f"\tFailed packets:            {failed}\n\tTruncated packets:         0\n"
        f"\tRetried packets (ENOBUFS): {retried}\n\tRetried packets (EAGAIN):  0\n"
    )


def event(
    *said: str, tx: Sequence[int] = (1000, 0), rx: Sequence[int] = (0, 1000), missed: int = 0, **more: Any
) -> dict[str, Any]:
    counters = {
        f"gen{index}": {"tx_packets": tx[index], "tx_dropped": 0, "rx_packets": rx[index], "rx_missed_errors": 0}
        for index in (0, 1)
    }
    counters["gen1"]["rx_missed_errors"] = missed
    return {
        "event": "done",
        "counters": counters,
        "said": list(said),
        "aborted": False,
        "interrupted": False,
        "started_at": 7.0,
        "clock_step_us": 0.0,
        "waited_us": 0.0,
        "longest_wait_us": 0.0,
    } | more


def account(*said: str, load_pps: float = 1000.0, **more: Any) -> Account:
    return Account.of(event(*said, **more), PATHS[: len(said)], load_pps, 1.0)


GOOD = told(1000, 1001.0)


def test_a_good_trial() -> None:
    found = account(GOOD)
    assert found.done.directions == (Counters(sent=1000, received=1000),)
    assert found.done.elapsed_s == pytest.approx(1.0, abs=1e-5)
    assert found.verdict(1000.0, 0) == (Validity.VALID, "")


def test_each_direction_has_counters_of_its_own() -> None:
    found = account(GOOD, told(1000, 1001.0), tx=(1000, 1000), rx=(990, 1000))
    assert found.done.directions == (Counters(sent=1000, received=1000), Counters(sent=1000, received=990))
    assert found.verdict(1000.0, 0) == (Validity.VALID, "")  # the loss is the device's own


def test_what_a_device_did_not_take_was_refused_at_its_door() -> None:
    assert account(GOOD, tx=(940, 0), rx=(0, 940)).done.directions == (Counters(sent=940, refused=60, received=940),)
    assert account(told(1000, 1001.0, failed=5)).done.directions[0].refused == 5


def test_frames_of_others_make_it_foreign() -> None:
    found = account(GOOD, tx=(1100, 0), rx=(0, 1100))
    assert found.verdict(1000.0, 0)[0] is Validity.FOREIGN
    assert "sent 100 frames more than tcpreplay" in found.verdict(1000.0, 0)[1]


def test_the_frame_under_way_when_it_is_told_to_stop_is_its_own() -> None:
    found = account(told(999, 1000.0), interrupted=True, aborted=True)
    assert found.done.directions[0].foreign == 0
    assert found.done.directions[0].sent == 1000


def test_a_load_that_it_cannot_send_is_undersent_with_what_held_it_up() -> None:
    found = account(told(900, 901.01, retried=12), tx=(900, 0), rx=(0, 900))
    assert found.done.directions[0].late == 100
    assert found.verdict(1000.0, 0) == (
        Validity.UNDERSENT,
        "sent 900 pps of 1 kpps; the kernel's buffers were full 12 times",
    )


def test_what_its_own_device_had_no_room_for_is_not_the_switch_s_loss() -> None:
    validity, reason = account(GOOD, rx=(0, 980), missed=20).verdict(1000.0, 0)
    assert (validity, "no room for 20 frames" in reason) == (Validity.PAUSED, True)


def test_a_clock_that_stepped() -> None:
    assert account(GOOD, clock_step_us=5000.0).verdict(1000.0, 0)[0] is Validity.CLOCK


# -- the driver ----------------------------------------------------------------------------------------------


class FakeProcess:
    """Answers a trial with events."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.events = list(events)
        self.lines: list[str] = []
        self.asked: list[dict[str, Any]] = []
        self.killed = False

    def send(self, line: str) -> None:
        self.asked.append(json.loads(line))
        self.lines += [json.dumps(each) for each in self.events]

    def receive(self, timeout_s: float) -> str | None:
        if not self.lines:
            raise TimeoutError
        return self.lines.pop(0)

    def complaints(self) -> list[str]:
        return []

    def close(self, timeout_s: float = 5.0) -> int | None:
        return 0

    def kill(self) -> None:
        self.killed = True


class FakeHost:
    name = "lab1"

    def __init__(self, process: FakeProcess, version: str = "4.4.3") -> None:
        self.process = process
        self.version = version
        self.files: dict[str, bytes] = {}
        self.ran: list[Sequence[str]] = []
        self.lacks = ""

    def spawn(self, argv: Sequence[str]) -> FakeProcess:
        self.ran.append(argv)
        return self.process

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "", check: bool = True) -> Completed:
        self.ran.append(argv)
        status = 1 if argv[0] == "which" and argv[1] == self.lacks else 0
        said = f"tcpreplay version: {self.version} (build git:v{self.version})" if "--version" in argv else ""
        return Completed(tuple(argv), status, said, "", 0.0)

    def make_folder(self, path: str) -> None:
        pass

    def upload(self, source: Path, path: str) -> None:
        self.files[path] = source.read_bytes()

    def read(self, path: str) -> str | None:
        return "1500\n" if path.endswith("/mtu") else "1\n"


def started(host: FakeHost) -> Tcpreplay:
    ports = (Port((), "net_af_packet0", "gen0"), Port((), "net_af_packet1", "gen1"))
    return Tcpreplay.start(Seat(host, Layout(ports, (2, 3)), 0, "nv7", "/f", "/c"))


def test_a_trial_is_asked_for_told_live_and_counted() -> None:
    live = {"event": "live", "elapsed_s": 0.5, "counters": event(tx=(500, 0), rx=(0, 400))["counters"]}
    process = FakeProcess(live, event(GOOD))
    generator = started(FakeHost(process))
    generator.ready()
    generator.configure(Traffic(64))
    seen: list[Any] = []
    trial = generator.trial(1000.0, 1.0, AbortRule(3), seen.append)
    assert (trial.valid, trial.total.received, generator.version) == (True, 1000, "tcpreplay 4.4.3")
    assert seen[0].total == Counters(sent=500, received=400)
    assert process.asked[0]["paths"] == [["gen0", "gen1"]]
    assert process.asked[0]["max_lost"] == 3
    assert process.asked[0]["argvs"][0][-1] == "/f/nv7-play0.pcap"


def test_frames_above_the_mtu_are_refused_before_they_are_tried() -> None:
    generator = started(FakeHost(FakeProcess()))
    generator.configure(Traffic(1522, vlan=5))  # a tag is beside it
    with pytest.raises(GeneratorError, match="its MTU is 1500"):
        generator.configure(Traffic(1522))


def test_the_frames_of_a_file_are_played_as_they_are_and_nothing_else_is_sent(tmp_path: Path) -> None:
    host, frames = FakeHost(FakeProcess()), [bytes(range(60)), bytes(42), bytes(1514)]
    traffic = captured(tmp_path / "own.pcap", frames)
    generator = started(host)
    generator.configure(replace(traffic, direction=Direction.BIDIRECTIONAL))
    before = len(host.ran)
    generator.learn()
    assert len(host.ran) == before
    assert [path for path in host.files if path.endswith(".pcap")] == ["/f/nv7-play0.pcap", "/f/nv7-play1.pcap"]
    for path in ("/f/nv7-play0.pcap", "/f/nv7-play1.pcap"):
        assert [bytes(packet) for packet in rdpcap(io.BytesIO(host.files[path]))] == frames
    captured(tmp_path / "own.pcap", frames[:2])
    with pytest.raises(GeneratorError, match="has changed since the run was planned"):
        generator.configure(traffic)
    (tmp_path / "own.pcap").unlink()
    with pytest.raises(GeneratorError, match="there is no such file"):
        generator.configure(traffic)


def test_a_far_end_that_says_nothing_is_killed() -> None:
    process = FakeProcess()
    generator = started(FakeHost(process))
    generator.configure(Traffic(64))
    with pytest.raises(GeneratorError, match="said nothing in time"):
        generator.trial(1000.0, 0.1, AbortRule())
    assert process.killed


def test_what_a_host_lacks_is_told_with_the_way_to_get_it() -> None:
    host = FakeHost(FakeProcess())
    assert TCPREPLAY.missing(host, "") == ""
    host.lacks = "tcpreplay"
    assert TCPREPLAY.missing(host, "") == "no tcpreplay (apt-get install tcpreplay)"
    host.lacks = "python3"
    assert TCPREPLAY.missing(host, "").startswith("no python3")
    assert "there is 3.4.4" in TCPREPLAY.missing(FakeHost(FakeProcess(), "3.4.4"), "")


def test_its_kind() -> None:
    assert TCPREPLAY.abilities([LinkKind.VETH]) == {Ability.PACED, Ability.ADDRESSES}
    assert TCPREPLAY.memory_mb(512) == 0


def test_the_far_end_imports_nothing_but_the_standard_library_and_is_python_3_6() -> None:
    tree = ast.parse(FAR.read_text(), feature_version=(3, 6))
    imported = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    imported += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names
