"""What OVS prints, parsed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Interface:
    """A row of the database's table Interface."""

    name: str
    error: str
    link_state: str
    mtu: int
    ofport: int
    ingress_policing_rate: int


def parse_interfaces(text: str) -> list[Interface]:
    """`ovs-vsctl --format=json list Interface`: absent values come as an empty set."""
    table = json.loads(text)
    interfaces = []
    for row in table["data"]:
        cells = dict(zip(table["headings"], row, strict=True))
        empty = {key for key, cell in cells.items() if cell == ["set", []]}
        interfaces.append(
            Interface(
                name=cells["name"],
                error="" if "error" in empty else str(cells["error"]),
                link_state="" if "link_state" in empty else str(cells["link_state"]),
                mtu=0 if "mtu" in empty else int(cells["mtu"]),
                ofport=0 if "ofport" in empty else int(cells["ofport"]),
                ingress_policing_rate=int(cells["ingress_policing_rate"]),
            )
        )
    return sorted(interfaces, key=lambda interface: interface.name)


@dataclass(frozen=True, slots=True)
class PmdRxq:
    """A receive queue and the PMD that polls it."""

    port: str
    queue: int
    core: int
    enabled: bool


_PMD = re.compile(r"^pmd thread numa_id (\d+) core_id (\d+):")
_RXQ = re.compile(r"^\s*port:\s*(\S+)\s+queue-id:\s*(\d+)\s+\((enabled|disabled)\)")


def parse_pmd_rxqs(text: str) -> list[PmdRxq]:
    """`ovs-appctl dpif-netdev/pmd-rxq-show`."""
    queues, core = [], -1
    for line in text.splitlines():
        if found := _PMD.match(line):
            core = int(found[2])
        elif found := _RXQ.match(line):
            queues.append(PmdRxq(found[1], int(found[2]), core, found[3] == "enabled"))
    return queues


Row = tuple[str, str, float, str]
"""Source, metric, value, unit."""

_STAT = re.compile(r"^\s+([a-z][a-z .]*[a-z]):\s+(\d+)(?:\s|$)")
_CYCLES = ("idle cycles", "processing cycles")


def parse_pmd_stats(text: str, *, main_thread: bool = False) -> Iterator[Row]:
    """`ovs-appctl dpif-netdev/pmd-stats-show`: the counters of each PMD, not the averages made of them.

    Those of the main thread, which polls ports of type system alone, on demand.
    """
    source = ""
    for line in text.splitlines():
        if found := _PMD.match(line):
            source = f"pmd core {found[2]}"
        elif not line.startswith((" ", "\t")):
            source = "main thread" if main_thread and line.startswith("main thread") else ""
        elif source and (found := _STAT.match(line)):
            unit = "cycles" if found[1] in _CYCLES else "count"
            yield source, found[1].replace(" ", "_"), float(found[2]), unit


_PERFORMANCE = re.compile(r"^\s+(?:- )?([A-Z][A-Za-z ]+|[a-z]+ iterations)(?: \((us)\))?:\s+(\d+)(?:\s|$)")
_PERFORMANCE_METRICS = {
    "Iterations": ("iterations", "count"),
    "Used TSC cycles": ("used_cycles", "cycles"),
    "idle iterations": ("idle_iterations", "count"),
    "busy iterations": ("busy_iterations", "count"),
    "sleep iterations": ("sleep_iterations", "count"),
    "Sleep time": ("sleep_us", "us"),
    "Upcalls": ("upcalls", "count"),
    "Lost upcalls": ("lost_upcalls", "count"),
    "Tx packets": ("tx_packets", "count"),
    "Tx batches": ("tx_batches", "count"),
}


def parse_pmd_performance(text: str) -> Iterator[Row]:
    """`ovs-appctl dpif-netdev/pmd-perf-show -nh`: what pmd-stats-show does not tell of a PMD, without averages."""
    source = ""
    for line in text.splitlines():
        if found := _PMD.match(line):
            source = f"pmd core {found[2]}"
        elif source and (found := _PERFORMANCE.match(line)) and found[1] in _PERFORMANCE_METRICS:
            metric, unit = _PERFORMANCE_METRICS[found[1]]
            yield source, metric, float(found[3]), unit


_COVERAGE = re.compile(r"^(\w+)\s.*\stotal: (\d+)$", re.MULTILINE)


def parse_coverage(text: str) -> Iterator[Row]:
    """`ovs-appctl coverage/show`: how often each place in the switch's source was passed that ever was."""
    for name, total in _COVERAGE.findall(text):
        yield "coverage", name, float(total), "count"


_FLOWS = re.compile(r"^\s+flows\s+: \(current (\d+)\).*\(limit (\d+)\)", re.MULTILINE)


def parse_upcalls(text: str) -> Iterator[Row]:
    """`ovs-appctl upcall/show`: flows in the datapath, and how many the switch will keep there."""
    if found := _FLOWS.search(text):
        yield "datapath", "flows", float(found[1]), "state"
        yield "datapath", "flow_limit", float(found[2]), "state"


_OF_PORT = re.compile(r"^\s+port\s+(\w+): rx ")
_CUSTOM = re.compile(r"\b([a-z]\w*)=(\d+)")
_OF_QUEUE = re.compile(r"([rt]x)_q(\d+)_(?:good_)?(packets|bytes|guest_notifications)")
_TROUBLE = re.compile(r"drop|err|miss|fail|discard|retr|nombuf|alloc")


def parse_of_ports(text: str, names: Mapping[str, str]) -> Iterator[Row]:
    """`ovs-ofctl -O OpenFlow14 dump-ports`: a port's causes of loss, and what each of its queues passed.

    The device itself is asked; the column `statistics` of the database is up to 5 s old.

    Args:
        text: What was printed.
        names: Number of a port -> its name.
    """
    port, custom = "", False
    for line in text.splitlines():
        if found := _OF_PORT.match(line):
            port, custom = names.get(found[1], ""), False
        custom = custom or "CUSTOM" in line
        for name, value in _CUSTOM.findall(line) if port and custom else ():
            if found := _OF_QUEUE.fullmatch(name):
                unit = {"packets": "frames", "bytes": "bytes"}.get(found[3], "count")
                yield f"port {port} queue {found[2]}", f"{found[1]}_{found[3]}", float(value), unit
            elif _TROUBLE.search(name) and not re.match(r"[rt]x_q\d", name):
                yield f"port {port}", name, float(value), "count" if "retr" in name else "frames"


_VRING = re.compile(r"vring_(\d+)_size")


def parse_vrings(text: str) -> Iterator[Row]:
    """`ovs-vsctl --format=json --columns=name,status list Interface`: the rings of vhost-user ports.

    An even ring is the one that the guest receives from (virtio 1.2 section 5.1.2): the switch sends there.
    """
    table = json.loads(text or '{"headings": [], "data": []}')
    for row in table["data"]:
        cells = dict(zip(table["headings"], row, strict=True))
        name, told = cells["name"], dict(cells.get("status", ("map", ()))[1])
        if "num_of_vrings" in told:
            yield f"port {name}", "vrings", float(told["num_of_vrings"]), "state"
        for key, size in told.items():
            if found := _VRING.fullmatch(key):
                queue, received = divmod(int(found[1]), 2)
                yield f"port {name} queue {queue}", f"{'rx' if received else 'tx'}_vring_size", float(size), "state"


_PORT = re.compile(r"^\s+port \d+: (\S+)(?: \((.*)\))?")
_COUNTER = re.compile(r"(?:([RT]X) )?(packets|bytes|errors|dropped|overruns|frame|carrier|collisions):(\d+)")


def parse_port_stats(text: str, names: tuple[str, ...]) -> Iterator[Row]:
    """`ovs-appctl dpctl/show -s`: counters of the named ports."""
    source = ""
    for line in text.splitlines():
        if found := _PORT.match(line):
            source = f"port {found[1]}" if found[1] in names else ""
        elif source:
            side = ""
            for direction, name, value in _COUNTER.findall(line):  # "RX bytes:1 (..)  TX bytes:2": a side holds on
                side = direction.lower() or side
                yield source, f"{side}_{name}", float(value), "bytes" if name == "bytes" else "frames"


_LOOKUPS = re.compile(r"^\s+lookups: hit:(\d+) missed:(\d+) lost:(\d+)", re.MULTILINE)


def parse_lookups(text: str) -> Iterator[Row]:
    """`ovs-appctl dpctl/show`: frames that the datapath knew, sent to the switch, and could not send there."""
    if found := _LOOKUPS.search(text):
        for metric, value in zip(("hit", "missed", "lost"), found.groups(), strict=True):
            yield "datapath", f"lookups_{metric}", float(value), "frames"


def parse_port_configurations(text: str) -> dict[str, dict[str, str]]:
    """`ovs-appctl dpctl/show`: the settings in brackets behind each port's name."""
    ports = (found for line in text.splitlines() if (found := _PORT.match(line)))
    return {found[1]: dict(re.findall(r"(\w+)=(\w+)", found[2] or "")) for found in ports}


@dataclass(frozen=True, slots=True)
class MacTable:
    """How full a bridge's table of learned MAC addresses is."""

    addresses: int
    size: int


_MAC_ENTRIES = re.compile(r"Current/maximum MAC entries in the table: (\d+)/(\d+)")


def parse_mac_table(text: str) -> MacTable:
    """`ovs-appctl fdb/stats-show`: of its lines the one that tells of now; the others count from the start."""
    found = _MAC_ENTRIES.search(text)
    return MacTable(int(found[1]), int(found[2])) if found else MacTable(0, 0)


_SETTING = re.compile(r"^(\w+): (\S+)$")


def parse_qos(text: str) -> dict[str, str]:
    """`ovs-appctl qos/show`: the settings of a port's QoS; empty where the switch has none in force."""
    lines = text.splitlines()
    return {found[1]: found[2] for line in lines if (found := _SETTING.match(line)) and found[1] != "QoS"}


def parse_rows(text: str) -> list[dict[str, Any]]:
    """`ovs-vsctl --format=json list TABLE`: rows by column. A map is a dict, a set a list."""
    table = json.loads(text)
    return [{key: _cell(cell) for key, cell in zip(table["headings"], row, strict=True)} for row in table["data"]]


def _cell(cell: Any) -> Any:
    if not isinstance(cell, list):
        return cell
    kind, value = cell
    return dict(value) if kind == "map" else [_cell(each) for each in value] if kind == "set" else value


@dataclass(frozen=True, slots=True)
class DatapathPort:
    """A port as the switch itself has it.

    Attributes:
        bridge: Its bridge.
        name: Its name.
        number: Its number in the datapath; empty where the datapath lacks it.
        type: Its type.
        settings: What it is set up with.
    """

    bridge: str
    name: str
    number: str
    type: str
    settings: Mapping[str, str]


_BRIDGE = re.compile(r"^  (\S+):$")
_BRIDGE_PORT = re.compile(r"^\s{4}(\S+) \S+/(\S+): \((\w+)(?:: (.*))?\)$")


def parse_datapath_ports(text: str) -> list[DatapathPort]:
    """`ovs-appctl dpif/show`."""
    ports, bridge = [], ""
    for line in text.splitlines():
        if found := _BRIDGE.match(line):
            bridge = found[1]
        elif found := _BRIDGE_PORT.match(line):
            number = found[2] if found[2].isdigit() else ""
            settings = dict(re.findall(r"(\w+)=(\w+)", found[4] or ""))
            ports.append(DatapathPort(bridge, found[1], number, found[3], settings))
    return ports


def parse_pmds(text: str) -> dict[int, int]:
    """`ovs-appctl dpif-netdev/pmd-rxq-show`: core of each PMD -> its NUMA node."""
    return {int(found[2]): int(found[1]) for line in text.splitlines() if (found := _PMD.match(line))}


_HEAP = re.compile(r"Heap name:socket_(\d+)\n\s*Heap_size:(\d+)")


def parse_heaps(text: str) -> dict[int, int]:
    """`ovs-appctl dpdk/get-malloc-stats`: NUMA node -> bytes of hugepage memory that the switch has there."""
    return {int(node): int(size) for node, size in _HEAP.findall(text) if int(size)}
