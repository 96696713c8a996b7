"""Do guests see when the link of their port, or of the physical port behind it, goes and comes back?"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from nvbench.errors import NotPossibleError
from nvbench.stands import BRIDGE, GUESTS, OVS, PEER, SRIOV, Check, Member, Record, Stand
from nvbench.stands.reach import SILENT_S, ping
from nvbench.stands.watch import Watch

PATIENCE_S = 8.0
"""Drivers of virtual functions look at their port every two seconds, and a busy guest tells of it some later."""

RECOVERY_S = 20.0
"""A port takes some seconds to agree with its other end on a speed."""

PASSES_S = 10.0
"""In this time frames pass again where all links are up."""

ONE, OTHER = GUESTS
LINKS = "links.txt"


@dataclass
class _Look:
    """The check at work.

    Attributes:
        stand: Where.
        record: The evidence.
        watch: Sees the links.
        rows: Of the table.
        refused: Why levers cannot be used.
    """

    stand: Stand
    record: Record
    watch: Watch
    rows: list[list[str]] = field(default_factory=list)
    refused: list[NotPossibleError] = field(default_factory=list)

    def pull(self, what: str, lever: Callable[[], AbstractContextManager[None]], follow: set[str]) -> None:
        """Take a link down and up again; say what each member saw of it.

        Args:
            what: Which: `the physical port`.
            lever: Takes it down while it is entered.
            follow: The members whose own links should follow.
        """
        names = [member.name for member in self.watch.members]
        expected = [name for name in names if name in follow]
        try:
            target = self.stand.member(OTHER if what.startswith(ONE) or self.stand.path == SRIOV else PEER)
            self._see_that_it_passes(what, target)
            pulled = time.monotonic()
            with lever():
                self.watch.wait(expected, up=False, patience_s=PATIENCE_S)
                self._judge(f"{what} down", expected, pulled, up=False)
                self._see_what_passes(what, target)
                down = [name for name in names if not self.watch.last(name).up]
                released = time.monotonic()
        except NotPossibleError as refusal:
            self.refused.append(refusal)
            self.record.advise(f"{what} cannot be taken down here: {refusal.what}")
            self.rows.append([f"{what} down", *("refused" for _ in names)])
            return
        self.watch.wait(names, up=True, patience_s=max(1.0, released + RECOVERY_S - time.monotonic()))
        self._judge(f"{what} up again", down, released, up=True)

    def _judge(self, event: str, expected: list[str], since: float, *, up: bool) -> None:
        """Whether those links are so now that should be, and no others have changed."""
        row = [event]
        for member in self.watch.members:
            change, now = self.watch.turned(member.name, up, since), self.watch.last(member.name)
            state = "up" if now.up else "down"
            after = f" after {(change.at - since) * 1000:.0f} ms" if change and now.up == up else ""
            row.append(state + after)
            if member.name not in expected and now.up:
                continue
            wanted = up if member.name in expected else True
            told = f"{event}: {member.name} sees its link {state}{after}"
            told += "" if now.up == wanted else f", expected {'up' if wanted else 'down'} within {self._patience(up)}"
            self.record.observe(now.up == wanted, told, (change or now).line, file=LINKS)
        self.rows.append(row)

    @staticmethod
    def _patience(up: bool) -> str:
        return f"{RECOVERY_S if up else PATIENCE_S:g} s"

    def _see_that_it_passes(self, what: str, target: Member) -> None:
        """Without it that nothing passes later would mean nothing."""
        sender, deadline = self.stand.member(ONE).host, time.monotonic() + PASSES_S
        while not (found := ping(sender, target.address)).received and time.monotonic() < deadline:
            time.sleep(0.1)
        if not found.received:
            self.record.observe(False, f"before {what} is down: {ONE} does not reach {target.name}", found.line)

    def _see_what_passes(self, what: str, target: Member) -> None:
        """Whether the lever is in force: what nobody is told of may still be so."""
        found = ping(self.stand.member(ONE).host, target.address, patience_s=SILENT_S)
        told = f"{what} down: {found.received} of {found.sent} pings of {ONE} to {target.name} answered, expected 0"
        self.record.observe(found.silent, told, found.line)


def act(stand: Stand, record: Record) -> None:
    """Take down what is behind all, and then one port; wait for each to come back."""
    levers = stand.levers
    with Watch(stand.members) as watch:
        look = _Look(stand, record, watch)
        try:
            look.rows.append(["at first", *("up" if watch.last(each.name).up else "down" for each in watch.members)])
            at_first = [each.name for each in watch.members if not watch.last(each.name).up]
            record.observe(not at_first, f"at first: {'no link at ' + ', '.join(at_first) if at_first else 'all up'}")
            behind = set(GUESTS) if stand.path == SRIOV else {PEER}
            look.pull("physical port", levers.uplink_down, behind)
            look.pull(f"{ONE}'s port", lambda: levers.port_down(ONE), {ONE})
        finally:
            record.keep(LINKS, watch.timeline())
            columns = ["", *(member.name for member in watch.members)]
            record.draw("Links as their owners see them (ms from the command on)", columns, look.rows)
    if len(look.refused) == 2:
        raise look.refused[0]


LINK_STATE = Check(
    name="link_state",
    title="guests see the link of their port go and come back",
    cases={BRIDGE: "", OVS: "", SRIOV: "5.4.2.1"},
    act=act,
    tags=("link", "basic"),
    limit_s=90.0,
)
