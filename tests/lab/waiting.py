"""Waiting for what comes sooner or later: on a busy host later."""

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

from nvbench.trial import Trial

Found = TypeVar("Found")

ATTEMPTS = 5
PATIENCE_S = 30.0
"""Far above what anything takes that comes at all."""


def wait_until(holds: Callable[[], Found], patience_s: float = PATIENCE_S) -> Found:
    """What it returns once that is something; fails where it stays nothing for so long."""
    deadline = time.monotonic() + patience_s
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {patience_s:g} s"
        time.sleep(0.02)
    return found


def until(right: Callable[[Trial], bool], measure: Callable[[], Trial]) -> Trial:
    """The first of some trials that is right; fails where a machine cannot have been that busy all the time."""
    trials: list[Trial] = []
    while len(trials) < ATTEMPTS:
        trials.append(measure())
        if right(trials[-1]):
            return trials[-1]
    return pytest.fail(str(trials))
