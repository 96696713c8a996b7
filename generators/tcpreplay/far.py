"""The far end of tcpreplay: runs it on the generator's host, samples the kernel's counters, says what it saw.

Uploaded, and run there as `python3 tcpreplay_far.py MARK`; the mark is for whoever has to find it. Each line of its
standard input asks for a trial, answered by events on standard output, all of them JSON; where the input ends, all of
it ends. It imports nothing of nvbench, and runs on Python 3.6.
"""

import collections
import ctypes
import json
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

TICK_S = 0.05
STILL_TICKS = 2
PATIENCE_S = 2.0
"""A tool that does not end this long after its time is killed: it tries a frame that no device takes for ever."""

COUNTERS = ("tx_packets", "tx_dropped", "rx_packets", "rx_missed_errors")
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def _die_with_parent() -> None:
    """The kernel ends a tool whose parent was killed and could not do it."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Player:
    """A tcpreplay that plays out of one device."""

    def __init__(self, argv: "list[str]") -> None:
        self.child = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=_die_with_parent,  # noqa: PLW1509 - no lock is taken in it
        )
        self.waited_ns = self.longest_wait_ns = 0
        self._said = collections.deque(maxlen=40)  # type: collections.deque[bytes]
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.child.stdout is not None  # noqa: S101 - it was opened as a pipe
        self._said.extend(self.child.stdout)

    @property
    def said(self) -> str:
        """The end of what it printed."""
        return b"".join(self._said).decode(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.child.poll() is None

    def look(self) -> None:
        """Note how long it was ready to run and no core took it, as the kernel counts it."""
        try:
            waited = int(Path(f"/proc/{self.child.pid}/schedstat").read_text().split()[1])
        except (OSError, IndexError):  # it has ended
            return
        self.longest_wait_ns = max(self.longest_wait_ns, waited - self.waited_ns)
        self.waited_ns = waited

    def interrupt(self) -> None:
        """Have it stop and tell what it did."""
        if self.running:
            self.child.send_signal(signal.SIGINT)

    def end(self) -> None:
        """It does not run any more after this."""
        if self.running:
            self.child.kill()
        self.child.wait()
        self._reader.join(1.0)


def read_counters(devices: "list[str]") -> "dict[str, dict[str, int]]":
    """Device -> counter -> number, as the kernel has them now."""
    return {
        device: {name: int(Path(f"/sys/class/net/{device}/statistics/{name}").read_text()) for name in COUNTERS}
        for device in devices
    }


def say(**event: object) -> None:
    """An event, on a line of its own."""
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _ahead_s() -> float:
    return time.time() - time.monotonic()


class Trial:
    """A trial.

    Args:
        paths: The devices of each direction: where its frames leave, and where they come back.
        duration_s: Sending time.
        drain_s: Longest wait for stragglers.
        max_lost: It ends once more frames than this are lost; None: never.
    """

    def __init__(self, paths: "list[list[str]]", duration_s: float, drain_s: float, max_lost: "int | None") -> None:
        self.duration_s, self.drain_s, self.max_lost = duration_s, drain_s, max_lost
        self.paths = paths
        self.devices = sorted({device for path in paths for device in path})
        self.before = read_counters(self.devices)
        self.players = []  # type: list[Player]
        self.aborted = self.interrupted = False
        self.ahead_s, self.began_s = _ahead_s(), time.monotonic()
        self.first_s = None  # type: float | None
        self.earlier = collections.deque([0, 0], maxlen=2)

    def play(self, argvs: "list[list[str]]") -> None:
        """Play to the end.

        Args:
            argvs: Command lines, one of each path.
        """
        try:
            for argv in argvs:
                self.players.append(Player(argv))
            while any(player.running for player in self.players):
                self.look()
        finally:
            for player in self.players:
                player.end()

    def grown(self) -> "dict[str, dict[str, int]]":
        """The counters since the trial's begin."""
        now = read_counters(self.devices)
        return {
            device: {name: now[device][name] - before for name, before in counted.items()}
            for device, counted in self.before.items()
        }

    def look(self) -> None:
        """Wait for a tick, tell how things are, and end what should end."""
        if select.select([sys.stdin], [], [], TICK_S)[0]:
            raise SystemExit  # nothing is asked during a trial: whoever could ask has gone
        now_s, seen = time.monotonic(), self.grown()
        for player in self.players:
            player.look()
        sent = sum(seen[out]["tx_packets"] + seen[out]["tx_dropped"] for out, _ in self.paths)
        came = sum(seen[back]["rx_packets"] for _, back in self.paths)
        if sent and self.first_s is None:
            self.first_s = now_s - TICK_S / 2
        elapsed_s = 0.0 if self.first_s is None else now_s - self.first_s
        say(event="live", elapsed_s=elapsed_s, counters=seen)
        if self.max_lost is not None and self.earlier[0] - came > self.max_lost:
            self.aborted = True
        self.earlier.append(sent)  # frames younger than two ticks may be on their way
        if now_s - self.began_s > self.duration_s + PATIENCE_S:
            for player in self.players:
                player.end()
        elif self.aborted or elapsed_s > self.duration_s + TICK_S:
            self.interrupted = True
            for player in self.players:
                player.interrupt()

    def drained(self) -> "dict[str, dict[str, int]]":
        """The counters since the trial's begin, once they stand still."""
        deadline = time.monotonic() + self.drain_s
        seen, still = self.grown(), 0
        while time.monotonic() < deadline and still < STILL_TICKS:
            time.sleep(TICK_S / 5)
            now = self.grown()
            seen, still = now, still + 1 if now == seen else 0
        return seen

    def account(self) -> "dict[str, object]":
        """All that is known of it."""
        began_s = self.began_s if self.first_s is None else self.first_s
        return {
            "counters": self.drained(),
            "said": [player.said for player in self.players],
            "statuses": [player.child.returncode for player in self.players],
            "aborted": self.aborted,
            "interrupted": self.interrupted,
            "started_at": began_s + self.ahead_s,
            "clock_step_us": (_ahead_s() - self.ahead_s) * 1e6,
            "waited_us": sum(player.waited_ns for player in self.players) / 1e3,
            "longest_wait_us": max(player.longest_wait_ns for player in self.players) / 1e3,
        }


def main() -> None:
    """Runs trials until nobody asks any more."""
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, lambda *_: sys.exit(1))
    for line in iter(sys.stdin.readline, ""):
        try:
            asked = json.loads(line)
            argvs = asked.pop("argvs")
            trial = Trial(**asked)
            trial.play(argvs)
            say(event="done", **trial.account())
        except (OSError, ValueError) as error:
            say(event="error", what=str(error))


if __name__ == "__main__":
    main()
