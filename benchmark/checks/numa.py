"""Are the cores that poll, the ports, the switch's memory and the guests' on one NUMA node?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from nvbench import fingerprint
from nvbench.checks.ovs_setup import pmd_line
from nvbench.checks.vm_setup import process_of
from nvbench.datapaths.ovs_output import parse_heaps, parse_pmd_rxqs, parse_pmds, parse_rows
from nvbench.endpoint import LinkKind
from nvbench.errors import NotPossibleError
from nvbench.stands import OVS, Check, Member, Record, Stand
from nvbench.stands.ovs_control import control

UNKNOWN = "unknown"


def act(stand: Stand, record: Record) -> None:
    """Look up the node of each, and compare it with that of the PMD that has to do with it."""
    switch = control(stand)
    nodes = fingerprint.cores(stand.hosts[stand.bench.testbed.switch.host])
    count = len(set(nodes.values()))
    shown = switch.appctl("dpif-netdev/pmd-rxq-show")
    pmds, heaps = parse_pmds(shown), parse_heaps(switch.appctl("dpdk/get-malloc-stats"))
    if not pmds:
        raise NotPossibleError("no port of this stand is polled by a PMD")
    for core, node in sorted(pmds.items()):
        told = f"OVS takes core {core} for one of node {node}, the kernel has it on node {nodes.get(core, UNKNOWN)}"
        record.observe(nodes.get(core) == node, told, pmd_line(pmds))
    for node in sorted({*pmds.values()}):
        mb = heaps.get(node, 0) // 2**20
        told = f"node {node}, on which PMDs poll, has {mb} MB of the switch's memory"
        if not record.observe(mb > 0, told, f"dpdk/get-malloc-stats: {_in_mb(heaps)}"):
            record.advise(f"ovs-vsctl set Open_vSwitch . other_config:dpdk-socket-mem={_spread(heaps, pmds.values())}")
    told = switch.vsctl("--format=json", "--columns=name,type,status", "list", "Interface")
    status = {row["name"]: row["status"] for row in parse_rows(told)}
    polling: dict[str, set[int]] = {}
    for rxq in parse_pmd_rxqs(shown):
        polling.setdefault(rxq.port, set()).add(pmds[rxq.core])
    for member in stand.members:
        if member.port in polling:
            _judge_port(stand, record, member, status[member.port], polling[member.port])
    if count == 1:
        record.observe(True, f"host {stand.bench.testbed.switch.host} has one node: all is on it", pmd_line(pmds))


def _judge_port(stand: Stand, record: Record, member: Member, status: Mapping[str, Any], polled_on: set[int]) -> None:
    port, numa = member.port, status.get("numa", status.get("numa_id", UNKNOWN))
    pmd_nodes = " and ".join(map(str, sorted(polled_on)))
    told = f"port {port} is on node {numa}, and polled on node {pmd_nodes}"
    if not record.observe({str(numa)} == {str(node) for node in polled_on}, told, f"status: numa={numa}"):
        record.advise(f"have a core of node {numa} poll: ovs-vsctl set Open_vSwitch . other_config:pmd-cpu-mask=MASK")
    if member.link.kind is not LinkKind.VHOST_USER:
        return
    host, pid = stand.hosts[stand.bench.testbed.switch.host], process_of(stand, member)
    maps = (host.read(f"/proc/{pid}/numa_maps") or "") if pid is not None else ""
    pages = parse_numa_maps(maps)
    if not pages:
        record.advise(f"where the memory of {member.name} is, is unknown: its process or its numa_maps cannot be read")
        return
    here = sum(kb for node, kb in pages.items() if node in polled_on)
    share = here / sum(pages.values())
    told = f"{share:.0%} of the memory of {member.name} is on node {pmd_nodes}, where its port is polled"
    quote = next((line for line in maps.splitlines() if line == largest(maps)), "")
    if not record.observe(share > 0.5, told, quote):
        record.advise(f"start {member.name} with its memory on node {pmd_nodes}: numactl --membind={min(polled_on)}")


def largest(maps: str) -> str:
    """The line of /proc/PID/numa_maps with the most pages: the machine's memory; empty where there is none."""
    lines = [line for line in maps.splitlines() if re.search(r" N\d+=\d+", line)]
    return max(lines, key=lambda line: sum(_pages(line).values()), default="")


def parse_numa_maps(maps: str) -> dict[int, int]:
    """/proc/PID/numa_maps -> NUMA node -> kB that a machine has there of its memory, the largest piece of all."""
    return _pages(largest(maps))


def _pages(line: str) -> dict[int, int]:
    size = re.search(r"kernelpagesize_kB=(\d+)", line)
    page_kb = int(size[1]) if size else 4
    return {int(node): int(pages) * page_kb for node, pages in re.findall(r" N(\d+)=(\d+)", line)}


def _in_mb(heaps: Mapping[int, int]) -> str:
    return ", ".join(f"socket_{node} {size // 2**20} MB" for node, size in sorted(heaps.items())) or "no memory"


def _spread(heaps: Mapping[int, int], polling: Iterable[int]) -> str:
    most_mb = max((size // 2**20 for size in heaps.values()), default=1024)
    last = max(*heaps, *polling) if heaps else max(polling)
    wanted = {*heaps, *polling}
    return ",".join(str(most_mb if node in wanted else 0) for node in range(last + 1))


NUMA = Check(
    name="numa",
    title="polling cores, ports and memory are on one NUMA node",
    cases={OVS: "5.4.1.2"},
    act=act,
    tags=("setup", "memory"),
)
