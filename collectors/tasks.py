"""What the threads of the programs on a bench did: how long they ran, how long they wanted to and could not."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from nvbench.fingerprint import threads
from nvbench.hosts import Host
from nvbench.tables import Reading

_SWITCHES = re.compile(r"^(voluntary|nonvoluntary)_ctxt_switches:\s+(\d+)", re.MULTILINE)
_CORE = 36
"""Field 39 of /proc/PID/stat (proc(5)), `processor`, counted from the one after the name in brackets."""


@dataclass(frozen=True, slots=True)
class Task:
    """A thread.

    Attributes:
        role: Whose: `switch`, `generator`, `guest vm1`.
        name: Its own name.
        pid: Its process.
        tid: Its id.
    """

    role: str
    name: str
    pid: int
    tid: int

    @property
    def folder(self) -> str:
        """Where the kernel tells of it."""
        return f"/proc/{self.pid}/task/{self.tid}"


@dataclass(frozen=True, slots=True)
class Tasks:
    """See `Part`: /proc/PID/task/TID/schedstat, in nanoseconds, status and stat of each thread."""

    tasks: Sequence[Task]

    @property
    def paths(self) -> list[str]:
        """See `Part.paths`."""
        return [f"{task.folder}/{name}" for task in self.tasks for name in ("schedstat", "status", "stat")]

    def parse(self, texts: Mapping[str, str]) -> Iterator[Reading]:
        """See `Part.parse`; a thread that has ended is left out."""
        for task in self.tasks:
            source = f"task {task.role} {task.name}/{task.tid}"
            if schedstat := texts.get(f"{task.folder}/schedstat"):
                ran, waited, *_ = schedstat.split()
                yield Reading(source, "cpu_s", int(ran) / 1e9, "s")
                yield Reading(source, "waited_s", int(waited) / 1e9, "s")
            for kind, count in _SWITCHES.findall(texts.get(f"{task.folder}/status", "")):
                how = "voluntary" if kind == "voluntary" else "involuntary"
                yield Reading(source, f"switches_{how}", float(count), "count")
            if stat := texts.get(f"{task.folder}/stat"):
                yield Reading(source, "core", float(stat.rpartition(")")[2].split()[_CORE]), "core")


def tasks_of(host: Host, role: str, pid: int | None) -> list[Task]:
    """The threads of a process; none where there is no process."""
    found = {} if pid is None else threads(host, pid)
    return [Task(role, name, pid, tid) for tid, name in found.items()] if pid is not None else []


def find_process(host: Host, program: str, word: str) -> int | None:
    """The process of a program, whose name begins so, that has a word in its command line."""
    for line in host.run(["pgrep", "-a", "-f", word], check=False).stdout.splitlines():
        pid, _, command = line.partition(" ")
        if PurePosixPath(command.split(" ")[0]).name.startswith(program):
            return int(pid)
    return None
