"""Links, as those who have them see them come and go: the kernel's own messages, with the time at which each came."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from nvbench.errors import DatapathError, NvbenchError
from nvbench.hosts import Host, Process
from nvbench.hosts.tied import tied
from nvbench.stands.ground import Member

_PATIENCE_S = 20.0
_FLAGS = re.compile(r"\d+: ([^:@]+)[:@].*?<([A-Z0-9_,-]*)>")
_ROUTE = 0
_LINKS = 1


@dataclass(frozen=True, slots=True)
class Change:
    """The kernel tells of a device.

    Attributes:
        at: When that came here, by time.monotonic().
        up: Whether its link is there.
        line: What is told, with the guest's own time.
    """

    at: float
    up: bool
    line: str


def link_is_up(line: str, device: str) -> bool | None:
    """What a line of `ip -o monitor link` says of a device's link; None where it is of something else."""
    found = _FLAGS.search(line)
    if found is None or found[1] != device or "Deleted" in line:
        return None
    return "LOWER_UP" in found[2].split(",")


class Watch:
    """Looks at the members' links as long as it is entered.

    Attributes:
        began: When that was, by time.monotonic().
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        self.began = 0.0
        self._seen: dict[str, list[Change]] = {member.name: [] for member in members}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for member in self.members:
                before = _listeners(member.host)
                words = ["env", "TZ=UTC0", "ip", "-ts", "-o", "monitor", "link", "dev", member.device]
                process = member.host.spawn(tied(words))
                stack.callback(process.close)
                threading.Thread(target=self._follow, args=(member, process), daemon=True).start()
                _await_listener(member, before)
            for member in self.members:
                up = (member.host.read(f"/sys/class/net/{member.device}/carrier") or "").strip() == "1"
                self._note(member, up, f"carrier {int(up)}")
            self.began = time.monotonic()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def _follow(self, member: Member, process: Process) -> None:
        while True:
            try:
                line = process.receive(_PATIENCE_S)
            except TimeoutError:
                continue
            except NvbenchError:
                return  # a guest that has gone is noticed by whoever speaks to it next
            if line is None:
                return
            if (up := link_is_up(line, member.device)) is not None:
                self._note(member, up, line)

    def _note(self, member: Member, up: bool, line: str) -> None:
        self._seen[member.name].append(Change(time.monotonic(), up, line.strip()))

    def last(self, name: str) -> Change:
        """What was told last of a member's link."""
        return self._seen[name][-1]

    def turned(self, name: str, up: bool, since: float) -> Change | None:
        """The first that told of a member's link that it has become so, since a time; None if nothing did."""
        changes = self._seen[name]
        pairs = pairwise(changes)
        return next((now for was, now in pairs if now.at >= since and now.up == up != was.up), None)

    def wait(self, names: Sequence[str], up: bool, patience_s: float) -> None:
        """Return once these members' links are so, or it has taken too long."""
        deadline = time.monotonic() + patience_s
        while any(self.last(name).up != up for name in names) and time.monotonic() < deadline:
            time.sleep(0.01)

    def timeline(self) -> str:
        """All that was told, in its order, in seconds from the begin."""
        rows = [(change.at, name, change.line) for name, changes in self._seen.items() for change in changes]
        return "".join(f"{at - self.began:+9.3f} s  {name:6}{line}\n" for at, name, line in sorted(rows))


def _listeners(host: Host) -> int:
    """How many programs have subscribed to what the kernel tells of links: columns protocol and groups."""
    rows = (line.split() for line in (host.read("/proc/net/netlink") or "").splitlines()[1:])
    return sum(int(row[1]) == _ROUTE and bool(int(row[3], 16) & _LINKS) for row in rows)


def _await_listener(member: Member, before: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while _listeners(member.host) <= before:
        if time.monotonic() > deadline:
            raise DatapathError("`ip monitor` does not begin", place=f"guest {member.name}")
        time.sleep(0.02)
