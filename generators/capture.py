"""The frames of a template one by one, and files of frames as libpcap writes them."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator

from nvbench.traffic import Template

_GLOBAL = struct.Struct("<IHHiIII")
_RECORD = struct.Struct("<IIII")
_ETHERNET = 1


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
