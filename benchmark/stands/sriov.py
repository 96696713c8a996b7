"""Levers of SR-IOV: what a physical function lets one set of its virtual ones."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nvbench.datapaths.kernel_output import parse_links
from nvbench.datapaths.sriov_output import VirtualFunction, parse_vfs
from nvbench.errors import DatapathError, NotPossibleError
from nvbench.journal import RunBack
from nvbench.stands.check import SRIOV
from nvbench.stands.levers import Levers, Way, refusals

if TYPE_CHECKING:
    from nvbench.stands.stand import Member, Stand

_TENANT = 100
_PROTOCOLS = {0x8100: "802.1q", 0x88A8: "802.1ad"}
_PATIENCE_S = 20.0
"""A port takes some seconds to agree with its other end on a speed, and virtual functions to follow it."""

Step = tuple[Sequence[str], Sequence[str]]
"""Words behind `ip link set PF`, and those that take it back."""


class SriovLevers(Levers):
    """See `Levers`."""

    path = SRIOV

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self._set = ("ip", "link", "set", "dev", stand.pf)

    def state(self) -> str:
        """See `Levers.state`: the physical function with its virtual ones, and the members' own devices."""
        port = self._port()
        lines = [_told_of(port), *map(json.dumps, port.get("vfinfo_list", []))]
        for member in self._stand.members:
            row = parse_links(member.host.run(["ip", "-j", "-d", "link", "show", "dev", member.device]).stdout)
            lines.append(f"{member.name}: {_told_of(row[member.device])}")
        return "\n".join(lines)

    @contextmanager
    def mtu(self, mtu: int) -> Iterator[None]:
        """See `Levers.mtu`: that of the physical function. Some drivers restart its port for it."""
        before = self._port()["mtu"]
        try:
            with self._changed([(["mtu", str(mtu)], ["mtu", str(before)])]):
                self._restart_vfs(self._stand.members)
                yield
        finally:
            self._restart_vfs(self._stand.members)

    @contextmanager
    def separated(self, *members: str) -> Iterator[None]:
        """See `Levers.separated`: in a VLAN, and the others in another one: in none, they could tag what they send."""
        links = [link.name for link in self._stand.place.links]
        others = [each.name for each in self._stand.members if each.link.name in links and each.name not in members]
        with self.access({**dict.fromkeys(members, _TENANT), **dict.fromkeys(others, _TENANT + 1)}):
            yield

    @contextmanager
    def access(self, vlans: Mapping[str, int]) -> Iterator[None]:
        """See `Levers.access`."""
        with self._in_vlans(vlans, "802.1q"):
            yield

    @contextmanager
    def tunnelled(self, vlan: int, *members: str, tpid: int = 0x88A8) -> Iterator[None]:
        """See `Levers.tunnelled`: a virtual function's VLAN, of a protocol that not every driver takes."""
        if tpid not in _PROTOCOLS:
            raise NotPossibleError(f"{self.path}: a VLAN is of protocol {' or '.join(_PROTOCOLS.values())}")
        with self._in_vlans(dict.fromkeys(members, vlan), _PROTOCOLS[tpid]):
            yield

    @contextmanager
    def limited(self, member: str, way: Way, bps: int, burst_bytes: int) -> Iterator[None]:  # noqa: ARG002
        """See `Levers.limited`: only of what is sent, in Mbit/s; the burst is as the NIC has it."""
        if way is Way.IN:
            raise NotPossibleError(f"{self.path}: what a virtual function receives cannot be limited")
        vf = self._vf(member)
        rate = max(1, round(bps / 1e6))
        step = _vf(vf, "max_tx_rate", str(rate)), _vf(vf, "max_tx_rate", str(vf.max_tx_rate))
        with self._changed([step]):
            yield

    @contextmanager
    def port_down(self, member: str) -> Iterator[None]:
        """See `Levers.port_down`: `state disable` of ip-link(8); the peer is at the physical port."""
        if self._stand.member(member).link.name == self._stand.pf:
            with self.uplink_down():
                yield
            return
        vf = self._vf(member)
        do, back = _vf(vf, "state", "disable"), _vf(vf, "state", vf.link_state or "auto")
        with refusals(self.path):  # to a driver that refuses even what is so already, nothing can be put back
            if not self._stand.host.run([*self._set, *back], check=False).ok:
                self._stand.host.run([*self._set, *do])
        try:
            with self._changed([(do, back)]):
                yield
        finally:
            self._await_carrier()

    @contextmanager
    def uplink_down(self) -> Iterator[None]:
        """See `Levers.uplink_down`: the physical function is down. At the end the members find their links again."""
        unaware: list[Member] = []
        try:
            with self._changed([(["down"], ["up"])]):
                yield
                unaware += filter(_has_carrier, self._stand.members)  # they would find out any time later
        finally:
            self._restart_vfs(unaware)

    # -- how ---------------------------------------------------------------------------------------------------

    def _port(self) -> dict[str, Any]:
        told = self._stand.host.run(["ip", "-j", "-d", "link", "show", "dev", self._stand.pf]).stdout
        return parse_links(told)[self._stand.pf]

    def _vf(self, member: str) -> VirtualFunction:
        """The virtual function that a member has."""
        names = [each.name for each in self._stand.place.links]
        name = self._stand.member(member).link.name
        if name not in names:
            raise NotPossibleError(f"{self.path}: {member} is at the physical port, and has no virtual function")
        vfs = {vf.number: vf for vf in parse_vfs(json.dumps([self._port()]))}
        return vfs[names.index(name)]

    @contextmanager
    def _in_vlans(self, vlans: Mapping[str, int], protocol: str) -> Iterator[None]:
        steps = []
        for member, vlan in vlans.items():
            vf = self._vf(member)
            back = _vf(vf, "vlan", str(vf.vlan), "qos", str(vf.qos), "proto", vf.vlan_protocol)
            steps.append((_vf(vf, "vlan", str(vlan), "proto", protocol), back))
        with self._changed(steps):
            yield

    @contextmanager
    def _changed(self, steps: Iterable[Step]) -> Iterator[None]:
        """Settings are made, and taken back at the end; how is written down before, for whoever cleans up."""
        stand = self._stand
        mark = stand.journal.mark()
        try:
            with refusals(self.path):
                for do, back in steps:
                    stand.journal.record(stand.place.host, RunBack((*self._set, *back)))
                    stand.host.run([*self._set, *do])
            yield
        finally:
            if faults := stand.journal.undo_since(mark):
                raise DatapathError("; ".join(faults), place=self.path)

    def _restart_vfs(self, members: Iterable[Member]) -> None:
        """Have virtual functions look for their port again now: by itself a driver may take ten seconds for that."""
        for member in members:
            if member.link.name != self._stand.pf:
                for state in ("down", "up"):
                    member.host.run(["ip", "link", "set", "dev", member.device, state])
        self._await_carrier()

    def _await_carrier(self) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        for member in self._stand.members:
            while not _has_carrier(member):
                if time.monotonic() > deadline:
                    raise DatapathError(f"{member.name} has no carrier after {_PATIENCE_S:g} s", place=self.path)
                time.sleep(0.1)


def _has_carrier(member: Member) -> bool:
    return member.guest.host.read(f"/sys/class/net/{member.device}/carrier") == "1\n"


def _vf(vf: VirtualFunction, *words: str) -> list[str]:
    return ["vf", str(vf.number), *words]


def _told_of(row: Mapping[str, Any]) -> str:
    """What does not change by itself of what is told of a device."""
    told = {key: row.get(key) for key in ("ifname", "address", "mtu", "master", "promiscuity")}
    return json.dumps(told | {"up": "UP" in row["flags"]})
