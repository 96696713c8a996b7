"""A datapath with its links and guests on its way up, whatever stands at its ends."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import TypeVar

from nvbench.bench import Bench
from nvbench.cabling import make_namespace, make_veth, take_device
from nvbench.datapaths import make_datapath
from nvbench.datapaths.base import Place
from nvbench.endpoint import Link, LinkKind, Port
from nvbench.errors import NotPossibleError
from nvbench.generators import Kind
from nvbench.generators.base import far_device, far_end
from nvbench.guests import Guest, GuestPlace, Nic, make_guest
from nvbench.guests.namespace import Namespace
from nvbench.hosts import RUN_FOLDER, Host, NamespaceHost
from nvbench.plan import Setup
from nvbench.testbed import PortWiring
from nvbench.topology import End, GuestPort, Outer, forwarders, guests, segments
from nvbench.wiring import Kinds, generator_links, link_kinds

CLIENT, SERVER = "10.99.0.1", "10.99.0.2"

_T = TypeVar("_T")


def flat(pairs: Iterable[tuple[_T, _T]]) -> list[_T]:
    """Both of each pair, one after another."""
    return [each for pair in pairs for each in pair]


class Rising:
    """A datapath, its links and its guests, on their way up: the datapath is, the rest comes with `finish`."""

    def __init__(self, bench: Bench, setup: Setup, stack: ExitStack, generator: Kind | None = None) -> None:
        self.name = bench.new_name()
        self._bench, self._setup, self._stack = bench, setup, stack
        self._folder = f"{RUN_FOLDER}/{self.name}"
        kinds = link_kinds(setup.path, setup.parameters, bench.testbed, generator)
        own_devices = setup.path.kind == "sriov" or setup.path.guest == "ssh"
        self._private = bench.testbed.virtual and not own_devices
        self.generator_links = generator_links(bench.testbed, kinds) if generator else frozenset()
        pairs = self._linked(kinds)
        self._ends = list(zip(flat(segments(setup.path.topology)), flat(pairs), strict=True))
        self._outer: dict[int, Guest] = {}
        self.datapath = make_datapath(
            setup.path.kind, self._place(pairs), setup.parameters, pf=bench.testbed.switch.sriov or ""
        )
        if reason := self.datapath.missing():
            raise NotPossibleError(reason)
        if self._private:
            make_namespace(bench.switch_host, bench.journal, self.name)
        stack.callback(self.datapath.down)
        self.datapath.up(bench.journal)
        self.guests = tuple(self._make_guest(number) for number in range(guests(setup.path.topology)))

    def finish(self) -> None:
        """Bring the guests up, let the datapath connect to all far ends, and wait until everything answers."""
        everyone = (*self._outer.values(), *self.guests)
        for guest in everyone:
            self._stack.callback(guest.down)
            guest.up(self._bench.journal)
        self.datapath.attach()
        for guest in everyone:
            guest.ready()
        for number in forwarders(self._setup.path.topology):
            self.guests[number].forward()

    # -- links and the datapath's place ------------------------------------------------------------------------

    def _linked(self, kinds: Kinds) -> tuple[tuple[Link, Link], ...]:
        ends = flat(segments(self._setup.path.topology))
        links = [self._link(kind, index, ends[index]) for index, kind in enumerate(flat(kinds))]
        if self._setup.path.kind == "direct" and links[0].kind is LinkKind.VETH:
            links[1] = replace(links[1], name=links[0].name)  # one cable: the other end takes its near end over
        return tuple(zip(links[::2], links[1::2], strict=True))

    def _link(self, kind: LinkKind, index: int, end: End) -> Link:
        path, testbed = self._setup.path, self._bench.testbed
        if isinstance(end, Outer) and (name := testbed.switch.ports[end.port].name):
            return Link(kind, name)
        if isinstance(end, GuestPort) and path.guest == "ssh":
            return Link(kind, testbed.guests.machines[end.guest].port)
        if kind is LinkKind.VHOST_USER:
            served = getattr(self._setup.parameters, "vhost_mode", "client") == "server"
            return Link(kind, f"{self._folder}/{f'nvp{index}' if served else f'vhost{index}.sock'}", served)
        return Link(kind, f"nvv{index}" if path.kind == "sriov" else f"nv{index}")

    def _place(self, pairs: tuple[tuple[Link, Link], ...]) -> Place:
        placement, switch = self._bench.placement, self._bench.testbed.switch
        return Place(
            host=self._bench.switch_host,
            folder=self._folder,
            pmd_cores=placement.pmd_cores,
            housekeeping_core=placement.switch_housekeeping_core,
            memory_mb=switch.socket_memory_mb,
            segments=pairs,
            namespace=self._namespace,
            prefix=switch.ovs,
            steer=not self._setup.streams,
        )

    @property
    def _namespace(self) -> str:
        return self.name if self._private else ""

    # -- guests and endpoints ----------------------------------------------------------------------------------

    def _make_guest(self, number: int) -> Guest:
        own = [
            (end.nic, index, link)
            for index, (end, link) in enumerate(self._ends)
            if isinstance(end, GuestPort) and end.guest == number
        ]
        is_end = len(own) == 1 and self._setup.streams
        nics = [self._nic(link, index, is_end) for _, index, link in sorted(own, key=lambda each: each[0])]
        place = self._guest_place(self._bench.switch_host)
        return make_guest(self._setup.path.guest, number, place, nics, self._bench.guest_side)

    def _nic(self, link: Link, index: int, is_end: bool) -> Nic:
        parameters = self._setup.parameters
        address = f"{CLIENT if index == 0 else SERVER}/24" if is_end else ""
        mac = f"52:54:00:99:00:{index + 1:02x}"
        return Nic(
            link,
            mac,
            address,
            mtu=parameters.mtu,
            queues=parameters.queues,
            offloads=parameters.carries_offloads,
            descriptors=parameters.descriptors,
        )

    def _guest_place(self, host: Host) -> GuestPlace:
        cores = self._bench.testbed.guests.cores or (self._bench.placement.switch_housekeeping_core,)
        return GuestPlace(host, self._folder, self._namespace, cores)

    def outer_endpoints(self) -> None:
        """A namespace at each physical port, or at what stands for one, as an endpoint."""
        host = self._bench.switch_host if self._private else self._bench.generator_host
        for index, (end, link) in enumerate(self._ends):
            if isinstance(end, Outer):
                near = self._bench.testbed.generator.ports[end.port].device
                far = link if near is None else Link(LinkKind.DEVICE, near)
                nic = self._nic(far, index, is_end=True)
                self._outer[index] = Namespace(f"nic{end.port}", self._guest_place(host), [nic])

    def ends(self) -> tuple[Guest, Guest]:
        """Where streams begin and end."""
        first, last = (
            self.guests[end.guest] if isinstance(end, GuestPort) else self._outer[index]
            for index, (end, _) in ((0, self._ends[0]), (len(self._ends) - 1, self._ends[-1]))
        )
        return first, last

    # -- the generator -----------------------------------------------------------------------------------------

    def generator_ports(self) -> tuple[tuple[Port, Port], Host]:
        """The generator's ends of the outer links, and where it runs."""
        bench, links = self._bench, (self._ends[0][1], self._ends[-1][1])
        if not bench.testbed.virtual:
            first, second = (self._physical(index, port) for index, port in enumerate(bench.testbed.generator.ports))
            return (first, second), bench.generator_host
        by_kernel = any(link.kind is not LinkKind.VHOST_USER for link in links)
        inside = self._cable_generator(links) if by_kernel else bench.generator_host
        return (self._far_end(links[0], 0), self._far_end(links[1], 1)), inside

    def _physical(self, index: int, port: PortWiring) -> Port:
        if port.pci:
            return Port(("-a", port.pci), port.pci)
        if port.device:
            return self._far_end(Link(LinkKind.DEVICE, port.device), index)
        return Port(("--vdev", str(port.vdev)), str(port.vdev).partition(",")[0])

    def _far_end(self, link: Link, index: int) -> Port:
        parameters = self._setup.parameters
        return far_end(
            link,
            index,
            queues=parameters.queues,
            descriptors=parameters.descriptors,
            max_frame_bytes=self._setup.max_frame_bytes,
        )

    def _cable_generator(self, links: tuple[Link, Link]) -> NamespaceHost:
        """The generator's ends of kernel links, in a namespace of its own."""
        host, parameters = self._bench.generator_host, self._setup.parameters
        own = make_namespace(host, self._bench.journal, f"{self.name}-gen")
        near = NamespaceHost(host, self._namespace) if self._private else host
        for index, link in enumerate(links):
            device = far_device(link, index)
            if link.kind is LinkKind.VETH:
                make_veth(near, link.name, own, device, queues=parameters.queues)
            elif link.kind is LinkKind.DEVICE:
                take_device(near, link.name, own)
            own.run(["ip", "link", "set", device, "mtu", str(parameters.mtu), "up"])
        return own
