"""What happened to a frame on its way, in words."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

TAG_TYPES = {0x8100: "802.1Q", 0x88A8: "802.1ad", 0x9100: "0x9100"}
_ADDRESSES = 12
_NAMES = {"IP": "IPv4"}
_FIELDS = {
    "ttl": "TTL",
    "tos": "TOS",
    "dst": "destination",
    "src": "source",
    "type": "type",
    "id": "identification",
    "chksum": "checksum",
}


@dataclass(frozen=True, slots=True)
class Tag:
    """A VLAN tag.

    Attributes:
        tpid: The EtherType that makes it one: 0x8100, 0x88a8.
        tci: Priority, drop eligibility and VLAN id, as they stand in it.
    """

    tpid: int
    tci: int

    def __str__(self) -> str:
        priority, dei = self.tci >> 13, self.tci >> 12 & 1
        words = [f"{TAG_TYPES[self.tpid]} tag {self.tci & 0xFFF}"]
        words += [f"priority {priority}"] * bool(priority) + ["drop eligible"] * dei
        return " ".join(words)


def tags(frame: bytes) -> tuple[Tag, ...]:
    """The VLAN tags of a frame, the outer one first."""
    found: list[Tag] = []
    for offset in range(_ADDRESSES, len(frame) - 3, 4):
        tpid, tci = struct.unpack_from("!HH", frame, offset)
        if tpid not in TAG_TYPES:
            break
        found.append(Tag(tpid, tci))
    return tuple(found)


def compare(sent: bytes, got: bytes) -> list[str]:
    """What is different about a frame that came, one clause each; empty where it is the same to the byte."""
    if sent == got:
        return []
    before, after = tags(sent), tags(got)
    bare_sent, bare_got = (frame[:12] + frame[12 + 4 * len(own) :] for frame, own in ((sent, before), (got, after)))
    told = [*_of_tags(before, after), *_of_headers(bare_sent, bare_got, 4 * len(after))]
    return [*told, *_of_length(bare_sent, bare_got)]


def _of_tags(before: Sequence[Tag], after: Sequence[Tag]) -> Iterator[str]:
    """Switches push and pop at the outer end: what is alike at the inner end was left alone."""
    sent, got = list(before), list(after)
    while sent and got and sent[-1] == got[-1]:
        sent.pop()
        got.pop()
    while sent and got:
        yield f"{sent.pop()} became {got.pop()}"
    yield from (f"{tag} was removed" for tag in sent)
    yield from (f"{tag} was added" for tag in got)


def _of_length(sent: bytes, got: bytes) -> Iterator[str]:
    more = len(got) - len(sent)
    if more > 0:
        rest = got[len(sent) :]
        yield f"padding of {more} bytes" if not any(rest) else f"trailer of {more} bytes: {rest[:16].hex()}"
    elif more < 0:
        yield f"cut short by {-more} bytes"


def _of_headers(sent: bytes, got: bytes, tag_bytes: int) -> Iterator[str]:
    """Header by header as long as they are of one kind, then the bytes behind them."""
    from scapy.layers.l2 import Ether  # noqa: PLC0415 - seconds to import
    from scapy.packet import NoPayload, Raw  # noqa: PLC0415

    size = min(len(sent), len(got))
    first: Any = Ether(sent[:size])
    second: Any = Ether(got[:size])
    right = _with_right_checksums(second)
    behind = 0
    while type(first) is type(second) and not isinstance(first, (NoPayload, Raw)):
        yield from _of_fields(first, second, right)
        behind += len(first.self_build())
        first, second, right = first.payload, second.payload, right.payload
    different = [index for index in range(behind, size) if sent[index] != got[index]]
    if different:
        index = different[0]
        others = f", and {len(different) - 1} more" if len(different) > 1 else ""
        yield f"byte {index + tag_bytes}: 0x{sent[index]:02x} -> 0x{got[index]:02x}{others}"


def _with_right_checksums(packet: Any) -> Any:
    fresh = packet.copy()
    layer = fresh
    while layer:
        if "chksum" in layer.fields:
            del layer.chksum
        layer = layer.payload
    return type(packet)(bytes(fresh))


def _of_fields(sent: Any, got: Any, right: Any) -> Iterator[str]:
    """A checksum has to follow what else was changed: it is told only where it is wrong. UDP's may be 0: none."""
    name = _NAMES.get(sent.name, sent.name)
    for field in sent.fields_desc:
        old, new = sent.getfieldval(field.name), got.getfieldval(field.name)
        if old == new:
            continue
        if field.name == "chksum" and new in (0, right.getfieldval("chksum")):
            continue
        shown = (field.i2repr(layer, value).strip("'") for layer, value in ((sent, old), (got, new)))
        yield f"{name} {_FIELDS.get(field.name, field.name)} {' -> '.join(shown)}"
