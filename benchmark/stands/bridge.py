"""Levers of the kernel's bridge."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nvbench.datapaths.kernel_output import parse_links, root_qdisc
from nvbench.errors import CommandError, DatapathError, NotPossibleError
from nvbench.hosts.namespace import DEVICES
from nvbench.stands.check import BRIDGE
from nvbench.stands.levers import LINK_PATIENCE_S, Levers, Step, Way, changed, new_device

if TYPE_CHECKING:
    from nvbench.stands.stand import Stand

_BRIDGE, _SECOND, _DETOUR = "nvbr0", "nvbr1", "nvifb0"
_MOST_DELAY_S = 0.05
"""How long a frame waits at most where a rate is limited; what would wait longer is dropped."""

_QUERY_RESPONSE_CS = 10
"""How long hosts may take to answer a querier, in hundredths of a second; a bridge floods as long as it asks first."""

_SERVICE_TAG = 0x88A8
_SHOWN = (
    "stp_state",
    "vlan_filtering",
    "vlan_protocol",
    "mcast_snooping",
    "mcast_querier",
    "mcast_query_response_intvl",
)


class BridgeLevers(Levers):
    """See `Levers`."""

    path = BRIDGE

    def __init__(self, stand: Stand) -> None:
        self._stand = stand

    def state(self) -> str:
        """See `Levers.state`."""
        links, ports = self._links(), self._ports()
        mine = sorted(name for name, row in links.items() if name in ports or _kind(row) in ("bridge", "ifb"))
        qdiscs = json.loads(self._stand.host.run(["tc", "-j", "qdisc", "show"]).stdout)
        told = sorted(f"{row['dev']}: qdisc {row['kind']}" for row in qdiscs if row["dev"] in mine)
        return "\n".join([*(json.dumps(_told_of(links[name])) for name in mine), *told])

    @contextmanager
    def mtu(self, mtu: int) -> Iterator[None]:
        """See `Levers.mtu`."""
        links = self._links()
        with self._changed(_link(name, "mtu", mtu, links[name]["mtu"]) for name in [*self._ports(), _BRIDGE]):
            yield

    @contextmanager
    def separated(self, *members: str) -> Iterator[None]:
        """See `Levers.separated`: on a second bridge."""
        plain = ["stp_state", "0", "forward_delay", "0", "mcast_snooping", "0"]
        mtu = self._links()[_BRIDGE]["mtu"]
        steps = [*new_device(_SECOND, "bridge", *plain), Step(_set(_SECOND, "mtu", str(mtu)))]
        steps += [_link(self._port(member), "master", _SECOND, _BRIDGE) for member in members]
        with self._changed(steps):
            yield

    @contextmanager
    def access(self, vlans: Mapping[str, int]) -> Iterator[None]:
        """See `Levers.access`."""
        with self._filtered("802.1Q", vlans):
            yield

    @contextmanager
    def tunnelled(self, vlan: int, *members: str, tpid: int = 0x88A8) -> Iterator[None]:
        """See `Levers.tunnelled`: a bridge whose VLANs are service VLANs takes other tags for what is inside."""
        if tpid != _SERVICE_TAG:
            raise NotPossibleError(f"{self.path}: a second tag of the same type would be taken for the first")
        with self._filtered("802.1ad", dict.fromkeys(members, vlan)):
            yield

    @contextmanager
    def limited(self, member: str, way: Way, bps: int, burst_bytes: int) -> Iterator[None]:
        """See `Levers.limited`: tbf(8) at the port; what comes in at it makes a detour over a device that has it."""
        port = self._port(member)
        limit = burst_bytes + round(bps / 8 * _MOST_DELAY_S)
        bucket = ["tbf", "rate", f"{bps}bit", "burst", f"{burst_bytes}b", "limit", f"{limit}b"]
        replace, delete = (["tc", "qdisc", verb, "dev", port] for verb in ("replace", "delete"))
        qdiscs = self._stand.host.run(["tc", "-j", "qdisc", "show", "dev", port]).stdout
        kind, own = root_qdisc(qdiscs)
        if way is Way.IN and not own:
            backs = ([*replace, "root", "bfifo"], [*delete, "root"])
            steps = [Step([*replace, "root", *bucket], backs, DEVICES + port)]
        elif way is Way.OUT and '"ingress"' not in qdiscs:
            every = ["parent", "ffff:", "protocol", "all", "u32", "match", "u32", "0", "0"]
            detour = ["action", "mirred", "egress", "redirect", "dev", _DETOUR]
            steps = [
                *new_device(_DETOUR, "ifb"),
                Step(["tc", "qdisc", "add", "dev", _DETOUR, "root", *bucket]),
                Step([*replace, "ingress"], ([*replace, "ingress"], [*delete, "ingress"]), DEVICES + port),
                Step(["tc", "filter", "add", "dev", port, *every, *detour]),
            ]
        else:
            raise NotPossibleError(f"{self.path}: somebody has set a qdisc at port {port} ({kind}): hands off")
        with self._changed(steps):
            yield

    @contextmanager
    def snooping(self) -> Iterator[None]:
        """See `Levers.snooping`: with the bridge as querier, for without any it would flood."""
        found = self._links()[_BRIDGE]["linkinfo"]["info_data"]
        if "mcast_query_response_intvl" not in found:
            raise NotPossibleError(f"{self.path}: the kernel is built without BRIDGE_IGMP_SNOOPING")
        # One after another: a querier waits for as long as it was told before it was one.
        wanted = {"mcast_query_response_interval": _QUERY_RESPONSE_CS, "mcast_querier": 1, "mcast_snooping": 1}
        before = {**found, "mcast_query_response_interval": found["mcast_query_response_intvl"]}
        with self._changed(_bridge_option(key, value, before[key]) for key, value in wanted.items()):
            time.sleep(2 * _QUERY_RESPONSE_CS / 100)
            yield

    def snooped(self, group: str) -> bool:
        """See `Levers.snooped`."""
        return f" grp {group} " in self._stand.host.run(["bridge", "mdb", "show"]).stdout

    @contextmanager
    def port_down(self, member: str) -> Iterator[None]:
        """See `Levers.port_down`: a guest sees that its carrier has gone."""
        port = self._port(member)
        try:
            with changed(self._stand, [Step(_set(port, "down"), [_set(port, "up")], DEVICES + port)]):
                yield
        finally:
            self._not_forwarding()

    @contextmanager
    def uplink_down(self) -> Iterator[None]:
        """See `Levers.uplink_down`."""
        with self.port_down("peer"):
            yield

    # -- how ---------------------------------------------------------------------------------------------------

    def _port(self, member: str) -> str:
        return self._stand.member(member).port

    def _ports(self) -> list[str]:
        return [member.port for member in self._stand.members]

    def _links(self) -> dict[str, dict[str, Any]]:
        return parse_links(self._stand.host.run(["ip", "-j", "-d", "link", "show"]).stdout)

    @contextmanager
    def _filtered(self, protocol: str, vlans: Mapping[str, int]) -> Iterator[None]:
        """The bridge forwards by VLAN: some members' ports are in one each, the others carry all of them, tagged."""
        bridge = ["type", "bridge", "vlan_filtering"]
        try:
            self._stand.host.run(_set(_BRIDGE, *bridge, "0"))  # which it is; a kernel that cannot refuses even that
        except CommandError as error:
            what = f"{self.path}: the kernel is built without BRIDGE_VLAN_FILTERING: {error.what}"
            raise NotPossibleError(what) from error
        mine = {self._port(member): vlan for member, vlan in vlans.items()}
        steps: list[Step] = []
        for port in self._ports():
            for vlan in sorted({mine[port]} if port in mine else set(mine.values())):
                add, delete = (["bridge", "vlan", verb, "vid", str(vlan), "dev", port] for verb in ("add", "delete"))
                own = ["pvid", "untagged"] if port in mine else []
                steps.append(Step([*add, *own], (add, delete), DEVICES + port))
            if port in mine:
                add, delete = (["bridge", "vlan", verb, "vid", "1", "dev", port] for verb in ("add", "delete"))
                steps.append(Step(delete, [[*add, "pvid", "untagged"]], DEVICES + port))
        for words in ([*bridge, "0", "vlan_protocol", protocol], [*bridge, "1"]):
            back = _set(_BRIDGE, *bridge, "0", "vlan_protocol", "802.1Q")
            steps.append(Step(_set(_BRIDGE, *words), [back], DEVICES + _BRIDGE))
        with self._changed(steps):
            yield

    @contextmanager
    def _changed(self, steps: Iterable[Step]) -> Iterator[None]:
        """See `changed`; all ports forward within, and afterwards."""
        try:
            with changed(self._stand, steps):
                self._await_forwarding()
                yield
        finally:
            self._await_forwarding()

    def _await_forwarding(self) -> None:
        if late := self._not_forwarding():
            raise DatapathError(f"port {late[0]} does not forward after {LINK_PATIENCE_S:g} s", place=self.path)

    def _not_forwarding(self) -> list[str]:
        """The ports that do not forward, for as long as they may take for that.

        The kernel may take a moment to notice a port; a bridge's own port state is asked for, then.
        """
        deadline = time.monotonic() + LINK_PATIENCE_S
        while late := [port for port, row in self._links().items() if port in self._ports() and not _forwards(row)]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        return late


def _set(device: str, *words: str) -> list[str]:
    return ["ip", "link", "set", "dev", device, *words]


def _link(device: str, key: str, value: object, before: object) -> Step:
    """A setting of a device."""
    return Step(_set(device, key, str(value)), [_set(device, key, str(before))], DEVICES + device)


def _bridge_option(key: str, value: object, before: object) -> Step:
    option = ("type", "bridge", key)
    do, back = (_set(_BRIDGE, *option, str(each)) for each in (value, before))
    return Step(do, [back], DEVICES + _BRIDGE)


def _forwards(row: Mapping[str, Any]) -> bool:
    return bool(row.get("linkinfo", {}).get("info_slave_data", {}).get("state") == "forwarding")


def _kind(row: Mapping[str, Any]) -> str:
    return str(row.get("linkinfo", {}).get("info_kind", ""))


def _told_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What does not change by itself of what is told of a device."""
    bridge = row.get("linkinfo", {}).get("info_data", {})
    told = {key: row.get(key) for key in ("ifname", "mtu", "master")} | {"up": "UP" in row["flags"]}
    return told | {key: bridge[key] for key in _SHOWN if key in bridge}
