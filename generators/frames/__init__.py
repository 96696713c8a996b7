"""Exact frames: put on one device, and taken from others at the same time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from nvbench.errors import GeneratorError
from nvbench.hosts.base import Host, Process

START_S = 10.0
"""Within this a Python starts, also on a busy host behind a slow line."""


@dataclass(frozen=True, slots=True)
class Captured:
    """A frame that came in.

    Attributes:
        at_s: When: Unix time on the host that took it.
        frame: Its bytes, with all VLAN tags, without FCS.
    """

    at_s: float
    frame: bytes


def exchange(  # noqa: PLR0913 - what is sent, where, what is taken, where, and when it ends
    host_out: Host,
    device_out: str,
    frames: Sequence[bytes],
    captures: Mapping[str, tuple[Host, str]],
    seconds: float,
    *,
    folder: str,
    marker: bytes = b"",
    most: int | None = None,
) -> dict[str, list[Captured]]:
    """Put frames on a device, and take what comes in on others meanwhile.

    Args:
        host_out: Where they are sent.
        device_out: The kernel's name of the device there.
        frames: Their bytes, without FCS.
        captures: Name -> host and device of each place where frames are taken.
        seconds: How long they are taken, from before the first is sent.
        folder: A folder on each of the hosts for the program that does it; made if needed.
        marker: Only frames that hold these bytes are taken.
        most: A host is done once each of its devices has taken so many.

    Returns:
        What was taken, by the names of `captures`, in the order in which it came.

    Raises:
        GeneratorError: A device does not take a frame, is not there, or a host has no python3.
        CommandError: A host cannot be reached.
    """
    places: dict[int, tuple[Host, set[str]]] = {}
    for host, device in captures.values():
        places.setdefault(id(host), (host, set()))[1].add(device)
    with ExitStack() as stack:
        takers: dict[int, _Far] = {}
        for key, (host, devices) in places.items():
            taker = takers[key] = _Far(host, folder, stack)
            taker.ask(do="capture", devices=sorted(devices), seconds=seconds, marker=marker.hex(), most=most)
            taker.event("ready", START_S)
        sender = _Far(host_out, folder, stack)
        sender.ask(do="send", device=device_out, frames=[frame.hex() for frame in frames])
        sender.event("done", START_S)
        taken = {key: list(taker.frames(seconds + START_S)) for key, taker in takers.items()}
    return {
        name: [captured for source, captured in taken[id(host)] if source == device]
        for name, (host, device) in captures.items()
    }


class _Far:
    """The program at work on a host; it ends with the stack."""

    def __init__(self, host: Host, folder: str, stack: ExitStack) -> None:
        self._place = f"host {host.name}"
        host.make_folder(folder)
        path = f"{folder}/frames_far.py"
        with resources.as_file(resources.files("nvbench.generators.frames") / "far.py") as source:
            host.upload(source, path)
        self._process: Process = host.spawn(["python3", "-u", path])
        stack.callback(self._process.close)

    def ask(self, **what: object) -> None:
        """Tell it what to do."""
        self._process.send(json.dumps(what))

    def event(self, expected: str, patience_s: float) -> dict[str, Any]:
        """The next event, one of those expected."""
        try:
            line = self._process.receive(patience_s)
        except TimeoutError:
            raise GeneratorError("the program for exact frames said nothing in time", place=self._place) from None
        if line is None:
            last = (self._process.complaints() or ["nothing"])[-1]
            raise GeneratorError(f"the program for exact frames ended: {last}", place=self._place)
        event: dict[str, Any] = json.loads(line)
        if event["event"] not in expected.split():
            raise GeneratorError(str(event.get("what", event)), place=self._place)
        return event

    def frames(self, patience_s: float) -> Iterator[tuple[str, Captured]]:
        """Device and frame, as they came."""
        deadline = time.monotonic() + patience_s
        while (event := self.event("frame done", max(0.0, deadline - time.monotonic())))["event"] == "frame":
            yield event["device"], Captured(event["at_s"], bytes.fromhex(event["frame"]))


def save(path: Path, captured: Iterable[Captured]) -> None:
    """Write what was taken into a file that every analyser reads, with its times."""
    from scapy.layers.l2 import Ether  # noqa: PLC0415 - seconds to import
    from scapy.utils import PcapWriter  # noqa: PLC0415

    with PcapWriter(str(path), linktype=1) as file:
        for each in captured:
            packet = Ether(each.frame)
            packet.time = each.at_s
            file.write(packet)
