"""What TRex is told: its configuration, and the streams of a trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nvbench.generators.base import Layout
from nvbench.traffic import Template

LEAST_MEMORY_MB = 1024
"""TRex's own default where several programs share a host: less, and its buffers do not fit."""

PROBE_PPS, PROBE_SHARE = 10_000.0, 0.1
"""Frames that measure latency: so many a second and direction, at most this share of a trial's."""

_IPV4_ADDRESSES = range(12, 20)
"""What of an IPv4 header may differ from flow to flow."""


@dataclass(frozen=True, slots=True)
class TrexConfig:
    """TRex's configuration.

    With too few cores for its three kinds of threads, all of them share one, in TRex's mode for low-end machines.

    Attributes:
        layout: Ports, cores, descriptors and memory.
        housekeeping_core: Where all of it that does not poll runs.
        nodes: Online core -> NUMA node.
    """

    layout: Layout
    housekeeping_core: int
    nodes: Mapping[int, int]

    @property
    def text(self) -> str:
        """It as YAML; the TCP ports come after it."""
        names = (port.kernel or port.device or "dummy" for port in self.layout.ports)
        interfaces = ", ".join(f'"{name}"' for name in names)
        macs = ("02:00:00:00:01:00", "02:00:00:00:02:00")
        lines = [
            "- version: 2",
            "  port_limit: 2",
            f"  interfaces: [{interfaces}]",
            f"  limit_memory: {self.layout.memory_mb}",
            "  port_info:",
            *(
                line
                for own, other in (macs, macs[::-1])
                for line in (f'    - src_mac: "{own}"', f'      dest_mac: "{other}"')
            ),
            *self._descriptors,
            *self._threads,
        ]
        return "".join(f"{line}\n" for line in lines)

    @property
    def _by_kernel(self) -> bool:
        return any(port.kernel for port in self.layout.ports)

    @property
    def _descriptors(self) -> list[str]:
        if self._by_kernel:
            return []
        return [f"  rx_desc: {self.layout.descriptors}", f"  tx_desc: {self.layout.descriptors}"]

    @property
    def _threads(self) -> list[str]:
        cores = [core for core in self.layout.cores if core != self.housekeeping_core]
        if len(cores) < 2:
            return ["  low_end: true", f"  low_end_core: {self.layout.cores[0]}"]
        # The kernel's devices have one queue, which one thread can serve.
        sending = cores[:1] if self._by_kernel else cores[:-1]
        return [
            f"  c: {len(sending)}",
            "  platform:",
            f"    master_thread_id: {self.housekeeping_core}",
            f"    rx_thread_id: {cores[-1]}",
            "    dual_if:",
            f"      - socket: {self.nodes.get(sending[0], 0)}",
            f"        threads: [{', '.join(map(str, sending))}]",
        ]


def streams(template: Template, load_pps: float, duration_s: float, group: int) -> list[dict[str, Any]]:
    """The streams of a direction, bursts whose frames add up to what is asked for.

    One for each size, by its share and not in the order that a genome spells; and one beside them that measures
    latency, its frames taken from theirs.

    Args:
        template: The frames.
        load_pps: What to offer, in frames per second.
        duration_s: For how long.
        group: Number of the frames that measure latency; 0: there are none.
    """
    total = max(1, round(load_pps * duration_s))
    probes = int(min(PROBE_PPS * duration_s, PROBE_SHARE * total)) if group else 0
    counts = _shares(template, total - probes)
    found = [_stream(template, size, count, load_pps * count / total) for size, count in counts.items() if count]
    if probes:
        commonest = max(counts, key=lambda size: counts[size])
        found.append(_stream(template, commonest, probes, load_pps * probes / total, group))
    return found


def _shares(template: Template, total: int) -> dict[int, int]:
    """How many frames of each size, by its place among the template's, add up to a total."""
    weights = Counter(template.sequence)
    counts = {size: total * weight // len(template.sequence) for size, weight in weights.items()}
    by_rest = sorted(weights, key=lambda size: total * weights[size] % len(template.sequence), reverse=True)
    for size in by_rest[: total - sum(counts.values())]:
        counts[size] += 1
    return counts


def _stream(template: Template, size: int, count: int, pps: float, group: int = 0) -> dict[str, Any]:
    varies = any(field.offset - template.ipv4_offset in _IPV4_ADDRESSES for field in template.fields)
    return {
        "frame": template.frames[size].hex(),
        "fields": [{"offset": field.offset, "width": field.width, "first": field.first} for field in template.fields],
        "flows": template.flows,
        "checksum": template.ipv4_offset if varies else None,
        "count": count,
        "pps": pps,
        "group": group,
    }
