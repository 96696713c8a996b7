"""Does a frame go to whom it is for, once: to all, to one, or, where nobody knows whose it is, to whom it may concern?

A bridge learns who is behind which port, and floods what is for an address that it has not learned (802.1D, 7.7). The
switch in a NIC does not learn: it is told the addresses of its functions, so that an unknown one can only be outside.
What a function sends there leaves by the wire, what comes from the wire for it reaches none of them.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from nvbench.generators.frames import Captured
from nvbench.stands import BRIDGE, OVS, PEER, SRIOV, Check, Member, Record, Stand
from nvbench.stands.frames import BROADCAST, Batch, fate, opening
from nvbench.stands.packets import unanswered
from nvbench.stands.passage import WINDOW_S, capture_name

Taken = Mapping[str, Sequence[Captured]]
"""Who takes -> what came there."""

EVERYBODY, UNKNOWN, KNOWN = "broadcast", "unknown unicast", "known unicast"
_LEARNED = "unicast to an address that has just been learned"


@dataclass(frozen=True)
class Sent:
    """A frame, and where it should arrive.

    Attributes:
        kind: What it is.
        sender: Who sent it.
        frame: Its bytes.
        wanted: Who should get it.
        came: Member -> its copies there.
    """

    kind: str
    sender: str
    frame: bytes
    wanted: frozenset[str]
    came: Mapping[str, Sequence[bytes]]

    @property
    def lacking(self) -> list[str]:
        """Who should have got it once as it was, and did not, in clauses."""
        faults = {name: fate(self.frame, self.came[name]) for name in sorted(self.wanted)}
        return [f"at {name} it {fault}" for name, fault in faults.items() if fault]

    @property
    def astray(self) -> list[str]:
        """Who else got it, but for its sender, in clauses."""
        others = sorted(self.came.keys() - self.wanted - {self.sender})
        return [f"it reaches {name}, which it is not for" for name in others if self.came[name]]

    @property
    def reflected(self) -> int:
        """How often its sender got it back."""
        return len(self.came[self.sender])


class _Lesson:
    """Frames that members send one after another, and what should come of each."""

    def __init__(self) -> None:
        self._first = Batch()
        self._batches: dict[str, Batch] = {}
        self._wanted: dict[str, list[tuple[str, frozenset[str]]]] = {}

    def add(self, kind: str, sender: str, target: str, source: str, wanted: Iterable[str]) -> None:
        """A frame from a member, between two MAC addresses."""
        batch = self._batches.setdefault(sender, Batch(self._first))
        batch.add(kind, target, source, unanswered)
        self._wanted.setdefault(sender, []).append((kind, frozenset(wanted)))

    def taught(self, stand: Stand, record: Record, step: str) -> list[Sent]:
        """Send them, in the order in which the senders were named first; all members take."""
        (first, batch), *others = self._batches.items()
        names = [member.name for member in stand.members]
        then = {name: each.frames for name, each in others}
        taken = stand.exchange(
            first, batch.frames, names, seconds=WINDOW_S, marker=batch.marker, then=then, until=self._arrived
        )
        for name, captured in taken.items():
            record.capture(capture_name(name, step), captured)
        return self._sent(taken)

    def _arrived(self, taken: Taken) -> bool:
        return all(each.came[name] for each in self._sent(taken) for name in each.wanted)

    def _sent(self, taken: Taken) -> list[Sent]:
        made: list[Sent] = []
        for sender, each in self._batches.items():
            came = {name: each.came(captured) for name, captured in taken.items()}
            for number, (kind, wanted) in enumerate(self._wanted[sender]):
                copies = {name: every[number] for name, every in came.items()}
                made.append(Sent(kind, sender, each.frames[number], wanted, copies))
        return made


def act(stand: Stand, record: Record) -> None:
    """Each sends to all, to nobody and to each; where the switch learns, also to an address before and after that."""
    learns, members, nobody = stand.path != SRIOV, stand.members, fresh_mac()
    first = _Lesson()
    then = _Lesson() if learns else first  # what does not learn needs no second lesson
    for one in members:
        first.add(EVERYBODY, one.name, BROADCAST, one.mac, {member.name for member in members} - {one.name})
        first.add(UNKNOWN, one.name, nobody, one.mac, unknown_reaches(stand, one))
        for other in members:
            if other is not one:
                then.add(KNOWN, one.name, other.mac, one.mac, {other.name})
    lessons = {"first": first, "learned": _moved(stand, first, then), "then": then} if learns else {"first": first}
    judge(record, [sent for step, lesson in lessons.items() for sent in lesson.taught(stand, record, step)])


def _moved(stand: Stand, before: _Lesson, after: _Lesson) -> _Lesson:
    """The switch learns an address that others have sent to, and will again; by then it has had time to act on it."""
    learned, moving, learner = _Lesson(), fresh_mac(), stand.member("vm2")
    for one in stand.members:
        others = {member.name for member in stand.members} - {one.name}
        before.add(UNKNOWN, one.name, moving, one.mac, others)
        if one is learner:
            learned.add(EVERYBODY, one.name, BROADCAST, moving, others)
        else:
            after.add(_LEARNED, one.name, moving, one.mac, {learner.name})
    return learned


def unknown_reaches(stand: Stand, sender: Member) -> set[str]:
    """Whom a frame should reach that is for an address nobody has; see the module."""
    if stand.path != SRIOV:
        return {member.name for member in stand.members} - {sender.name}
    return {member.name for member in stand.members if member.name == PEER} - {sender.name}


def judge(record: Record, sent: Sequence[Sent]) -> None:
    """Observe each kind of frame, and what came back to its sender; a table shows all."""
    for kind in dict.fromkeys(each.kind for each in sent):
        mine = [each for each in sent if each.kind == kind]
        wrong = next(((each, fault) for each in mine for fault in (*each.lacking, *each.astray)), None)
        if wrong is None:
            ways = "; ".join(dict.fromkeys(f"{each.sender} to {_named(each.wanted)}" for each in mine))
            told = f"{kind}: all {len(mine)} frames arrive once where they should, and nowhere else: {ways}"
            record.observe(True, told, f"{mine[0].sender} sent {opening(mine[0].frame)}")
            continue
        each, fault = wrong
        told = f"{kind} from {each.sender} should arrive once at {_named(each.wanted)}: {fault}"
        record.observe(False, told, f"{each.sender} sent {opening(each.frame)}; {_copies(each)}")
    back = [each for each in sent if each.reflected]
    if back:
        kinds = ", ".join(dict.fromkeys(f"{each.kind} of {each.sender}" for each in back))
        told = f"nothing should come back to its sender: {len(back)} of {len(sent)} frames do ({kinds})"
        record.observe(False, told, f"{back[0].sender} sent {opening(back[0].frame)}; {_copies(back[0])}")
        record.advise("a guest whose broadcasts come back takes its own address for a duplicate, and bridges loop")
    else:
        record.observe(True, f"of {len(sent)} frames none comes back to its sender", _copies(sent[0]))
    rows: dict[tuple[str, ...], None] = {}
    names = list(sent[0].came)
    for each in sent:
        right = not (each.lacking or each.astray or each.reflected)
        cells = [str(len(each.came[name])) for name in names]
        rows[each.kind, each.sender, _named(each.wanted), *cells, "yes" if right else "NO"] = None
    record.draw("Copies of each frame", ["frame", "from", "for", *(f"at {name}" for name in names), "right"], [*rows])


def fresh_mac() -> str:
    """A locally administered address that nobody has had before."""
    return bytes((0x52, 0x54, 0x00, *secrets.token_bytes(3))).hex(":")


def _named(names: Iterable[str]) -> str:
    return " and ".join(sorted(names)) or "nobody"


def _copies(each: Sent) -> str:
    counts = ", ".join(f"{name} {len(copies)}" for name, copies in each.came.items())
    return f"copies of a {each.kind} from {each.sender}: {counts}"


FLOODING = Check(
    name="flooding",
    title="broadcast and unknown unicast are flooded, known unicast goes to its owner, nothing comes back",
    cases={BRIDGE: "", OVS: "", SRIOV: ""},
    act=act,
    tags=("frames", "learning"),
)
