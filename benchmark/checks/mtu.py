"""To the byte, what is the largest frame that the switch carries, untagged and with a tag?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from nvbench.errors import NotPossibleError
from nvbench.stands import BRIDGE, OVS, PEER, SRIOV, Check, Member, Record, Stand
from nvbench.stands.frames import Batch, fate, tag, udp
from nvbench.stands.levers import LINK_PATIENCE_S
from nvbench.stands.passage import capture_name, in_vlans, passed
from nvbench.stands.reach import HEADER_BYTES, SILENT_S, ping
from nvbench.units import ETHERNET_BYTES, FCS_BYTES, VLAN_TAG_BYTES

MTUS = (1500, 4000, 9000)
NEEDED = 4000
"""A path that does not take this much is not looked at."""

BEYOND = (0, 1, 4, 5, 8, 9, 40)
"""By how many bytes frames are larger than the MTU allows."""

MOST_BEYOND = 2 * VLAN_TAG_BYTES
"""A switch may leave room for tags, and not look whether there are any."""

ROOM = 64
"""The members' own devices carry so much more than the switch, so that it is the switch that is seen."""

ANSWERED_S = 3.0
"""How long is waited for an answer that should come."""

VLAN = 10
WAYS = (("vm1", "vm2"), ("vm2", "vm1"), ("vm1", PEER), (PEER, "vm1"))
COLUMNS = ("MTU", "from", "to", "tags", "allowed", "largest that arrives", "smallest that does not")


def act(stand: Stand, record: Record) -> None:
    """Each MTU in turn: of the switch first, then of the members, whose pings and exact frames go both ways."""
    rows: list[tuple[object, ...]] = []
    with ExitStack() as stack:
        for member in stand.members:
            stack.enter_context(in_vlans(member, [VLAN]))
        stack.enter_context(_as_found(stand.members))
        for carried, mtus in _steps(stand):
            try:
                with stand.levers.mtu(carried):
                    for mtu in mtus:
                        _set(stand.members, mtu)
                        _ping(stand, record, mtu)
                        if mtu == mtus[-1]:  # a NIC takes seconds for each change of a device's MTU
                            rows += _boundaries(stand, record, mtu)
            except NotPossibleError as error:
                if carried == mtus[0] > NEEDED:
                    record.advise(f"MTU {carried} is not looked at: {error.what}")
                    continue
                raise
    record.draw("Frames to the byte, without FCS", COLUMNS, rows)


def _steps(stand: Stand) -> list[tuple[int, tuple[int, ...]]]:
    """MTUs of the switch, and those of the members with each: a NIC's switch carries what its physical port does."""
    return [(MTUS[-1], MTUS)] if _at_its_ends(stand) else [(mtu, (mtu,)) for mtu in MTUS]


def _at_its_ends(stand: Stand) -> bool:
    """Whether the switch has no MTU between its ports: the members' own devices are its ends then."""
    return stand.path == SRIOV


def _ping(stand: Stand, record: Record, mtu: int) -> None:
    """What fits goes whole; one byte more does not, for nobody may cut it into pieces."""
    one = stand.member("vm1")
    for other in (stand.member("vm2"), stand.member(PEER)):
        for more, patience_s in ((0, ANSWERED_S), (1, SILENT_S))[: 1 if other.name == PEER else 2]:  # refused at once
            found = ping(one.host, other.address, count=1, patience_s=patience_s, packet_bytes=mtu + more)
            size, fits = mtu + more - HEADER_BYTES, not more
            holds = found.holds if fits else found.silent
            told = f"MTU {mtu}, {one.name} to {other.name}: ping -M do -s {size} ({size} + {HEADER_BYTES} bytes)"
            seen = "passes" if found.received else "does not pass"
            record.observe(holds, f"{told} {seen}" + ("" if holds else f", and should{_not(fits)}"), found.line)


def _not(fits: bool) -> str:
    return "" if fits else " not"


def _boundaries(stand: Stand, record: Record, mtu: int) -> list[tuple[object, ...]]:
    """Frames of exactly what the MTU allows, and of more, both ways at once."""
    at_ends = _at_its_ends(stand)
    wide = _set([stand.member(WAYS[0][0])] if at_ends else stand.members, mtu + ROOM, needed=False)
    batches: dict[str, Batch] = {}
    due: dict[tuple[str, str], list[int]] = {way: [] for way in WAYS}
    for sender, receiver in WAYS:
        batch = batches.setdefault(sender, Batch(next(iter(batches.values()), None)))
        one, other = stand.member(sender), stand.member(receiver)
        for own in ((), (tag(VLAN),)):
            for more in BEYOND if sender in wide else BEYOND[:1]:
                size = mtu + ETHERNET_BYTES + VLAN_TAG_BYTES * len(own) + more
                due[sender, receiver] += [] if more else [len(batch.frames)]
                batch.add(f"{receiver} {len(own)} {size}", other.mac, one.mac, udp(one, other.address), *own, size=size)
    came = passed(stand, record, batches, f"mtu-{mtu}", due=due)
    rows: list[tuple[object, ...]] = []
    for sender, receiver in WAYS:
        found: dict[int, dict[int, bool]] = {0: {}, 1: {}}
        for name, frame, got in zip(batches[sender].names, batches[sender].frames, came[sender, receiver], strict=True):
            target, tags, length = name.split()
            if target == receiver:
                found[int(tags)][int(length)] = not fate(frame, got)
        for number, arrived in found.items():
            holds, told, largest, smallest = boundary(mtu, number, arrived, at_ends=at_ends)
            way = f"MTU {mtu}, {sender} to {receiver}"
            quote = f"arrive: {_listed(arrived, True)}; do not: {_listed(arrived, False)}"
            record.observe(holds, f"{way}: {told}", quote, file=capture_name(receiver, f"mtu-{mtu}"))
            allowed = mtu + ETHERNET_BYTES + VLAN_TAG_BYTES * number
            rows.append((mtu, sender, receiver, number, allowed, largest or "none", smallest or "not tried"))
    return rows


def boundary(mtu: int, tags: int, arrived: Mapping[int, bool], *, at_ends: bool = False) -> tuple[bool, str, int, int]:
    """What is seen of a switch's MTU in one direction.

    Args:
        mtu: Bytes of an IP packet that it is meant to carry.
        tags: VLAN tags of the frames.
        arrived: Bytes of a frame without FCS -> whether it arrived whole, once.
        at_ends: Whether only the receiver's own device has an MTU, which many take for what they send alone.

    Returns:
        Whether that is as it should be, what is seen, the largest frame that arrived, and the smallest beyond it that
        did not; 0 where there is none.
    """
    allowed = mtu + ETHERNET_BYTES + VLAN_TAG_BYTES * tags
    tagged = f" + {VLAN_TAG_BYTES} tag" if tags else ""
    arithmetic = (
        f"{allowed + FCS_BYTES} bytes on the wire = {mtu} MTU + {ETHERNET_BYTES} Ethernet{tagged} + {FCS_BYTES} FCS"
    )
    what = f"a frame of {allowed} bytes without FCS ({arithmetic})"
    largest = max((size for size, came in arrived.items() if came), default=0)
    smallest = min((size for size, came in arrived.items() if not came and size > largest), default=0)
    if not arrived[allowed]:
        return False, f"{what} does not arrive", largest, smallest
    if largest > allowed + MOST_BEYOND:
        beyond = f"{what} arrives, but so does one {largest - allowed} bytes larger"
        if at_ends:
            return True, f"{beyond}: the receiver's own device takes more than it may send", largest, smallest
        return False, beyond + ("" if smallest else ": nothing ends at the MTU"), largest, smallest
    if not smallest:
        return True, f"{what} arrives; the sender's own device sends none larger", largest, smallest
    beyond = f", and so do {largest - allowed} bytes more, room for tags" if largest > allowed else ""
    return True, f"{what} arrives{beyond}; {smallest} bytes do not", largest, smallest


def _listed(arrived: Mapping[int, bool], came: bool) -> str:
    return " ".join(str(size) for size, each in arrived.items() if each is came) or "none"


@contextmanager
def _as_found(members: Sequence[Member]) -> Iterator[None]:
    """The members' own devices get back their MTU."""
    with ExitStack() as stack:
        for member in members:
            found = (member.host.read(f"/sys/class/net/{member.device}/mtu") or "1500").strip()
            stack.callback(member.host.run, ["ip", "link", "set", "dev", member.device, "mtu", found])
        yield


def _set(members: Sequence[Member], mtu: int, *, needed: bool = True) -> set[str]:
    """The members' own devices get an MTU, and have their links, for some drivers restart a port for that.

    Returns:
        Who took it.

    Raises:
        NotPossibleError: One did not, and it was needed.
    """
    taken = set()
    for member in members:
        done = member.host.run(["ip", "link", "set", "dev", member.device, "mtu", str(mtu)], check=False)
        if done.ok:
            taken.add(member.name)
        elif needed:
            told = (done.stderr.strip() or "refused").splitlines()[-1]
            raise NotPossibleError(f"{member.device} of {member.name} takes no MTU of {mtu}: {told}")
    deadline = time.monotonic() + LINK_PATIENCE_S
    while not all(map(_has_link, members)) and time.monotonic() < deadline:  # what is lost then is seen
        time.sleep(0.1)
    return taken


def _has_link(member: Member) -> bool:
    return (member.host.read(f"/sys/class/net/{member.device}/carrier") or "").strip() == "1"


MTU = Check(
    name="mtu",
    title="frames up to the MTU pass, to the byte; larger ones do not",
    cases={BRIDGE: "", OVS: "5.4.6.1", SRIOV: "5.4.6.2"},
    act=act,
    tags=("basic", "frames"),
    limit_s=120.0,
)
