"""Is OVS-DPDK set up as it was asked for, in its database and in the daemon itself?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from nvbench.datapaths.ovs_output import (
    DatapathPort,
    PmdRxq,
    parse_datapath_ports,
    parse_heaps,
    parse_pmd_rxqs,
    parse_pmds,
    parse_rows,
)
from nvbench.endpoint import LinkKind
from nvbench.stands import OVS, Check, Record, Stand
from nvbench.stands.ovs_control import control

_COLUMNS = "--columns=name,type,error,options,status"


def act(stand: Stand, record: Record) -> None:
    """Compare what was asked for with the database, and the database with what the daemon does."""
    switch = control(stand)
    (settings,) = parse_rows(switch.vsctl("--format=json", "list", "Open_vSwitch"))
    bridges = parse_rows(switch.vsctl("--format=json", "--columns=name,datapath_type", "list", "Bridge"))
    interfaces = {row["name"]: row for row in parse_rows(switch.vsctl("--format=json", _COLUMNS, "list", "Interface"))}
    shown = switch.appctl("dpif/show")
    ports = {port.name: port for port in parse_datapath_ports(shown)}
    polled = switch.appctl("dpif-netdev/pmd-rxq-show")

    ready, version = settings["dpdk_initialized"] is True, settings["dpdk_version"]
    record.observe(ready, f"DPDK is {'' if ready else 'not '}initialised", f"dpdk_initialized: {ready}, {version}")
    _judge_bridges(record, bridges, shown)
    _judge_ports(record, interfaces, ports)
    _judge_memory(record, settings["other_config"], parse_heaps(switch.appctl("dpdk/get-malloc-stats")))
    _judge_cores(stand, record, settings["other_config"], parse_pmds(polled))
    _judge_queues(stand, record, interfaces, ports, parse_pmd_rxqs(polled))


def _judge_bridges(record: Record, bridges: Iterable[Mapping[str, Any]], shown: str) -> None:
    for bridge in bridges:
        kind = bridge["datapath_type"]
        holds = kind == "netdev" and f"\n  {bridge['name']}:\n" in shown.partition("netdev@")[2]
        told = f"bridge {bridge['name']} is {'' if holds else 'not '}one of the userspace datapath"
        record.observe(holds, told, f"datapath_type: {kind}; dpif/show: {shown.partition(':')[0]}")


def _judge_ports(
    record: Record, interfaces: Mapping[str, Mapping[str, Any]], ports: Mapping[str, DatapathPort]
) -> None:
    """A port can be in the database, and even be called connected there, and be missing in the datapath."""
    lacking = [name for name in interfaces if name not in ports or not ports[name].number]
    beyond = [name for name in ports if name not in interfaces]
    for name in lacking:
        error = interfaces[name]["error"] or "the database tells no error"
        record.observe(False, f"port {name} is in the database, and the datapath lacks it", f"error: {error}")
        record.advise(f"ovs-vsctl del-port {name}, and add it again")
    for name in beyond:
        record.observe(False, f"port {name} is in the datapath, and the database lacks it", f"dpif/show: {name}")
    if not lacking and not beyond:
        told = f"database and datapath have the same {len(ports)} ports"
        record.observe(True, told, "dpif/show: " + ", ".join(f"{port.name} ({port.type})" for port in ports.values()))


def _judge_memory(record: Record, asked: Mapping[str, str], heaps: Mapping[int, int]) -> None:
    wanted = [int(mb) for mb in asked.get("dpdk-socket-mem", "0").split(",") if mb]
    for node, wanted_mb in enumerate(wanted):
        found_mb = heaps.get(node, 0) // 2**20
        told = f"dpdk-socket-mem asks for {wanted_mb} MB on node {node}, the switch has {found_mb} MB there"
        record.observe(found_mb >= wanted_mb, told, f"dpdk/get-malloc-stats: socket_{node} {heaps.get(node, 0)} bytes")


def _judge_cores(stand: Stand, record: Record, asked: Mapping[str, str], pmds: Mapping[int, int]) -> None:
    mask = int(asked.get("pmd-cpu-mask", "0"), 16)
    masked = tuple(core for core in range(mask.bit_length()) if mask >> core & 1)
    placed = tuple(sorted(stand.place.pmd_cores))
    told = f"pmd-cpu-mask names cores {_listed(masked)}, the bench's polling cores are {_listed(placed)}"
    record.observe(masked == placed, told, f"pmd-cpu-mask: {asked.get('pmd-cpu-mask', 'not set')}")
    if any(member.link.kind is LinkKind.VHOST_USER for member in stand.members):
        told = f"PMDs run on cores {_listed(sorted(pmds))}, pmd-cpu-mask names {_listed(masked)}"
        record.observe(tuple(sorted(pmds)) == masked, told, f"pmd-rxq-show: {pmd_line(pmds)}")


def pmd_line(pmds: Mapping[int, int]) -> str:
    """PMDs in a line."""
    return ", ".join(f"core_id {core} numa_id {node}" for core, node in sorted(pmds.items())) or "no PMD"


def _judge_queues(
    stand: Stand,
    record: Record,
    interfaces: Mapping[str, Mapping[str, Any]],
    ports: Mapping[str, DatapathPort],
    polled: Iterable[PmdRxq],
) -> None:
    """What was asked for is what the stand's guests were made with, or what the database says where it does."""
    rows, queues = [], list(polled)
    for member in stand.members:
        if member.link.kind is not LinkKind.VHOST_USER or member.port not in ports:
            continue
        interface, port = interfaces[member.port], ports[member.port]
        asked = int(interface["options"].get("n_rxq", stand.parameters.queues))
        granted = int(port.settings.get("configured_rx_queues", 0))
        busy = sum(rxq.enabled for rxq in queues if rxq.port == port.name)
        told = f"port {port.name} of {member.name}: {asked} receive queues are asked for, {granted} are set up"
        told += f" and {busy} polled"
        quote = f"dpif/show: configured_rx_queues={granted}; status: {interface['status'].get('status', 'none')}"
        record.observe(asked == granted == busy, told, quote)
        rows.append((port.name, interface["type"], asked, granted, busy, interface["status"].get("num_of_vrings", "-")))
    if rows:
        columns = ("port", "type", "queues asked for", "set up", "polled", "vrings")
        record.draw("vhost-user ports", columns, rows)


def _listed(cores: Iterable[int]) -> str:
    return ", ".join(map(str, cores)) or "none"


OVS_SETUP = Check(
    name="ovs_setup",
    title="OVS-DPDK is set up as asked, in the database and in the daemon",
    cases={OVS: "1.3.1"},
    act=act,
    tags=("setup",),
)
