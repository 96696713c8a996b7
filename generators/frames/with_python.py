"""Exact frames on a host that has python3."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from importlib import resources
from typing import Any

from nvbench.errors import GeneratorError
from nvbench.generators.frames.base import MOST_FRAMES, START_S, Captured, Taker, too_many
from nvbench.hosts.base import Host, Process


class WithPython:
    """See `End`.

    Args:
        host: The host.
        folder: Where the program goes there.
    """

    def __init__(self, host: Host, folder: str) -> None:
        self._host, self._folder = host, folder

    def take(self, devices: Sequence[str], marker: bytes, stack: ExitStack) -> Taker:
        """See `End.take`."""
        return _Taker(_Far(self._host, self._folder, stack), devices, marker)

    def send(self, device: str, frames: Sequence[bytes]) -> None:
        """See `End.send`."""
        with ExitStack() as stack:
            sender = _Far(self._host, self._folder, stack)
            sender.tell(do="send", device=device, frames=[frame.hex() for frame in frames])
            sender.event("done", START_S)


class _Taker:
    """See `Taker`."""

    def __init__(self, far: _Far, devices: Sequence[str], marker: bytes) -> None:
        self._far = far
        self._found: dict[str, list[Captured]] = {device: [] for device in devices}
        far.tell(do="capture", devices=devices, marker=marker.hex())

    def ready(self) -> None:
        """See `Taker.ready`."""
        self._far.event("ready", START_S)

    def look(self, deadline: float) -> dict[str, list[Captured]]:
        """See `Taker.look`."""
        with suppress(TimeoutError):
            while True:
                self._take(self._far.next("frame", deadline))
        return self._found

    def taken(self) -> dict[str, list[Captured]]:
        """See `Taker.taken`."""
        self._far.tell(do="end")
        deadline = time.monotonic() + START_S
        while (event := self._far.event("frame done", max(0.0, deadline - time.monotonic())))["event"] == "frame":
            self._take(event)
        return self._found

    def _take(self, event: Mapping[str, Any]) -> None:
        frames = self._found[event["device"]]
        frames.append(Captured(event["at_s"], bytes.fromhex(event["frame"])))
        if len(frames) > MOST_FRAMES:
            raise too_many(event["device"], self._far.place)


class _Far:
    """The program at work on a host; it ends with the stack."""

    def __init__(self, host: Host, folder: str, stack: ExitStack) -> None:
        self.place = f"host {host.name}"
        host.make_folder(folder)
        path = f"{folder}/frames_far.py"
        if not host.exists(path):  # whose program starts at this moment would read a file that is being written
            with resources.as_file(resources.files("nvbench.generators.frames") / "far.py") as source:
                host.upload(source, path)
        self._process: Process = host.spawn(["python3", "-u", path])
        stack.callback(self._process.close)

    def tell(self, **what: object) -> None:
        """Tell it what to do."""
        self._process.send(json.dumps(what))

    def event(self, expected: str, patience_s: float) -> dict[str, Any]:
        """The next event, one of those expected, which has to come."""
        try:
            return self.next(expected, time.monotonic() + patience_s)
        except TimeoutError:
            raise GeneratorError("the program for exact frames said nothing in time", place=self.place) from None

    def next(self, expected: str, deadline: float) -> dict[str, Any]:
        """The next event, one of those expected.

        Raises:
            TimeoutError: None comes until then, by time.monotonic().
        """
        line = self._process.receive(max(0.0, deadline - time.monotonic()))
        if line is None:
            last = (self._process.complaints() or ["nothing"])[-1]
            raise GeneratorError(f"the program for exact frames ended: {last}", place=self.place)
        event: dict[str, Any] = json.loads(line)
        if event["event"] not in expected.split():
            raise GeneratorError(str(event.get("what", event)), place=self.place)
        return event
