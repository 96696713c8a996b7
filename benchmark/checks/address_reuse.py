"""Can two tenants of a switch have the same MAC and IP addresses?"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nvbench.errors import NotPossibleError
from nvbench.stands import BRIDGE, OVS, PEER, SRIOV, Check, Member, Record, Stand
from nvbench.stands.frames import BROADCAST, Batch, opening, udp
from nvbench.stands.passage import capture_name, passed
from nvbench.stands.reach import SILENT_S, ping

ONE, OTHER = "vm1", "vm2"
"""The tenants: vm1, to which the peer belongs, and vm2, which has the peer's addresses."""

CONTROL, REUSED = "apart", "reused"


def act(stand: Stand, record: Record) -> None:
    """While vm2 has the peer's addresses, what vm1 sends there arrives at the peer as before, and only there."""
    one, other, peer = (stand.member(name) for name in (ONE, OTHER, PEER))
    with stand.levers.separated(OTHER):
        _sent(stand, record, CONTROL)
        with _twin(other, peer):
            _sent(stand, record, REUSED)
            found = ping(other.host, one.address, patience_s=SILENT_S, source=peer.address)
    own = ping(peer.host, one.address)  # with which it also takes back its address from who has used it
    told = f"{ONE} answers {own.received} of {own.sent} pings of the peer itself afterwards, expected all"
    record.observe(own.holds, told, own.line)
    told = f"{ONE} answers {found.received} of {found.sent} pings of {OTHER} from the peer's addresses, expected 0"
    record.observe(found.silent, told, found.line)


def _sent(stand: Stand, record: Record, step: str) -> None:
    """vm2 makes itself heard, then vm1 sends to the peer, which answers nothing."""
    one, other, peer = (stand.member(name) for name in (ONE, OTHER, PEER))
    reused = step == REUSED
    heard, batch = (made := Batch()), Batch(made)
    heard.add(
        "broadcast", BROADCAST, (peer if reused else other).mac, udp(peer if reused else other, "255.255.255.255")
    )
    batch.add("unicast", peer.mac, one.mac, udp(one, peer.address))
    arrived = passed(stand, record, {OTHER: heard, ONE: batch}, step, due={(ONE, PEER): [0]})
    (right,), (astray,), (leaked,) = arrived[ONE, PEER], arrived[ONE, OTHER], arrived[OTHER, ONE]
    when = f"while {OTHER} has the same" if reused else f"while {OTHER} has its own"
    told = f"a frame of {ONE} to the peer's addresses arrives there {len(right)} times {when}, expected once"
    quote = opening(right[0]) if right else f"nothing marked {batch.marker.hex()} in {capture_name(PEER, step)}"
    record.observe(len(right) == 1, told, quote, file=capture_name(PEER, step))
    for name, taker, frames in ((ONE, OTHER, astray), (OTHER, ONE, leaked)):
        told = f"{len(frames)} frames of {name} arrive at {taker} {when}, expected 0"
        record.observe(not frames, told, opening(frames[0]) if frames else "", file=capture_name(taker, step))


@contextmanager
def _twin(member: Member, peer: Member) -> Iterator[None]:
    """A member has the addresses of another one.

    Raises:
        NotPossibleError: Its NIC lets it have no other MAC address.
    """
    device, address = member.device, f"{peer.address}/24"
    done = member.host.run(["ip", "link", "set", "dev", device, "address", peer.mac], check=False)
    if not done.ok:
        raise NotPossibleError(f"{member.name} may not have another MAC address: {done.stderr.strip()}")
    try:
        member.host.run(["ip", "address", "add", address, "dev", device])
        yield
    finally:
        member.host.run(["ip", "address", "delete", address, "dev", device], check=False)
        member.host.run(["ip", "link", "set", "dev", device, "address", member.mac])


ADDRESS_REUSE = Check(
    name="address_reuse",
    title="two tenants have the same MAC and IP addresses",
    cases={BRIDGE: "", OVS: "", SRIOV: ""},
    act=act,
    tags=("tenants", "frames", "ping"),
)
