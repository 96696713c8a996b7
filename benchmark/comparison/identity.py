"""What a case measures: the names and values that tell it from others, whatever it is called and wherever it stands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from nvbench.metrics import number

Identity = tuple[tuple[str, str], ...]
"""Name -> value, in the order in which they are told: the columns of the store, then the settings."""

CORE = (
    "test",
    "datapath",
    "generator",
    "topology",
    "guest",
    "mtu",
    "queues",
    "flows",
    "vary",
    "vlan",
    "direction",
    "frame_bytes",
    "imix",
    "pcap",
    "load",
    "goal",
)
"""Names that every case may have; any other is a setting."""

_LOADED = frozenset({"latency", "frame_loss", "reset", "soak"})
"""Tests whose load is asked for; that of others is part of what they find."""

_PLAIN = {"frame_bytes": "0"}
_PLAIN |= dict.fromkeys(("vary", "vlan", "imix", "pcap", "guest", "load", "goal", "generator"), "")
"""Values that say nothing."""

_IN_NAME = {"vary": re.compile(r"-vary_([a-z_+]+)(?=-|$)"), "vlan": re.compile(r"-vlan(\d+)(?=-|$)")}
"""What the store has no column for, and the case's own name tells."""


def identity(row: Mapping[str, object], settings: Iterable[tuple[str, str]]) -> Identity:
    """The identity of a row of the table `results`."""
    told = {name: str(row[name] if row[name] is not None else "") for name in CORE if name in row}
    told |= {name: _found(pattern, str(row["case_id"])) for name, pattern in _IN_NAME.items()}
    own = dict(settings)
    told |= {"pcap": own.pop("pcap", ""), "load": _load(row), "goal": _goal(row)}
    return (*((name, told[name]) for name in CORE if told[name] != _PLAIN.get(name)), *own.items())


def _found(pattern: re.Pattern[str], name: str) -> str:
    found = pattern.search(name)
    return found[1] if found else ""


def _load(row: Mapping[str, object]) -> str:
    share = row["load_share"]
    if row["test"] not in _LOADED or not isinstance(share, float):
        return ""
    return f"{share * 100:.4g} %" if share else "probe"


def _goal(row: Mapping[str, object]) -> str:
    if row["test"] != "throughput":
        return ""
    ratio = row["goal_loss_ratio"]
    return f"PDR {number(ratio * 100, 2)} %" if isinstance(ratio, float) and ratio else "NDR"


def rank(value: str) -> tuple[float, str]:
    """Where a value stands among others: numbers by their size, words by the alphabet."""
    try:
        return float(value.removesuffix(" %")), ""
    except ValueError:
        return 0.0, value
