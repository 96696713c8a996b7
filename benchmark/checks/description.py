"""What the bench is: the table of the set-up, host by host."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nvbench.campaign import Grid
from nvbench.stands import BENCH, Check, Ground, Record

UNKNOWN = "unknown"
ABSENT = {"qemu": "not installed; guests run on a copy that is nvbench's own"}
ESSENTIAL = ("CPU", "cores", "memory", "OS", "kernel")
"""Without these nobody can tell one bench from another."""

_TOOLS = {"QEMU": "qemu", "DPDK": "dpdk", "Open vSwitch": "ovs", "libvirt": "libvirt"}


def act(ground: Ground, record: Record) -> None:
    """All that tells this bench from another is known."""
    for grid in setup_tables(ground.bench.fingerprint()):
        record.draw(grid.title, grid.columns, grid.rows)
        unknown = [what for what, found in grid.rows if found == UNKNOWN]
        lacking = [what for what in unknown if what in ESSENTIAL]
        rest = f"; unknown: {', '.join(unknown)}" if unknown else ""
        known = f"{len(grid.rows) - len(unknown)} of {len(grid.rows)} rows are known{rest}"
        record.observe(not lacking, f"{grid.title}: {known}", ", ".join(found for _, found in grid.rows[1:5]))


def setup_tables(fingerprint: Mapping[str, Any]) -> tuple[Grid, ...]:
    """The set-up of each host as a table of two columns; what is unknown says so.

    Args:
        fingerprint: Of a bench, as `Bench.fingerprint` gives it.
    """
    hosts: Mapping[str, Mapping[str, Any]] = fingerprint.get("hosts", {})
    return tuple(Grid(f"Set-up of host {name}", ("what", "found"), _rows(found)) for name, found in hosts.items())


def _rows(found: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    versions, nics = found.get("versions", {}), found.get("nics", [])
    rows: list[tuple[str, object]] = [
        ("sockets", found.get("sockets")),
        ("CPU", found.get("cpu")),
        ("cores", _counted(found.get("online_cores"), "online", found.get("numa_nodes"), "NUMA node")),
        ("memory", _memory(found.get("memory", {}))),
        ("OS", found.get("os")),
        ("kernel", found.get("kernel")),
        ("machine", "virtual" if found.get("virtual_machine") else "not known to be virtual"),
        *((f"NIC {nic.get('name', '')}".strip(), _nic(nic)) for nic in nics),
        *(() if nics else (("NIC", None),)),
        *((name, versions.get(tool, ABSENT.get(tool, "not installed"))) for name, tool in _TOOLS.items()),
    ]
    return tuple((what, UNKNOWN if value in (None, "") else str(value)) for what, value in rows)


def _counted(cores: int | None, how: str, nodes: int | None, what: str) -> str:
    if cores is None:
        return ""
    return f"{cores} {how}" + (f", {nodes} {what}{'s' if nodes > 1 else ''}" if nodes else "")


def _memory(memory: Mapping[str, int]) -> str:
    total_kb, page_kb = memory.get("MemTotal"), memory.get("Hugepagesize")
    if not total_kb:
        return ""
    pages = f", {memory.get('HugePages_Total', 0)} hugepages of {page_kb} kB" if page_kb else ", no hugepages"
    return f"{total_kb / 2**20:.1f} GiB{pages}"


def _nic(nic: Mapping[str, str]) -> str:
    driver = " ".join(word for word in (nic.get("driver"), nic.get("version")) if word) or f"driver {UNKNOWN}"
    firmware, place = nic.get("firmware-version"), nic.get("bus-info")
    return ", ".join((driver, *([f"firmware {firmware}"] if firmware else []), *([f"at {place}"] if place else [])))


DESCRIPTION = Check(
    name="description",
    title="what the bench is made of is known",
    cases={BENCH: "1.1"},
    act=act,
    tags=("setup",),
)
