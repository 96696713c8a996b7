"""Names of cases: what each is called follows from its own values alone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from zlib import crc32

from nvbench.axes import Path
from nvbench.datapaths import Parameters
from nvbench.offloads import Offloads
from nvbench.topology import Topology
from nvbench.traffic import Direction, Traffic

LONGEST_PART = 40
"""Characters of a value in a case's name."""


def case_id(path: Path, parameters: Parameters, traffic: Traffic | None, offloads: Offloads | None = None) -> str:
    """A case's name: `ovs_dpdk-1q-64B`, then whatever differs from its default.

    For a mix of sizes `-imix_a7b4g`, for the frames of a file `-pcap_NAME_1a2b3c4d`. Where streams are sent:
    `ovs_dpdk-VM-to-VM-namespace-1q-no_tso`.
    """
    parts = [path.kind, *_around(path), f"{parameters.queues}q"]
    if traffic:
        parts.append(_frames(traffic))
    for name, option in type(parameters).model_fields.items():
        value = getattr(parameters, name)
        if name != "queues" and value != option.default:
            parts.append(_part(name, value))
    parts += _traffic_parts(traffic) if traffic else []
    parts += [_part(name, state) for name, state in offloads.asked().items()] if offloads else []
    return "-".join(parts)


def _around(path: Path) -> Iterator[str]:
    if path.topology is not Topology.P2P:
        yield path.topology
    if path.guest:
        yield path.guest


def _part(name: str, value: object) -> str:
    if isinstance(value, bool):
        return name if value else f"no_{name}"
    text = value if isinstance(value, str) else f"{value!r}".removesuffix(".0")
    fit = _short(re.sub(r"[^\w.+-]+", "_", text, flags=re.ASCII).strip("_"), text)
    return f"{name}_{fit}" if isinstance(value, str) else f"{name}{fit}"


def _short(text: str, whole: str) -> str:
    """A text short enough for a part of a file's name; where it is cut, a sum tells it from its like."""
    return text if len(text) <= LONGEST_PART else f"{text[:LONGEST_PART]}_{crc32(whole.encode()):08x}"


def _traffic_parts(traffic: Traffic) -> Iterator[str]:
    plain = Traffic(traffic.frame_bytes)
    if traffic.flows != plain.flows:
        yield f"flows{traffic.flows}"
    if traffic.vary != plain.vary:
        yield f"vary_{'+'.join(traffic.vary)}"
    if traffic.vlan is not None:
        yield f"vlan{traffic.vlan}"
    if traffic.direction is Direction.BIDIRECTIONAL:
        yield "bidir"


def _frames(traffic: Traffic) -> str:
    if traffic.pcap:
        # A `-` would look like the begin of another part.
        return f"{_part('pcap', traffic.pcap.stem.replace('-', '_'))}_{traffic.pcap.digest}"
    return _mix(traffic.imix) if traffic.imix else f"{traffic.frame_bytes}B"


def _mix(genome: str) -> str:
    """A genome with its repeats counted, and short enough to be part of a file's name."""
    text = "".join(f"{letter}{count}" if (count := len(list(run))) > 1 else letter for letter, run in groupby(genome))
    return f"imix_{_short(text, genome)}"
