"""Are two tenants of a switch kept apart, whatever they send, also from each other's addresses?"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from nvbench.generators.frames.changes import tags
from nvbench.stands import BRIDGE, OVS, PEER, SRIOV, Check, Member, Record, Stand
from nvbench.stands.frames import BROADCAST, Batch, every_kind, opening, udp
from nvbench.stands.passage import capture_name, passed
from nvbench.stands.reach import COUNT, SILENT_S, ping

ONE, OTHER = "vm1", "vm2"
"""The tenants: vm1, to which the peer belongs, and vm2."""

CONTROLS = ("unicast", "broadcast", "ARP request")
"""Kinds that every switch forwards between members of one tenant."""

TO_PEER = "unicast to the peer"
COUNTED_S = 3.0
"""Drivers of virtual functions look at their counters every two seconds."""

Arrivals = Mapping[tuple[str, str], Sequence[Sequence[bytes]]]
"""Sender and receiver -> what came of each frame of the sender's batch."""


def floods(stand: Stand) -> dict[str, Batch]:
    """What each tenant sends; vm2 also from the peer's addresses, before vm1 sends to those."""
    one, other = stand.member(ONE), stand.member(OTHER)
    from_other = every_kind(other, one)
    from_one = every_kind(one, other, from_other)
    for peer in _peers(stand):
        from_other.add("from the peer's address", BROADCAST, peer.mac, udp(peer, "255.255.255.255"))
        from_one.add(TO_PEER, peer.mac, one.mac, udp(one, peer.address))
    return {OTHER: from_other, ONE: from_one}


def leaks(batch: Batch, came: Sequence[Sequence[bytes]], *, trunk: bool = False) -> list[tuple[str, bytes]]:
    """Name and bytes of the frames that arrived where they should not.

    Args:
        batch: What was sent.
        came: What came of each frame.
        trunk: Whether the receiver is at a wire that carries the VLANs of all tenants: there a frame is let through
            with a tag that it was not sent with.
    """
    found = []
    for name, sent, arrived in zip(batch.names, batch.frames, came, strict=True):
        for frame in arrived:
            if not trunk or tags(frame) in ((), tags(sent)):
                found.append((name, frame))
                break
    return found


def flooded(batch: Batch, together: Sequence[Sequence[bytes]]) -> int:
    """How many frames of a batch a tenant's NIC sends for sure: those without a tag that arrived when together.

    A NIC may let others be, and not count them, such as those with a tag from a tenant that is in a VLAN.
    """
    return sum(bool(came) and not tags(frame) for frame, came in zip(batch.frames, together, strict=True))


def act(stand: Stand, record: Record) -> None:
    """Flood and ping from both sides: together, kept apart, and together again."""
    _answered(stand, record, "before")
    batches = floods(stand)
    together = passed(stand, record, batches, "together", due=_controls(batches))
    _judge_control(record, batches, together)
    with stand.levers.separated(OTHER):
        batches = floods(stand)
        counts = {name: _sent(stand.member(name)) for name in batches}
        kept = {(ONE, peer.name): [batches[ONE].names.index(TO_PEER)] for peer in _peers(stand)}
        apart = passed(stand, record, batches, "apart", due=kept)
        _unanswered(stand, record)
        for sender, taker in ((OTHER, ONE), (ONE, OTHER)):
            _judge_sender(
                record, stand.member(sender), counts[sender], flooded(batches[sender], together[sender, taker])
            )
    _answered(stand, record, "after")
    _draw(record, batches, together, apart)
    if (ONE, PEER) in apart:
        _judge_theft(record, batches[ONE], together, apart)
    for sender, taker in ((OTHER, PEER), (OTHER, ONE), (ONE, OTHER)):
        if (sender, taker) in apart:
            _judge_flood(record, batches[sender], (sender, taker), together, apart)


def _controls(batches: Mapping[str, Batch]) -> dict[tuple[str, str], list[int]]:
    ways = ((OTHER, ONE), (ONE, OTHER))
    return {way: [batches[way[0]].names.index(name) for name in CONTROLS] for way in ways}


def _draw(record: Record, batches: Mapping[str, Batch], together: Arrivals, apart: Arrivals) -> None:
    ways = ((OTHER, ONE), (ONE, OTHER))
    columns = [f"{sender} to {taker}, {when}" for sender, taker in ways for when in ("together", "apart")]
    pairs = zip(batches[OTHER].names, batches[ONE].names, strict=True)
    names = [" / ".join(dict.fromkeys(pair)) for pair in pairs]
    cells = [["yes" if arrived else "-" for arrived in each[way]] for way in ways for each in (together, apart)]
    record.draw("What arrives at the other tenant", ["sent", *columns], list(zip(names, *cells, strict=True)))


def _judge_control(record: Record, batches: Mapping[str, Batch], together: Arrivals) -> None:
    """Without it that nothing arrives would mean nothing."""
    for sender, taker in ((OTHER, ONE), (ONE, OTHER)):
        came = dict(zip(batches[sender].names, together[sender, taker], strict=True))
        lacking = [name for name in CONTROLS if not came[name]]
        arrived = sum(map(bool, came.values()))
        told = f"together: {arrived} of {len(came)} kinds of frames from {sender} arrive at {taker}"
        told += f", but not {', '.join(lacking)}" if lacking else ""
        record.observe(not lacking, told, file=capture_name(taker, "together"))


def _judge_theft(record: Record, batch: Batch, together: Arrivals, apart: Arrivals) -> None:
    """Whether frames to the peer's address go astray when another tenant has used that address, too."""
    number = batch.names.index(TO_PEER)
    arrived, stolen = bool(apart[ONE, PEER][number]), bool(together[ONE, OTHER][number])
    what = "arrives there" if arrived else "does not arrive there"
    told = f"apart: a frame to the peer's address, which {OTHER} has used, too, {what}"
    told += f"; together it goes to {OTHER}" if stolen else ""
    quote = f"{TO_PEER}: {opening(batch.frames[number])}"
    record.observe(arrived, told, quote, file=capture_name(PEER, "apart"))


def _judge_flood(record: Record, batch: Batch, way: tuple[str, str], together: Arrivals, apart: Arrivals) -> None:
    sender, taker = way
    found = leaks(batch, apart[way], trunk=taker == PEER)
    before = sum(map(bool, together[way]))
    told = f"apart: {len(found)} of {len(batch.names)} kinds of frames from {sender} arrive at {taker}, expected 0"
    count = sum(map(len, apart[way]))
    quote = f"{taker} took {count} frames with the marker {batch.marker.hex()}"
    quote += f", all in a VLAN that {sender} has not sent them in" if count else ""
    if found:
        name, frame = found[0]
        told, quote = f"{told}: {name}", f"{name}: {opening(frame)}"
    record.observe(not found, f"{told}; together {before} do", quote, file=capture_name(taker, "apart"))


def _sent(member: Member) -> int:
    """How many frames its device has sent so far."""
    return int(member.host.read(f"/sys/class/net/{member.device}/statistics/tx_packets") or 0)


def _judge_sender(record: Record, member: Member, before: int, least: int) -> None:
    """Whether its flood has left a tenant at all: a device without a link takes frames, and nobody is told."""
    deadline = time.monotonic() + COUNTED_S
    while (count := _sent(member) - before) < least and time.monotonic() < deadline:
        time.sleep(0.1)
    told = f"apart: {member.name} has sent {count} frames, expected at least the {least} of its flood without a tag"
    record.observe(count >= least, told, f"{member.name}: {member.device} tx_packets {before}, then {before + count}")


# -- pings -----------------------------------------------------------------------------------------------------


def _answered(stand: Stand, record: Record, when: str) -> None:
    """The peer goes first: its own frame takes back its address from who has used that."""
    one, other = stand.member(ONE), stand.member(OTHER)
    for sender, target in (*((peer, one) for peer in _peers(stand)), (other, one)):
        found = ping(sender.host, target.address)
        told = f"{when}: {found.received} of {COUNT} pings of {sender.name} to {target.name} answered"
        record.observe(found.received == COUNT, told, found.line)


def _unanswered(stand: Stand, record: Record) -> None:
    one, other = stand.member(ONE), stand.member(OTHER)
    for sender, target in ((other, one), (one, other)):
        found = ping(sender.host, target.address, patience_s=SILENT_S)
        told = f"apart: {found.received} of {found.sent} pings of {sender.name} to {target.name} answered, expected 0"
        record.observe(found.silent, told, found.line)


def _peers(stand: Stand) -> list[Member]:
    """The peer, where there is one."""
    return [member for member in stand.members if member.name == PEER]


ISOLATION = Check(
    name="isolation",
    title="nothing that one tenant sends reaches another",
    cases={BRIDGE: "", OVS: "5.4.5.1", SRIOV: "5.4.5.2"},
    act=act,
    tags=("tenants", "frames", "ping"),
)
