"""A stand: a switch that is up with guests and a peer at its ports, on which checks act.

Two guests, `vm1` and `vm2`, are on one bridge with a `peer`: a host at the far end of the physical port, or of what
stands for one. All are reached as hosts, and every command in them and on the switch is kept as evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nvbench.bench import Bench
from nvbench.cabling import make_namespace
from nvbench.datapaths import PARAMETERS, TAKES, Datapath, Place, make_datapath
from nvbench.doctor import examine, missing
from nvbench.endpoint import Link, LinkKind
from nvbench.errors import NotPossibleError, NotReadyError, NvbenchError
from nvbench.generators.frames import Captured, exchange
from nvbench.guests import OFFERS, Guest, GuestPlace, Nic, make_guest
from nvbench.guests.namespace import Namespace
from nvbench.guests.qemu import Qemu, QemuParameters
from nvbench.hosts import RUN_FOLDER, Host, NamespaceHost
from nvbench.journal import Journal, Remove, state_folder
from nvbench.ports import make_ports_ready
from nvbench.rigs import taken_down
from nvbench.stands.bridge import BridgeLevers
from nvbench.stands.check import BRIDGE, OVS, SRIOV, Wish
from nvbench.stands.ground import Ground, Member
from nvbench.stands.levers import Levers
from nvbench.stands.ovs import OvsLevers
from nvbench.stands.sriov import SriovLevers

GUESTS = ("vm1", "vm2")
PEER = "peer"
QUEUES = 2
GUEST_KINDS = {BRIDGE: Namespace.kind, OVS: Qemu.kind, SRIOV: Namespace.kind}
"""Kind of datapath -> the kind of its guests, where nothing else is asked for."""

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    BRIDGE: {"queues": QUEUES},
    # The kernel's devices as such, so that tags and MTU are what they are; a PMD that sleeps leaves others the core.
    OVS: {"queues": QUEUES, "flow_set": "normal", "kernel_ports": "system", "pmd_maxsleep_us": 500},
    SRIOV: {"queues": 1},
}
PING = "ping"
USES = {BRIDGE: {"namespaces", PING}, OVS: {"namespaces", PING, "ovs-dpdk", "hugepages"}, SRIOV: {"namespaces"}}
LEVERS: Mapping[str, Callable[[Stand], Levers]] = {BRIDGE: BridgeLevers, OVS: OvsLevers, SRIOV: SriovLevers}
_NETWORK = "10.99.0"
_SERVER_MB = 768


class Stand(Ground):
    """What checks act on; see also `Ground`.

    Attributes:
        wish: What was asked for.
        switch: The datapath.
        host: Where the switch's own devices are, as a host whose commands are kept.
        pf: The physical function, where there is one.
        levers: What can be done to the switch.
    """

    def __init__(self, bench: Bench, path: str, wish: Wish, stack: ExitStack) -> None:
        super().__init__(bench, path)
        self.wish = wish
        self.name = bench.new_name()
        self.folder = f"{RUN_FOLDER}/{self.name}"
        self._stack = stack
        self._members: dict[str, Member] = {}
        self._absent = ""
        self._journal = bench.journal
        self.pf = bench.testbed.switch.sriov or ""
        self._base: Host = bench.switch_host
        self._check_uses()
        if path == SRIOV and not self.pf:
            self._start_server()
        for journal, host in ((self._journal, self._base), (bench.journal, bench.generator_host)):
            journal.record(host, Remove(f"{self.folder}-frames"))
        self._private = bench.testbed.virtual and path != SRIOV
        near = NamespaceHost(self._base, self.name) if self._private else self._base
        self.host = self._witness(near, "switch")
        self.guest_kind = wish.guest or GUEST_KINDS[path]
        options = {**OPTIONS[path], **wish.options}
        self.parameters = PARAMETERS[path].model_validate(options)
        links = self._links()
        self.place = self._make_place(tuple(links.values()))
        self.switch: Datapath = make_datapath(path, self.place, self.parameters, pf=self.pf)
        self._raise(links)
        self.levers: Levers = LEVERS[path](self)

    # -- asking ------------------------------------------------------------------------------------------------

    @property
    def journal(self) -> Journal:
        """Where a change to the switch's host is written down before it is made."""
        return self._journal

    @property
    def members(self) -> tuple[Member, ...]:
        """All who are there: the guests first."""
        return tuple(self._members.values())

    def member(self, name: str) -> Member:
        """One of them.

        Raises:
            NotPossibleError: This bench has none of that name; says why.
        """
        if name not in self._members:
            raise NotPossibleError(self._absent or f"there is no {name} on {self.path}")
        return self._members[name]

    def exchange(
        self,
        sender: str,
        frames: Sequence[bytes],
        takers: Sequence[str],
        *,
        seconds: float = 1.0,
        marker: bytes = b"",
        then: Mapping[str, Sequence[bytes]] = MappingProxyType({}),
        until: Callable[[Mapping[str, Sequence[Captured]]], bool] | None = None,
    ) -> dict[str, list[Captured]]:
        """Have a member send exact frames, and take what comes to others meanwhile.

        Args:
            sender: Its name.
            frames: Their bytes, without FCS.
            takers: Names of those who take.
            seconds: How long they go on after the last frame was sent.
            marker: Only frames that hold these bytes are taken.
            then: Others who send after it, one after another, and their frames.
            until: Whether all has come that has to come; otherwise they go on for some seconds.

        Returns:
            What each took, by its name.
        """
        ends = {member.name: (member.host, member.device) for member in map(self.member, (sender, *then, *takers))}
        sends = [(*ends[name], each) for name, each in ((sender, frames), *then.items())]
        captures = {name: ends[name] for name in takers}
        folder = f"{self.folder}-frames"
        return exchange(sends, captures, seconds, folder=folder, marker=marker, until=until)

    def state(self) -> str:
        """See `Ground.state`: that of the switch."""
        return self.levers.state()

    def faults(self) -> list[str]:
        """See `Ground.faults`: the switch, or a guest."""
        found = [crash] if (crash := self.switch.crashed()) else []
        for member in self.members:
            try:
                member.guest.check_alive()
                member.host.run(["true"], timeout_s=10)
            except NvbenchError as error:
                found.append(str(error))
        return found

    # -- coming up ---------------------------------------------------------------------------------------------

    def _check_uses(self) -> None:
        """See that the hosts have what is run on them; guests that are namespaces have their host's programs."""
        uses = {self.bench.switch_host: USES[self.path] | ({PING} if self.pf else set())}
        if self.bench.testbed.generator.ports[0].device:
            uses.setdefault(self.bench.generator_host, {PING})  # see `_outer_peer`
        for host, each in uses.items():
            if lacking := missing(examine(host, each)):
                told = "; ".join(f"{check.name}: {check.found}" for check in lacking)
                raise NotPossibleError(f"host {host.name}: {told}")

    def _start_server(self) -> None:
        """Where no NIC has virtual functions: a machine with an emulated one, which then is the switch's host."""
        if not self.bench.testbed.virtual:
            raise NotPossibleError(f"the testbed {self.bench.testbed.name} names no physical function (switch.sriov)")
        bench = self.bench
        place = GuestPlace(bench.switch_host, self.folder, "", self._guest_cores())
        wanted = QemuParameters(flavour="generic", sriov_nics=2, memory_mb=_SERVER_MB, vcpus=1)
        server = Qemu("server", place, (), wanted)
        self._stack.callback(server.down)
        server.up(bench.journal)
        server.ready()
        self._base, self.pf = server.host, "nic0"
        # What is changed in it goes with it, and outlives no run: its journal is a file of this run.
        path = Path(f"{state_folder()}/{self.name}.inside")
        bench.journal.record(bench.generator_host, Remove(str(path)))
        self._journal = Journal(path, {self._base.name: self._base})
        self._stack.callback(self._journal.undo_since, 0)

    def _guest_cores(self) -> tuple[int, ...]:
        return self.bench.testbed.guests.cores or (self.bench.placement.switch_housekeeping_core,)

    def _links(self) -> dict[str, Link]:
        """Member -> the switch's end of its link; the peer's stands last, and only on paths that it is a port of."""
        takes, offers = TAKES[self.path], OFFERS[self.guest_kind]
        kind = next((kind for kind in takes if kind in offers), None)
        if kind is None:
            raise NotPossibleError(f"{self.path} and a guest of kind {self.guest_kind} have no link in common")
        links = {name: self._guest_link(kind, index) for index, name in enumerate(GUESTS)}
        return links if self.path == SRIOV else links | self._outer_link()

    def _guest_link(self, kind: LinkKind, index: int) -> Link:
        if kind is LinkKind.VHOST_USER:
            served = getattr(self.parameters, "vhost_mode", "client") == "server"
            return Link(kind, f"{self.folder}/{f'nvp{index}' if served else f'vhost{index}.sock'}", served)
        return Link(kind, f"nvv{index}" if self.path == SRIOV else f"nv{index}")

    def _outer_link(self) -> dict[str, Link]:
        port = self.bench.testbed.switch.ports[0]
        if port.virtual:
            return {PEER: Link(LinkKind.VETH, f"nv{len(GUESTS)}")}
        kinds = {LinkKind.PCI: port.pci, LinkKind.DEVICE: port.device, LinkKind.VDEV: port.vdev}
        found = next((Link(kind, name) for kind, name in kinds.items() if name), None)
        if found is None or found.kind not in TAKES[self.path]:
            self._absent = f"{self.path} cannot use the port {port.name}, so that nobody is behind it"
            return {}
        return {PEER: found}

    def _make_place(self, links: tuple[Link, ...]) -> Place:
        placement, switch = self.bench.placement, self.bench.testbed.switch
        return Place(
            host=self._witness(self._base, "switch"),
            folder=self.folder,
            pmd_cores=placement.pmd_cores,
            housekeeping_core=placement.switch_housekeeping_core,
            memory_mb=switch.socket_memory_mb,
            segments=(links,),
            namespace=self.name if self._private else "",
            prefix=switch.ovs,
        )

    def _raise(self, links: Mapping[str, Link]) -> None:
        if reason := self.switch.missing():
            raise NotPossibleError(reason)
        if any(link.kind is LinkKind.PCI for link in links.values()):
            self._hand_over()
        if self.path == OVS:
            self.bench.reserve(self.bench.switch_host, [self.place.memory_mb])
        if self._private:
            make_namespace(self._base, self._journal, self.name)
        self._stack.callback(self.switch.down)
        self.switch.up(self._journal)
        guests = {name: self._make_guest(name, index, link) for index, (name, link) in enumerate(links.items())}
        if self.path == SRIOV:
            guests |= self._wire_peer()
        standing = {name: guest for name, guest in guests.items() if guest is not None}
        for guest in standing.values():
            self._stack.callback(guest.down)
            guest.up(self._journal)
        self.switch.attach()
        for number, (name, guest) in enumerate(standing.items(), start=1):
            guest.ready()
            self._members[name] = self._met(name, guest, number, links.get(name, Link(LinkKind.DEVICE, self.pf)))

    def _hand_over(self) -> None:
        """DPDK can have the switch's port."""
        try:
            make_ports_ready(self.bench.testbed, self.bench.hosts, self.bench.journal, sides=("switch",))
        except NotReadyError as error:
            raise NotPossibleError(str(error)) from error

    def _make_guest(self, name: str, index: int, link: Link) -> Guest | None:
        nic = self._nic(index, link)
        place = GuestPlace(self._base, self.folder, self.place.namespace, self._guest_cores())
        if name != PEER:
            return make_guest(self.guest_kind, index, place, [nic], self.bench.guest_side)
        if link.kind is LinkKind.VETH:
            return Namespace(PEER, place, [nic])
        return self._outer_peer(nic)

    def _outer_peer(self, nic: Nic) -> Guest | None:
        """The host at the other end of the physical port: the generator's, whose port is lent to it."""
        near = self.bench.testbed.generator.ports[0]
        if near.device is None:
            self._absent = f"a peer needs a port that the kernel drives, the generator's is {near.name}"
            return None
        host = self.bench.generator_host
        place = GuestPlace(host, f"{self.folder}-far", "", ())
        return Namespace(PEER, place, [replace(nic, link=Link(LinkKind.DEVICE, near.device))])

    def _wire_peer(self) -> dict[str, Guest | None]:
        """Who is at the other end of the physical function's cable."""
        index = len(GUESTS)
        if self._base is self.bench.switch_host:
            return {PEER: self._outer_peer(self._nic(index, Link(LinkKind.DEVICE, "")))}
        nic = self._nic(index, Link(LinkKind.DEVICE, "nic1"))
        return {PEER: Namespace(PEER, GuestPlace(self._base, self.folder, "", ()), [nic])}

    def _nic(self, index: int, link: Link) -> Nic:
        return Nic(
            link,
            mac=f"52:54:00:99:00:{index + 1:02x}",
            address=f"{_NETWORK}.{index + 1}/24",
            mtu=self.parameters.mtu,
            queues=self.parameters.queues,
            offloads=self.parameters.carries_offloads,
        )

    def _met(self, name: str, guest: Guest, number: int, link: Link) -> Member:
        host, device = self._witness(guest.host, name), guest.devices[0]
        mac = (host.read(f"/sys/class/net/{device}/address") or "").strip()
        return Member(name, guest, host, device, mac, f"{_NETWORK}.{number}", link, self._port_name(link))

    def _port_name(self, link: Link) -> str:
        named: Mapping[str, str] = getattr(self.switch, "port_names", {})
        return named.get(link.name, link.name)


@contextmanager
def stand(bench: Bench, path: str, wish: Wish) -> Iterator[Stand]:
    """Bring a stand up, and take it down at the end.

    Raises:
        NotPossibleError: This bench cannot have it; says why.
        NvbenchError: It did not come up; the hosts are as before.
    """
    with taken_down(bench) as stack:
        yield Stand(bench, path, wish, stack)
