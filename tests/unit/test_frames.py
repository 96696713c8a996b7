"""What happened to a frame, in words; and the two ends of an exchange without a device between them."""

from __future__ import annotations

import ast
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
    """The far end: takes frames on `e1`, or says what is wrong."""

    def __init__(self, *events: dict[str, Any]) -> None:
        self.events = list(events)
        self.asked: list[dict[str, Any]] = []
        self.closed = False

    def send(self, line: str) -> None:
        self.asked.append(json.loads(line))

    def receive(self, timeout_s: float) -> str | None:
        return json.dumps(self.events.pop(0)) if self.events else None

    def complaints(self) -> list[str]:
        return ["python3: not found"]

    def close(self, timeout_s: float = 5.0) -> int | None:
        self.closed = True
        return 0


class FakeHost:
    def __init__(self, name: str, process: FakeProcess) -> None:
        self.name = name
        self.process = process

    def spawn(self, argv: Sequence[str]) -> FakeProcess:
        return self.process

    def make_folder(self, path: str) -> None:
        pass

    def upload(self, source: Path, path: str) -> None:
        assert source.exists()


TAKEN = {"event": "frame", "device": "e1", "at_s": 7.5, "frame": bytes(PLAIN).hex()}


def test_everybody_listens_before_anything_is_sent() -> None:
    near = FakeHost("near", FakeProcess({"event": "done"}))
    far = FakeHost("far", FakeProcess({"event": "ready"}, TAKEN, {"event": "done"}))
    captures = {"peer": (far, "e1"), "other": (far, "e2")}
    found = exchange(near, "e0", [bytes(PLAIN)], captures, 0.5, folder="/f", marker=b"nv", most=1)
    assert found == {"peer": [Captured(7.5, bytes(PLAIN))], "other": []}
    assert far.process.asked == [
        {"do": "capture", "devices": ["e1", "e2"], "seconds": 0.5, "marker": "6e76", "most": 1}
    ]
    assert near.process.asked == [{"do": "send", "device": "e0", "frames": [bytes(PLAIN).hex()]}]
    assert near.process.closed
    assert far.process.closed


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
        exchange(near, "e0", [bytes(PLAIN)], {}, 0.5, folder="/f")


def test_the_far_end_imports_nothing_but_the_standard_library_and_is_python_3_6() -> None:
    tree = ast.parse(FAR.read_text(), feature_version=(3, 6))
    imported = [name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names]
    assert set(imported) <= sys.stdlib_module_names
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
