"""A datapath with its links and guests on its way up, whatever stands at its ends."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from nvbench.bench import Bench
from nvbench.cabling import make_namespace, make_veth, take_device
from nvbench.datapaths import make_datapath
from nvbench.datapaths.base import Place
from nvbench.endpoint import Link, LinkKind, Port
from nvbench.errors import NotPossibleError
from nvbench.generators.base import far_device, far_end
from nvbench.guests import Guest, GuestPlace, Nic, bridge_devices, make_guest
from nvbench.guests.namespace import Namespace
from nvbench.hosts import Host, NamespaceHost
from nvbench.journal import state_folder
from nvbench.plan import Setup
from nvbench.topology import GuestPort, Outer, forwarders, guests, segments
from nvbench.wiring import link_kinds

CLIENT, SERVER = "10.99.0.1", "10.99.0.2"


class Rising:
    """A datapath, its links and its guests, on their way up."""

    def __init__(self, bench: Bench, setup: Setup, stack: ExitStack) -> None:
        self.name = bench.new_name()
        self._bench, self._setup, self._stack = bench, setup, stack
        self._outer: dict[int, Guest] = {}
        self._folder = f"{state_folder()}/{self.name}"
        kinds = link_kinds(setup.path, setup.parameters, bench.testbed, streams=setup.streams)
        virtual = not any(kind in (LinkKind.PCI, LinkKind.VDEV) for pair in kinds for kind in pair)
        own_devices = setup.path.kind == "sriov" or setup.path.guest == "ssh"
        self._private = virtual and bench.testbed.virtual and not own_devices
        names = iter(range(2 * len(kinds)))
        self.segments = tuple((self._link(a, next(names)), self._link(b, next(names))) for a, b in kinds)
        if setup.path.kind == "direct" and kinds[0][1] is LinkKind.DEVICE and self._private:
            self.segments = ((self.segments[0][0], replace(self.segments[0][1], name=self.segments[0][0].name)),)
        self.datapath = make_datapath(
            setup.path.kind, self._place(), setup.parameters, pf=bench.testbed.switch.sriov or ""
        )
        if reason := self.datapath.missing():
            raise NotPossibleError(reason)
        if self._private:
            make_namespace(bench.switch_host, bench.journal, self.name)
        stack.callback(self.datapath.down)
        self.datapath.up(bench.journal)
        self.guests = tuple(self._make_guest(number) for number in range(guests(setup.path.topology)))

    # -- what it is made of ------------------------------------------------------------------------------------

    def _link(self, kind: LinkKind, index: int) -> Link:
        ends = [end for pair in segments(self._setup.path.topology) for end in pair]
        end, testbed = ends[index], self._bench.testbed
        if isinstance(end, Outer) and (name := testbed.switch.ports[end.port].name):
            return Link(kind, name)
        if isinstance(end, GuestPort) and self._setup.path.guest == "ssh":
            return Link(kind, testbed.guests.machines[end.guest].port)
        served = getattr(self._setup.parameters, "vhost_mode", "client") == "server"
        if kind is LinkKind.VHOST_USER:
            return Link(kind, f"{self._folder}/{f'nvp{index}' if served else f'vhost{index}.sock'}", served)
        return Link(kind, f"nvv{index}" if self._setup.path.kind == "sriov" else f"nv{index}")

    def _place(self) -> Place:
        placement, switch = self._bench.placement, self._bench.testbed.switch
        return Place(
            host=self._bench.switch_host,
            folder=self._folder,
            pmd_cores=placement.pmd_cores,
            housekeeping_core=placement.switch_housekeeping_core,
            memory_mb=switch.socket_memory_mb,
            segments=self.segments,
            namespace=self.name if self._private else "",
            prefix=switch.ovs,
            steer=not self._setup.streams,
        )

    def _make_guest(self, number: int) -> Guest:
        ends = [end for pair in segments(self._setup.path.topology) for end in pair]
        links = [link for pair in self.segments for link in pair]
        own = [
            (end.nic, link)
            for end, link in zip(ends, links, strict=True)
            if isinstance(end, GuestPort) and end.guest == number
        ]
        terminal = len(own) == 1 and self._setup.streams
        address = "" if not terminal else f"{CLIENT if ends[0] == GuestPort(number, 0) else SERVER}/24"
        nics = [self._nic(link, 16 * number + nic + 1, address) for nic, link in sorted(own, key=lambda each: each[0])]
        return make_guest(self._setup.path.guest, number, self._guest_place(), nics, self._bench.guest_side)

    def _nic(self, link: Link, number: int, address: str = "") -> Nic:
        parameters = self._setup.parameters
        mac = f"52:54:00:99:00:{number:02x}"
        return Nic(link, mac, address, parameters.mtu, parameters.queues, parameters.carries_offloads)

    def _guest_place(self, *, outer: bool = False) -> GuestPlace:
        bench = self._bench
        host = bench.generator_host if outer and not self._private else bench.switch_host
        cores = bench.testbed.guests.cores or (bench.placement.switch_housekeeping_core,)
        return GuestPlace(host, self._folder, self.name if self._private else "", cores)

    # -- the ends ----------------------------------------------------------------------------------------------

    def outer_endpoints(self) -> None:
        """A namespace at each physical port, or at what stands for one, as an endpoint."""
        ends = [end for pair in segments(self._setup.path.topology) for end in pair]
        links = [link for pair in self.segments for link in pair]
        for index, (end, link) in enumerate(zip(ends, links, strict=True)):
            if isinstance(end, Outer):
                near = self._bench.testbed.generator.ports[end.port].device
                far = link if near is None else Link(LinkKind.DEVICE, near)
                nic = self._nic(far, 128 + index, f"{CLIENT if index == 0 else SERVER}/24")
                self._outer[index] = Namespace(f"nic{end.port}", self._guest_place(outer=True), [nic])

    def ends(self) -> tuple[Guest, Guest]:
        """Where streams begin and end."""
        ends = [end for pair in segments(self._setup.path.topology) for end in pair]
        found = [
            self._outer[index] if isinstance(end, Outer) else self.guests[end.guest] for index, end in enumerate(ends)
        ]
        return found[0], found[-1]

    def generator_ports(self) -> tuple[tuple[Port, Port], Host]:
        """The generator's ends of the outer links, and where it runs."""
        bench, parameters = self._bench, self._setup.parameters
        outer = [self.segments[0][0], self.segments[-1][1]]
        if not bench.testbed.virtual:
            first, second = (
                Port(("-a", port.pci), port.pci)
                if port.pci
                else far_end(
                    Link(LinkKind.DEVICE, port.device),
                    index,
                    queues=parameters.queues,
                    descriptors=parameters.descriptors,
                    max_frame_bytes=self._setup.max_frame_bytes,
                )
                if port.device
                else Port(("--vdev", str(port.vdev)), str(port.vdev).partition(",")[0])
                for index, port in enumerate(bench.testbed.generator.ports)
            )
            return (first, second), bench.generator_host
        inside: Host = bench.generator_host
        if any(link.kind is not LinkKind.VHOST_USER for link in outer):
            inside = self._cable_generator(outer)
        first, second = (
            far_end(
                link,
                index,
                queues=parameters.queues,
                descriptors=parameters.descriptors,
                max_frame_bytes=self._setup.max_frame_bytes,
            )
            for index, link in enumerate(outer)
        )
        return (first, second), inside

    def _cable_generator(self, outer: list[Link]) -> NamespaceHost:
        """The generator's ends of kernel links, in a namespace of its own."""
        bench, parameters = self._bench, self._setup.parameters
        host = bench.generator_host
        own = make_namespace(host, bench.journal, f"{self.name}-gen")
        near = NamespaceHost(host, self.name) if self._private else host
        for index, link in enumerate(outer):
            if link.kind is LinkKind.VETH:
                make_veth(near, link.name, own, far_device(link, index), queues=parameters.queues)
            else:
                take_device(near, link.name, own)
            own.run(["ip", "link", "set", far_device(link, index), "mtu", str(parameters.mtu), "up"])
        return own

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
            bridge_devices(self.guests[number])
