"""Levers of OVS-DPDK."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import starmap
from typing import TYPE_CHECKING, Any

from nvbench.datapaths.ovs_bridges import PATIENCE_S
from nvbench.datapaths.ovs_dpdk import OvsDpdk
from nvbench.errors import DatapathError, NotPossibleError
from nvbench.stands.check import OVS
from nvbench.stands.levers import LINK_PATIENCE_S, Levers, Way, refusals

if TYPE_CHECKING:
    from nvbench.stands.stand import Stand

_NORMAL = ("actions=NORMAL",)
_ETHERTYPES = {0x8100: "802.1q", 0x88A8: "802.1ad"}
_SHOWN = {
    "Bridge": "_uuid,name,ports,datapath_type,fail_mode,mcast_snooping_enable,other_config",
    "Port": "_uuid,name,vlan_mode,tag,trunks,cvlans,qos,other_config",
    "Interface": "name,type,options,mtu,mtu_request,ofport,ingress_policing_rate,ingress_policing_burst,other_config",
    "QoS": "_uuid,type,other_config",
}
"""Table of the database -> the columns that say what the switch is set up to do."""

_PORT_CONFIG = re.compile(r"^ *\S+?\((\S+)\): addr.*\n +config: +(.*)$", re.MULTILINE)


class OvsLevers(Levers):
    """See `Levers`."""

    path = OVS

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        assert isinstance(stand.switch, OvsDpdk)  # noqa: S101 - which makes it this path
        self._ovs = stand.switch.control

    def state(self) -> str:
        """See `Levers.state`: rows of the database, flows, and what OpenFlow has done to ports."""
        lists = [word for table, columns in _SHOWN.items() for word in ("--", f"--columns={columns}", "list", table)]
        tables = [json.loads(line) for line in self._ovs.vsctl("--format=json", *lists).splitlines()]
        lines = state_lines(dict(zip(_SHOWN, map(rows_of, tables), strict=True)))
        for bridge in self._bridges():
            ports = _PORT_CONFIG.findall(self._ovs.ofctl("show", bridge))
            lines += [f"{bridge} {port}: config {config}" for port, config in sorted(ports)]
            flows = self._ovs.ofctl("dump-flows", bridge, "--no-stats").splitlines()
            lines += [f"{bridge} flow {flow.strip()}" for flow in sorted(flows)]
        return "\n".join(lines)

    @contextmanager
    def mtu(self, mtu: int) -> Iterator[None]:
        """See `Levers.mtu`. The bridge's own port follows the smallest of the others; some drivers restart a port."""
        before = self._mtus()
        settings = {("Interface", port): {"mtu_request": str(mtu)} for port in before}
        try:
            with self._configured(settings, lambda: _otherwise(dict.fromkeys(before, mtu), self._mtus())):
                self._await(self._links_down, LINK_PATIENCE_S)
                yield
        finally:
            self._ovs.wait_out(lambda: _otherwise(before, self._mtus()), PATIENCE_S)
            self._ovs.wait_out(self._links_down, LINK_PATIENCE_S)

    @contextmanager
    def separated(self, *members: str) -> Iterator[None]:
        """See `Levers.separated`: on a bridge of their own, to which their ports move as they are."""
        with self._moved([self._port(member) for member in members], self._free_name(), _NORMAL):
            yield

    @contextmanager
    def access(self, vlans: Mapping[str, int]) -> Iterator[None]:
        """See `Levers.access`."""
        with self._configured({("Port", self._port(member)): {"tag": str(vlan)} for member, vlan in vlans.items()}):
            yield

    @contextmanager
    def tunnelled(self, vlan: int, *members: str, tpid: int = 0x88A8) -> Iterator[None]:
        """See `Levers.tunnelled`: ports of vlan_mode dot1q-tunnel."""
        if tpid not in _ETHERTYPES:
            raise NotPossibleError(f"{self.path}: a service tag is of type {' or '.join(_ETHERTYPES.values())}")
        columns = {"vlan_mode": "dot1q-tunnel", "tag": str(vlan), "other_config:qinq-ethtype": _ETHERTYPES[tpid]}
        with self._configured({("Port", self._port(member)): columns for member in members}):
            yield

    @contextmanager
    def translated(self, member: str, inside: int, outside: int) -> Iterator[None]:
        """See `Levers.translated`: by flows of a bridge between this member and all others.

        Flows of the same bridge cannot: whatever comes behind NORMAL does not know where that has sent a frame.
        """
        port, name = self._port(member), self._free_name()
        near, far = f"{name}near", f"{name}far"
        flows = [*_rewriting(port, near, inside, outside), *_rewriting(near, port, outside, inside)]
        bridge = self._bridge_of(port)
        patch = ["--", "add-port", name, near, "--", "set", "Interface", near, "type=patch", f"options:peer={far}"]
        patch += ["--", "add-port", bridge, far, "--", "set", "Interface", far, "type=patch", f"options:peer={near}"]
        with self._moved([port], name, flows, patch, ("--", "del-port", bridge, far)):
            yield

    @contextmanager
    def limited(self, member: str, way: Way, bps: int, burst_bytes: int) -> Iterator[None]:
        """See `Levers.limited`: a port's ingress or egress policer; of a kernel's device OVS has tc do it."""
        port = self._port(member)
        by_dpdk = self._ovs.vsctl("get", "Interface", port, "type").strip().startswith("dpdk")
        if way is Way.OUT:
            burst = max(1, burst_bytes * 8 // 1000)
            columns = {"ingress_policing_rate": str(bps // 1000), "ingress_policing_burst": str(burst)}
            with self._configured({("Interface", port): columns}):
                if not by_dpdk and not self._policed(port):
                    what = f"the kernel does not police port {port}; it may be built without NET_ACT_POLICE"
                    raise NotPossibleError(f"{self.path}: {what}")
                yield
            return
        kind, settings = "linux-htb", {"max-rate": str(bps)}  # its burst is tc's own
        if by_dpdk:
            kind, settings = "egress-policer", {"cir": str(bps // 8), "cbs": str(burst_bytes)}
        words = [f"other-config:{key}={value}" for key, value in settings.items()]
        qos = self._ovs.vsctl("create", "QoS", f"type={kind}", *words).strip()
        try:
            with self._configured({("Port", port): {"qos": qos}}):
                if kind not in self._ovs.appctl("qos/show", port):
                    raise NotPossibleError(f"{self.path}: port {port} does not take a {kind}")
                yield
        finally:
            self._ovs.vsctl("destroy", "QoS", qos)

    @contextmanager
    def snooping(self) -> Iterator[None]:
        """See `Levers.snooping`."""
        columns = {"mcast_snooping_enable": "true", "other_config:mcast-snooping-disable-flood-unregistered": "true"}
        with self._configured({("Bridge", name): columns for name in self._bridges()}):
            yield

    def snooped(self, group: str) -> bool:
        """See `Levers.snooped`."""
        return any(f" {group} " in self._ovs.ask("mdb/show", name) for name in self._bridges())

    @contextmanager
    def port_down(self, member: str) -> Iterator[None]:
        """See `Levers.port_down`: as OpenFlow says it, which a guest behind a vhost-user port is not told."""
        port = self._port(member)
        bridge = self._bridge_of(port)
        try:
            with refusals(self.path):
                self._ovs.ofctl("mod-port", bridge, port, "down")
            yield
        finally:
            self._ovs.ofctl("mod-port", bridge, port, "up")
            with suppress(DatapathError):
                self._ovs.wait_out(self._links_down, LINK_PATIENCE_S)

    @contextmanager
    def uplink_down(self) -> Iterator[None]:
        """See `Levers.uplink_down`."""
        with self.port_down("peer"):
            yield

    # -- asking ------------------------------------------------------------------------------------------------

    def _port(self, member: str) -> str:
        return self._stand.member(member).port

    def _bridges(self) -> list[str]:
        return self._ovs.vsctl("list-br").split()

    def _bridge_of(self, port: str) -> str:
        return self._ovs.vsctl("port-to-br", port).strip()

    def _free_name(self) -> str:
        return f"nvbr{len(self._bridges())}"

    def _of_ports(self, column: str) -> dict[str, Any]:
        """Port -> what a column of the database holds."""
        ports = [member.port for member in self._stand.members]
        told = self._ovs.vsctl("--format=json", f"--columns=name,{column}", "list", "Interface", *ports)
        return {row["name"]: row[column] for row in rows_of(json.loads(told))}

    def _mtus(self) -> dict[str, Any]:
        return self._of_ports("mtu")

    def _links_down(self) -> list[str]:
        return [f"port {port}: no link" for port, state in self._of_ports("link_state").items() if state != "up"]

    def _policed(self, port: str) -> bool:
        """Whether tc polices what comes in at a kernel's device."""
        words = ["tc", "filter", "show", "dev", port, "parent", "ffff:"]
        return "police" in self._stand.host.run(words, check=False).stdout

    # -- changing ----------------------------------------------------------------------------------------------

    @contextmanager
    def _moved(
        self,
        ports: Sequence[str],
        bridge: str,
        flows: Sequence[str],
        more: Sequence[str] = (),
        less: Sequence[str] = (),
    ) -> Iterator[None]:
        """Ports move to a new bridge in one step, rows and all, and back.

        Args:
            ports: Their names.
            bridge: The bridge's.
            flows: Its flows.
            more: What else is changed in that step.
            less: What takes that back.
        """
        do = ["add-br", bridge, "--", "set", "Bridge", bridge, "datapath_type=netdev", "fail_mode=secure"]
        undo: list[str] = []
        for port in ports:
            row, old = self._ovs.vsctl("get", "Port", port, "_uuid").strip(), self._bridge_of(port)
            do += ["--", "remove", "Bridge", old, "ports", row, "--", "add", "Bridge", bridge, "ports", row]
            undo += ["remove", "Bridge", bridge, "ports", row, "--", "add", "Bridge", old, "ports", row, "--"]
        try:
            with self._applied([*do, *more], [*undo, "del-br", bridge, *less]):
                self._await(self._links_down, LINK_PATIENCE_S)
                with refusals(self.path):
                    self._ovs.ofctl("add-flows", bridge, "-", stdin="\n".join(flows) + "\n")
                yield
        finally:
            self._ovs.wait_out(self._links_down, LINK_PATIENCE_S)

    @contextmanager
    def _configured(
        self, settings: Mapping[tuple[str, str], Mapping[str, str]], faults: Callable[[], list[str]] | None = None
    ) -> Iterator[None]:
        """Columns of the database hold something else.

        Args:
            settings: Table and row -> column, or column:key, -> value.
            faults: See `_applied`.
        """
        columns = {row: list(dict.fromkeys(name.partition(":")[0] for name in each)) for row, each in settings.items()}
        asked = [(*row, column) for row, names in columns.items() for column in names]
        found = self._ovs.vsctl(*_joined(["get", *each] for each in asked)).splitlines()
        changes = [(row, f"{name}={value}") for row, each in settings.items() for name, value in each.items()]
        do = _joined(["set", *row, change] for row, change in changes)
        # What ovs-vsctl prints of a column it also takes; but to what a map holds it only adds.
        undo = _joined(
            words
            for (table, row, column), was in zip(asked, found, strict=True)
            for words in (["clear", table, row, column], ["set", table, row, f"{column}={was}"])
            if words[0] == "set" or was.startswith("{")
        )
        with self._applied(do, undo, faults):
            yield

    @contextmanager
    def _applied(
        self, do: Sequence[str], undo: Sequence[str], faults: Callable[[], list[str]] | None = None
    ) -> Iterator[None]:
        """The database is changed, and the switch has carried it out; both the other way round at the end.

        Args:
            do: What changes it, in ovs-vsctl's words.
            undo: What takes that back.
            faults: What is not in force yet; what stays so is not possible here.
        """
        with refusals(self.path):
            self._apply(do)
        try:
            if faults is not None:
                self._await(faults, PATIENCE_S)
            yield
        finally:
            self._apply(undo)

    def _apply(self, words: Sequence[str]) -> None:
        """Change the database, and wait until the switch has carried it out, down to its cached flows."""
        number = str(int(self._ovs.vsctl("get", "Open_vSwitch", ".", "next_cfg")) + 1)
        self._ovs.vsctl(*words, "--", "set", "Open_vSwitch", ".", f"next_cfg={number}")
        self._ovs.wait_out(lambda: self._behind(number), PATIENCE_S)
        self._ovs.ask("revalidator/purge")

    def _behind(self, number: str) -> list[str]:
        reached = self._ovs.vsctl("get", "Open_vSwitch", ".", "cur_cfg").strip()
        return [] if reached == number else ["the switch does not carry out what it is told"]

    def _await(self, faults: Callable[[], list[str]], patience_s: float) -> None:
        try:
            self._ovs.wait_out(faults, patience_s)
        except DatapathError as error:
            if self._ovs.crashed():
                raise
            raise NotPossibleError(f"{self.path}: {'; '.join(faults())}") from error


def rows_of(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a table as `ovs-vsctl --format=json list` prints it, column -> value."""
    return [dict(zip(table["headings"], map(_plain, row), strict=True)) for row in table["data"]]


def _plain(cell: Any) -> Any:
    """A value without the database's wrapping: sets are sorted, an empty one is None."""
    match cell:
        case ["uuid", str(uuid)]:
            return uuid
        case ["set", list(values)]:
            return sorted(map(_plain, values)) or None
        case ["map", list(pairs)]:
            return dict(sorted(pairs))
    return cell


def state_lines(tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """Tables as lines, the same for the same set-up: rows are called by their names, not by the ids they have got.

    Args:
        tables: Table -> rows, as `rows_of` has them.
    """
    rows = [(table, row) for table, each in tables.items() for row in each]
    names = {row["_uuid"]: row.get("name", row.get("type")) for _, row in rows if "_uuid" in row}
    told = ((table, {key: _named(cell, names) for key, cell in row.items() if key != "_uuid"}) for table, row in rows)
    return sorted(f"{table} {json.dumps(cells)}" for table, cells in told)


def _named(value: Any, names: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return sorted(str(_named(each, names)) for each in value)
    return names.get(value, value) if isinstance(value, str) else value


def _joined(commands: Any) -> list[str]:
    """Commands as one, in ovs-vsctl's words."""
    return [word for words in commands for word in ("--", *words)][1:]


def _rewriting(source: str, target: str, old: int, new: int) -> list[str]:
    """Flows from one port to another that exchange two VLANs; what has the new one already would be taken for it."""
    return [
        f"priority=2,in_port={source},dl_vlan={old},actions=mod_vlan_vid:{new},output:{target}",
        f"priority=2,in_port={source},dl_vlan={new},actions=drop",
        f"priority=1,in_port={source},actions=output:{target}",
    ]


def _otherwise(wanted: Mapping[str, object], found: Mapping[str, object]) -> list[str]:
    differences = ((port, found.get(port), want) for port, want in wanted.items() if found.get(port) != want)
    return list(starmap("port {}: its MTU is {}, not {}".format, differences))
