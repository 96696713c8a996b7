"""What memory a host has left: /proc/meminfo."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nvbench.tables import Reading

PATH = "/proc/meminfo"
_AVAILABLE = re.compile(r"^MemAvailable:\s+(\d+) kB", re.MULTILINE)
_HUGEPAGES = re.compile(r"^HugePages_Free:\s+(\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory that is to be had, and free hugepages."""

    paths = (PATH,)

    def parse(self, texts: Mapping[str, str]) -> Iterator[Reading]:
        """See `Part.parse`."""
        text = texts.get(PATH, "")
        if found := _AVAILABLE.search(text):
            yield Reading("memory", "available_bytes", int(found[1]) * 1024.0, "bytes")
        if found := _HUGEPAGES.search(text):
            yield Reading("memory", "hugepages_free", float(found[1]), "state")
