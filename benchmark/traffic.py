"""What the frames look like: size, flows, tags and directions. No tool, no device, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from pathlib import PurePath

from nvbench.errors import UsageError
from nvbench.units import ETHERNET_BYTES, FCS_BYTES, VLAN_TAG_BYTES


class Direction(StrEnum):
    """Which ports send."""

    UNIDIRECTIONAL = "unidirectional"
    BIDIRECTIONAL = "bidirectional"


class FlowField(StrEnum):
    """A header field that tells flows apart."""

    MAC_SRC = "mac_src"
    MAC_DST = "mac_dst"
    IP_SRC = "ip_src"
    IP_DST = "ip_dst"
    UDP_SRC = "udp_src"
    UDP_DST = "udp_dst"


STAMP_BYTES = 14
"""What a measuring generator writes into each frame: signature, trial, stream, sequence and time."""

HEADER_BYTES = ETHERNET_BYTES + 20 + 8
"""Ethernet, IPv4 and UDP."""

GENOME_BYTES = dict(zip("abcdefghi", (64, 128, 256, 512, 1024, 1280, 1518, 2112, 9000), strict=True))
"""Frame sizes with FCS by the letters of RFC 6985 section 4; its `j` (16000) is more than virtio carries."""

GENOME_MOST = 1024
"""Letters that a genome may have."""


@dataclass(frozen=True, slots=True)
class Pcap:
    """A capture file that is played as it is, and what is known of its frames.

    Attributes:
        path: Where it is.
        digest: The first digits of the SHA-256 of the whole file: another file of that name is not this one.
        frames: How many it has.
        average_frame_bytes: Their mean size with FCS.
        largest_frame_bytes: The largest of these sizes.
        largest_packet_bytes: The most that one carries after its Ethernet header and 802.1Q tag.
        returning_frames: Those to an address that a frame of the file comes from: a switch that has learned it does
            not send them on, out of the port that they came in by.
    """

    path: str
    digest: str
    frames: int
    average_frame_bytes: float
    largest_frame_bytes: int
    largest_packet_bytes: int
    returning_frames: int = 0

    @property
    def stem(self) -> str:
        """The file's name without its suffix."""
        return PurePath(self.path).stem

    def __str__(self) -> str:
        return f"{self.stem}@{self.digest}"


@dataclass(frozen=True, slots=True)
class Traffic:
    """The frames of a case.

    Attributes:
        frame_bytes: Size with FCS; of mixed sizes (`Traffic.mixed`) and of a file the average, rounded.
        flows: How many flows there are, in each direction.
        vary: The fields that differ from flow to flow; all step together.
        vlan: VLAN id of an 802.1Q tag, or None for untagged frames.
        direction: Which ports send.
        imix: The sizes of frames that follow each other, over and over, as an RFC 6985 genome: `aaaaaaabbbbc`;
            empty where all have one size.
        pcap: The file that holds the frames, whichever direction they go; None where they are made from the rest.
    """

    frame_bytes: int
    flows: int = 1
    vary: tuple[FlowField, ...] = (FlowField.UDP_SRC,)
    vlan: int | None = None
    direction: Direction = Direction.UNIDIRECTIONAL
    imix: str = ""
    pcap: Pcap | None = None

    @classmethod
    def captured(cls, pcap: Pcap) -> Traffic:
        """The frames of a file."""
        return cls(round(pcap.average_frame_bytes), pcap=pcap)

    @classmethod
    def mixed(
        cls,
        genome: str,
        *,
        flows: int = 1,
        vary: tuple[FlowField, ...] = (FlowField.UDP_SRC,),
        vlan: int | None = None,
        direction: Direction = Direction.UNIDIRECTIONAL,
    ) -> Traffic:
        """Frames of the sizes that an RFC 6985 genome spells.

        Raises:
            UsageError: It is not a genome, or has sizes that cannot be sent.
        """
        sizes = genome_sizes(genome)
        return cls(round(sum(sizes) / len(sizes)), flows, vary, vlan, direction, genome)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Sizes in bytes with FCS of frames that follow each other, before it all repeats; one where all are alike.

        Of frames that are made: those of a file are not told apart.
        """
        return genome_sizes(self.imix) if self.imix else (self.frame_bytes,)

    @property
    def average_frame_bytes(self) -> float:
        """Mean size in bytes with FCS, not rounded: what bit rates and line rates follow from."""
        return self.pcap.average_frame_bytes if self.pcap else sum(self.sizes) / len(self.sizes)

    @property
    def largest_frame_bytes(self) -> int:
        """The largest size with FCS: what buffers have to hold."""
        return self.pcap.largest_frame_bytes if self.pcap else max(self.sizes)

    @property
    def largest_packet_bytes(self) -> int:
        """The most that a frame carries after its Ethernet header and 802.1Q tag: what an MTU has to hold."""
        if self.pcap:
            return self.pcap.largest_packet_bytes
        tag = VLAN_TAG_BYTES if self.vlan is not None else 0
        return self.largest_frame_bytes - ETHERNET_BYTES - tag - FCS_BYTES

    @property
    def directions(self) -> int:
        """Number of directions that carry traffic."""
        return 2 if self.direction is Direction.BIDIRECTIONAL else 1

    @property
    def smallest_frame_bytes(self) -> int:
        """The smallest frame that holds these headers and the generator's stamp."""
        tag = VLAN_TAG_BYTES if self.vlan is not None else 0
        return max(64, HEADER_BYTES + tag + STAMP_BYTES + FCS_BYTES)


def genome_sizes(genome: str) -> tuple[int, ...]:
    """Frame sizes in bytes with FCS, one a letter of an RFC 6985 genome: `aag` is 64, 64, 1518.

    Raises:
        UsageError: It is empty or too long, or has other letters.
    """
    strange = sorted(set(genome) - set(GENOME_BYTES))
    if strange:
        known = ", ".join(f"{letter}={size}" for letter, size in GENOME_BYTES.items())
        raise UsageError(f"{strange[0]!r} is no frame size that can be sent", place="imix", remedy=known)
    if not 1 <= len(genome) <= GENOME_MOST:
        raise UsageError(f"a genome has 1 to {GENOME_MOST} letters, this one has {len(genome)}", place="imix")
    return tuple(GENOME_BYTES[letter] for letter in genome)


@dataclass(frozen=True, slots=True)
class Field:
    """A part of a template that differs from flow to flow: flow i carries `first + i`, big-endian, wrapping.

    Attributes:
        offset: Where it starts, in bytes from the frame's first.
        width: 2 or 4 bytes.
        first: Its value in flow 0.
    """

    offset: int
    width: int
    first: int


@dataclass(frozen=True, slots=True)
class Template:
    """One direction's frames, without FCS, with the fields that vary.

    Attributes:
        frames: The bytes of flow 0, once for each size; the stamp's place is zero. Headers differ in lengths and
            checksum only, so that all offsets hold for all of them.
        sequence: Which of `frames` follow each other, by number, before it all repeats.
        fields: What differs from flow to flow.
        flows: Number of flows.
        ipv4_offset: Where the IPv4 header starts, so that its checksum can follow the fields.
        stamp_offset: Where the generator's stamp goes.
    """

    frames: tuple[bytes, ...]
    sequence: tuple[int, ...]
    fields: tuple[Field, ...]
    flows: int
    ipv4_offset: int
    stamp_offset: int


# Locally administered MAC addresses, and the benchmarking network of RFC 2544 appendix C.2.2 (198.18.0.0/15).
_MAC = ("02:00:00:00:01:00", "02:00:00:00:02:00")
_IP = ("198.18.0.0", "198.19.0.0")
_UDP_SRC, _UDP_DST = 1024, 7  # RFC 2544 appendix C.2.6.4.9: echo


def templates(traffic: Traffic) -> tuple[Template, ...]:
    """The frames of each direction, made by scapy.

    Direction 0 goes from the generator's port 0 to its port 1; direction 1, if there is one, comes back with
    the addresses exchanged.
    """
    return tuple(_template(traffic, direction) for direction in range(traffic.directions))


def learning_frames(traffic: Traffic) -> tuple[tuple[int, bytes], ...]:
    """Pairs (port, frame): one frame out of each port that tells a learning switch where its address lives."""
    from scapy.layers.l2 import ARP, Dot1Q, Ether  # noqa: PLC0415 - seconds to import

    frames = []
    for port in (0, 1):
        ether = Ether(src=_MAC[port], dst="ff:ff:ff:ff:ff:ff")
        tag = ether / Dot1Q(vlan=traffic.vlan) if traffic.vlan is not None else ether
        frame = tag / ARP(op=1, hwsrc=_MAC[port], psrc=_IP[port], pdst=_IP[port])
        frames.append((port, bytes(frame).ljust(60, b"\0")))
    return tuple(frames)


def _template(traffic: Traffic, direction: int) -> Template:
    from scapy.layers.inet import IP, UDP  # noqa: PLC0415 - seconds to import
    from scapy.layers.l2 import Dot1Q, Ether  # noqa: PLC0415
    from scapy.packet import Raw  # noqa: PLC0415

    src, dst = (0, 1) if direction == 0 else (1, 0)
    ether = Ether(src=_MAC[src], dst=_MAC[dst])
    if traffic.vlan is not None:
        ether = ether / Dot1Q(vlan=traffic.vlan)
    ipv4_offset = len(ether)
    # A UDP checksum of zero means none (RFC 768), so that stamps need no second pass over the payload.
    packet = ether / IP(src=_IP[src], dst=_IP[dst], ttl=64) / UDP(sport=_UDP_SRC, dport=_UDP_DST, chksum=0)
    distinct = sorted(set(traffic.sizes))
    return Template(
        frames=tuple(bytes(packet / Raw(bytes(size - FCS_BYTES - ipv4_offset - 28))) for size in distinct),
        sequence=tuple(distinct.index(size) for size in traffic.sizes),
        fields=_fields(traffic, ipv4_offset, src, dst),
        flows=traffic.flows,
        ipv4_offset=ipv4_offset,
        stamp_offset=ipv4_offset + 28,
    )


def _fields(traffic: Traffic, ipv4_offset: int, src: int, dst: int) -> tuple[Field, ...]:
    if traffic.flows == 1:
        return ()
    mac = [int(address.replace(":", "")[4:], 16) for address in _MAC]
    ip = [int(IPv4Address(address)) for address in _IP]
    places = {
        FlowField.MAC_DST: Field(2, 4, mac[dst]),
        FlowField.MAC_SRC: Field(8, 4, mac[src]),
        FlowField.IP_SRC: Field(ipv4_offset + 12, 4, ip[src]),
        FlowField.IP_DST: Field(ipv4_offset + 16, 4, ip[dst]),
        FlowField.UDP_SRC: Field(ipv4_offset + 20, 2, _UDP_SRC),
        FlowField.UDP_DST: Field(ipv4_offset + 22, 2, _UDP_DST),
    }
    return tuple(places[name] for name in traffic.vary)
