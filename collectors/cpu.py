"""What the cores of a host did: proc(5), /proc/stat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nvbench.tables import Reading

PATH = "/proc/stat"
TICK_S = 0.01
_STATES = ("user_s", "nice_s", "system_s", "idle_s", "iowait_s", "irq_s", "softirq_s", "steal_s")
_HOST = {"ctxt": "context_switches", "intr": "interrupts"}


@dataclass(frozen=True, slots=True)
class Cpu:
    """Time of each core by what it was spent on, and the host's context switches and interrupts.

    Attributes:
        cores: Which ones; None for all.
    """

    cores: frozenset[int] | None = None
    paths = (PATH,)

    def parse(self, texts: Mapping[str, str]) -> Iterator[Reading]:
        """See `Part.parse`; what a core gives to others by choice (`nice`) is the user's, too."""
        for line in texts.get(PATH, "").splitlines():
            name, *fields = line.split(" ", 2) if line.startswith("intr") else line.split()
            if name in _HOST:
                yield Reading("host", _HOST[name], float(fields[0]), "count")
            elif name.startswith("cpu") and name != "cpu" and self._wanted(core := int(name[3:])):
                spent = dict(zip(_STATES, (int(field) * TICK_S for field in fields), strict=False))
                spent["user_s"] += spent.pop("nice_s")
                for state, seconds in spent.items():
                    yield Reading(f"cpu core {core}", state, round(seconds, 2), "s")

    def _wanted(self, core: int) -> bool:
        return self.cores is None or core in self.cores
