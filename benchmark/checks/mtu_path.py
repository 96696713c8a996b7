"""Is there a hop on a path that carries less than what the ends send?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from nvbench.datapaths.kernel_output import parse_links
from nvbench.datapaths.ovs_output import parse_port_configurations
from nvbench.stands import BRIDGE, OVS, SRIOV, Check, Member, Record, Stand
from nvbench.stands.ovs_control import control
from nvbench.stands.reach import ping

COUNT, PATIENCE_S = 2, 3.0
DOUBTFUL_S = 1.0
"""How long is waited for what will hardly pass."""

_BRIDGE = "nvbr0"


@dataclass(frozen=True, slots=True)
class Hop:
    """A device that a packet passes.

    Attributes:
        name: What a person calls it.
        mtu: The largest IP packet that it carries.
        mend: The command that gives it another MTU, but for that.
    """

    name: str
    mtu: int
    mend: str


def act(stand: Stand, record: Record) -> None:
    """Name each hop between any two members, and send what the smallest of them just carries."""
    hops = _hops(stand)
    columns = ("hop", "MTU")
    record.draw("MTU of each hop", columns, sorted({(hop.name, hop.mtu) for path in hops.values() for hop in path}))
    for one, other in combinations(stand.members, 2):
        near, far = hops[one.name], hops[other.name]
        path = list(dict.fromkeys([*near, *reversed(far)]))  # what both share is passed once
        _judge(record, one, other, path, max(near[0].mtu, far[0].mtu))


def _judge(record: Record, one: Member, other: Member, path: Sequence[Hop], sent: int) -> None:
    smallest, pair = min(hop.mtu for hop in path), f"{one.name} and {other.name}"
    if smallest < sent:
        narrow = [hop for hop in path if hop.mtu == smallest]
        where = ", ".join(hop.name for hop in narrow)
        passes, line = _passes(one, other, sent, DOUBTFUL_S)
        fate = "such packets pass all the same" if passes else "such packets are lost"
        told = f"between {pair} {where} carries {smallest} bytes, and an end sends {sent}: {fate}"
        record.observe(False, told, f"{where}: mtu {smallest}; {line}")
        for hop in narrow:
            record.advise(f"{hop.mend}{sent}")
    for sender, receiver in ((one, other), (other, one)):
        passes, line = _passes(sender, receiver, smallest)
        told = f"{smallest} bytes {'' if passes else 'do not '}pass from {sender.name} to {receiver.name}"
        record.observe(passes, f"{told}, over {len(path)} hops of which none carries less", line)


def _passes(sender: Member, receiver: Member, size: int, patience_s: float = PATIENCE_S) -> tuple[bool, str]:
    """Whether packets of so many bytes are answered, none of them cut into fragments."""
    found = ping(sender.host, receiver.address, count=COUNT, patience_s=patience_s, packet_bytes=size)
    return found.received > 0, f"{size} bytes: {found.line}"


def _hops(stand: Stand) -> dict[str, list[Hop]]:
    """Member -> what is between it and the switch, its own device first."""
    kernel = mtus_of(stand.host.run(["ip", "-j", "link", "show"]).stdout)
    ports = _ovs_ports(stand) if stand.path == OVS else {}
    # The device of that name is a port of its own on OVS, that nothing between others passes.
    shared = [_kernel_hop(f"bridge {_BRIDGE}", _BRIDGE, kernel)] if stand.path == BRIDGE else []
    found = {}
    for member in stand.members:
        inside = mtus_of(member.host.run(["ip", "-j", "link", "show", "dev", member.device]).stdout)
        path = [Hop(f"{member.name}'s {member.device}", inside[member.device], _set_link(member.device, member.name))]
        port, where = member.port, f"port {member.port} of {member.name}"
        if port in ports:
            path.append(Hop(where, ports[port], f"ovs-vsctl set Interface {port} mtu_request="))
        elif port == stand.pf:
            path.append(_kernel_hop(f"physical function {port}", port, kernel))
        elif port in kernel:
            path.append(_kernel_hop(where, port, kernel))
        elif stand.path == SRIOV:  # a virtual function is in its guest; what it sends goes through the physical one
            path.append(_kernel_hop(f"physical function {stand.pf}", stand.pf, kernel))
        found[member.name] = [*path, *shared]
    return found


def _ovs_ports(stand: Stand) -> Mapping[str, int]:
    """The MTU of ports that the switch itself drives, as it has them in force."""
    granted = parse_port_configurations(control(stand).appctl("dpctl/show", "netdev@ovs-netdev"))
    return {name: int(settings["mtu"]) for name, settings in granted.items() if "mtu" in settings}


def _kernel_hop(name: str, device: str, mtus: Mapping[str, int]) -> Hop:
    return Hop(name, mtus[device], _set_link(device))


def _set_link(device: str, where: str = "") -> str:
    return f"{f'in {where}: ' if where else ''}ip link set {device} mtu "


def mtus_of(text: str) -> dict[str, int]:
    """`ip -j link show`: device -> MTU."""
    return {name: int(row["mtu"]) for name, row in parse_links(text).items()}


MTU_PATH = Check(
    name="mtu_path",
    title="no hop carries less than what the ends send",
    cases={BRIDGE: "", OVS: "", SRIOV: ""},
    act=act,
    tags=("setup", "mtu"),
)
