"""Does a service VLAN carry what a guest sends, untagged and tagged, and give it back as it was?"""

from __future__ import annotations

from contextlib import ExitStack

from nvbench.errors import NotPossibleError
from nvbench.generators.frames.changes import TAG_TYPES
from nvbench.stands import BRIDGE, OVS, PEER, SRIOV, Check, Record, Stand
from nvbench.stands.frames import C_TAG, S_TAG, Batch, Station, popped, pushed, tag, udp
from nvbench.stands.passage import in_vlans, judge_and_draw, passed

SERVICE, OTHER_SERVICE, CUSTOMER = 100, 101, 10
TAGGINGS = ((), (tag(CUSTOMER),), (tag(CUSTOMER, 5),))
"""What a customer's frames carry."""

LONG_ENOUGH = 100
"""Bytes of a frame that needs no padding, with however many tags."""


def outbound(member: Station, peer: Station) -> Batch:
    """What the member sends: untagged, and with its own tags."""
    made = Batch()
    for own in TAGGINGS:
        made.add(" + ".join(map(str, own)) or "untagged", peer.mac, member.mac, udp(member, peer.address), *own)
    return made


def inbound(member: Station, peer: Station, tpid: int, beside: Batch) -> Batch:
    """What the peer sends: the same in the service VLAN, and, last, a frame that is in another one."""
    made = Batch(beside)
    for vlan, own in (*((SERVICE, own) for own in TAGGINGS), (OTHER_SERVICE, TAGGINGS[1])):
        carried = (tag(vlan, tpid=tpid), *own)
        made.add(" + ".join(map(str, carried)), member.mac, peer.mac, udp(peer, member.address), *carried)
    return made


def act(stand: Stand, record: Record) -> None:
    """vm1 is an end of the service VLAN, the peer sees what it carries; vm1's own VLAN device works, too."""
    member, peer = stand.member("vm1"), stand.member(PEER)
    with ExitStack() as stack:
        tpid = _enter_service(stack, stand, record)
        inside = stack.enter_context(in_vlans(member, [CUSTOMER]))
        out = outbound(member, peer)
        back = inbound(member, peer, tpid, out)
        batches = {member.name: out, PEER: back}
        for device in inside:
            batches[device.name] = Batch(out)
            batches[device.name].add("untagged", peer.mac, member.mac, udp(member, peer.address), size=LONG_ENOUGH)
        due = {(member.name, PEER): range(len(out.frames)), (PEER, member.name): range(len(TAGGINGS))}
        arrived = passed(stand, record, batches, beside=inside, due=due)
    service = tag(SERVICE, tpid=tpid)
    carried = {number: pushed(frame, service) for number, frame in enumerate(out.frames)}
    given_back = {number: popped(frame) for number, frame in enumerate(back.frames[:-1])}
    on_top, off = f"with {service} on top", f"without {service}"
    judge_and_draw(record, f"{member.name} to {PEER}", out, carried, arrived[member.name, PEER], on_top)
    judge_and_draw(record, f"{PEER} to {member.name}", back, given_back, arrived[PEER, member.name], off)
    for device in inside:
        name, batch = device.name, batches[device.name]
        both = {0: pushed(batch.frames[0], service, *TAGGINGS[1])}
        judge_and_draw(record, f"{name} to {PEER}", batch, both, arrived[name, PEER], f"{on_top} of {CUSTOMER}")
        if arrived[name, PEER] != [[both[0]]] and arrived[member.name, PEER][1] == [carried[1]]:
            record.advise(
                f"a tag that {member.name} writes into its frames is carried, one that its driver leaves to the NIC is "
                f"not: try ethtool -K {member.device} txvlan off"
            )
        bare = {number: popped(given_back[number]) for number, own in enumerate(TAGGINGS) if own}
        judge_and_draw(record, f"{PEER} to {name}", back, bare, arrived[PEER, name], f"{off} and {CUSTOMER}")


def _enter_service(stack: ExitStack, stand: Stand, record: Record) -> int:
    """The EtherType of the service's tags: 802.1ad, or 802.1Q where the switch refuses the former."""
    try:
        stack.enter_context(stand.levers.tunnelled(SERVICE, "vm1", tpid=S_TAG))
        return S_TAG
    except NotPossibleError as refusal:
        try:
            stack.enter_context(stand.levers.tunnelled(SERVICE, "vm1", tpid=C_TAG))
        except NotPossibleError:
            raise refusal from None
        record.advise(f"tags of {TAG_TYPES[S_TAG]} are refused, {TAG_TYPES[C_TAG]} was used instead: {refusal.what}")
        return C_TAG


VLAN_TRANSPARENCY = Check(
    name="vlan_transparency",
    title="a service VLAN carries untagged and tagged frames",
    cases={BRIDGE: "", OVS: "5.4.7.1", SRIOV: "5.4.7.2"},
    act=act,
    tags=("vlan", "qinq", "frames"),
)
