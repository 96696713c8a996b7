"""Exact frames: put on some devices, and taken from others at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from weakref import WeakKeyDictionary

from nvbench.generators.frames.base import Captured, End, Taker
from nvbench.generators.frames.with_python import WithPython
from nvbench.generators.frames.with_tools import WithTools
from nvbench.hosts.base import Host

__all__ = ["Captured", "exchange", "save"]

LATE_S, LOOK_S = 3.0, 0.02
"""A busy host may put a frame aside for seconds; one that comes so late has come."""

_has_python: WeakKeyDictionary[Host, bool] = WeakKeyDictionary()


def exchange(
    sends: Iterable[tuple[Host, str, Sequence[bytes]]],
    captures: Mapping[str, tuple[Host, str]],
    seconds: float,
    *,
    folder: str,
    marker: bytes = b"",
    until: Callable[[Mapping[str, Sequence[Captured]]], bool] | None = None,
) -> dict[str, list[Captured]]:
    """Put frames on devices, and take what comes in on others meanwhile.

    A host with python3 runs a program of ours, any other tcpdump and tcpreplay.

    Args:
        sends: Host and device of each place where frames are sent, one after another, and their bytes without FCS.
        captures: Name -> host and device of each place where frames are taken, from before the first is sent.
        seconds: For how long after the last was sent.
        folder: A folder on each of the hosts for the program that does it; made if needed.
        marker: Only frames that hold these bytes are taken.
        until: Whether all has come that has to come; as long as it has not, they go on, for LATE_S more at most.

    Returns:
        What was taken, by the names of `captures`, in the order in which it came.

    Raises:
        GeneratorError: A device does not take a frame, is not there, more comes than is held in memory, or a host has
            no program for it.
        CommandError: A host cannot be reached.
    """
    places: dict[int, tuple[Host, set[str]]] = {}
    for host, device in captures.values():
        places.setdefault(id(host), (host, set()))[1].add(device)
    with ExitStack() as stack:
        takers: dict[int, Taker] = {}
        for key, (host, devices) in places.items():
            takers[key] = _end(host, folder).take(sorted(devices), marker, stack)
        for taker in takers.values():
            taker.ready()
        for host, device, frames in (each for each in sends if each[2]):
            _end(host, folder).send(device, frames)
        deadline = time.monotonic() + seconds
        late = deadline + (LATE_S if until else 0.0)
        while True:
            found = _found(captures, {key: taker.look(deadline) for key, taker in takers.items()})
            if until is None or until(found) or deadline >= late:
                break
            time.sleep(LOOK_S)
            deadline = min(late, time.monotonic() + LOOK_S)
        return _found(captures, {key: taker.taken() for key, taker in takers.items()})


def _found(
    captures: Mapping[str, tuple[Host, str]], taken: Mapping[int, Mapping[str, list[Captured]]]
) -> dict[str, list[Captured]]:
    return {name: taken[id(host)][device] for name, (host, device) in captures.items()}


def _end(host: Host, folder: str) -> End:
    if host not in _has_python:
        _has_python[host] = host.run(["which", "python3"], check=False).ok
    return WithPython(host, folder) if _has_python[host] else WithTools(host)


def save(path: Path, captured: Iterable[Captured]) -> None:
    """Write what was taken into a file that every analyser reads, with its times."""
    from scapy.layers.l2 import Ether  # noqa: PLC0415 - seconds to import
    from scapy.utils import PcapWriter  # noqa: PLC0415

    with PcapWriter(str(path), linktype=1) as file:
        for each in captured:
            packet = Ether(each.frame)
            packet.time = each.at_s
            file.write(packet)
