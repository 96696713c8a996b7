"""What a check can do to the switch of a stand, in the same words on every path; each lever is let go of at its end.

A lever that a path or this bench does not have raises NotPossibleError, and says why: the case is BLOCKED then. So does
one that the switch or its driver refuses, in the refusal's own words. One that is accepted is not therefore in force:
that is for the check to see.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from nvbench.errors import CommandError, CommandTimeoutError, DatapathError, LostConnectionError, NotPossibleError
from nvbench.journal import RunBack

if TYPE_CHECKING:
    from nvbench.stands.stand import Stand

LINK_PATIENCE_S = 20.0
"""A port takes some seconds to agree with its other end on a speed, and virtual functions to follow it."""


class Way(StrEnum):
    """A direction, as the member at a port sees it."""

    OUT = "out"
    """What the member sends."""

    IN = "in"
    """What it receives."""


class Levers:
    """What can be done to a switch: nothing, but for what a path's own levers override.

    Members are named; those that a lever does not name stay as they are.
    """

    path = ""

    def state(self) -> str:
        """What the switch is set up to do now, in its own tools' words: the same text again once all levers are let go.

        Counters, times and learned addresses are no part of it.
        """
        raise NotImplementedError

    def mtu(self, mtu: int) -> AbstractContextManager[None]:
        """All ports of the switch carry IP packets of so many bytes; the members' own devices are not touched."""
        raise self._lacking("its MTU cannot be set")

    def separated(self, *members: str) -> AbstractContextManager[None]:
        """These members are a tenant of their own: a bridge, or VLANs, that nobody else is on."""
        raise self._lacking("members cannot be kept apart")

    def access(self, vlans: Mapping[str, int]) -> AbstractContextManager[None]:
        """These members' ports are access ports: what they send is in that VLAN, what they get comes without a tag."""
        raise self._lacking("ports cannot be put into VLANs")

    def tunnelled(self, vlan: int, *members: str, tpid: int = 0x88A8) -> AbstractContextManager[None]:
        """These members' ports are ends of a service VLAN: what they send, tagged or not, gets that tag on top.

        The other members' ports carry it with the tag.
        """
        raise self._lacking("ports cannot be ends of a service VLAN")

    def translated(self, member: str, inside: int, outside: int) -> AbstractContextManager[None]:
        """At this member's port the VLAN `inside` becomes `outside` on the way in, and the other way round back."""
        raise self._lacking("VLANs cannot be translated")

    def limited(self, member: str, way: Way, bps: int, burst_bytes: int) -> AbstractContextManager[None]:
        """So many bits a second of what this member sends or receives pass, and a burst of so many bytes."""
        raise self._lacking("rates cannot be limited")

    def snooping(self) -> AbstractContextManager[None]:
        """Multicast goes only where somebody has joined the group; it goes everywhere without."""
        raise self._lacking("multicast cannot be snooped")

    def snooped(self, group: str) -> bool:
        """Whether the switch has heard that somebody has joined a multicast group."""
        raise self._lacking("multicast cannot be snooped")

    def port_down(self, member: str) -> AbstractContextManager[None]:
        """The switch's end of this member's link is down.

        At the end links are waited for; that one stays down is for the check to see.
        """
        raise self._lacking("its end of a link cannot be taken down")

    def uplink_down(self) -> AbstractContextManager[None]:
        """The physical port behind the members is down; at the end as with `port_down`."""
        raise self._lacking("there is no physical port behind it")

    def trusted(self, *members: str) -> AbstractContextManager[None]:
        """These members may have what is not for them alone."""
        raise self._lacking("it knows no trust")

    def _lacking(self, what: str) -> NotPossibleError:
        return NotPossibleError(f"{self.path}: {what}")


@contextmanager
def refusals(path: str) -> Iterator[None]:
    """A command that fails within is a refusal by the switch or its driver; one that hangs is none.

    Raises:
        NotPossibleError: In place of a CommandError, in its words.
    """
    try:
        yield
    except (LostConnectionError, CommandTimeoutError):
        raise
    except CommandError as error:
        raise NotPossibleError(f"{path}: {error.what}") from error


@dataclass(frozen=True, slots=True)
class Step:
    """A change to the switch's host.

    Attributes:
        do: The command that makes it.
        backs: Those that take it back, in turn; they bear being run when it has not been made, or twice.
        needs: A path without which there is nothing to take back any more, such as that of the device.
    """

    do: Sequence[str]
    backs: Sequence[Sequence[str]] = ()
    needs: str = ""


def new_device(name: str, kind: str, *options: str) -> list[Step]:
    """A device of our own, up; it is looked for before it is deleted, for it may have gone already."""
    find = ["find", "/sys/class/net", "-maxdepth", "1", "-name", name]
    made = ["ip", "link", "add", name, "type", kind, *options]
    back = [*find, "-exec", "ip", "link", "delete", name, ";"]
    return [Step(made, [back]), Step(["ip", "link", "set", "dev", name, "up"])]


@contextmanager
def changed(stand: Stand, steps: Iterable[Step] = (), *, tried: bool = False) -> Iterator[None]:
    """Steps are made, and taken back at the end with whatever else was written into the journal meanwhile.

    How is written down before each, for whoever cleans up after a kill.

    Args:
        stand: Where.
        steps: What is changed, in turn.
        tried: Whether each is taken back before it is made, too: a driver that refuses what is so already would
            refuse it at the end.

    Raises:
        NotPossibleError: A step is refused, or could not be taken back.
        DatapathError: One is not taken back.
    """
    place, journal = stand.place, stand.journal
    inside = ("ip", "netns", "exec", place.namespace) if place.namespace else ()
    mark = journal.mark()
    try:
        with refusals(stand.path):
            for step in steps:
                if tried:
                    _try(stand, step)
                needs = f"/run/netns/{place.namespace}" if place.namespace else step.needs
                for back in reversed(step.backs):
                    journal.record(place.host, RunBack((*inside, *back), needs=needs))
                stand.host.run(step.do)
        yield
    finally:
        if faults := journal.undo_since(mark):
            raise DatapathError("; ".join(faults), place=stand.path)


def _try(stand: Stand, step: Step) -> None:
    for back in step.backs:
        done = stand.host.run(back, check=False)
        if not done.ok:
            why = (done.stderr.strip() or "no reason told").splitlines()[-1]
            what = f"{shlex.join(back)}, which is so already, is refused ({why})"
            raise NotPossibleError(f"{stand.path}: {what}: {shlex.join(step.do)} could not be taken back")
