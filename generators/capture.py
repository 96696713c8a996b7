"""The frames of a template one by one, and files of frames: written as libpcap does, read as pcap or pcapng."""

from __future__ import annotations

import hashlib
import io
import math
import struct
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from statistics import fmean

from nvbench.errors import UsageError
from nvbench.traffic import Pcap, Template
from nvbench.units import ETHERNET_BYTES, FCS_BYTES, VLAN_TAG_BYTES

MOST_FRAMES, MOST_BYTES = 1 << 17, 1 << 26
"""What is held in memory of different frames, to be sent over and over."""

DIGITS = 8
"""Of a file's SHA-256."""

_GLOBAL = struct.Struct("<IHHiIII")
_RECORD = struct.Struct("<IIII")
_ETHERNET = 1

_SHORTEST = 60
"""Without FCS: a shorter frame is sent as it is, and padded by the first Ethernet device that it meets."""

_PCAP = {struct.pack(order + "I", magic): order for order in "<>" for magic in (0xA1B2C3D4, 0xA1B23C4D)}
"""How a file begins, its times in micro- or nanoseconds -> its order of bytes."""

_PCAPNG = b"\x0a\x0d\x0d\x0a"
_INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _PACKET = 1, 2, 3, 6


def capture(frames: Iterable[bytes]) -> bytes:
    """A file of frames as libpcap writes it, all of them at time 0."""
    records = [_GLOBAL.pack(0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, _ETHERNET)]
    records += [_RECORD.pack(0, 0, len(frame), len(frame)) + frame for frame in frames]
    return b"".join(records)


def unrolled_count(template: Template) -> int:
    """How many frames `unrolled` yields."""
    return math.lcm(template.flows, len(template.sequence))


def unrolled(template: Template) -> Iterator[bytes]:
    """The frames of a template in the order in which they are sent, until flows and sizes repeat together."""
    for number in range(unrolled_count(template)):
        frame = bytearray(template.frames[template.sequence[number % len(template.sequence)]])
        for field in template.fields:
            value = (field.first + number % template.flows) % (1 << 8 * field.width)
            frame[field.offset : field.offset + field.width] = value.to_bytes(field.width, "big")
        header = slice(template.ipv4_offset, template.ipv4_offset + 20)
        frame[template.ipv4_offset + 10 : template.ipv4_offset + 12] = bytes(2)
        total = sum(struct.unpack("!10H", frame[header]))
        total = (total & 0xFFFF) + (total >> 16)
        struct.pack_into("!H", frame, template.ipv4_offset + 10, ~(total + (total >> 16)) & 0xFFFF)
        yield bytes(frame)


def read_capture(path: str) -> tuple[Pcap, list[bytes]]:
    """A capture file of Ethernet frames, pcap or pcapng, and its frames without FCS.

    Raises:
        UsageError: It is none, or does not hold whole frames, or too many of them.
    """
    try:
        file = Path(path)
        if not file.is_file():
            raise UsageError("is no file" if file.exists() else "there is no such file", place=path)
        if file.stat().st_size > MOST_BYTES:
            raise _too_much(path, f"{MOST_BYTES / 1e6:.0f} MB")
        data = file.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot be read: {(error.strerror or str(error)).lower()}", place=path) from None
    try:
        frames = list(islice(_frames(data), MOST_FRAMES + 1))
    except EOFError:
        raise UsageError("ends in the midst of a frame", place=path, remedy="copy or capture it again") from None
    except ValueError as error:
        raise UsageError(str(error), place=path) from None
    if len(frames) > MOST_FRAMES:
        raise _too_much(path, f"{MOST_FRAMES} frames")
    if not frames:
        raise UsageError("holds no frames", place=path)
    return _described(path, data, frames), frames


def _too_much(path: str, bound: str) -> UsageError:
    return UsageError(f"has more than {bound}", place=path, remedy="cut it: tcpdump -r FILE -c COUNT -w SHORTER")


def _described(path: str, data: bytes, frames: list[bytes]) -> Pcap:
    sizes = [max(len(frame), _SHORTEST) + FCS_BYTES for frame in frames]
    tagged = b"\x81\x00"
    sources = {frame[6:12] for frame in frames}
    return Pcap(
        path=path,
        digest=hashlib.sha256(data).hexdigest()[:DIGITS],
        frames=len(frames),
        average_frame_bytes=fmean(sizes),
        largest_frame_bytes=max(sizes),
        largest_packet_bytes=max(
            len(frame) - ETHERNET_BYTES - (VLAN_TAG_BYTES if frame[12:14] == tagged else 0) for frame in frames
        ),
        returning_frames=sum(frame[:6] in sources for frame in frames),
    )


def _frames(data: bytes) -> Iterator[bytes]:
    """The frames of a file.

    Raises:
        EOFError: It ends within one.
        ValueError: It holds something else.
    """
    records = _pcapng(io.BytesIO(data)) if data.startswith(_PCAPNG) else _pcap(io.BytesIO(data))
    for number, (link_type, length, frame) in enumerate(records, 1):
        if link_type != _ETHERNET:
            raise ValueError(f"frame {number} is of link type {link_type}, not of Ethernet ({_ETHERNET})")
        if len(frame) != length:
            raise ValueError(f"frame {number} was captured in part: {len(frame)} of {length} bytes")
        if length < ETHERNET_BYTES:
            raise ValueError(f"frame {number} has {length} bytes, less than an Ethernet header")
        yield frame


def _exactly(file: io.BytesIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _pcap(file: io.BytesIO) -> Iterator[tuple[int, int, bytes]]:
    """Link type, length on the wire, and what was captured of each frame (draft-ietf-opsawg-pcap)."""
    order = _PCAP.get(file.read(4))
    if order is None:
        raise ValueError("is no capture file, neither pcap nor pcapng")
    (link_type,) = struct.unpack(order + "16xI", _exactly(file, 20))
    while head := file.read(1):
        captured, length = struct.unpack(order + "8xII", head + _exactly(file, 15))
        yield link_type & 0xFFFF, length, _exactly(file, captured)


def _pcapng(file: io.BytesIO) -> Iterator[tuple[int, int, bytes]]:
    """The same of a file of blocks (draft-ietf-opsawg-pcapng), each of which repeats its length at its end."""
    order, interfaces = "<", list[tuple[int, int]]()
    while head := file.read(1):
        head += _exactly(file, 11)
        if head.startswith(_PCAPNG):
            order, interfaces = "<" if head[8:] == b"\x4d\x3c\x2b\x1a" else ">", []
        kind, size = struct.unpack(order + "II", head[:8])
        if size < 12 or size % 4:
            raise ValueError(f"has a block of {size} bytes, which none has")
        body = (head + _exactly(file, size - 12))[8:-4]
        if kind == _INTERFACE:
            interfaces.append(struct.unpack_from(order + "HxxI", body))
        elif kind in (_PACKET, _OLD_PACKET, _SIMPLE_PACKET):
            yield _packet(kind, order, body, interfaces)


def _packet(kind: int, order: str, body: bytes, interfaces: list[tuple[int, int]]) -> tuple[int, int, bytes]:
    try:
        if kind == _SIMPLE_PACKET:
            (length,) = struct.unpack_from(order + "I", body)
            link_type, most = interfaces[0]
            captured, data = min(length, most or length), body[4:]
        else:
            number, captured, length = struct.unpack_from(order + ("I8xII" if kind == _PACKET else "H10xII"), body)
            link_type, data = interfaces[number][0], body[20:]
    except (IndexError, struct.error):
        raise ValueError("has a frame that belongs to none of its interfaces") from None
    if len(data) < captured:
        raise EOFError
    return link_type, length, data[:captured]
