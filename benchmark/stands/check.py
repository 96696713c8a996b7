"""What a functional check is: it declares where it applies, acts on a stand, and records what it sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nvbench.stands.record import Record

BENCH = "bench"
"""The path of checks that look at the hosts, and need nothing brought up."""

BRIDGE, OVS, SRIOV = "linux_bridge", "ovs_dpdk", "sriov"
PATHS = (BRIDGE, OVS, SRIOV)
"""The kinds of datapaths that campaigns look at."""

__all__ = ["BENCH", "BRIDGE", "OVS", "PATHS", "SRIOV", "Check", "Wish"]


@dataclass(frozen=True)
class Wish:
    """The stand that a check asks for; checks that ask for the same share one.

    Attributes:
        guest: Kind of the guests; empty for the path's own on this bench.
        options: Options of the datapath beside the path's own, by name.
        alone: Whether nothing is to be up: the check brings up what it needs by itself, and takes it down.
    """

    guest: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    alone: bool = False


@dataclass(frozen=True)
class Check:
    """A functional check.

    Attributes:
        name: A word.
        title: What is tested, in a clause.
        cases: The paths that it applies to -> the number that the case has in the test plan; empty where it has none.
        act: Does it, on a `Stand`, or on a `Ground` where nothing is brought up. It records what it sees, and raises
            NotPossibleError for what this bench cannot do.
        tags: Words by which it is chosen, beside its name, its cases and its paths.
        wish: The stand that it needs.
        limit_s: After so long it is given up.
    """

    name: str
    title: str
    cases: Mapping[str, str]
    act: Callable[[Any, Record], None]
    tags: tuple[str, ...] = ()
    wish: Wish = field(default_factory=Wish)
    limit_s: float = 90.0

    def case(self, path: str) -> str:
        """The name of its case on a path."""
        return self.cases[path] or f"{self.name}@{path}"
