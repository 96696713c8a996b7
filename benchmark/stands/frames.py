"""Exact frames of every kind, each with a mark of its own: it is known again wherever and however it arrives."""

from __future__ import annotations

import secrets
import socket
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from nvbench.generators.frames import Captured
from nvbench.generators.frames.changes import Tag, compare, tags
from nvbench.units import ETHERNET_BYTES, VLAN_TAG_BYTES

C_TAG, S_TAG = 0x8100, 0x88A8
"""What makes a tag that of a customer (802.1Q), or of a service (802.1ad)."""

SHORTEST, LONGEST = 60, 1514
"""Bytes of an untagged frame without FCS: the least there is, and the most at an MTU of 1500."""

BROADCAST = "ff:ff:ff:ff:ff:ff"
UNKNOWN = "52:54:00:fe:dc:ba"
"""An address that nobody has."""

ALL_HOSTS, A_GROUP = "224.0.0.1", "225.0.0.2"
ALL_NODES = "ff02::1"
SPANNING_TREE, LLDP = "01:80:c2:00:00:00", "01:80:c2:00:00:0e"
"""Addresses of protocols between neighbours: bridges do not forward them (802.1Q, table 8-1)."""

MARKER_BYTES, SERIES_BYTES = 8, 4
_UDP, _DISCARD = 17, 9

Packet = Callable[[bytes], tuple[int, bytes]]
"""Given a payload, the EtherType (or length) and what stands behind it."""


class Station(Protocol):
    """Who sends or receives."""

    @property
    def mac(self) -> str:
        """Its MAC address."""

    @property
    def address(self) -> str:
        """Its IPv4 address."""


def tag(vlan: int, priority: int = 0, *, drop_eligible: bool = False, tpid: int = C_TAG) -> Tag:
    """A VLAN tag by its fields."""
    return Tag(tpid, priority << 13 | drop_eligible << 12 | vlan)


def pushed(frame: bytes, *new: Tag) -> bytes:
    """A frame with tags put on top of its own, the outer one first."""
    return frame[:12] + b"".join(struct.pack("!HH", each.tpid, each.tci) for each in new) + frame[12:]


def popped(frame: bytes) -> bytes:
    """A frame without its outer tag."""
    return frame[:12] + frame[12 + VLAN_TAG_BYTES :]


def untagged(frame: bytes) -> bytes:
    """A frame without any of its tags."""
    return frame[:12] + frame[12 + VLAN_TAG_BYTES * len(tags(frame)) :]


def mac_bytes(mac: str) -> bytes:
    """The six bytes of a MAC address."""
    return bytes.fromhex(mac.replace(":", ""))


# -- packets ---------------------------------------------------------------------------------------------------


def udp(source: Station, target: str) -> Packet:
    """A datagram to an IPv4 address and the port at which everything is thrown away."""

    def made(payload: bytes) -> tuple[int, bytes]:
        ends = socket.inet_aton(source.address) + socket.inet_aton(target)
        head = struct.pack("!BBHHHBBH", 0x45, 0, 28 + len(payload), 0, 0, 64, _UDP, 0) + ends
        head = head[:10] + struct.pack("!H", _checksum(head)) + head[12:]
        return 0x0800, head + _datagram(ends, payload)

    return made


def udp6(source: Station, target: str) -> Packet:
    """The same to an IPv6 address, from the link-local one that belongs to a MAC address."""

    def made(payload: bytes) -> tuple[int, bytes]:
        mac = mac_bytes(source.mac)
        own = bytes.fromhex("fe80000000000000") + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
        ends = own + socket.inet_pton(socket.AF_INET6, target)
        return 0x86DD, struct.pack("!IHBB", 6 << 28, 8 + len(payload), _UDP, 64) + ends + _datagram(ends, payload)

    return made


def arp(source: Station, target: str) -> Packet:
    """The question who has an IPv4 address; the payload is padding."""

    def made(payload: bytes) -> tuple[int, bytes]:
        asks = mac_bytes(source.mac) + socket.inet_aton(source.address)
        return 0x0806, struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + asks + bytes(6) + socket.inet_aton(target) + payload

    return made


def spanning_tree(source: Station) -> Packet:
    """A bridge's hello (802.1D), of so low a priority that it becomes nobody's root; the payload is padding."""

    def made(payload: bytes) -> tuple[int, bytes]:
        bridge = b"\xff\xff" + mac_bytes(source.mac)
        hello = struct.pack("!HBBB8sI8sHHHHH", 0, 0, 0, 0, bridge, 0, bridge, 0x8001, 0, 20 << 8, 2 << 8, 15 << 8)
        body = b"\x42\x42\x03" + hello + payload
        return len(body), body

    return made


def lldp(source: Station) -> Packet:
    """A neighbour's announcement (802.1AB) that holds no longer than it takes; the payload is in a field of its own."""

    def made(payload: bytes) -> tuple[int, bytes]:
        chassis, port = b"\x04" + mac_bytes(source.mac), b"\x03" + mac_bytes(source.mac)
        own = b"\x52\x54\x00\x00" + payload
        fields = ((1, chassis), (2, port), (3, bytes(2)), (127, own), (0, b""))
        return 0x88CC, b"".join(struct.pack("!H", kind << 9 | len(value)) + value for kind, value in fields)

    return made


def _datagram(ends: bytes, payload: bytes) -> bytes:
    size = 8 + len(payload)
    head = struct.pack("!HHH", _DISCARD, _DISCARD, size)
    found = _checksum(ends + struct.pack("!HH", _UDP, size) + head + payload)
    return head + struct.pack("!H", found or 0xFFFF) + payload


def _checksum(data: bytes) -> int:
    """That of the Internet (RFC 1071)."""
    padded = data + bytes(len(data) % 2)
    words: tuple[int, ...] = struct.unpack(f"!{len(padded) // 2}H", padded)
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# -- frames ----------------------------------------------------------------------------------------------------


class Batch:
    """Frames that are sent together, and known again by a marker that only they carry.

    Args:
        beside: Another batch that is sent at the same time, so that one marker finds the frames of both.

    Attributes:
        marker: The bytes that all of them hold.
        names: What each is, in a few words.
        frames: Their bytes, without FCS.
    """

    def __init__(self, beside: Batch | None = None) -> None:
        self.marker: bytes = beside.marker if beside else secrets.token_bytes(MARKER_BYTES)
        self._own = self.marker + secrets.token_bytes(SERIES_BYTES)
        self.names: list[str] = []
        self.frames: list[bytes] = []

    def add(self, name: str, destination: str, source: str, packet: Packet, *own: Tag, size: int = 0) -> bytes:
        """One more.

        Args:
            name: What it is, in a few words.
            destination: The MAC address that it goes to.
            source: The one that it comes from.
            packet: What it carries.
            own: Its VLAN tags, the outer one first.
            size: Its bytes with tags, without FCS; 0 for as few as there may be once the tags are off.

        Returns:
            The frame.
        """
        mark = self._own + struct.pack("!H", len(self.frames))
        least = ETHERNET_BYTES + VLAN_TAG_BYTES * len(own) + len(packet(mark)[1])
        lacking = max(0, (size or SHORTEST + VLAN_TAG_BYTES * len(own)) - least)
        kind, body = packet(mark + bytes(0x40 + index % 0x40 for index in range(lacking)))
        frame = mac_bytes(destination) + mac_bytes(source) + struct.pack("!H", kind) + body
        self.names.append(name)
        self.frames.append(pushed(frame, *own))
        return self.frames[-1]

    def came(self, taken: Iterable[Captured]) -> list[list[bytes]]:
        """What came of each frame of the batch: itself, as often as it was taken; others are left out."""
        found: list[list[bytes]] = [[] for _ in self.frames]
        for captured in taken:
            _, own, behind = captured.frame.partition(self._own)
            number = int.from_bytes(behind[:2], "big")
            if own and number < len(found):
                found[number].append(captured.frame)
        return found


def fate(wanted: bytes, came: Sequence[bytes]) -> str:
    """What is wrong with what came of a frame, in a clause; empty where it came once, as wanted to the byte."""
    if not came:
        return "does not arrive"
    if len(came) > 1:
        return f"arrives {len(came)} times"
    got = came[0]
    if got != wanted and untagged(got) == untagged(wanted):
        return f"arrives {_with_tags(got)}, not {_with_tags(wanted)}"
    return "; ".join(compare(wanted, got))


def tagging(frame: bytes) -> str:
    """The VLAN tags of a frame in words, the outer one first."""
    return " + ".join(map(str, tags(frame))) or "untagged"


def _with_tags(frame: bytes) -> str:
    return f"with {tagging(frame)}" if tags(frame) else tagging(frame)


def opening(frame: bytes) -> str:
    """Its addresses, its tags, and the type behind them, as hexadecimal digits."""
    ends, rest = frame[:12], frame[12 : ETHERNET_BYTES + VLAN_TAG_BYTES * len(tags(frame))]
    return f"{ends[:6].hex()} {ends[6:].hex()} {rest.hex(' ', 2)}"


def every_kind(source: Station, target: Station, beside: Batch | None = None) -> Batch:
    """Frames of every kind that one station can send towards another, the last of them from that one's own address.

    They are meant to find a way through a wall: to all, to one, to nobody; tagged in each way; short, odd and long.
    """
    made = Batch(beside)
    plain = udp(source, target.address)
    made.add("unicast", target.mac, source.mac, plain)
    made.add("unknown unicast", UNKNOWN, source.mac, plain)
    made.add("broadcast", BROADCAST, source.mac, udp(source, "255.255.255.255"))
    made.add("ARP request", BROADCAST, source.mac, arp(source, target.address))
    made.add(f"multicast {ALL_HOSTS}", "01:00:5e:00:00:01", source.mac, udp(source, ALL_HOSTS))
    made.add(f"multicast {A_GROUP}", "01:00:5e:00:00:02", source.mac, udp(source, A_GROUP))
    made.add(f"IPv6 to {ALL_NODES}", "33:33:00:00:00:01", source.mac, udp6(source, ALL_NODES))
    made.add("spanning tree", SPANNING_TREE, source.mac, spanning_tree(source))
    made.add("LLDP", LLDP, source.mac, lldp(source))
    made.add("61 bytes", target.mac, source.mac, plain, size=SHORTEST + 1)
    made.add(f"{LONGEST} bytes", target.mac, source.mac, plain, size=LONGEST)
    for vlan in (0, 1, 10, 100, 101, 4094):
        made.add(f"tag {vlan}", BROADCAST, source.mac, plain, tag(vlan))
    made.add("802.1ad tag 100", BROADCAST, source.mac, plain, tag(100, tpid=S_TAG))
    made.add("tags 100 and 10", BROADCAST, source.mac, plain, tag(100, tpid=S_TAG), tag(10))
    made.add("from the other's address", BROADCAST, target.mac, udp(target, "255.255.255.255"))
    return made
