"""What a check can do to the switch of a stand, in the same words on every path; each lever is let go of at its end.

A lever that a path or this bench does not have raises NotPossibleError, and says why: the case is BLOCKED then. So does
one that the switch or its driver refuses, in the refusal's own words. One that is accepted is not therefore in force:
that is for the check to see.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum

from nvbench.errors import CommandError, LostConnectionError, NotPossibleError


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

    def port_down(self, member: str) -> AbstractContextManager[None]:
        """The switch's end of this member's link is down."""
        raise self._lacking("its end of a link cannot be taken down")

    def uplink_down(self) -> AbstractContextManager[None]:
        """The physical port behind the members is down."""
        raise self._lacking("there is no physical port behind it")

    def _lacking(self, what: str) -> NotPossibleError:
        return NotPossibleError(f"{self.path}: {what}")


@contextmanager
def refusals(path: str) -> Iterator[None]:
    """A command that fails within is a refusal by the switch or its driver.

    Raises:
        NotPossibleError: In place of a CommandError, in its words.
    """
    try:
        yield
    except LostConnectionError:
        raise
    except CommandError as error:
        raise NotPossibleError(f"{path}: {error.what}") from error
