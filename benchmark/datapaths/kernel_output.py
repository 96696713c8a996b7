"""What the kernel's own tools print of a datapath's devices, parsed."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from typing import Any

from nvbench.tables import Reading


def parse_links(text: str) -> dict[str, dict[str, Any]]:
    """`ip -j link show`: device -> what is told of it. Other namespaces' hidden rows are empty."""
    return {row["ifname"]: row for row in json.loads(text or "[]") if row}


def link_readings(text: str, devices: Collection[str]) -> Iterator[Reading]:
    """`ip -s -j link show`: the counters of the named devices."""
    for name, row in parse_links(text).items():
        if name not in devices:
            continue
        for side, counters in row["stats64"].items():
            for counter, value in counters.items():
                unit = "bytes" if counter == "bytes" else "frames"
                yield Reading(f"port {name}", f"{side}_{counter}", float(value), unit)


_COUNTER = re.compile(r"^\s+(\S.*?): (\d+)$", re.MULTILINE)
_NO_COUNTERS = ("peer_ifindex",)


def ethtool_readings(text: str, device: str) -> Iterator[Reading]:
    """`ethtool -S DEVICE`: the driver's own counters, under its own names."""
    for name, value in _COUNTER.findall(text):
        if name not in _NO_COUNTERS:
            yield Reading(f"driver {device}", name, float(value), "count")


_QDISC = {"drops": "frames", "overlimits": "count", "requeues": "count", "qlen": "state", "backlog": "state"}
"""What tc(8) counts of a queueing discipline, and its unit; `qlen` frames and `backlog` bytes wait in it now."""


def qdisc_readings(text: str, devices: Collection[str]) -> Iterator[Reading]:
    """`tc -s -j qdisc show`: what the root queueing disciplines of the named devices dropped and held back."""
    for row in json.loads(text or "[]"):
        if row.get("root") and row["dev"] in devices:
            for counter, unit in _QDISC.items():
                yield Reading(f"qdisc {row['dev']}", counter, float(row.get(counter, 0)), unit)


def root_qdisc(text: str) -> tuple[str, bool]:
    """`tc -j qdisc show dev DEVICE`: kind of its root queueing discipline, and whether somebody set it.

    What the kernel itself gives a device has no handle.
    """
    for row in json.loads(text or "[]"):
        if row.get("root"):
            return str(row["kind"]), row["handle"] != "0:"
    return "noqueue", False


def dynamic_addresses(text: str, bridges: Collection[str]) -> int:
    """`bridge -j fdb show`: how many addresses these bridges have learned; their ports' own are permanent."""
    fixed = ("permanent", "static")
    return sum(row.get("master") in bridges and row.get("state") not in fixed for row in json.loads(text or "[]"))


def vlans_of(text: str, device: str) -> set[int]:
    """`bridge -j vlan show`: the VLANs of which a port is a member; consecutive ones may come as a range."""
    members: set[int] = set()
    for row in json.loads(text or "[]"):
        if row["ifname"] == device:
            for vlan in row["vlans"]:
                members.update(range(vlan["vlan"], vlan.get("vlanEnd", vlan["vlan"]) + 1))
    return members


def kernel_lacks(config: str, options: Collection[str]) -> list[str]:
    """The options that a kernel's configuration does not have, neither built in nor as a module."""
    has = set(re.findall(r"^CONFIG_(\w+)=[ym]$", config, re.MULTILINE))
    return [f"CONFIG_{option}" for option in options if option not in has]


def cpu_mask(cores: Collection[int]) -> str:
    """Cores as sysfs takes them: hexadecimal words of 32 bits, highest first."""
    mask = sum(1 << core for core in set(cores))
    words = [f"{mask >> shift & 0xFFFFFFFF:08x}" for shift in range(0, max(1, mask.bit_length()), 32)]
    return ",".join(reversed(words))
