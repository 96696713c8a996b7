"""Capture files as traffic: both formats in every order of bytes, what is refused, and what a profile says of them."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest

from nvbench.errors import UsageError
from nvbench.generators import capture as capture_module
from nvbench.generators.capture import capture, read_capture
from nvbench.profile import Profile, read_profile
from nvbench.traffic import Direction, Traffic

ARP = b"\xff" * 6 + b"\x02\x00\x00\x00\x00\x01" + b"\x08\x06" + bytes(28)
TAGGED = b"\x02\x00\x00\x00\x00\x01" + b"\x02\x00\x00\x00\x00\x02" + b"\x81\x00\x00\x05\x08\x00" + bytes(1500)
FRAMES = [ARP, TAGGED, bytes(14)]


def pcap(order: str = "<", magic: int = 0xA1B2C3D4, link: int = 1, frames: list[bytes] = FRAMES, cut: int = 0) -> bytes:
    """A file in the classic format; with `cut` so many bytes of each frame were not captured."""
    records = [
        struct.pack(order + "IIII", 7, 8, len(each) - cut, len(each)) + each[: len(each) - cut] for each in frames
    ]
    return struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link) + b"".join(records)


def block(order: str, kind: int, body: bytes) -> bytes:
    size = 12 + len(body) + -len(body) % 4
    return struct.pack(order + "II", kind, size) + body + bytes(-len(body) % 4) + struct.pack(order + "I", size)


def pcapng(order: str = "<", link: int = 1) -> bytes:
    """A file of two sections with a frame in each kind of block that has one, and blocks that have none."""
    section = block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    interface = block(order, 1, struct.pack(order + "HHI", link, 0, 0))
    enhanced = block(order, 6, struct.pack(order + "IIIII", 0, 1, 2, len(ARP), len(ARP)) + ARP)
    simple = block(order, 3, struct.pack(order + "I", len(TAGGED)) + TAGGED)
    old = block(order, 2, struct.pack(order + "HHIIII", 0, 0, 1, 2, 14, 14) + bytes(14))
    statistics = block(order, 5, bytes(12))
    return section + interface + enhanced + statistics + simple + section + interface + old


@pytest.mark.parametrize(
    "data",
    [
        *(pcap(order, magic) for order in "<>" for magic in (0xA1B2C3D4, 0xA1B23C4D)),
        *map(pcapng, "<>"),
        capture(FRAMES),
    ],
)
def test_every_frame_is_read_as_it_is(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "x.pcap"
    file.write_bytes(data)
    found, frames = read_capture(str(file))
    assert frames == FRAMES
    assert found.digest == hashlib.sha256(data).hexdigest()[:8]
    assert (found.frames, found.stem, str(found)) == (3, "x", f"x@{found.digest}")


def test_sizes_count_the_fcs_and_what_a_wire_adds_to_a_short_frame(tmp_path: Path) -> None:
    (tmp_path / "x.pcap").write_bytes(pcap())
    found, _ = read_capture(str(tmp_path / "x.pcap"))
    assert found.average_frame_bytes == (64 + 1522 + 64) / 3
    assert found.largest_frame_bytes == 1522
    assert found.largest_packet_bytes == 1500  # a tag is beside it
    assert found.returning_frames == 2  # TAGGED goes to where ARP comes from, the last one to where itself does
    traffic = Traffic.captured(found)
    assert (traffic.frame_bytes, traffic.average_frame_bytes) == (550, 550.0)
    assert (traffic.largest_frame_bytes, traffic.largest_packet_bytes) == (1522, 1500)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is no capture file, neither pcap nor pcapng"),
        (b"name: x\n", "is no capture file, neither pcap nor pcapng"),
        (pcap()[:-1], "ends in the midst of a frame (copy or capture it again)"),
        (pcap()[:30], "ends in the midst of a frame (copy or capture it again)"),
        (pcap()[:20], "ends in the midst of a frame (copy or capture it again)"),
        (pcapng()[:-1], "ends in the midst of a frame (copy or capture it again)"),
        (pcap(frames=[]), "holds no frames"),
        (pcap(link=113), "frame 1 is of link type 113, not of Ethernet (1)"),
        (pcapng(link=101), "frame 1 is of link type 101, not of Ethernet (1)"),
        (pcap(cut=2), "frame 1 was captured in part: 40 of 42 bytes"),
        (pcap(frames=[ARP, bytes(13)]), "frame 2 has 13 bytes, less than an Ethernet header"),
        (pcapng()[:28] + pcapng()[48:], "has a frame that belongs to none of its interfaces"),
        (pcapng()[:28] + bytes(12), "has a block of 0 bytes, which none has"),
    ],
)
def test_what_cannot_be_played_is_refused(tmp_path: Path, data: bytes, told: str) -> None:
    file = tmp_path / "x.pcap"
    file.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        read_capture(str(file))
    assert str(caught.value) == f"{file}: {told}"


def test_a_file_has_to_be_there_and_to_fit_into_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.pcap"
    with pytest.raises(UsageError, match="there is no such file"):
        read_capture(str(file))
    with pytest.raises(UsageError, match="is no file"):
        read_capture(str(tmp_path))
    file.write_bytes(pcap())
    monkeypatch.setattr(capture_module, "MOST_FRAMES", 2)
    with pytest.raises(UsageError, match="has more than 2 frames"):
        read_capture(str(file))
    monkeypatch.setattr(capture_module, "MOST_BYTES", 1000)
    with pytest.raises(UsageError, match="has more than 0 MB"):
        read_capture(str(file))


@pytest.mark.parametrize("end", range(0, 160, 7))
def test_no_cut_ends_in_a_traceback(tmp_path: Path, end: int) -> None:
    for data in (pcapng()[:end], pcapng()[:end] + b"\xff" * 64, pcap()[:end] + b"\xff" * 64):
        (tmp_path / "x.pcap").write_bytes(data)
        with pytest.raises(UsageError):
            read_capture(str(tmp_path / "x.pcap"))


# -- profiles ------------------------------------------------------------------------------------------------------

PLAYED = """\
name: played
datapath: {kind: linux_bridge}
traffic:
  pcap: own.pcap
tests: {mrr: {}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "own.pcap").write_bytes(pcap())
    (tmp_path / "other.pcap").write_bytes(pcap(frames=[ARP]))
    return tmp_path


def played(folder: Path, *overrides: str, text: str = PLAYED) -> Profile:
    return read_profile(str(folder / "f.yaml"), text.encode(), overrides)


def refused(folder: Path, *overrides: str, text: str = PLAYED) -> list[str]:
    with pytest.raises(UsageError) as caught:
        played(folder, *overrides, text=text)
    assert caught.value.exit_code == 2
    return [line.removeprefix(f"{folder}/") for line in str(caught.value).splitlines()]


def test_a_path_is_meant_from_the_profile_and_that_of_an_override_from_here(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "here").mkdir()
    monkeypatch.chdir(folder / "here")
    (folder / "here" / "own.pcap").write_bytes(pcap(frames=[ARP, ARP]))
    assert [each.pcap.path for each in played(folder).traffic.each()] == [f"{folder}/own.pcap"]
    (here,) = played(folder, "traffic.pcap=own.pcap").traffic.each()
    assert (here.pcap.path, here.pcap.frames) == (f"{folder}/here/own.pcap", 2)


def test_files_and_directions_are_swept(folder: Path) -> None:
    text = PLAYED.replace("own.pcap", "[own.pcap, other.pcap]\n  direction: [unidirectional, bidirectional]")
    traffic = played(folder, text=text).traffic
    assert len(traffic) == 4
    assert [(each.pcap.stem, each.direction) for each in traffic.each()] == [
        (stem, direction) for direction in Direction for stem in ("own", "other")
    ]


def test_what_was_asked_for_can_be_asked_for_again_from_anywhere(folder: Path) -> None:
    profile = played(folder)
    resolved = json.loads(json.dumps(profile.resolved()))
    del resolved["quick"]
    assert resolved["traffic"] == {"pcap": [f"{folder}/own.pcap"], "direction": ["unidirectional"]}
    assert read_profile("again.json", json.dumps(resolved).encode()) == profile


def test_an_override_of_a_file_takes_the_place_of_frames_that_are_made_and_the_other_way_round(folder: Path) -> None:
    made = "frame_bytes: [64, 1518]\n  flows: 100\n  vlan: 7"
    file = f"traffic.pcap={folder}/own.pcap"
    (one,) = played(folder, file, text=PLAYED.replace("pcap: own.pcap", made)).traffic.each()
    assert (one.pcap.stem, one.flows, one.vlan) == ("own", 1, None)
    (other,) = played(folder, "traffic.frame_bytes=64").traffic.each()
    assert (other.pcap, other.frame_bytes) == (None, 64)
    both = refused(folder, file, "traffic.frame_bytes=64")
    assert both == [
        "-s traffic.frame_bytes: is of frames that are made, and `pcap` plays a file as it is (drop one)",
    ]


def test_a_file_has_no_room_for_what_describes_frames_that_are_made(folder: Path) -> None:
    text = PLAYED.replace("own.pcap", "own.pcap\n  frame_bytes: 64\n  flows: 2\n  vary: [ip_src]\n  vlan: 7")
    assert refused(folder, text=text) == [
        f"f.yaml:{line}: traffic.{key}: is of frames that are made, and `pcap` plays a file as it is (drop one)"
        for line, key in enumerate(("frame_bytes", "flows", "vary", "vlan"), 5)
    ]
    assert refused(folder, "tests.learning={}") == [
        "-s tests.learning: makes frames from many addresses, and `traffic.pcap` plays a file as it is (drop one)"
    ]


def test_what_is_wrong_with_a_file_is_told_where_it_is_named(folder: Path) -> None:
    (folder / "text.pcap").write_text("no frames")
    lines = refused(folder, text=PLAYED.replace("own.pcap", "[own.pcap, text.pcap, nix.pcap, 7]"))
    assert lines == [
        f"f.yaml:4: traffic.pcap.1: {folder}/text.pcap: is no capture file, neither pcap nor pcapng",
        f"f.yaml:4: traffic.pcap.2: {folder}/nix.pcap: there is no such file",
        "f.yaml:4: traffic.pcap.3: must be the path of a file, not 7",
    ]
    (told,) = refused(folder, "traffic.pcap='~nobody-of-that-name/x.pcap'")
    assert told.endswith("/~nobody-of-that-name/x.pcap: there is no such file")
    assert refused(folder, "traffic.pcap=null") == ["-s traffic.pcap: must be the path of a file, not null"]
    assert refused(folder, "datapath.mtu=1499") == [
        "f.yaml:4: traffic.pcap: a frame of 1522 carries an IP packet of 1500, the MTU is 1499 "
        "(raise datapath.mtu to 1500)"
    ]
    assert refused(folder, text=PLAYED.replace("pcap: own.pcap", "direction: unidirectional")) == [
        "f.yaml:3: traffic: `frame_bytes` is missing"
    ]
