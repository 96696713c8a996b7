"""Waiting for what comes sooner or later: on a busy host later."""

import time
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")

PATIENCE_S = 30.0
"""Far above what anything takes that comes at all."""


def wait_until(holds: Callable[[], Found], patience_s: float = PATIENCE_S) -> Found:
    """What it returns once that is something; fails where it stays nothing for so long."""
    deadline = time.monotonic() + patience_s
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {patience_s:g} s"
        time.sleep(0.02)
    return found
