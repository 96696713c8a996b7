"""Does multicast reach all, and with snooping those who have joined? What do virtual functions get of it?

A switch that snoops sends a group where somebody has joined it, and what is for 224.0.0.x or is not IP everywhere
(RFC 4541, 2.1.2). A NIC's switch filters by MAC address, often by a hash of it: a function gets what its guest has
joined, perhaps more, and all there is once it is trusted and its guest asks for all (allmulticast).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from nvbench.datapaths.kernel_output import ethtool_readings, parse_links
from nvbench.stands import BRIDGE, GUESTS, OVS, PEER, SRIOV, Check, Member, Record, Stand
from nvbench.stands.frames import A_GROUP, ALL_HOSTS, ALL_NODES, Batch, Station, udp, udp6
from nvbench.stands.packets import group_mac, unanswered
from nvbench.stands.passage import all_due, judge, passed

SAME_MAC, ALONE = "224.0.0.2", "239.77.1.3"
"""A group of routers on this link, whose MAC address is that of A_GROUP, too; and one that nobody joins."""

NO_IP = "03:00:00:00:4e:56"
EVERYWHERE = (ALL_HOSTS, SAME_MAC, ALL_NODES, NO_IP)
"""Groups that a switch that snoops does not hold back."""

GROUPS = (ALL_HOSTS, A_GROUP, SAME_MAC, ALONE, ALL_NODES, NO_IP)
JOINER = "vm2"
SNOOPED = f"snooping and {A_GROUP} joined by {JOINER}"
COUNTED = 50
"""Frames by which a counter of multicast has to grow."""

COUNTED_S, REPORTED_S = 2.0, 3.0
"""In these times frames are counted, and the switch has heard who has joined a group."""

_MULTICAST, _SENT = re.compile("multicast|mcast"), re.compile(r"\btx")

Arrived = Mapping[tuple[str, str], list[list[bytes]]]
"""Sender and receiver -> what came of each frame of the sender's batch."""


def to_groups(source: Station, beside: Batch | None = None) -> Batch:
    """A frame to each group."""
    made = Batch(beside)
    for group in GROUPS:
        if group == NO_IP:
            made.add(f"{group}, no IP", group, source.mac, unanswered)
        else:
            packet = udp6(source, group) if ":" in group else udp(source, group)
            made.add(group, group_mac(group), source.mac, packet)
    return made


def act(stand: Stand, record: Record) -> None:
    """The peer and a guest send to groups; who gets what depends on who has joined."""
    # Functions alone: one would send to a group that it has joined itself.
    far, near = stand.member(PEER) if stand.path == SRIOV else stand.members[-1], stand.member("vm1")
    batches = {far.name: (batch := to_groups(far)), near.name: to_groups(near, batch)}
    steps = functions(stand, record, batches) if stand.path == SRIOV else switch(stand, record, batches)
    rows = [
        [group, *way, *("yes" if arrived[way][number] else "-" for arrived in steps.values())]
        for way in next(iter(steps.values()))
        for number, group in enumerate(GROUPS)
    ]
    record.draw("Who gets a group's frames", ["group", "from", "to", *steps], rows)


# -- switches that snoop ---------------------------------------------------------------------------------------


def switch(stand: Stand, record: Record, batches: Mapping[str, Batch]) -> dict[str, Arrived]:
    """Without snooping all groups go everywhere; with it, what somebody has joined goes there alone."""
    plain = passed(stand, record, batches, "plain", due=all_due(stand, batches))
    for (sender, taker), came in plain.items():
        batch = batches[sender]
        judge(record, f"{sender} to {taker}", batch, dict(enumerate(batch.frames)), came, "without snooping")
    with stand.levers.snooping(), joined(stand.member(JOINER)):
        deadline = time.monotonic() + REPORTED_S
        while not stand.levers.snooped(A_GROUP) and time.monotonic() < deadline:
            time.sleep(0.05)
        snooped = passed(stand, record, batches, "snooped")
    for (sender, taker), came in snooped.items():
        open_to = (*EVERYWHERE, A_GROUP) if taker == JOINER else EVERYWHERE
        wanted = {number: batches[sender].frames[number] for number, group in enumerate(GROUPS) if group in open_to}
        judge(record, f"{sender} to {taker}", batches[sender], wanted, came, f"as they should with {SNOOPED}")
    held_back = {group: _takers(snooped, group) for group in (A_GROUP, ALONE)}
    record.observe(
        held_back == {A_GROUP: [JOINER], ALONE: []},
        f"with {SNOOPED}, that should reach {JOINER} alone, and does reach {_named(held_back[A_GROUP])}; {ALONE}, "
        f"which nobody has joined, should reach nobody, and does reach {_named(held_back[ALONE])}; without snooping "
        f"they reach {_named(_takers(plain, A_GROUP))}",
        f"{A_GROUP}: {_quoted(snooped, A_GROUP)}",
    )
    return {"no snooping": plain, f"with {SNOOPED}": snooped}


@contextmanager
def joined(member: Member) -> Iterator[None]:
    """A member has joined A_GROUP, and its kernel has reported that (IGMP)."""
    words = [f"{A_GROUP}/32", "dev", member.device]
    member.host.run(["ip", "address", "add", *words, "autojoin"])
    try:
        yield
    finally:
        member.host.run(["ip", "address", "delete", *words])


def _takers(arrived: Arrived, group: str) -> list[str]:
    return sorted({taker for (_, taker), came in arrived.items() if came[GROUPS.index(group)]})


def _named(names: Sequence[str]) -> str:
    return " and ".join(names) or "nobody"


def _quoted(arrived: Arrived, group: str) -> str:
    counts = [f"{way[0]} to {way[1]} {len(came[GROUPS.index(group)])}" for way, came in arrived.items()]
    return "copies: " + ", ".join(counts)


# -- functions of a NIC ----------------------------------------------------------------------------------------


def functions(stand: Stand, record: Record, batches: Mapping[str, Batch]) -> dict[str, Arrived]:
    """What all hosts have joined arrives, and what a guest has joined; all of it once that is asked for."""
    guests = [stand.member(name) for name in GUESTS]
    far = dict([next(iter(batches.items()))])
    with joined(stand.member(JOINER)):
        asked = passed(stand, record, far, "joined")
        grown = counted(stand, [stand.member(JOINER)])
    takers = _takers(asked, ALL_HOSTS)
    told = f"{ALL_HOSTS}, which all hosts have joined, should reach {_named(GUESTS)}, and does reach {_named(takers)}"
    record.observe({*GUESTS} <= {*takers}, told, f"{ALL_HOSTS}: {_quoted(asked, ALL_HOSTS)}")
    takers = _takers(asked, A_GROUP)
    beside = f"{A_GROUP}, which {JOINER} has joined, should reach it, and does reach {_named(takers)}"
    record.observe(JOINER in takers, beside, f"{A_GROUP}: {_quoted(asked, A_GROUP)}")
    _judge_counters(record, grown, "has joined it")
    with stand.levers.trusted(*GUESTS), everything(guests):
        every = passed(stand, record, batches, "allmulticast")
        grown = counted(stand, guests)
    for (sender, taker), came in every.items():
        how = "with trust and allmulticast on" if taker in GUESTS else "outside"
        judge(record, f"{sender} to {taker}", batches[sender], dict(enumerate(batches[sender].frames)), came, how)
    _judge_counters(record, grown, "is trusted and has allmulticast on")
    if not {*GUESTS} <= {*_takers(every, A_GROUP)}:
        record.advise(
            f"the driver of the virtual functions does not ask for all multicast: a guest has to join each group "
            f"(with {A_GROUP} joined by {JOINER} it reaches {_named(takers)})"
        )
    return {f"{JOINER} has joined {A_GROUP}": asked, "nobody has, trust and allmulticast on": every}


def counted(stand: Stand, guests: Sequence[Member]) -> dict[str, tuple[str, int] | None]:
    """Which of each guest's counters of multicast grew most over frames to A_GROUP, and by how much."""
    far, batch = stand.members[-1], Batch()
    for number in range(COUNTED):
        batch.add(f"frame {number}", group_mac(A_GROUP), far.mac, udp(far, A_GROUP))
    before = {guest.name: _multicast(guest) for guest in guests}
    stand.exchange(far.name, batch.frames, ())
    deadline = time.monotonic() + COUNTED_S
    while True:
        most = {guest.name: most_grown(before[guest.name], _multicast(guest)) for guest in guests}
        late = any(each is not None and each[1] < COUNTED for each in most.values())
        if not late or time.monotonic() > deadline:
            return most
        time.sleep(0.1)


def _multicast(guest: Member) -> dict[str, int]:
    return multicast_counters(guest.host.run(["ethtool", "-S", guest.device], check=False).stdout)


def multicast_counters(told: str) -> dict[str, int]:
    """What `ethtool -S` counts of multicast that was received, under whatever name, of a queue or of all."""
    found = {each.metric: int(each.value) for each in ethtool_readings(told, "")}
    return {name: value for name, value in found.items() if _MULTICAST.search(name) and not _SENT.search(name)}


def most_grown(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[str, int] | None:
    """The counter that grew most, and by how much; a driver may have several, or none."""
    grown = ((name, value - before.get(name, 0)) for name, value in after.items())
    return max(grown, key=lambda each: each[1], default=None)


def _judge_counters(record: Record, grown: Mapping[str, tuple[str, int] | None], why: str) -> None:
    for name, most in grown.items():
        if most is None:
            record.advise(f"{name}: its driver has no counter of multicast that could be looked at (ethtool -S)")
            continue
        counter, count = most
        told = f"{name}, which {why}, counts {count} multicast frames while {COUNTED} to {A_GROUP} are sent"
        record.observe(count >= COUNTED, told, f"{name}: ethtool -S: {counter} +{count}")


@contextmanager
def everything(guests: Sequence[Member]) -> Iterator[None]:
    """The guests ask their devices for all multicast."""
    with ExitStack() as stack:
        for guest in guests:
            words = ["ip", "link", "set", "dev", guest.device, "allmulticast"]
            flags = guest.host.run(["ip", "-j", "link", "show", "dev", guest.device]).stdout
            before = "on" if "ALLMULTI" in parse_links(flags)[guest.device]["flags"] else "off"
            stack.callback(guest.host.run, [*words, before])
            guest.host.run([*words, "on"])
        yield


MULTICAST = Check(
    name="multicast",
    title="multicast reaches all, with snooping those who joined; trusted functions get all of it",
    cases={BRIDGE: "", OVS: "5.4.9.1", SRIOV: "5.4.9.2"},
    act=act,
    tags=("frames", "igmp"),
)
