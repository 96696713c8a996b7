"""Do all who are at the switch reach each other? A NIC's own switch does that without the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nvbench.generators.frames import Captured
from nvbench.stands import BRIDGE, OVS, PEER, SRIOV, Check, Member, Record, Stand
from nvbench.stands.frames import BROADCAST, Batch, arp, mac_bytes, opening
from nvbench.stands.packets import unanswered
from nvbench.stands.passage import WINDOW_S
from nvbench.stands.reach import Voice, among, draw, reach

FRAMES = 50


def act(stand: Stand, record: Record) -> None:
    """Each pings each; every request has to be answered once."""
    voices = [Voice(member.name, member.host, member.address) for member in stand.members]
    found = reach(record, among(voices))
    for (sender, receiver), pinged in found.items():
        verb = "reaches" if pinged.holds else "does not reach"
        told = f"{sender} {verb} {receiver}: {pinged.received} of {pinged.sent} requests are answered"
        if pinged.duplicates:
            told += f", {pinged.duplicates} of them more than once"
        record.observe(pinged.holds, told, pinged.line)
    held = [pinged for pinged in found.values() if pinged.holds]
    told = f"{len(held)} of {len(found)} pairs of {' '.join(voice.name for voice in voices)} reach each other"
    record.observe(len(held) == len(found), told, held[-1].line if held else "")
    draw(record, "Who reaches whom", voices, found)
    if stand.path == SRIOV and any(member.name == PEER for member in stand.members):
        joined_inside(stand, record)


def joined_inside(stand: Stand, record: Record) -> None:
    """What the guests send each other does not leave the port; that the peer sees what does leave is the control."""
    one, other, peer = (stand.member(name) for name in ("vm1", "vm2", PEER))
    there = _between(one, other)
    back = _between(other, one, there)
    there.add("ARP request", BROADCAST, one.mac, arp(one, other.address))
    there.add("to the peer", peer.mac, one.mac, unanswered)
    names = [one.name, other.name, peer.name]

    def arrived(taken: Mapping[str, Sequence[Captured]]) -> bool:
        inside, outside = there.came(taken[other.name])[:FRAMES], there.came(taken[peer.name])[FRAMES:]
        return all([*inside, *outside, *back.came(taken[one.name])])

    then = {other.name: back.frames}
    taken = stand.exchange(one.name, there.frames, names, seconds=WINDOW_S, then=then, until=arrived)
    record.capture("taken-at-the-peer.pcap", taken[peer.name])
    counts = [
        sum(map(len, there.came(taken[other.name])[:FRAMES])),
        sum(map(len, back.came(taken[one.name]))),
    ]
    record.observe(
        counts == [FRAMES, FRAMES],
        f"between {one.name} and {other.name} {counts[0]} of {FRAMES} frames arrive there, {counts[1]} back",
    )
    asked, sent = map(len, there.came(taken[peer.name])[FRAMES:])
    record.observe(
        asked == sent == 1,
        f"the peer sees what leaves the port: {asked} of 1 broadcast (an ARP request), {sent} of 1 frame to itself",
    )
    strangers = _between_guests(taken[peer.name], one, other)
    record.observe(
        not strangers,
        f"the NIC joins its functions by itself: of {2 * FRAMES} frames between {one.name} and {other.name} "
        f"the peer at the other end of the wire sees {len(strangers)}",
        f"at the peer: {len(strangers)} unicast frames between the guests, {asked} broadcast"
        if not strangers
        else f"at the peer: {opening(strangers[0].frame)}",
        file="taken-at-the-peer.pcap",
    )


def _between(one: Member, other: Member, beside: Batch | None = None) -> Batch:
    made = Batch(beside)
    for number in range(FRAMES):
        made.add(f"frame {number}", other.mac, one.mac, unanswered)
    return made


def _between_guests(captured: list[Captured], *guests: Member) -> list[Captured]:
    macs = {mac_bytes(guest.mac) for guest in guests}
    return [each for each in captured if each.frame[:6] in macs and each.frame[6:12] in macs]


CONNECTIVITY = Check(
    name="connectivity",
    title="all guests and the peer reach each other",
    cases={BRIDGE: "", OVS: "5.4.1.1", SRIOV: "5.4.3"},
    act=act,
    tags=("ping", "basic"),
)
