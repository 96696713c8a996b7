"""What a test needs of a generator beside sending frames as fast as it can and counting them."""

from __future__ import annotations

from enum import StrEnum


class Ability(StrEnum):
    """Something that some generators can do; the text completes "it cannot"."""

    PACED = "offer a set load"
    BURSTS = "send a burst of a set number of frames"
    STEPS = "change the load without a pause"
    TIMELINE = "tell when frames were lost"
    LATENCY = "measure latency"
    ADDRESSES = "send from many MAC addresses"
