"""Exact frames on a host without python3: tcpdump takes them, and prints their bytes; tcpreplay sends them."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack

from nvbench.errors import GeneratorError
from nvbench.generators.capture import capture
from nvbench.generators.frames.base import MOST_FRAMES, START_S, Captured, Taker, too_many
from nvbench.hosts.base import Host, Process
from nvbench.hosts.tied import tied

PPS = 1000
"""At this rate no queue of an emulated device runs over."""

_SEND = 'base64 -d | tcpreplay --quiet --no-flow-stats --pps="$1" --intf1="$2" -'
_NEEDED = "install python3, or tcpdump and tcpreplay"

_REFUSED = re.compile(r"\[(\d+)\]: (.*) \(errno")
_HEAD = re.compile(r"(\d+\.\d+) .*?\blength (\d+):")
_HEX = re.compile(r"\t0x[0-9a-f]+: +([0-9a-f ]+)")
_ETHERTYPE = 0x06
"""Of the 13th byte: less is a length, and it is that which tcpdump prints then, not the frame's."""

_DROPPED = re.compile(r"(\d+) packets? dropped by kernel")


class WithTools:
    """See `End`. Nothing is written on the host.

    Args:
        host: The host.
    """

    def __init__(self, host: Host) -> None:
        self._host = host

    def take(self, devices: Sequence[str], marker: bytes, stack: ExitStack) -> Taker:
        """See `End.take`."""
        return _Taker(self._host, devices, marker, stack)

    def send(self, device: str, frames: Sequence[bytes]) -> None:
        """See `End.send`."""
        words = ["sh", "-c", _SEND, "sh", str(PPS), device]
        timeout_s = START_S + 2 * len(frames) / PPS
        given = base64.encodebytes(capture(frames)).decode()
        done = self._host.run(words, stdin=given, timeout_s=timeout_s, check=False)
        place = f"host {self._host.name}"
        if refused := _REFUSED.search(done.stderr):
            number = int(refused[1]) - 1
            raise GeneratorError(f"frame {number} of {len(frames[number])} bytes: {refused[2]}", place=place)
        if not re.search(rf"Successful packets: +{len(frames)}$", done.stdout, re.MULTILINE):
            last = ((done.stderr or done.stdout).strip().splitlines() or ["nothing"])[-1].strip()
            raise GeneratorError(f"tcpreplay on {device} said: {last}", place=place, remedy=_NEEDED)


class _Taker:
    """See `Taker`."""

    def __init__(self, host: Host, devices: Sequence[str], marker: bytes, stack: ExitStack) -> None:
        self._place = f"host {host.name}"
        self._marker = marker
        self._processes: dict[str, Process] = {}
        self._readers = {device: _Reader() for device in devices}
        self._found: dict[str, list[Captured]] = {device: [] for device in devices}
        for device in devices:
            # Room for a burst in the kernel: 16 MiB, of which a device that segments takes 64 KiB a frame.
            words = ["-i", device, "-s", "65535", "-B", "16384", "-c", str(MOST_FRAMES + 1), "-Q", "in"]
            words += ["-n", "-q", "-e", "-tt", "-xx", "-U", "--immediate-mode", "-Z", "root"]
            process = host.spawn(tied(["tcpdump", *words]))
            stack.callback(process.close)
            self._processes[device] = process

    def ready(self) -> None:
        """See `Taker.ready`."""
        for device, process in self._processes.items():
            deadline = time.monotonic() + START_S
            for line in _lines(process, deadline):
                if line.startswith("listening on"):
                    break
                if not re.search("suppressed|WARNING", line):
                    what = f"tcpdump on {device} said: {line.removeprefix('tcpdump: ')}"
                    raise GeneratorError(what, place=self._place, remedy=_NEEDED)
            else:
                raise GeneratorError(f"tcpdump on {device} did not begin in time", place=self._place)

    def look(self, deadline: float) -> dict[str, list[Captured]]:
        """See `Taker.look`."""
        for device, process in self._processes.items():
            self._take(device, _lines(process, deadline))
        return self._found

    def taken(self) -> dict[str, list[Captured]]:
        """See `Taker.taken`."""
        for device, process in self._processes.items():
            process.send("")
            self._take(device, _lines(process, time.monotonic() + START_S))
            reader = self._readers[device]
            if reader.count > MOST_FRAMES:
                raise too_many(device, self._place)
            if reader.dropped:
                raise GeneratorError(f"tcpdump on {device}: {reader.dropped}", place=self._place)
        return self._found

    def _take(self, device: str, lines: Iterable[str]) -> None:
        read = self._readers[device].frames(lines)
        self._found[device].extend(captured for captured in read if self._marker in captured.frame)


class _Reader:
    """Reads what tcpdump prints.

    Attributes:
        count: Frames so far.
        dropped: Its line of frames that it was too slow for; empty without any.
    """

    def __init__(self) -> None:
        self.count, self.dropped = 0, ""
        self._at_s, self._length, self._bytes = 0.0, 0, bytearray()

    def frames(self, lines: Iterable[str]) -> Iterator[Captured]:
        """Each frame, as soon as it is known to be whole."""
        for line in lines:
            if told := _HEX.match(line):
                self._bytes += bytes.fromhex(told[1].replace(" ", ""))
                if len(self._bytes) == self._length and self._bytes[12] >= _ETHERTYPE:
                    yield from self._whole()
                continue
            yield from self._whole()
            if head := _HEAD.match(line):
                self._at_s, self._length = float(head[1]), int(head[2])
            elif (lost := _DROPPED.match(line)) and int(lost[1]):
                self.dropped = line

    def _whole(self) -> Iterator[Captured]:
        frame, self._bytes = bytes(self._bytes), bytearray()
        if frame:
            self.count += 1
            yield Captured(self._at_s, frame)


def _lines(process: Process, deadline: float) -> Iterator[str]:
    """What it prints until then, or until it ends."""
    try:
        while (line := process.receive(max(0.0, deadline - time.monotonic()))) is not None:
            yield line
    except TimeoutError:
        return
