"""By what each core was interrupted: /proc/interrupts, summed up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nvbench.collectors.files import columns, cores_of
from nvbench.tables import Reading

PATH = "/proc/interrupts"
_KINDS = {
    "device": re.compile(r"\d+"),
    "timer": re.compile(r"LOC"),
    "inter_processor": re.compile(r"RES|CAL|TLB|IPI\d*"),
}


@dataclass(frozen=True, slots=True)
class Interrupts:
    """Interrupts of each core: all, and of them those by devices, by its timer and by other cores."""

    paths = (PATH,)

    def parse(self, texts: Mapping[str, str]) -> Iterator[Reading]:
        """See `Part.parse`."""
        text = texts.get(PATH, "")
        cores = cores_of(text)
        totals = {kind: [0] * len(cores) for kind in ("total", *_KINDS)}
        for name, row in columns(text).items():
            if len(row) != len(cores):
                continue  # faults of the whole host
            own = [kind for kind, names in _KINDS.items() if names.fullmatch(name)]
            for kind in ("total", *own):
                totals[kind] = [so_far + more for so_far, more in zip(totals[kind], row, strict=True)]
        for kind, row in totals.items():
            for core, value in zip(cores, row, strict=True):
                yield Reading(f"interrupts core {core}", kind, float(value), "count")
