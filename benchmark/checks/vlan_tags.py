"""Do VLAN tags of every form pass a switch that knows of no VLANs?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from nvbench.generators.frames.changes import Tag, tags
from nvbench.stands import BRIDGE, OVS, SRIOV, Check, Record, Stand
from nvbench.stands.frames import BROADCAST, S_TAG, Batch, Station, popped, pushed, tag, tagging, udp
from nvbench.stands.passage import all_due, in_vlans, judge, passed

VLANS = (1, 10, 4094)

TAGGINGS: tuple[tuple[Tag, ...], ...] = (
    (),
    (tag(0),),
    (tag(0, 5),),
    *((tag(vlan),) for vlan in VLANS),
    *((tag(10, priority),) for priority in range(1, 8)),
    (tag(10, drop_eligible=True),),
    *((tag(vlan, tpid=S_TAG),) for vlan in VLANS),
    (tag(100, tpid=S_TAG), tag(10)),
    (tag(10, 3), tag(10, 6, drop_eligible=True)),
    (tag(10, 3, tpid=S_TAG), tag(10, 6, drop_eligible=True, tpid=S_TAG)),
)


def tagged(source: Station, beside: Batch | None = None) -> Batch:
    """Broadcasts with tags of every form."""
    made = Batch(beside)
    for each in TAGGINGS:
        frame = made.add("", BROADCAST, source.mac, udp(source, "255.255.255.255"), *each)
        made.names[-1] = tagging(frame)
    return made


def without_priority_tag(batch: Batch, came: Sequence[Sequence[bytes]]) -> dict[int, bytes]:
    """What may come instead of frames that are tagged with VLAN 0, and did.

    Such a tag names no VLAN. A switch that is aware of VLANs takes the frame for an untagged one, and sends it on as
    that (IEEE 802.1Q, 6.9).
    """
    return {
        number: popped(frame)
        for number, frame in enumerate(batch.frames)
        if tags(frame) and tags(frame)[0].tci & 0xFFF == 0 and list(came[number]) == [popped(frame)]
    }


def without_priority(sent: bytes, came: Sequence[bytes]) -> bool:
    """Whether a frame came with the VLAN of its outer tag, but without the priority and drop eligibility beside it."""
    bare = [replace(each, tci=each.tci & 0xFFF) for each in tags(sent)[:1]]
    return len(came) == 1 and came[0] != sent and came[0] == pushed(popped(sent), *bare)


def act(stand: Stand, record: Record) -> None:
    """From a guest and from the peer to all others, every byte has to be the same."""
    first, last = stand.member("vm1"), stand.members[-1]
    batches = {first.name: (batch := tagged(first)), last.name: tagged(last, batch)}
    columns: dict[str, list[str]] = {}
    with ExitStack() as stack:
        for member in stand.members:
            stack.enter_context(in_vlans(member, VLANS))
        arrived = passed(stand, record, batches, due=all_due(stand, batches))
    for (sender, taker), came in arrived.items():
        batch, way = batches[sender], f"{sender} to {taker}"
        bare = without_priority_tag(batch, came)
        columns[way] = judge(record, way, batch, {**dict(enumerate(batch.frames)), **bare}, came, "unchanged")
        _advise(record, batch, came, taker, [batch.names[number] for number in bare])
    rows = [(name, *cells) for name, *cells in zip(batch.names, *columns.values(), strict=True)]
    record.draw("What was sent, and how it arrived", ["sent", *columns], rows)


def _advise(record: Record, batch: Batch, came: Sequence[Sequence[bytes]], taker: str, bare: list[str]) -> None:
    if bare:
        record.advise(
            f"the switch takes tags off that name no VLAN ({', '.join(bare)}), as it may; "
            "OVS keeps them with other_config:priority-tags=always at a port"
        )
    pairs = zip(batch.names, batch.frames, came, strict=True)
    lost = [name for name, sent, frames in pairs if without_priority(sent, frames)]
    if lost:
        record.advise(
            f"{taker}: {len(lost)} frames lose priority or drop eligibility; a driver that takes tags off may keep no "
            "more than the VLAN (igbvf), and OVS puts a tag that the kernel took off back without drop eligibility"
        )


VLAN_TAGS = Check(
    name="vlan_tags",
    title="VLAN tags of every form pass unchanged",
    cases={BRIDGE: "", OVS: "", SRIOV: ""},
    act=act,
    tags=("vlan", "frames"),
)
