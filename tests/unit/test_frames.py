"""What happened to a frame, in words; and the two ends of an exchange without a device between them."""

from __future__ import annotations

import ast
import base64
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Dot1AD, Dot1Q, Ether
from scapy.packet import Raw
from scapy.utils import rdpcap

from nvbench.errors import GeneratorError
from nvbench.generators.frames import Captured, exchange, save
from nvbench.generators.frames.changes import compare
from nvbench.hosts.base import Completed

FAR = Path(__file__).parents[2] / "generators" / "frames" / "far.py"
ETHER = Ether(src="02:00:00:00:01:00", dst="02:00:00:00:02:00")
DATAGRAM = IP(src="198.18.0.1", dst="198.19.0.1", ttl=64) / UDP(sport=1024, dport=7) / Raw(b"nvbench" * 6)
PLAIN = ETHER / DATAGRAM


@pytest.mark.parametrize(
    ("sent", "got", "told"),
    [
        (PLAIN, PLAIN, []),
        (PLAIN, ETHER / Dot1Q(vlan=100) / DATAGRAM, ["802.1Q tag 100 was added"]),
        (ETHER / Dot1Q(vlan=100) / DATAGRAM, PLAIN, ["802.1Q tag 100 was removed"]),
        (
            ETHER / Dot1Q(vlan=10) / DATAGRAM,
            ETHER / Dot1AD(vlan=100) / Dot1Q(vlan=10) / DATAGRAM,
            ["802.1ad tag 100 was added"],
        ),
        (
            ETHER / Dot1Q(vlan=10) / DATAGRAM,
            ETHER / Dot1Q(vlan=20, prio=5) / DATAGRAM,
            ["802.1Q tag 10 became 802.1Q tag 20 priority 5"],
        ),
        (
            ETHER / Dot1AD(vlan=100) / Dot1Q(vlan=10) / DATAGRAM,
            ETHER / Dot1Q(vlan=100) / Dot1Q(vlan=10) / DATAGRAM,
            ["802.1ad tag 100 became 802.1Q tag 100"],
        ),
    ],
)
def test_tags_are_pushed_popped_and_rewritten_at_the_outer_end(sent, got, told) -> None:
    assert compare(bytes(sent), bytes(got)) == told


def test_a_router_is_seen_by_what_it_changes_and_its_right_checksum_needs_no_word() -> None:
    routed = Ether(src="02:00:00:00:0a:01", dst="02:00:00:00:0a:02") / DATAGRAM.copy()
    routed[IP].ttl = 63
    assert compare(bytes(PLAIN), bytes(routed)) == [
        "Ethernet destination 02:00:00:00:02:00 -> 02:00:00:00:0a:02",
        "Ethernet source 02:00:00:00:01:00 -> 02:00:00:00:0a:01",
        "IPv4 TTL 64 -> 63",
    ]


def test_a_checksum_that_does_not_follow_is_told() -> None:
    wrong = bytearray(bytes(PLAIN))
    wrong[22] -= 1  # the TTL, and nothing else
    told = compare(bytes(PLAIN), bytes(wrong))
    assert told[0] == "IPv4 TTL 64 -> 63"
    stale = bytearray(bytes(PLAIN))
    stale[24] ^= 0xFF
    (told_of_stale,) = compare(bytes(PLAIN), bytes(stale))
    assert told_of_stale.startswith("IPv4 checksum 0x")


def test_ports_and_addresses_rewritten() -> None:
    translated = bytes(ETHER / IP(src="10.0.0.1", dst="198.19.0.1") / UDP(sport=40000, dport=7) / DATAGRAM[Raw])
    assert compare(bytes(PLAIN), translated) == ["IPv4 source 198.18.0.1 -> 10.0.0.1", "UDP sport 1024 -> 40000"]


@pytest.mark.parametrize(
    ("got", "told"),
    [
        (bytes(PLAIN) + bytes(4), ["padding of 4 bytes"]),
        (bytes(PLAIN) + b"\xde\xad\xbe\xef", ["trailer of 4 bytes: deadbeef"]),
        (bytes(PLAIN)[:-3], ["cut short by 3 bytes"]),
        (bytes(PLAIN)[:50] + b"\0\0" + bytes(PLAIN)[52:], ["byte 50: 0x76 -> 0x00, and 1 more"]),
        (bytes(PLAIN)[:14] + bytes(ICMP()) + bytes(PLAIN)[22:], None),
    ],
)
def test_lengths_and_bytes(got, told) -> None:
    found = compare(bytes(PLAIN), got)
    assert found == told if told is not None else found


def test_bytes_behind_a_tag_are_counted_in_the_frame_that_came() -> None:
    got = bytearray(bytes(ETHER / Dot1Q(vlan=100) / DATAGRAM))
    got[54] = 0
    assert compare(bytes(PLAIN), bytes(got)) == ["802.1Q tag 100 was added", "byte 54: 0x76 -> 0x00"]


@pytest.mark.parametrize("size", range(14, 61))
def test_the_smallest_frames_compare(size) -> None:
    sent = bytes(ETHER / ARP()).ljust(60, b"\0")[:size]
    assert compare(sent, sent) == []
    assert compare(sent, sent.ljust(60, b"\0")) == ([f"padding of {60 - size} bytes"] if size < 60 else [])
    assert "destination" in compare(sent, b"\0" + sent[1:])[0]


def test_what_was_taken_goes_into_a_file_with_its_times(tmp_path) -> None:
    path = tmp_path / "taken.pcap"
    save(path, [Captured(1795366305.25, bytes(PLAIN)), Captured(1795366306.5, bytes(PLAIN)[:20])])
    packets = rdpcap(str(path))
    assert [bytes(packet) for packet in packets] == [bytes(PLAIN), bytes(PLAIN)[:20]]
    assert [float(packet.time) for packet in packets] == [1795366305.25, 1795366306.5]


# -- an exchange -----------------------------------------------------------------------------------------------


class FakeProcess:
    """The far end: takes frames on `e1`, or says what is wrong; the last events come once it is told to end."""

    def __init__(self, *events: dict[str, Any], last: Sequence[dict[str, Any]] = ()) -> None:
        self.events, self.last = list(events), list(last)
        self.asked: list[dict[str, Any]] = []
        self.closed = False

    def send(self, line: str) -> None:
        self.asked.append(json.loads(line))
        if self.asked[-1] == {"do": "end"}:
            self.events, self.last = [*self.events, *self.last], []

    def receive(self, timeout_s: float) -> str | None:
        if self.last and not self.events:
            raise TimeoutError
        return json.dumps(self.events.pop(0)) if self.events else None

    def complaints(self) -> list[str]:
        return ["python3: not found"]

    def close(self, timeout_s: float = 5.0) -> int | None:
        self.closed = True
        return 0


class FakeHost:
    """A host with python3."""

    def __init__(self, name: str, process: FakeProcess) -> None:
        self.name = name
        self.process = process
        self.files: list[str] = []

    def run(self, argv: Sequence[str], **_how: object) -> Completed:
        assert argv == ["which", "python3"]
        return Completed(tuple(argv), 0, "/usr/bin/python3", "", 0.0)

    def spawn(self, argv: Sequence[str]) -> FakeProcess:
        return self.process

    def make_folder(self, path: str) -> None:
        pass

    def exists(self, path: str) -> bool:
        return path in self.files

    def upload(self, source: Path, path: str) -> None:
        assert source.exists()
        assert path not in self.files  # a program that is starting may be reading it
        self.files.append(path)


TAKEN = {"event": "frame", "device": "e1", "at_s": 7.5, "frame": bytes(PLAIN).hex()}


def test_everybody_listens_before_anything_is_sent() -> None:
    near = FakeHost("near", FakeProcess({"event": "done"}))
    far = FakeHost("far", FakeProcess({"event": "ready"}, TAKEN, last=[{"event": "done"}]))
    captures = {"peer": (far, "e1"), "other": (far, "e2")}
    found = exchange([(near, "e0", [bytes(PLAIN)])], captures, 0.0, folder="/f", marker=b"nv")
    assert found == {"peer": [Captured(7.5, bytes(PLAIN))], "other": []}
    assert far.process.asked == [
        {"do": "capture", "devices": ["e1", "e2"], "marker": "6e76"},
        {"do": "end"},
    ]
    assert near.process.asked == [{"do": "send", "device": "e0", "frames": [bytes(PLAIN).hex()]}]
    assert near.process.closed
    assert far.process.closed


def test_what_has_to_come_is_waited_for_a_little_longer(monkeypatch) -> None:
    far = FakeHost("far", FakeProcess({"event": "ready"}, last=[TAKEN, {"event": "done"}]))
    looks = []

    def until(found) -> bool:
        looks.append(len(found["peer"]))
        if len(looks) == 3:
            far.process.events.append(TAKEN)  # a busy host has put it aside
        return len(found["peer"]) == 1

    found = exchange([], {"peer": (far, "e1")}, 0.0, folder="/f", until=until)
    assert looks == [0, 0, 0, 1]
    assert len(found["peer"]) == 2
    monkeypatch.setattr("nvbench.generators.frames.LATE_S", 0.0)
    nobody = FakeHost("far", FakeProcess({"event": "ready"}, last=[{"event": "done"}]))
    assert exchange([], {"peer": (nobody, "e1")}, 0.0, folder="/f", until=lambda _found: False) == {"peer": []}


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([{"event": "error", "what": "frame 0 of 9014 bytes: Message too long"}], "Message too long"),
        ([], "python3: not found"),
    ],
)
def test_a_device_or_a_host_that_cannot_is_told(events, told) -> None:
    near = FakeHost("near", FakeProcess(*events))
    with pytest.raises(GeneratorError, match=f"host near: .*{told}"):
        exchange([(near, "e0", [bytes(PLAIN)])], {}, 0.5, folder="/f")


# -- a host without python3 -------------------------------------------------------------------------------------

LISTENING = ("tcpdump: verbose output suppressed, use -v[v]... for full protocol decode", "listening on e1, link-type")
SENT = "Actual: 1 packets\n\tSuccessful packets:        1\n\tFailed packets:            0\n"


class FakeTcpdump(FakeProcess):
    """What tcpdump prints, and how it ends once it is told to."""

    def __init__(self, *lines: str, dropped: int = 0) -> None:
        super().__init__()
        self.lines = [*lines]
        self.last = [f"{dropped} packets dropped by kernel"]
        self.told = False

    def send(self, line: str) -> None:
        self.told = True

    def receive(self, timeout_s: float) -> str | None:
        if self.lines:
            return self.lines.pop(0)
        if not self.told:
            raise TimeoutError
        return self.last.pop(0) if self.last else None


class FakeGuest(FakeHost):
    """A host without python3."""

    sent = SENT
    complaints = ""
    given = b""

    def run(self, argv: Sequence[str], *, stdin: str = "", **_how: object) -> Completed:
        if argv == ["which", "python3"]:
            return Completed(tuple(argv), 1, "", "", 0.0)
        self.given = base64.b64decode(stdin)
        return Completed(tuple(argv), 0, self.sent, self.complaints, 0.0)


def printed(at_s: float, frame: bytes, length: int | None = None) -> list[str]:
    """A frame as `tcpdump -q -e -tt -xx` prints it."""
    lines = [f"{at_s:.6f} 02:00 > 02:00, IPv4, length {len(frame) if length is None else length}: UDP, length 42"]
    for offset in range(0, len(frame), 16):
        piece = frame[offset : offset + 16].hex()
        words = " ".join(piece[index : index + 4] for index in range(0, len(piece), 4))
        lines.append(f"\t0x{offset:04x}:  {words}")
    return lines


def taken(*lines: str, dropped: int = 0) -> list[bytes]:
    guest = FakeGuest("guest", FakeTcpdump(*LISTENING, *lines, dropped=dropped))
    captures = {"e1": (guest, "e1")}
    sends = [(guest, "e0", [bytes(PLAIN)])]
    found = exchange(sends, captures, 0.0, folder="/f", marker=b"nvbench")["e1"]
    assert guest.given.endswith(bytes(PLAIN))
    assert guest.process.closed
    assert [each.at_s for each in found] == sorted(each.at_s for each in found)
    return [each.frame for each in found]


def test_frames_are_read_from_what_tcpdump_prints() -> None:
    even, strange = bytes(PLAIN).ljust(96, b"\0"), bytes(ETHER / ARP())
    # tcpdump tells another length of a frame of 802.3: that which is in it.
    old = bytes(Ether(src=ETHER.src, dst=ETHER.dst, type=70)) + b"\xaa\xaa\x03" + bytes(PLAIN)[14:]
    lines = [*printed(1.5, bytes(PLAIN)), *printed(2.25, strange), *printed(3, even), *printed(4, old, 64)]
    assert taken(*lines) == [bytes(PLAIN), even, old]


def test_a_capture_that_lost_frames_is_no_evidence() -> None:
    with pytest.raises(GeneratorError, match="host guest: tcpdump on e1: 3 packets dropped by kernel"):
        taken(*printed(1, bytes(PLAIN)), dropped=3)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tcpdump: e1: No such device exists", "tcpdump on e1 said: e1: No such device exists"),
        ("sh: 1: tcpdump: not found", "tcpdump on e1 said: sh: 1: tcpdump: not found"),
    ],
)
def test_a_device_that_is_not_there_and_a_host_without_tcpdump(line, told) -> None:
    guest = FakeGuest("guest", FakeTcpdump(line))
    with pytest.raises(GeneratorError, match=f"host guest: {told}"):
        exchange([], {"e1": (guest, "e1")}, 0.0, folder="/f")
    assert guest.process.closed


@pytest.mark.parametrize(
    ("complaint", "told"),
    [
        (
            "Unable to send packet: Error with PF_PACKET send() [1]: Message too long (errno = 90)",
            "frame 0 of 84 bytes: Message too long",
        ),
        ("sh: 1: tcpreplay: not found", "tcpreplay on e0 said: sh: 1: tcpreplay: not found"),
    ],
)
def test_a_frame_that_is_refused_and_a_host_without_tcpreplay(complaint, told) -> None:
    guest = FakeGuest("guest", FakeTcpdump())
    guest.sent, guest.complaints = "", complaint
    with pytest.raises(GeneratorError, match=f"host guest: {told}"):
        exchange([(guest, "e0", [bytes(PLAIN)])], {}, 0.0, folder="/f")


def test_the_far_end_imports_nothing_but_the_standard_library_and_is_python_3_6() -> None:
    tree = ast.parse(FAR.read_text(), feature_version=(3, 6))
    imported = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert set(imported) <= sys.stdlib_module_names
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
