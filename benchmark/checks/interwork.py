"""Do guests on virtual functions reach a host behind a software switch that has the same physical port?"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from nvbench.cabling import make_namespace, make_veth, uses
from nvbench.errors import NotPossibleError
from nvbench.hosts import NamespaceHost
from nvbench.hosts.namespace import DEVICES
from nvbench.stands import GUESTS, PEER, SRIOV, Check, Member, Record, Stand
from nvbench.stands.frames import BROADCAST, Batch, opening, udp
from nvbench.stands.levers import Step, changed, new_device, refusals
from nvbench.stands.passage import capture_name, passed
from nvbench.stands.reach import Pinged, Voice, among, draw, reach
from nvbench.stands.record import WitnessedHost

BEHIND, PORT = "behind", "port"
"""The host behind the switch, and the physical function as the switch sees it."""

ADDRESS, MAC = "10.99.0.100", "52:54:00:99:00:64"
_BRIDGE, _NEAR, _FAR = "nvbr1", "nvbh", "eth0"
GUEST = GUESTS[0]
Arrivals = Mapping[tuple[str, str], Sequence[Sequence[bytes]]]
"""Sender and receiver -> what came of each frame of the sender's batch."""


def act(stand: Stand, record: Record) -> None:
    """Put the physical function on a bridge, have all ping each other, and look where frames go; then help the NIC."""
    with behind(stand, record) as host:
        voices = [Voice(member.name, member.host, member.address) for member in (*stand.members, host)]
        pairs = among(voices)
        found = reach(record, pairs, "as-it-comes")
        draw(record, "Who reaches whom, the physical function on a bridge", voices, found)
        _judge_pings(record, found)
        _followed(stand, record, host)
        if all(pinged.holds for pinged in found.values()):
            return
        try:
            with _announced(stand, host):
                found = reach(record, pairs, "announced")
        except NotPossibleError as refusal:
            record.advise(f"the NIC cannot be told of an address behind the bridge: {refusal.what}")
            return
        told = " and ".join(shlex.join(words) for words in _fdb(stand, host))
        draw(record, f"The same once NIC and bridge know where the host is: {told}", voices, found)
        answered = sum(pinged.holds for pinged in found.values())
        record.advise(f"with {told} for each host behind the bridge {answered} of {len(found)} pairs reach each other")


@contextmanager
def behind(stand: Stand, record: Record) -> Iterator[Member]:
    """The physical function is a port of a kernel's bridge, as a namespace with a cable to it is.

    Raises:
        NotPossibleError: It is used otherwise, or there can be no bridge.
    """
    host, port = stand.host, stand.pf
    if used := uses(host, port):
        raise NotPossibleError(f"{port} is in use ({', '.join(used)}): it cannot be put on a bridge")
    near, own = (["ip", "link", "set", "dev", device] for device in (_NEAR, port))
    steps = [
        *new_device(_BRIDGE, "bridge", "stp_state", "0", "mcast_snooping", "0"),
        Step([*near, "master", _BRIDGE, "up"]),
        Step([*own, "master", _BRIDGE, "up"], [[*own, "nomaster"]], DEVICES + port),
    ]
    with changed(stand):
        with refusals(stand.path):
            inside = make_namespace(host, stand.journal, f"{stand.name}-{BEHIND}")
            make_veth(host, _NEAR, inside, _FAR)
        with changed(stand, steps):
            inside.run(["ip", "link", "set", "dev", _FAR, "address", MAC, "up"])
            inside.run(["ip", "address", "add", f"{ADDRESS}/24", "dev", _FAR])
            yield _member(stand, record, inside)


@contextmanager
def _announced(stand: Stand, host: Member) -> Iterator[None]:
    """The NIC knows the host's address as one of the physical function's own, and the bridge does not forget it."""
    steps = []
    for words in _fdb(stand, host):
        delete = [*words[:2], "delete", *words[3:]]
        steps.append(Step(words, [words, delete], DEVICES + words[5]))  # what is not there cannot be deleted
    with changed(stand, steps):
        yield


def _fdb(stand: Stand, host: Member) -> list[list[str]]:
    """What tells them; without `sticky` a frame that comes back to the port would move the host there again."""
    fdb = ["bridge", "fdb", "replace", host.mac, "dev"]
    return [[*fdb, stand.pf, "self"], [*fdb, host.port, "master", "static", "sticky"]]


def _member(stand: Stand, record: Record, inside: NamespaceHost) -> Member:
    host = WitnessedHost(inside, BEHIND)
    host.record = record
    return replace(stand.members[0], name=BEHIND, host=host, device=_FAR, mac=MAC, address=ADDRESS, port=_NEAR)


def _followed(stand: Stand, record: Record, host: Member) -> None:
    """Frames of a guest, the peer and the host to each other, and where each of them comes out."""
    port = replace(host, name=PORT, host=stand.host, device=stand.pf)
    ends = [member for member in (*stand.members, host) if member.name in (GUEST, PEER, BEHIND)]
    batches: dict[str, Batch] = {}
    for sender in ends:
        batch = batches[sender.name] = Batch(next(iter(batches.values()), None))
        for target in ends:
            if target is not sender:
                batch.add(f"{sender.name} to {target.name}", target.mac, sender.mac, udp(sender, target.address))
        batch.add(f"{sender.name} to all", BROADCAST, sender.mac, udp(sender, "255.255.255.255"))
    came = passed(stand, record, batches, beside=[port, host])
    takers = [*(member.name for member in stand.members), PORT, BEHIND]
    rows = []
    for source, batch in batches.items():
        for number, name in enumerate(batch.names):
            cells = ["-" if taker == source else _count(came[source, taker][number]) for taker in takers]
            rows.append([name, *cells])
    record.draw("Where a frame comes out", ["frame", *takers], rows)
    _judge_frames(record, batches, came)


def _count(frames: Sequence[bytes]) -> str:
    return {0: "", 1: "yes"}.get(len(frames), f"{len(frames)} times")


def _judge_pings(record: Record, found: Mapping[tuple[str, str], Pinged]) -> None:
    kinds = {
        "guests on virtual functions and the host behind the bridge": [*GUESTS],
        "the peer at the other end of the cable and the host behind the bridge": [PEER],
    }
    groups = {told: [pair for pair in found if BEHIND in pair and set(pair) & set(own)] for told, own in kinds.items()}
    groups["guests and the peer, with the bridge beside them"] = [pair for pair in found if BEHIND not in pair]
    for told, pairs in groups.items():
        missed = [pair for pair in pairs if not found[pair].holds]
        line = found[(missed or pairs)[0]].line
        first = f": {missed[0][0]} does not reach {missed[0][1]}" if missed else ""
        record.observe(
            not missed, f"{told}: {len(pairs) - len(missed)} of {len(pairs)} pairs reach each other{first}", line
        )


def _judge_frames(record: Record, batches: Mapping[str, Batch], came: Arrivals) -> None:
    """Whether the switch gets what goes to a host behind it."""
    for sender in (GUEST, PEER):
        name = f"{sender} to {BEHIND}"
        number = batches[sender].names.index(name)
        out = [taker for (source, taker), frames in came.items() if source == sender and frames[number]]
        told = f"a frame from {sender} to the host behind the bridge comes out at {' and '.join(out) or 'nobody'}"
        told += "" if PORT in out else f", expected at the {PORT}"
        record.observe(PORT in out, told, opening(batches[sender].frames[number]), file=capture_name(PORT))
    if came[BEHIND, PORT][batches[BEHIND].names.index(f"{BEHIND} to all")]:
        what = f"the NIC gives the {PORT}'s own broadcasts back to it"
        record.advise(f"{what}: the bridge then looks for the host behind it at the {PORT}")


INTERWORK = Check(
    name="interwork",
    title="guests on virtual functions reach a host behind a bridge on the same port",
    cases={SRIOV: "5.4.2.3"},
    act=act,
    tags=("ping", "frames"),
)
