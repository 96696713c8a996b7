"""What both ways to handle exact frames on a host have in common."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

from nvbench.errors import GeneratorError

START_S = 30.0
"""Within this a program starts, also on a busy host behind a slow line."""

MOST_FRAMES = 20_000
"""So many of a device are held in memory."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A frame that came in.

    Attributes:
        at_s: When: Unix time on the host that took it.
        frame: Its bytes, with all VLAN tags, without FCS.
    """

    at_s: float
    frame: bytes


class Taker(Protocol):
    """Who takes frames on a host's devices."""

    def ready(self) -> None:
        """Return once whatever comes is taken."""

    def look(self, deadline: float) -> dict[str, list[Captured]]:
        """What has come to each device until then, by time.monotonic()."""

    def taken(self) -> dict[str, list[Captured]]:
        """All that came to each device; no more is taken."""


class End(Protocol):
    """A way to handle frames on a host."""

    def take(self, devices: Sequence[str], marker: bytes, stack: ExitStack) -> Taker:
        """Begin to take those that hold the marker; it ends with the stack."""

    def send(self, device: str, frames: Sequence[bytes]) -> None:
        """Put frames on a device.

        Raises:
            GeneratorError: It does not take one; says which and why.
        """


def too_many(device: str, place: str) -> GeneratorError:
    """More came than is held."""
    what = f"more than {MOST_FRAMES} frames came to {device}"
    return GeneratorError(what, place=place, remedy="end what else sends there")
