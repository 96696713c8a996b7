"""How fast cores run: cpufreq in sysfs or, where a hypervisor keeps that to itself, /proc/cpuinfo."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from nvbench.hosts import Host
from nvbench.tables import Reading

CPUINFO = "/proc/cpuinfo"
_CORE_MHZ = re.compile(r"^processor\s*: (\d+)$.*?^cpu MHz\s*: ([\d.]+)$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Frequency:
    """The frequency of some cores.

    Attributes:
        files: Core -> the file with its frequency in kHz; empty: all of /proc/cpuinfo, of those that it names.
        cores: The cores.
    """

    files: Mapping[int, str]
    cores: Collection[int]

    @property
    def paths(self) -> tuple[str, ...]:
        """See `Part.paths`."""
        return tuple(self.files.values()) or (CPUINFO,)

    def parse(self, texts: Mapping[str, str]) -> Iterator[Reading]:
        """See `Part.parse`."""
        for core, path in self.files.items():
            if khz := texts.get(path, "").strip():
                yield Reading(f"frequency core {core}", "hertz", int(khz) * 1e3, "hertz")
        for core, mhz in _CORE_MHZ.findall(texts.get(CPUINFO, "")):
            if int(core) in self.cores:
                yield Reading(f"frequency core {core}", "hertz", float(mhz) * 1e6, "hertz")


def frequency(host: Host, cores: Collection[int]) -> Frequency:
    """What tells the frequency of these cores of a host."""
    files = {core: f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq" for core in sorted(cores)}
    return Frequency({core: path for core, path in files.items() if host.exists(path)}, cores)
