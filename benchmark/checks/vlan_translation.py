"""Is one VLAN exchanged for another at a guest's port, in both directions?"""

from __future__ import annotations

from collections.abc import Mapping

from nvbench.generators.frames.changes import Tag
from nvbench.stands import BRIDGE, OVS, PEER, Check, Record, Stand
from nvbench.stands.frames import Batch, Station, pushed, tag, udp, untagged
from nvbench.stands.passage import judge_and_draw, passed

INSIDE, OUTSIDE, NEITHER = 10, 20, 30
PRIORITY, INNER = 5, 7

Taggings = Mapping[tuple[Tag, ...], tuple[Tag, ...] | None]
"""Tags of a frame -> those that it should arrive with; None where it should not arrive."""


def expected(here: int, there: int) -> Taggings:
    """What becomes of frames that come from where a VLAN is called `here`, and go to where it is called `there`.

    One that is called `there` already is another VLAN, and would be taken for this one.
    """
    return {
        (tag(here),): (tag(there),),
        (tag(here, PRIORITY),): (tag(there, PRIORITY),),
        (tag(here), tag(INNER)): (tag(there), tag(INNER)),
        (tag(there),): None,
        (tag(NEITHER),): (tag(NEITHER),),
        (): (),
    }


def batch_of(
    source: Station, target: Station, taggings: Taggings, beside: Batch | None = None
) -> tuple[Batch, dict[int, bytes]]:
    """Frames with these tags, and number -> bytes of those that should arrive."""
    made, wanted = Batch(beside), {}
    packet = udp(source, target.address)
    for number, (own, later) in enumerate(taggings.items()):
        name = " + ".join(map(str, own)) or "untagged"
        frame = made.add(name, target.mac, source.mac, packet, *own)
        if later is not None:
            wanted[number] = pushed(untagged(frame), *later)
    return made, wanted


def act(stand: Stand, record: Record) -> None:
    """vm1 calls a VLAN by one number, the peer by another."""
    member, peer = stand.member("vm1"), stand.member(PEER)
    out, there = batch_of(member, peer, expected(INSIDE, OUTSIDE))
    back, home = batch_of(peer, member, expected(OUTSIDE, INSIDE), out)
    with stand.levers.translated(member.name, INSIDE, OUTSIDE):
        due = {(member.name, PEER): there, (PEER, member.name): home}
        arrived = passed(stand, record, {member.name: out, PEER: back}, due=due)
    way, how = f"{member.name} to {PEER}", f"with VLAN {OUTSIDE} in place of {INSIDE}"
    judge_and_draw(record, way, out, there, arrived[member.name, PEER], how)
    way, how = f"{PEER} to {member.name}", f"with VLAN {INSIDE} in place of {OUTSIDE}"
    judge_and_draw(record, way, back, home, arrived[PEER, member.name], how)


VLAN_TRANSLATION = Check(
    name="vlan_translation",
    title="a VLAN is exchanged for another at a port",
    cases={BRIDGE: "", OVS: ""},
    act=act,
    tags=("vlan", "frames"),
)
