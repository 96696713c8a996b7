"""Packets that ask for nothing: no station answers them, so that all that comes was sent."""

from __future__ import annotations

import socket
import struct

from nvbench.stands.frames import Packet, Station, udp

EXPERIMENTAL = 0x88B5
"""Local Experimental EtherType 1 (IEEE 802): no stack listens to it."""

_IP_BYTES, _PORTS_BYTES = 20, 4


def unanswered(payload: bytes) -> tuple[int, bytes]:
    """No protocol that anybody speaks: a datagram for a closed port would come back quoted in an ICMP error."""
    return EXPERIMENTAL, payload


def flow(source: Station, target: str, port: int) -> Packet:
    """A datagram from an UDP port of its own, without a checksum."""

    def made(payload: bytes) -> tuple[int, bytes]:
        kind, body = udp(source, target)(payload)
        ports = struct.pack("!H", port) + body[_IP_BYTES + 2 : _IP_BYTES + _PORTS_BYTES]
        size = body[_IP_BYTES + _PORTS_BYTES : _IP_BYTES + _PORTS_BYTES + 2]
        return kind, body[:_IP_BYTES] + ports + size + bytes(2) + body[_IP_BYTES + 8 :]

    return made


def group_mac(group: str) -> str:
    """The MAC address of a multicast group (RFC 1112, RFC 2464): 32 groups of IPv4 share one."""
    if ":" in group:
        last = socket.inet_pton(socket.AF_INET6, group)[-4:]
        return b"\x33\x33".hex(":") + ":" + last.hex(":")
    one, two, three = socket.inet_aton(group)[1:]
    return bytes((0x01, 0x00, 0x5E, one & 0x7F, two, three)).hex(":")
