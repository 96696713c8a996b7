"""Frames on their way through the switch of a stand: sent, taken, and judged byte by byte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import MappingProxyType

from nvbench.generators.frames import Captured, exchange
from nvbench.stands.frames import Batch, fate, opening, tagging
from nvbench.stands.ground import Member
from nvbench.stands.record import Record
from nvbench.stands.stand import Stand

WINDOW_S = 0.3
"""For so long after the last frame was sent is waited for what should not come."""

Due = Mapping[tuple[str, str], Iterable[int]]
"""Sender and receiver -> the numbers of the sender's frames that have to arrive there."""


def capture_name(taker: str, step: str = "") -> str:
    """The file of the evidence with what a member took in a step."""
    return "-".join(filter(None, ("taken-at", taker, step))) + ".pcap"


def all_due(stand: Stand, batches: Mapping[str, Batch]) -> Due:
    """All that each sends has to arrive at all others."""
    ways = [(sender, member.name) for sender in batches for member in stand.members if member.name != sender]
    return {way: range(len(batches[way[0]].frames)) for way in ways}


def arrived(batches: Mapping[str, Batch], due: Due, taken: Mapping[str, Sequence[Captured]]) -> bool:
    """Whether all has arrived that has to."""
    came = {way: batches[way[0]].came(taken[way[1]]) for way in due}
    return all(came[way][number] for way, numbers in due.items() for number in numbers)


def passed(
    stand: Stand,
    record: Record,
    batches: Mapping[str, Batch],
    step: str = "",
    *,
    beside: Sequence[Member] = (),
    due: Due = MappingProxyType({}),
) -> dict[tuple[str, str], list[list[bytes]]]:
    """Have members send batches, one after another, and take all at every member; it is kept as captures.

    Args:
        stand: Where.
        record: The evidence.
        batches: Who sends what; the batches have one marker in common.
        step: A word for the captures' names, where this is done several times.
        beside: Other devices of members, as members with names of their own, that send and take, too.
        due: What has to arrive: what comes late on a busy host has come.

    Returns:
        Sender and receiver -> what came of each frame of the sender's batch.
    """
    ends = {member.name: (member.host, member.device) for member in (*stand.members, *beside)}
    sends = [(*ends[name], batch.frames) for name, batch in batches.items()]
    marker = next(iter(batches.values())).marker
    folder = f"{stand.folder}-frames"
    taken = exchange(
        sends, ends, WINDOW_S, folder=folder, marker=marker, until=lambda found: arrived(batches, due, found)
    )
    for taker, captured in taken.items():
        record.capture(capture_name(taker, step), captured)
    return {
        (sender, taker): batch.came(taken[taker])
        for sender, batch in batches.items()
        for taker in ends
        if taker != sender
    }


def judge(
    record: Record, way: str, batch: Batch, wanted: Mapping[int, bytes], came: Sequence[list[bytes]], how: str
) -> list[str]:
    """Observe whether frames came as they should.

    Args:
        record: Where it is noted.
        way: From whom to whom: `vm1 to peer`.
        batch: What was sent.
        wanted: Number of a frame -> its bytes as they should arrive; others should not arrive at all.
        came: What came of each frame.
        how: How they should arrive, in words: `unchanged`.

    Returns:
        How each frame arrived, in a few words for a table.
    """
    cells, wrong = [], []
    for number, (name, got) in enumerate(zip(batch.names, came, strict=True)):
        fault = fate(wanted[number], got) if number in wanted else "arrives, and should not" if got else ""
        cells.append("as sent" if got == [batch.frames[number]] else " and ".join(map(tagging, got)) or "-")
        if fault:
            cells[-1] = f"WRONG: {cells[-1]}"
            wrong.append((name, fault, f"{name}: {opening(got[0])}" if got else f"{name}: nothing with its marker"))
    if wrong:
        name, fault, quote = wrong[0]
        told = f"{way}: {len(wrong)} of {len(batch.names)} frames do not arrive {how}: {name}: {fault}"
        record.observe(False, told, quote)
        return cells
    shown = max(wanted)
    told = f"{way}: {len(wanted)} of {len(wanted)} frames arrive {how}, every other byte the same"
    record.observe(True, told, f"{batch.names[shown]}: {opening(came[shown][0])}")
    return cells


def judge_and_draw(
    record: Record, way: str, batch: Batch, wanted: Mapping[int, bytes], came: Sequence[list[bytes]], how: str
) -> None:
    """The same, drawn as a table: what was sent, what should arrive, and what does."""
    cells = judge(record, way, batch, wanted, came, how)
    should = [tagging(wanted[number]) if number in wanted else "-" for number in range(len(cells))]
    record.draw(way, ["sent", "should arrive", "arrives"], list(zip(batch.names, should, cells, strict=True)))


@contextmanager
def in_vlans(member: Member, vlans: Sequence[int]) -> Iterator[list[Member]]:
    """A member has devices in VLANs, without which its NIC may filter those out before anybody sees them.

    Yields:
        Them, as members: `vm1.10` has the device nvq10. None where the member's kernel knows no VLANs; no driver has
        such a filter there.

    Raises:
        CommandError: They are refused.
    """
    names = {vlan: f"nvq{vlan}" for vlan in vlans}
    made = "".join(
        f"link add link {member.device} name {name} type vlan id {vlan}\nlink set dev {name} up\n"
        for vlan, name in names.items()
    )
    gone = "".join(f"link delete {name}\n" for name in names.values())
    done = member.host.run(["ip", "-batch", "-"], stdin=made, check=False)
    if "Unknown device type" in done.stderr:
        yield []
        return
    try:
        done.checked(member.host.name)
        yield [replace(member, name=f"{member.name}.{vlan}", device=name) for vlan, name in names.items()]
    finally:
        member.host.run(["ip", "-force", "-batch", "-"], stdin=gone, check=False)
