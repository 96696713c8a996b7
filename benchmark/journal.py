"""Every change to a host, written down before it is made, with its undo.

A journal is a file of JSON lines under the state folder, one file a testbed, each line on disk before the change
that it undoes. Whoever holds the testbed's lock may read it back and undo from the last line to the first: the run
itself when it ends, or, after a kill, the next run or `nvbench clean`. Every undo can be done twice.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar, Protocol

from nvbench.errors import CommandError, LostConnectionError, NotReadyError
from nvbench.hosts import RUN_FOLDER, Host

RESTORE_TRIES = 60
RETURN_S = 5.0
_END_S = 5.0
"""A program that was told to end has done so after this, also where it has gigabytes to give back."""


def state_folder() -> Path:
    """Where journals and locks live on this machine: of this boot, private to the user."""
    if os.geteuid() == 0:
        return Path(RUN_FOLDER)
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime, "nvbench") if runtime else Path(f"/tmp/nvbench-{os.geteuid()}")  # noqa: S108 - 0700, checked


class Undo(Protocol):
    """How to take one change back."""

    kind: ClassVar[str]

    def undo(self, host: Host) -> None:
        """Do it; harmless where the change was never made or is undone already."""


@dataclass(frozen=True, slots=True)
class Restore:
    """A file of the kernel gets back the text that was found in it."""

    path: str
    text: str
    kind: ClassVar[str] = "restore"

    def undo(self, host: Host) -> None:
        """See `Undo.undo`.

        Hugepages that a dying process frees meanwhile stay in the pool as surplus, and only a number above what the
        pool is meant to hold makes them ordinary again, which the next write can take back.
        """
        for _ in range(RESTORE_TRIES):
            if host.read(self.path) == self.text:
                return
            host.write(self.path, self.text)
            left = host.read(self.path)
            if left is None or left == self.text:
                return
            time.sleep(0.05)
            host.write(self.path, left)
        raise CommandError(f"{self.path} does not go back to {self.text.strip()!r}", place=f"host {host.name}")


@dataclass(frozen=True, slots=True)
class Remove:
    """A file or folder of our own goes."""

    path: str
    kind: ClassVar[str] = "remove"

    def undo(self, host: Host) -> None:
        """See `Undo.undo`."""
        host.remove(self.path)


@dataclass(frozen=True, slots=True)
class RemoveLink:
    """A network device of our own goes."""

    name: str
    kind: ClassVar[str] = "remove_link"

    def undo(self, host: Host) -> None:
        """See `Undo.undo`."""
        if host.exists(f"/sys/class/net/{self.name}"):
            host.run(["ip", "link", "delete", self.name])


@dataclass(frozen=True, slots=True)
class RemoveNamespace:
    """A network namespace of our own goes, and with it the virtual devices in it."""

    name: str
    kind: ClassVar[str] = "remove_namespace"

    def undo(self, host: Host) -> None:
        """See `Undo.undo`."""
        if not host.exists(f"/run/netns/{self.name}"):
            return
        # What still runs in it would keep it, and its devices, alive without a name.
        if pids := host.run(["ip", "netns", "pids", self.name], check=False).stdout.split():
            host.run(["kill", "-KILL", *pids], check=False)
        host.run(["ip", "netns", "delete", self.name])


@dataclass(frozen=True, slots=True)
class ReturnLink:
    """A network device of the host's own comes back from a namespace of ours, with which a virtual one would go.

    Attributes:
        name: The device.
        namespace: Where it was lent to.
    """

    name: str
    namespace: str
    kind: ClassVar[str] = "return_link"

    def undo(self, host: Host) -> None:
        """See `Undo.undo`."""
        if host.exists(f"/run/netns/{self.namespace}"):
            host.run(["sh", "-c", _RETURN, "sh", self.namespace, self.name])


_RETURN = 'ip -n "$1" link show dev "$2" > /dev/null 2>&1 || exit 0; ip -n "$1" link set dev "$2" netns $$'
"""The shell is where the host's devices are, also on a host that is a namespace itself."""


@dataclass(frozen=True, slots=True)
class RunBack:
    """A command puts back what was found; it has to bear being run twice.

    Attributes:
        argv: The command.
        needs: A path without which there is nothing to put back any more.
        returns: Whether that comes back by itself, some time after what was undone before: the kernel hands the
            devices of a namespace back once it has gone, and udev renames what a driver has found.
    """

    argv: tuple[str, ...]
    needs: str = field(default="", repr=False)
    returns: bool = field(default=False, repr=False)
    kind: ClassVar[str] = "run_back"

    def undo(self, host: Host) -> None:
        """See `Undo.undo`."""
        deadline = time.monotonic() + (RETURN_S if self.returns else 0.0)
        while self.needs and not host.exists(self.needs):
            if time.monotonic() >= deadline:
                return
            time.sleep(0.05)
        host.run(list(self.argv))


@dataclass(frozen=True, slots=True)
class EndPrograms:
    """Programs of our own end, at once.

    Attributes:
        mark: A part of their command lines that no other program has: a name that was made for this run.
    """

    mark: str
    kind: ClassVar[str] = "end_programs"

    def undo(self, host: Host) -> None:
        """See `Undo.undo`."""
        # In brackets it matches the programs, and not the command that looks for it.
        pattern = f"[{self.mark[0]}]{re.escape(self.mark[1:])}"
        if pids := host.run(["pgrep", "-f", pattern], check=False).stdout.split():
            host.run(["kill", "-KILL", *pids], check=False)
            _all_ended(host, pids)


@dataclass(frozen=True, slots=True)
class StopDaemon:
    """A daemon of our own ends.

    Attributes:
        pidfile: Where it writes its process id.
        mark: A part of its command line that no other process has: our run folder. A process id alone may belong
            to somebody else by now.
    """

    pidfile: str
    mark: str
    kind: ClassVar[str] = "stop_daemon"

    def undo(self, host: Host) -> None:
        """See `Undo.undo`."""
        pid = (host.read(self.pidfile) or "").strip()
        if not pid.isdigit() or self.mark not in (host.read(f"/proc/{pid}/cmdline") or ""):
            return
        for signal in ("TERM", "KILL"):
            host.run(["kill", f"-{signal}", pid], check=False)
            if _all_ended(host, [pid]):
                return


@dataclass(frozen=True, slots=True)
class RemoveDomain:
    """A domain of our own, as libvirt calls its virtual machines, ends and is forgotten.

    Attributes:
        uri: The libvirt that knows it.
        name: Its name.
    """

    uri: str
    name: str
    kind: ClassVar[str] = "remove_domain"

    def undo(self, host: Host) -> None:
        """See `Undo.undo`."""
        virsh = ["virsh", "-c", self.uri]
        if self.name in host.run([*virsh, "list", "--all", "--name"]).stdout.split():
            host.run([*virsh, "destroy", self.name], check=False)  # refused where it has ended already
            host.run([*virsh, "undefine", self.name])


def ended(host: Host, pid: int | str) -> bool:
    """Whether a process is through with its end, and its memory free.

    A command line that is empty already does not tell: hugepages taken back while they are being freed stay in the
    kernel's pool. A first thread that is a zombie does not either: others may still hold memory and files; their
    number is the 18th field after the name.
    """
    stat = (host.read(f"/proc/{pid}/stat") or "").rpartition(")")[2].split()
    return not stat or (stat[0] in "ZX" and int(stat[17]) <= 1)


def _all_ended(host: Host, pids: Sequence[str]) -> bool:
    """Wait for the ends of processes; False where they do not come in time."""
    deadline = time.monotonic() + _END_S
    while not all(ended(host, pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


UNDOS = (Restore, Remove, RemoveLink, RemoveNamespace, ReturnLink, RunBack, EndPrograms, StopDaemon, RemoveDomain)
_KINDS: dict[str, Callable[..., Undo]] = {kind.kind: kind for kind in UNDOS}


class Journal:
    """The open journal of a testbed whose lock is held."""

    def __init__(self, path: Path, hosts: Mapping[str, Host]) -> None:
        self._path = path
        self._hosts = hosts
        self._file: IO[str] | None = None

    def record(self, host: Host, undo: Any) -> None:
        """Write down how to undo a change that is about to be made on `host`."""
        if self._file is None:
            self._file = self._path.open("a")
        self._file.write(json.dumps({"host": host.name, "kind": undo.kind, **asdict(undo)}) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    @property
    def entries(self) -> list[dict[str, Any]]:
        """What is written down and not undone, first to last; a half-written last line is no change yet."""
        entries = []
        with suppress(FileNotFoundError):
            for line in self._path.read_text().splitlines():
                with suppress(json.JSONDecodeError):
                    entries.append(json.loads(line))
        return entries

    def mark(self) -> int:
        """The journal's length now, for `undo_since`."""
        return len(self.entries)

    def undo_since(self, mark: int = 0) -> list[str]:
        """Take back what was written down since `mark`, last first.

        Returns:
            What could not be undone, one line each; those entries stay in the journal.
        """
        entries = self.entries
        kept, faults = entries[:mark], []
        lost: set[str] = set()
        for entry in reversed(entries[mark:]):
            fields = dict(entry)
            name = fields.pop("host")
            host = self._hosts.get(name)
            try:
                if host is None:
                    raise CommandError(f"host {name} is not in this testbed any more")
                if name in lost:  # each further try would take as long as the first
                    raise CommandError("not tried")
                _KINDS[fields.pop("kind")](**fields).undo(host)
            except CommandError as error:
                lost |= {name} if isinstance(error, LostConnectionError) else set()
                faults.append(f"{entry['kind']} on {name}: {error}")
                kept.insert(mark, entry)
        self._rewrite(kept)
        return faults

    def _rewrite(self, entries: list[dict[str, Any]]) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        if not entries:
            self._path.unlink(missing_ok=True)
            return
        draft = self._path.with_suffix(".draft")
        draft.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        draft.replace(self._path)


@contextmanager
def locked(testbed: str, hosts: Mapping[str, Host], source: str = "") -> Iterator[Journal]:
    """The journal of a testbed, held by this process alone; what it still holds at the end is undone.

    Args:
        testbed: Its name.
        hosts: Its hosts.
        source: Its file; empty where the name tells.

    Raises:
        NotReadyError: Another run holds the testbed, or an earlier change cannot be undone.
    """
    folder = state_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise NotReadyError("belongs to somebody else", place=str(folder), remedy="set XDG_RUNTIME_DIR")
    with (folder / f"{testbed}.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            holder = lock.readline().strip() or "another process"
            raise NotReadyError(
                f"in use by {holder}", place=f"testbed {testbed}", remedy="wait for it to end, or stop it"
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} since {time.strftime('%H:%M:%S')}\n{source}")
        lock.flush()
        journal = Journal(folder / f"{testbed}.journal", hosts)
        _undo(journal, testbed)  # what a killed run left behind
        try:
            yield journal
        finally:
            _undo(journal, testbed)


def _undo(journal: Journal, testbed: str) -> None:
    faults = journal.undo_since(0)
    if faults:
        raise NotReadyError(
            "not everything could be undone: " + "; ".join(faults),
            place=f"testbed {testbed}",
            remedy="mend that and run `nvbench clean`",
        )


def left_behind() -> list[str]:
    """Testbeds whose journal holds something to undo, by name or file."""
    return sorted(_source(path.with_suffix(".lock")) or path.stem for path in state_folder().glob("*.journal"))


def _source(lock: Path) -> str:
    try:
        return lock.read_text().partition("\n")[2].strip()
    except OSError:
        return ""
