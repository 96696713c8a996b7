"""Bridges of a private Open vSwitch: a few ports each, joined by flows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from nvbench.datapaths.base import Place
from nvbench.datapaths.ovs_instance import OvsInstance
from nvbench.datapaths.ovs_options import OvsParameters
from nvbench.datapaths.ovs_output import Interface, MacTable, parse_interfaces, parse_mac_table
from nvbench.datapaths.ovs_ports import KERNEL_KINDS, OvsPort
from nvbench.endpoint import LinkKind
from nvbench.journal import Journal, RunBack

_UP, _PROMISC = 0x1, 0x100
"""IFF_UP and IFF_PROMISC of netdevice(7); a switch that is killed leaves its ports in promiscuous mode."""

PATIENCE_S = 10.0
"""What the switch may take to carry out what it is told."""

FAR_PATIENCE_S = 60.0
"""What far ends may take until their links are up: a virtual machine is booting."""


@dataclass(frozen=True, slots=True)
class Bridges:
    """The bridges nvbr0, nvbr1 and on, one a group of ports.

    Attributes:
        ovs: The switch.
        datapath: Its datapath_type: `netdev` or `system`.
        groups: The ports of each.
        wanted: Its options.
    """

    ovs: OvsInstance
    datapath: str
    groups: Sequence[Sequence[OvsPort]]
    wanted: OvsParameters

    @property
    def names(self) -> list[str]:
        """Their names."""
        return [f"nvbr{index}" for index in range(len(self.groups))]

    @property
    def ports(self) -> list[OvsPort]:
        """All ports, group by group."""
        return [port for group in self.groups for port in group]

    @property
    def numbers(self) -> list[int]:
        """OpenFlow's number of each port on its bridge."""
        return [number for group in self.groups for number in range(1, len(group) + 1)]

    # -- making ------------------------------------------------------------------------------------------------

    def make(self) -> list[str]:
        """What makes them, with those ports whose socket the switch serves, in ovs-vsctl's words."""
        columns = [f"datapath_type={self.datapath}", "fail_mode=secure"]
        columns.append(f"other_config:mac-table-size={self.wanted.mac_table_size}")
        words: list[str] = []
        for name in self.names:
            words += ["--", "add-br", name, "--", "set", "Bridge", name, *columns]
        for port in self.ports:
            words += ["--", *self.join(port)] if port.link.served else []
        return words[1:]

    def join(self, port: OvsPort) -> list[str]:
        """What adds a port, in ovs-vsctl's words."""
        index = self.ports.index(port)
        bridge = next(name for name, group in zip(self.names, self.groups, strict=True) if port in group)
        columns = [f"type={port.type}", *port.options, f"ofport_request={self.numbers[index]}"]
        columns += [f"mtu_request={self.wanted.mtu}", *(self.wanted.policing() if index == 0 else ())]
        add = ["add-port", bridge, port.name, *self.wanted.tunnel()]
        return [*add, "--", "set", "Interface", port.name, *columns]

    def add_flows(self) -> None:
        """Give each bridge its flows.

        Raises:
            CommandError: The switch refused one.
        """
        for name in self.names:
            self.ovs.ofctl("add-flows", name, "-", stdin="\n".join(self.wanted.flows()) + "\n")

    # -- asking ------------------------------------------------------------------------------------------------

    def interfaces(self) -> list[Interface]:
        """The ports in their order, as the database has them.

        Raises:
            DatapathError: The switch refused one.
        """
        columns = "--columns=name,error,link_state,mtu,ofport,ingress_policing_rate"
        names = [port.name for port in self.ports]
        found = {each.name: each for each in parse_interfaces(self._list(columns, names))}
        for name, interface in found.items():
            if interface.error:
                raise self.ovs.failure(f"port {name}: {interface.error}")
        return [found[name] for name in names]

    def _list(self, columns: str, names: Sequence[str]) -> str:
        return self.ovs.vsctl("--format=json", columns, "list", "Interface", *names)

    def faults(self) -> list[str]:
        """What the switch has not taken yet, that does not need the far ends."""
        found, faults = self.interfaces(), []
        for index, interface in enumerate(found):
            # Of a port whose guest's socket was there first no MTU is told until that guest is.
            mtu = {} if self.ports[index].late and not interface.mtu else {"mtu": self.wanted.mtu}
            wanted = mtu | {"ofport": self.numbers[index]}
            if index == 0:
                wanted["ingress_policing_rate"] = self.wanted.ingress_policing_kbps
            for key, value in wanted.items():
                if getattr(interface, key) != value:
                    faults.append(f"port {interface.name}: {key} is {getattr(interface, key)}, not {value}")
        for name in self.names:
            if (size := self._mac_table(name).size) != self.wanted.mac_table_size:
                faults.append(f"bridge {name}: mac_table_size is {size}, not {self.wanted.mac_table_size}")
        return faults

    def _look_again(self, untold: Collection[str]) -> None:
        """Have the switch look at ports again: of one whose guest was there first its database tells no MTU."""
        for bridge, group in zip(self.names, self.groups, strict=True):
            for port in group:
                for state in ("down", "up") if port.late and port.name in untold else ():
                    self.ovs.ofctl("mod-port", bridge, port.name, state)

    def links_down(self) -> list[str]:
        """Ports without a link, or whose MTU is not told yet."""
        found = self.interfaces()
        self._look_again({each.name for each in found if not each.mtu})
        dark = [f"port {each.name}: no link" for each in found if each.link_state != "up"]
        return dark or [f"port {each.name}: its MTU is not told" for each in found if not each.mtu]

    # -- learning ----------------------------------------------------------------------------------------------

    def learned_addresses(self) -> int:
        """How many addresses every bridge knows."""
        return min(self._mac_table(name).addresses for name in self.names)

    @contextmanager
    def learning(self) -> Iterator[None]:
        """See `Datapath.learning`: the flows are those of a learning switch meanwhile."""
        if self.wanted.flow_set == "normal":
            yield
            return
        with self.ovs.telling():
            for name in self.names:
                self.ovs.ofctl("mod-port", name, name, "no-flood")  # the host's end of it would slow a flood down
                self.ovs.ofctl("del-flows", name)
                self.ovs.ofctl("add-flow", name, "actions=NORMAL")
        yield
        with self.ovs.telling():
            for name in self.names:
                self.ovs.ofctl("del-flows", name)
            self.add_flows()

    def forget_addresses(self) -> None:
        """See `Datapath.forget_addresses`. Flows in the datapath go first: what they count is learned anew."""
        self.ovs.ask("revalidator/purge")
        for name in self.names:
            self.ovs.ask("fdb/flush", name)

    def _mac_table(self, bridge: str) -> MacTable:
        return parse_mac_table(self.ovs.ask("fdb/stats-show", bridge))


def raise_devices(place: Place, journal: Journal, mtu: int) -> None:
    """Kernel devices up and with their MTU; those of the host's own namespace go back to what they were.

    Raises:
        CommandError: One is not there, or takes no such MTU.
    """
    for link in place.links:
        if link.kind in KERNEL_KINDS:
            folder = f"/sys/class/net/{link.name}"
            if link.kind is LinkKind.DEVICE and not place.namespace and (found := place.host.read(f"{folder}/mtu")):
                flags = int(place.host.read(f"{folder}/flags") or "0", 16)
                promisc, state = "on" if flags & _PROMISC else "off", "up" if flags & _UP else "down"
                back = ("ip", "link", "set", "dev", link.name, "mtu", found.strip(), "promisc", promisc, state)
                journal.record(place.host, RunBack(back))
            place.inside.run(["ip", "link", "set", "dev", link.name, "mtu", str(mtu), "up"])
