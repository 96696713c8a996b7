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
from nvbench.hosts.namespace import DEVICES
from nvbench.stands.check import SRIOV
from nvbench.stands.levers import LINK_PATIENCE_S, Levers, Step, Way, changed

if TYPE_CHECKING:
    from nvbench.stands.ground import Member
    from nvbench.stands.stand import Stand

_TENANT = 100
_PROTOCOLS = {0x8100: "802.1q", 0x88A8: "802.1ad"}
_SETTLE_S = 0.3
"""A virtual function that its port has reset hears of that a moment later."""


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
        before, linked = self._port()["mtu"], self._linked()
        try:
            with changed(self._stand, [self._step(["mtu", str(mtu)], ["mtu", str(before)])]):
                self._restart_vfs(self._stand.members)
                self._await_carrier(linked)
                yield
        finally:
            self._restart_vfs(self._stand.members)
            self._await_carrier(linked)

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
        do, back = (["max_tx_rate", str(rate)] for rate in (max(1, round(bps / 1e6)), vf.max_tx_rate))
        with changed(self._stand, [self._step(do, back, vf)], tried=True):
            yield

    @contextmanager
    def trusted(self, *members: str) -> Iterator[None]:
        """See `Levers.trusted`."""
        vfs = map(self._vf, members)
        steps = [self._step(["trust", "on"], ["trust", "on" if vf.trust else "off"], vf) for vf in vfs]
        with self._set_up(members, steps):
            yield

    @contextmanager
    def port_down(self, member: str) -> Iterator[None]:
        """See `Levers.port_down`: `state disable` of ip-link(8); the peer is at the physical port."""
        if self._stand.member(member).link.name == self._stand.pf:
            with self.uplink_down():
                yield
            return
        vf, linked = self._vf(member), self._linked()
        step = self._step(["state", "disable"], ["state", vf.link_state or "auto"], vf)
        try:
            with changed(self._stand, [step], tried=True):
                yield
        finally:
            self._without_carrier(linked)

    @contextmanager
    def uplink_down(self) -> Iterator[None]:
        """See `Levers.uplink_down`: the physical function is down. At the end the members find their links again."""
        unaware: list[Member] = []
        linked = self._linked()
        try:
            with changed(self._stand, [self._step(["down"], ["up"])]):
                yield
                unaware += self._linked()  # they would find out any time later
        finally:
            self._restart_vfs(unaware)
            self._without_carrier(linked)

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

    def _step(self, do: Sequence[str], back: Sequence[str], vf: VirtualFunction | None = None) -> Step:
        """A setting of the physical function, or of a virtual one, with which it goes."""
        port = DEVICES + self._stand.pf
        if vf is None:
            return Step([*self._set, *do], [[*self._set, *back]], port)
        words = [*self._set, "vf", str(vf.number)]
        return Step([*words, *do], [[*words, *back]], f"{port}/device/virtfn{vf.number}")

    @contextmanager
    def _in_vlans(self, vlans: Mapping[str, int], protocol: str) -> Iterator[None]:
        steps = []
        for member, vlan in vlans.items():
            vf = self._vf(member)
            back = ["vlan", str(vf.vlan), "qos", str(vf.qos), "proto", vf.vlan_protocol]
            steps.append(self._step(["vlan", str(vlan), "proto", protocol], back, vf))
        with self._set_up(vlans, steps):
            yield

    @contextmanager
    def _set_up(self, members: Iterable[str], steps: Iterable[Step]) -> Iterator[None]:
        """These members' virtual functions are set up otherwise, and have links; some drivers reset them for it."""
        linked = [*filter(_has_carrier, map(self._stand.member, members))]
        try:
            with changed(self._stand, steps, tried=True):
                self._settle(linked)
                yield
        finally:
            self._settle(linked)

    def _settle(self, members: Sequence[Member]) -> None:
        time.sleep(_SETTLE_S)
        self._await_carrier(members)

    def _restart_vfs(self, members: Iterable[Member]) -> None:
        """Have virtual functions look for their port again now: by itself a driver may take ten seconds for that."""
        for member in members:
            if member.link.name != self._stand.pf:
                for state in ("down", "up"):
                    member.host.run(["ip", "link", "set", "dev", member.device, state])

    def _await_carrier(self, members: Sequence[Member]) -> None:
        if late := self._without_carrier(members):
            raise DatapathError(f"{late[0].name} has no carrier after {LINK_PATIENCE_S:g} s", place=self.path)

    def _without_carrier(self, members: Sequence[Member]) -> list[Member]:
        """Those of them that have no carrier, for as long as they may take for that."""
        deadline = time.monotonic() + LINK_PATIENCE_S
        while late := [member for member in members if not _has_carrier(member)]:
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
        return late

    def _linked(self) -> list[Member]:
        """The members that have a carrier now."""
        return [*filter(_has_carrier, self._stand.members)]


def _has_carrier(member: Member) -> bool:
    return member.guest.host.read(f"/sys/class/net/{member.device}/carrier") == "1\n"


def _told_of(row: Mapping[str, Any]) -> str:
    """What does not change by itself of what is told of a device."""
    told = {key: row.get(key) for key in ("ifname", "address", "mtu", "master", "promiscuity")}
    return json.dumps(told | {"up": "UP" in row["flags"]})
