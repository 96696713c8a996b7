"""What the kernel's network stack did on each core: /proc/net/softnet_stat and /proc/softirqs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nvbench.collectors.files import columns, cores_of
from nvbench.tables import Reading

STATISTICS, SOFTIRQS = "/proc/net/softnet_stat", "/proc/softirqs"
_OWN_CORE = 12
"""Column of softnet_stat that names the core, of kernels since 5.14; before, row i was the i-th core online."""


@dataclass(frozen=True, slots=True)
class Softnet:
    """Frames that a core took from devices, dropped for a full backlog, and how often its time was up before the work.

    Attributes:
        cores: Which ones; None for all.
    """

    cores: frozenset[int] | None = None
    paths = (STATISTICS, SOFTIRQS)

    def parse(self, texts: Mapping[str, str]) -> Iterator[Reading]:
        """See `Part.parse`; `net_rx` and `net_tx` are how often the core was set to work."""
        softirqs = texts.get(SOFTIRQS, "")
        online = cores_of(softirqs)
        for index, line in enumerate(texts.get(STATISTICS, "").splitlines()):
            fields = [int(field, 16) for field in line.split()]
            core = fields[_OWN_CORE] if len(fields) > _OWN_CORE else online[index] if index < len(online) else index
            for metric, value in zip(("processed", "dropped", "squeezed"), fields, strict=False):
                unit = "count" if metric == "squeezed" else "frames"
                yield from self._wanted(core, metric, value, unit)
        table = columns(softirqs)
        for name in ("NET_RX", "NET_TX"):
            for core, value in zip(online, table.get(name, ()), strict=False):
                yield from self._wanted(core, name.lower(), value, "count")

    def _wanted(self, core: int, metric: str, value: int, unit: str) -> Iterator[Reading]:
        if self.cores is None or core in self.cores:
            yield Reading(f"softnet core {core}", metric, float(value), unit)
