"""How differences, factors and shares are said."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nvbench.metrics import number

ON, OFF = "on", "off"
SWITCHES = {
    "tso": "TSO",
    "gso": "GSO",
    "gro": "GRO",
    "sg": "scatter-gather",
    "tx_checksum": "checksum offload",
    "rx_checksum": "receive checksum offload",
    "userspace_tso": "userspace TSO",
}
SOME = 3


def told(name: str, value: str) -> str:
    """A setting in words; a switch that is on is told by its name alone."""
    plain = name.rpartition(".")[2]
    word = SWITCHES.get(plain, plain.replace("_", " "))
    return word if value == ON else f"{word} {value}"


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def some(words: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = len(words) - SOME
    return ", ".join(words[:SOME]) + (f" and {more} more" if more > 0 else "")


def times(factor: float, low: float = math.inf, high: float = math.inf) -> str:
    """A factor, and its interval where it has one: `3.8x (3.6-4.0)`."""
    digits = 3 if 0.8 < factor < 1.25 else 2
    interval = f" ({number(low, digits)}-{number(high, digits)})" if math.isfinite(high) else ""
    return f"{number(factor, digits)}x{interval}"


def percent(share: float, low: float = math.inf, high: float = math.inf) -> str:
    """A share, and its interval where it has one: `41 % (35-47)`."""
    if not math.isfinite(share):
        return "-"
    dash = " to " if low < 0 else "-"
    interval = f" ({round(low * 100)}{dash}{round(high * 100)})" if math.isfinite(high) and low < high else ""
    return f"{round(share * 100)} %{interval}"
