"""Are there hugepages for the switch and the guests, on the NUMA node that polls?"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nvbench import fingerprint
from nvbench.errors import NotReadyError
from nvbench.guests.libvirt import Libvirt
from nvbench.hosts import Host
from nvbench.stands import BENCH, GUESTS, Check, Ground, Record
from nvbench.testbed import Testbed

_NODES = "/sys/devices/system/node"


@dataclass(frozen=True, slots=True)
class Pool:
    """Hugepages of one size on a NUMA node.

    Attributes:
        node: Its number.
        page_kb: Size of a page.
        pages: How many there are.
        free: How many nobody uses.
    """

    node: int
    page_kb: int
    pages: int
    free: int


def act(ground: Ground, record: Record) -> None:
    """Reserve what a run would, look at where it is, and give it back."""
    bench, testbed = ground.bench, ground.bench.testbed
    host = ground.hosts[testbed.switch.host]
    before, memory, wanted = pools(host), fingerprint.memory(host), needs(testbed)
    page_kb = memory.get("Hugepagesize", 0)
    _draw(record, before)
    told = " and ".join(f"{mb} MB for {who}" for who, mb in wanted.items())
    mark = bench.journal.mark()
    try:
        _check_room(memory, sum(wanted.values()))
        bench.reserve(host, list(wanted.values()))
        found = pools(host)
        free_mb = sum(pool.free * pool.page_kb // 1024 for pool in found if pool.page_kb == page_kb)
        added = sum(pool.pages for pool in found) - sum(pool.pages for pool in before)
        how = (
            f"{added} pages of {page_kb} kB were reserved for it and given back" if added else "they were free already"
        )
        record.observe(True, f"host {host.name} has {told} in hugepages: {how}", f"{free_mb} MB free")
        if added:
            record.advise(
                f"pages reserved at boot are never lacking: hugepagesz={page_kb // 1024}M hugepages={added} on the "
                f"kernel command line of host {host.name}"
            )
        _judge_nodes(ground, record, [pool for pool in found if pool.page_kb == page_kb], wanted["the switch"])
    except NotReadyError as error:
        meminfo = re.findall(r"^(?:MemAvailable|HugePages_Free):.*$", host.read("/proc/meminfo") or "", re.MULTILINE)
        record.observe(False, f"host {host.name} cannot have {told} in hugepages: {error.what}", "; ".join(meminfo))
        record.advise(error.remedy)
    finally:
        bench.journal.undo_since(mark)


def _check_room(memory: Mapping[str, int], wanted_mb: int) -> None:
    """What is surely not there is not tried: the kernel would put all else aside first."""
    free_mb = memory.get("HugePages_Free", 0) * memory.get("Hugepagesize", 0) // 1024
    available_mb = memory.get("MemAvailable", 0) // 1024
    if wanted_mb > free_mb + available_mb:
        what = f"{free_mb} MB are free in hugepages, and {available_mb} MB of other memory"
        raise NotReadyError(what, remedy="free memory, or ask for less: switch.socket_memory_mb, guests.memory_mb")


def _judge_nodes(ground: Ground, record: Record, found: list[Pool], switch_mb: int) -> None:
    """The switch's memory has to be on each node that one of its cores is on: it takes it from there."""
    nodes = fingerprint.cores(ground.hosts[ground.bench.testbed.switch.host])
    polling = sorted({nodes.get(core, 0) for core in ground.bench.placement.pmd_cores})
    if len({pool.node for pool in found}) < 2:
        return
    for node in polling:
        free_mb = sum(pool.free * pool.page_kb // 1024 for pool in found if pool.node == node)
        holds = free_mb >= switch_mb
        told = f"node {node}, on which the switch polls, has {free_mb} MB free in hugepages, of {switch_mb} MB"
        record.observe(holds, told)
        for pool in found if not holds else ():
            if pool.node == node:
                pages = pool.pages + (switch_mb - free_mb) * 1024 // pool.page_kb + 1
                record.advise(f"echo {pages} > {_NODES}/node{node}/hugepages/hugepages-{pool.page_kb}kB/nr_hugepages")


def needs(testbed: Testbed) -> dict[str, int]:
    """Who wants hugepages on the switch's host -> how many MB."""
    found = {"the switch": testbed.switch.socket_memory_mb}
    if testbed.guests.hugepages:
        found[f"{len(GUESTS)} guests of kind {Libvirt.kind}"] = len(GUESTS) * testbed.guests.memory_mb
    return found


def pools(host: Host) -> list[Pool]:
    """The hugepages of a host, node by node; all on node 0 where its kernel knows no nodes."""
    return list(_pools(host))


def _pools(host: Host) -> Iterator[Pool]:
    # One round trip for however many nodes and sizes there are.
    files = ["-name", "nr_hugepages", "-o", "-name", "free_hugepages"]
    roots = _NODES if host.exists(_NODES) else "/sys/kernel/mm/hugepages"
    found = host.run(["find", roots, "-path", "*/hugepages-*", "(", *files, ")"], check=False).stdout.split()
    told = host.run(["grep", "-H", "", *sorted(found)], check=False).stdout if found else ""
    yield from parse_pools(told)


def parse_pools(text: str) -> Iterator[Pool]:
    """`grep -H "" FILE...` of nr_hugepages and free_hugepages."""
    counts: dict[tuple[int, int], dict[str, int]] = {}
    for line in text.splitlines():
        path, _, value = line.rpartition(":")
        size = re.search(r"hugepages-(\d+)kB/(nr|free)_hugepages$", path)
        if size is None:
            continue
        node = re.search(r"/node(\d+)/", path)
        counts.setdefault((int(node[1]) if node else 0, int(size[1])), {})[size[2]] = int(value)
    for (node_number, page_kb), each in sorted(counts.items()):
        yield Pool(node_number, page_kb, each.get("nr", 0), each.get("free", 0))


def _draw(record: Record, found: list[Pool]) -> None:
    rows = [(f"node {pool.node}", f"{pool.page_kb} kB", pool.pages, pool.free) for pool in found]
    record.draw("Hugepages as they were found", ("where", "size", "pages", "free"), rows)


HUGEPAGES = Check(
    name="hugepages",
    title="there are hugepages for the switch and the guests, where it polls",
    cases={BENCH: ""},
    act=act,
    tags=("setup", "memory", "numa"),
)
