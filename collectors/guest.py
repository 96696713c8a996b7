"""What a guest's own kernel counts: its devices, its drivers, its sockets and, of a virtual machine, its cores."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nvbench.collectors.cpu import Cpu
from nvbench.collectors.files import Files
from nvbench.collectors.softnet import Softnet
from nvbench.hosts import Host
from nvbench.tables import Reading

DEVICES, SOCKETS = "/proc/net/dev", "/proc/net/snmp"
_COUNTED = ("bytes", "packets", "errors", "dropped", "fifo")
_SENT = 8
"""Columns of /proc/net/dev about receiving, before those about sending."""

_SOCKETS = {
    ("Udp", "InErrors"): "udp_in_errors",
    ("Udp", "RcvbufErrors"): "udp_receive_buffer_errors",
    ("Tcp", "RetransSegs"): "tcp_retransmitted",
    ("Tcp", "InErrs"): "tcp_in_errors",
}
_HEADING = "NIC statistics:"
_COUNTER = re.compile(r"^\s+(\S.*?): (\d+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Devices:
    """See `Part`: counters of network devices, of the namespace in which they are read."""

    names: Collection[str]
    paths = (DEVICES,)

    def parse(self, texts: Mapping[str, str]) -> Iterator[Reading]:
        """See `Part.parse`."""
        for line in texts.get(DEVICES, "").splitlines():
            name, _, told = line.partition(":")
            if (device := name.strip()) not in self.names:
                continue
            fields = [float(field) for field in told.split()]
            for side, values in (("rx", fields), ("tx", fields[_SENT:])):
                for counter, value in zip(_COUNTED, values, strict=False):
                    unit = "bytes" if counter == "bytes" else "frames"
                    yield Reading(f"port {device}", f"{side}_{counter}", value, unit)


@dataclass(frozen=True, slots=True)
class Sockets:
    """See `Part`: what did not reach a program, and what had to be sent again."""

    paths = (SOCKETS,)

    def parse(self, texts: Mapping[str, str]) -> Iterator[Reading]:
        """See `Part.parse`: a line of names, then one of values."""
        lines = [line.split() for line in texts.get(SOCKETS, "").splitlines()]
        for (protocol, *names), (_, *values) in zip(lines[::2], lines[1::2], strict=False):
            for name, value in zip(names, values, strict=True):
                if metric := _SOCKETS.get((protocol.rstrip(":"), name)):
                    yield Reading("sockets", metric, float(value), "count")


class Inside:
    """See `Collector`: what a guest's kernel counts.

    Args:
        name: The guest's name.
        host: Its inside.
        devices: Its network devices there.
        own_cores: Whether it has a kernel and cores of its own, as a virtual machine has.
    """

    def __init__(self, name: str, host: Host, devices: Sequence[str], *, own_cores: bool) -> None:
        self._prefix = f"guest {name} "
        self._host = host
        self._devices = tuple(devices)
        kernel = (Cpu(), Softnet()) if own_cores else ()
        parts = (*kernel, Devices(self._devices), Sockets())
        self._files = Files(host, parts, local=False, prefix=self._prefix)

    def readings(self) -> list[Reading]:
        """See `Collector.readings`."""
        # One after the other, in one round trip; a driver without counters of its own says so by its status.
        drivers = self._host.run(["xargs", "-n", "1", "ethtool", "-S"], stdin="\n".join(self._devices), check=False)
        found = self._files.readings()
        _, *each = drivers.stdout.split(_HEADING)
        if len(each) != len(self._devices):
            return found  # whose they are cannot be told
        for device, text in zip(self._devices, each, strict=True):
            source = f"{self._prefix}driver {device}"
            found += [Reading(source, name, float(value), "count") for name, value in _COUNTER.findall(text)]
        return found
