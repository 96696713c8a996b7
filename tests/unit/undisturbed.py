"""Measurements on a machine that does other things, too."""

from collections.abc import Callable
from typing import TypeVar

Measured = TypeVar("Measured")

ATTEMPTS = 6


def undisturbed(measure: Callable[[], Measured], right: Callable[[Measured], bool]) -> bool:
    """Whether one of some measurements is right: others may have had to wait for a core."""
    return any(right(measure()) for _ in range(ATTEMPTS))
