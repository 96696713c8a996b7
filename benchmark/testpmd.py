"""dpdk-testpmd as a program: started, its lines read, its end noticed; of it a switch is made, and a guest."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence

from nvbench.dpdk import known
from nvbench.errors import CommandError, LostConnectionError
from nvbench.fingerprint import threads
from nvbench.hosts import Host, Process

PROGRAM = "dpdk-testpmd"
_READY = "Press enter to exit"
_COMPLAINT = re.compile(r"error|fail|cause|cannot|invalid|unable|not fit|signal", re.IGNORECASE)
_HARMLESS = "- ignore"
_STREAM = re.compile(r"RX P=(\d+)/Q=\d+ .*-> TX P=(\d+)/Q=\d+")


def eal(cores: Sequence[int], file_prefix: str, memory_mb: int) -> list[str]:
    """The beginning of its command line; it ends when its standard input closes, also when nvbench is killed.

    Args:
        cores: The core of its main thread, which sleeps, and one for each thread that polls.
        file_prefix: What keeps its files apart from others'.
        memory_mb: Hugepage memory.
    """
    lcores = ",".join(f"{index}@{core}" for index, core in enumerate(cores))
    return [
        *("stdbuf", "-oL", PROGRAM),  # its lines as they come, though nobody has a terminal
        f"--lcores={lcores}",
        *("--in-memory", "--single-file-segments"),
        *("--file-prefix", file_prefix, "--socket-mem", str(memory_mb)),
    ]


def version(host: Host) -> str:
    """Which DPDK a host's is of, where something tells."""
    try:
        found = host.run(["pkg-config", "--modversion", "libdpdk"], check=False)
    except LostConnectionError:
        raise
    except CommandError:  # there is no pkg-config
        return "testpmd"
    return f"testpmd of DPDK {found.stdout.strip()}" if found.ok else "testpmd"


class Program:
    """A dpdk-testpmd that this run starts.

    Args:
        host: The machine.
        inside: The same, or the network namespace of it in which it runs.
        file_prefix: The one on its command line, which no other has.
    """

    def __init__(self, host: Host, inside: Host, file_prefix: str) -> None:
        self.pid: int | None = None
        self._host = host
        self._inside = inside
        self._file_prefix = file_prefix
        self._process: Process | None = None

    def start(self, argv: Sequence[str]) -> None:
        """Start it; it takes the far ends of its ports, and may wait for them.

        Raises:
            CommandError: It cannot be started.
        """
        self._process = self._inside.spawn(known(argv, version(self._host)))

    def begun(self, patience_s: float = 20.0) -> set[tuple[int, int]]:
        """Wait until it forwards.

        Returns:
            Ports from which and to which it does.

        Raises:
            CommandError: It has ended, or does not come to that in time; carries its last words.
        """
        joined = set(_streams(self._first_lines(patience_s)))
        self.pid = self._find_pid()
        return joined

    def prefer_pollers(self) -> None:
        """Put its polling threads before whatever else the host runs on their cores."""
        found = {} if self.pid is None else threads(self._host, self.pid)
        if workers := [str(thread) for thread, name in found.items() if "worker" in name]:
            self._host.run(["renice", "-n", "-20", "-p", *workers])

    def _first_lines(self, patience_s: float) -> list[str]:
        assert self._process is not None  # noqa: S101 - just started
        lines: list[str] = []
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            try:
                line = self._process.receive(0.1)
            except TimeoutError:
                continue
            if line is None:
                raise CommandError(f"{PROGRAM} did not start: {self._last_words()}")
            if _READY in line:
                return lines
            lines.append(line)
        raise CommandError(f"{PROGRAM} did not start in {patience_s:g} s: {self._last_words()}")

    def _find_pid(self) -> int | None:
        for pid in self._host.run(["pgrep", "-x", PROGRAM], check=False).stdout.split():
            if self._file_prefix in (self._host.read(f"/proc/{pid}/cmdline") or "").split("\0"):
                return int(pid)
        return None

    def crashed(self) -> str:
        """Why it has gone; empty while it lives, and before it is started."""
        if self._process is None:
            return ""
        try:
            while self._process.receive(0.0) is not None:
                pass
        except TimeoutError:
            return ""
        return f"{PROGRAM} has ended: {self._last_words()}"

    def _last_words(self) -> str:
        """What it complained of, if it did, and its exit status; negative for a signal that killed it."""
        assert self._process is not None  # noqa: S101 - whoever asks has started it
        lines = [line.strip() for line in self._process.complaints()]
        told = [line for line in lines if _COMPLAINT.search(line) and not line.endswith(_HARMLESS)]
        status = self._process.close()
        return " / ".join([*told[-3:], "killed" if status is None else f"status {status}"])

    def close(self) -> None:
        """End it; at once where it still waits for the far end of a port, for it does not look at its input then."""
        if self._process is not None:
            if self.pid is None:
                self._process.kill()
            self._process.close()
            self._process = self.pid = None


def _streams(lines: Iterable[str]) -> Iterator[tuple[int, int]]:
    """Ports from which and to which frames go, as it tells them when it starts."""
    for line in lines:
        if found := _STREAM.search(line):
            yield int(found[1]), int(found[2])
