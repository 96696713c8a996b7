"""One physical port, shared by the host and its guests: as a kernel's device on the bridge, and as one of DPDK."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nvbench.datapaths.ovs_bridges import PATIENCE_S
from nvbench.datapaths.ovs_ports import KERNEL_KINDS
from nvbench.errors import DatapathError, NotPossibleError
from nvbench.hosts.namespace import DEVICES
from nvbench.stands import OVS, PEER, Check, Member, Record, Stand
from nvbench.stands.levers import Step, changed, refusals
from nvbench.stands.ovs_control import control
from nvbench.stands.reach import Pinged, Voice, among, draw, reach

HOST, OWN = "host", "host by the port's own address"
BRIDGE_DEVICE = "nvbr0"
HOST_ADDRESS = "10.99.0.254"
OWN_ADDRESS, PEER_ADDRESS = "10.99.1.254", "10.99.1.1"
"""A network of their own for the port's kernel device and the peer."""

DRIVER = "net_af_packet"
AS_KERNEL, AS_DPDK = "as a kernel device", "as a DPDK device"


def act(stand: Stand, record: Record) -> None:
    """Each of peer, host and guests pings each, with the port as the one and as the other."""
    peer = stand.member(PEER)
    if peer.link.kind not in KERNEL_KINDS:
        raise NotPossibleError(f"{peer.port} is DPDK's: as a kernel device it needs the kernel's driver first")
    voices = [Voice(member.name, member.host, member.address) for member in (peer, *stand.members[:-1])]
    voices.insert(1, Voice(HOST, stand.host, HOST_ADDRESS))
    own = (Voice(OWN, stand.host, OWN_ADDRESS, peer.port), Voice(PEER, peer.host, PEER_ADDRESS))
    found: dict[str, Pinged] = {}
    with host_takes_part(stand, peer):
        found[AS_KERNEL] = _looked_at(stand, record, peer, voices, own, AS_KERNEL)
        with by_dpdk(stand, peer):
            found[AS_DPDK] = _looked_at(stand, record, peer, voices, own, AS_DPDK)
    _judge_own(record, peer, found)
    rows = [[OWN, *("reaches the peer" if each.holds else "LOST" for each in found.values())]]
    rows.append(["VM on a virtual function", *["not possible here: no virtual function of this port"] * len(found)])
    record.draw("Who else shares the port", ["", *found], rows)


def _looked_at(
    stand: Stand, record: Record, peer: Member, voices: list[Voice], own: tuple[Voice, Voice], how: str
) -> Pinged:
    """Ping among all, and from the port's own address; observe that all are reached by way of the bridge."""
    line = _line(stand, peer.port)
    found = reach(record, [*among(voices), own], how.replace(" ", "-"))
    mine = found.pop((own[0].name, own[1].name))
    draw(record, f"Who reaches whom with the port {how}", voices, found)
    missed = [pair for pair, pinged in found.items() if not pinged.holds]
    reached = f"{len(found) - len(missed)} of {len(found)}"
    told = f"with the port {how} {reached} pairs of peer, host and guests reach each other"
    if missed:
        one, other = missed[0]
        record.observe(False, f"{told}: {one} does not reach {other}", found[missed[0]].line)
    else:
        record.observe(True, told, line)
    return mine


def _judge_own(record: Record, peer: Member, found: dict[str, Pinged]) -> None:
    """The kernel's device gives its address up to a DPDK driver that owns the device; net_af_packet only copies."""
    kernel, dpdk = found[AS_KERNEL], found[AS_DPDK]
    told = (
        f"the host's own address on {peer.port} should reach the peer {AS_KERNEL} ({kernel.received} of {kernel.sent} "
        f"are answered) and still {AS_DPDK} ({dpdk.received} of {dpdk.sent}): {DRIVER} takes copies and leaves the "
        "device to the kernel; a driver that owns the port takes the address away with it"
    )
    record.observe(kernel.holds and dpdk.holds, told, (kernel if not kernel.holds else dpdk).line)


@contextmanager
def host_takes_part(stand: Stand, peer: Member) -> Iterator[None]:
    """The host has an address on the bridge and one on the port itself, and the peer one to go with that.

    Each device answers for its own address only, for else the host would be reached past the bridge.
    """
    steps = [_addressed(BRIDGE_DEVICE, HOST_ADDRESS), _addressed(peer.port, OWN_ADDRESS)]
    up, down = (["ip", "link", "set", BRIDGE_DEVICE, state] for state in ("up", "down"))
    steps.append(Step(up, [down], DEVICES + BRIDGE_DEVICE))
    for device in (BRIDGE_DEVICE, peer.port):
        key = f"net.ipv4.conf.{device}.arp_ignore"
        before = stand.host.run(["sysctl", "-n", key]).stdout.strip()
        do, back = (["sysctl", "-q", "-w", f"{key}={value}"] for value in ("1", before))
        steps.append(Step(do, [back], DEVICES + device))
    words = [f"{PEER_ADDRESS}/24", "dev", peer.device]
    with changed(stand, steps):
        peer.host.run(["ip", "address", "add", *words])
        try:
            yield
        finally:
            peer.host.run(["ip", "address", "delete", *words])


def _addressed(device: str, address: str) -> Step:
    """What gives a device an address, and what takes it away, which bears being run twice."""
    words = ["dev", device]
    back = ["ip", "address", "flush", *words, "to", f"{address}/32"]
    return Step(["ip", "address", "replace", f"{address}/24", *words], [back], DEVICES + device)


@contextmanager
def by_dpdk(stand: Stand, peer: Member) -> Iterator[None]:
    """The bridge has the port as a device of DPDK.

    Raises:
        NotPossibleError: DPDK does not take it.
    """
    ovs = control(stand)
    row = ["Interface", peer.port]
    kind, options = ovs.vsctl("get", *row, "type").strip(), ovs.vsctl("get", *row, "options").strip()
    device = f'options:dpdk-devargs="{DRIVER}9,iface={peer.port}"'
    try:
        with refusals(stand.path):
            ovs.vsctl("set", *row, "type=dpdk", device)
        _await(stand, peer.port, "dpdk")
        yield
    finally:
        ovs.vsctl("clear", *row, "options", "--", "set", *row, f"type={kind}", f"options={options}")
        _await(stand, peer.port, kind or "system")


def _await(stand: Stand, port: str, kind: str) -> None:
    ovs = control(stand)
    try:
        ovs.wait_out(lambda: _otherwise(stand, port, kind), PATIENCE_S)
    except DatapathError as error:
        if ovs.crashed():
            raise
        raise NotPossibleError(f"{stand.path}: {error.what}") from error


def _otherwise(stand: Stand, port: str, kind: str) -> list[str]:
    return [] if f"({kind}" in _line(stand, port) else [f"port {port} is not of type {kind}"]


def _line(stand: Stand, port: str) -> str:
    """What the switch itself says of a port."""
    ovs = control(stand)
    shown = ovs.ask("dpif/show").splitlines()
    return next((line for line in shown if line.split()[:1] == [port]), "")


SHARED_PORT = Check(
    name="shared_port",
    title="one physical port serves the host and guests, as a kernel device and as one of DPDK",
    cases={OVS: "5.4.2.2"},
    act=act,
    tags=("ping", "port"),
)
