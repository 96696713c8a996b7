"""Units: frame and bit rates, and how they are printed.

Base units inside (frames per second, bits per second, seconds, bytes), scaled only for people.
`frame_bytes` counts the 4-byte FCS, as RFC 2544 section 9 does.
"""

from __future__ import annotations

FCS_BYTES = 4
"""Ethernet's frame check sequence; part of every `frame_bytes`."""

L1_OVERHEAD_BYTES = 20
"""Preamble, start delimiter (8) and minimum inter-frame gap (12) of IEEE 802.3: on the wire, in no frame."""

ETHERNET_BYTES = 14
"""Both addresses and the type: what stands before a packet in an untagged frame."""

VLAN_TAG_BYTES = 4


def bps_l1(rate_pps: float, frame_bytes: float) -> float:
    """Bits per second on the wire, preamble and inter-frame gap counted."""
    return rate_pps * (frame_bytes + L1_OVERHEAD_BYTES) * 8


def bps_l2(rate_pps: float, frame_bytes: float) -> float:
    """Bits per second of Ethernet frames, FCS counted."""
    return rate_pps * frame_bytes * 8


def line_rate_pps(link_bps: float, frame_bytes: float) -> float:
    """Highest frame rate of an Ethernet link (RFC 2544 appendix B)."""
    return link_bps / ((frame_bytes + L1_OVERHEAD_BYTES) * 8)


_SCALES = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def scaled(value: float, unit: str, digits: int = 4) -> str:
    """`value` with an SI prefix: `scaled(2.5e6, "pps")` is `2.5 Mpps`."""
    for factor, prefix in _SCALES:
        if abs(value) >= factor:
            return f"{value / factor:.{digits}g} {prefix}{unit}"
    return f"{value:.{digits}g} {unit}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: `42 s`, `3 min 05 s`, `1 h 02 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
