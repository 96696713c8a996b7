"""Was the switch's polling thread there all the time? What the host says: run-queue waits and stolen time.

A PMD thread that the host takes off its core for 5 ms lets thousands of frames be refused while its own counters
show no drop. Linux counts how long a runnable thread waited (/proc/PID/task/TID/schedstat, second field, ns) and how
long the hypervisor kept a virtual core (/proc/stat, steal, in ticks of 10 ms).
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from nvbench.fingerprint import steal_ticks, threads
from nvbench.hosts import Host

TICK_S = 0.01
SELDOM = 50
"""Times what a look costs pass before the next: 2 % of the time at most, also over a slow connection."""


@dataclass(frozen=True, slots=True)
class Absence:
    """Time for which the polling threads were not running although they wanted to.

    Attributes:
        waited_s: Waiting for a core that another task had, all polling threads together.
        stolen_s: While the hypervisor had the core.
        longest_s: The most of both between two looks: no single absence was longer.
    """

    waited_s: float = 0.0
    stolen_s: float = 0.0
    longest_s: float = 0.0

    @property
    def total_s(self) -> float:
        """Both together at most: what is stolen is counted in whole ticks."""
        return self.waited_s + self.stolen_s + (TICK_S if self.stolen_s else 0.0)


class PollerWatch:
    """Watches the polling threads of one process."""

    def __init__(self, host: Host, pid: int | None, cores: tuple[int, ...]) -> None:
        self._host = host
        self._cores = cores
        self._schedstats = [] if pid is None else _polling_threads(host, pid)
        self._seen = self._totals()
        self._found = Absence()
        self._next_look = 0.0

    def look(self) -> None:
        """Look now, during a trial, to tell one long absence from many short ones; seldom where a look takes long."""
        if time.monotonic() >= self._next_look:
            self._look()

    def _look(self) -> None:
        began = time.monotonic()
        waited, stolen = self._totals()
        waited_s = (waited - self._seen[0]) / 1e9
        stolen_s = (stolen - self._seen[1]) * TICK_S
        self._seen = waited, stolen
        found = self._found
        longest_s = max(found.longest_s, waited_s + stolen_s)
        self._found = Absence(found.waited_s + waited_s, found.stolen_s + stolen_s, longest_s)
        ended = time.monotonic()
        self._next_look = ended + SELDOM * (ended - began)

    def absence(self) -> Absence:
        """What was missed since the last call."""
        self._look()
        found, self._found = self._found, Absence()
        return found

    def _totals(self) -> tuple[int, int]:
        texts = [self._host.read(path) or "" for path in self._schedstats]
        waited = sum(int(text.split()[1]) for text in texts if text)
        ticks = steal_ticks(self._host.read("/proc/stat") or "") if self._schedstats else {}
        return waited, sum(ticks.get(core, 0) for core in self._cores)


def _polling_threads(host: Host, pid: int) -> list[str]:
    polling = [thread for thread, name in threads(host, pid).items() if name.startswith("pmd")]
    return [f"/proc/{pid}/task/{thread}/schedstat" for thread in polling]
