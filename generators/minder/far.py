"""Minds traffic tools on the host where they run: far end of `nvbench.generators.minder`, spoken to in JSON lines.

    python3 minder.py FILE_PREFIX [CORE]

A file on its own for any Python since 3.6: it is copied to hosts that have no nvbench. Each tool gets a terminal, as
tools hold back what they print to a pipe. All of them end when the other end goes: when standard input closes, on a
signal, and when this program is killed; a trial ends in its own time, whether or not anybody listens.

A request is `{"do": NAME, ...}`, its answer `{"answer": VALUE}` or `{"fault": TEXT}`; a trial says `{"live": ...}` too.
"""
# ruff: noqa: UP006, UP035, UP045, B905 - notations that Python 3.6 does not know

import ctypes
import json
import os
import pty
import re
import select
import signal
import socket
import sys
import time
import tty
from pathlib import Path
from typing import Any, Dict, List, NoReturn, Optional, Tuple

SAMPLE_S = 0.05
"""Time between two looks at the counters of a running trial."""

STILL_S = 0.02
"""Counters that did not move for so long stand still."""

SWIFT_S = 0.001
"""A look at the counters that takes longer than this does not tell when they were so, and is repeated."""

PATIENCE_S = 2.0
"""A tool that did not end on SIGINT in this time is killed; telemetry is answered long before."""

ENDING_S = 1.0
"""A tool that has been killed is gone after so long."""

KEPT_BYTES = 1 << 16
"""Of what a tool has printed and nobody has read, the end is kept."""

COUNTERS = ("ipackets", "opackets", "imissed", "oerrors")
"""What is counted of a port, under the names of DPDK's telemetry."""

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][0-9A-Z]|\x1b[=>78]|[\r\b\0]")
POLLERS = re.compile("worker|slave")
"""Names of the threads in which DPDK polls, of all its versions."""

LIBC = ctypes.CDLL(None)
CORES = os.sched_getaffinity(0)
PR_SET_PDEATHSIG = 1


class Fault(Exception):  # noqa: N818 - what a tool has, which is not always an error
    """What went wrong, in one line."""


class Tool:
    """A program on a terminal of its own."""

    def __init__(self, name: str, argv: List[str], telemetry: str) -> None:
        self.name = name
        self.status = None  # type: Optional[int]
        self._telemetry = telemetry
        self._questions = None  # type: Optional[socket.socket]
        self._most_bytes = 1024
        self._unread = self._last = b""
        self.pid, self.terminal = pty.fork()
        if not self.pid:
            _become(argv)

    def take(self) -> None:
        """Take in what it has printed; notice its end."""
        try:
            data = os.read(self.terminal, KEPT_BYTES)
        except OSError:  # all that held its terminal has gone, or will not use it again
            os.killpg(self.pid, signal.SIGKILL)
            self.status = os.waitpid(self.pid, 0)[1]
            return
        self._unread = (self._unread + data)[-KEPT_BYTES:]
        self._last = (self._last + data)[-2000:]

    def read(self, until: str) -> Optional[str]:
        """What it has printed since the last time, up to a match; None without one."""
        text = _clean(self._unread)
        found = re.search(until, text)
        if not found:
            return None
        self._unread = text[found.end() :].encode()
        return text[: found.end()]

    def forget(self) -> None:
        """Have everything read that it has printed."""
        self._unread = b""

    def ask(self, question: str) -> Any:
        """DPDK telemetry, version 2."""
        try:
            if self._questions is None:
                self._questions = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                self._questions.settimeout(PATIENCE_S)
                self._questions.connect(self._telemetry)
                self._most_bytes = int(json.loads(self._questions.recv(1024).decode())["max_output_len"])
            self._questions.send(question.encode())
            (answer,) = json.loads(self._questions.recv(self._most_bytes).decode()).values()
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            self._questions = None
            self._await_end()
            told = f"{self.name} does not answer by telemetry: {error}" if self.status is None else self.ended()
            raise Fault(told) from error
        return answer

    def _await_end(self) -> None:
        """Notice its end, if it is about to come: a program stops answering a little before."""
        deadline = time.monotonic() + ENDING_S
        while self.status is None and select.select([self.terminal], [], [], max(0.0, deadline - time.monotonic()))[0]:
            self.take()

    def count(self, port: int) -> List[int]:
        """What it has counted at one of its ports."""
        stats = self.ask(f"/ethdev/stats,{port}")
        try:
            return [int(stats[name]) for name in COUNTERS]
        except (KeyError, TypeError, ValueError):
            raise Fault(f"{self.name} has no counters of port {port}") from None

    def pollers(self) -> List[Path]:
        """Where the kernel tells how long each of its polling threads has run and waited."""
        names = Path(f"/proc/{self.pid}/task").glob("*/comm")
        return [name.with_name("schedstat") for name in names if POLLERS.search(_text(name))]

    def ended(self) -> str:
        """That it has ended, how, and what it said last."""
        status = self.status or 0
        how = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return f"{self.name} ended with status {how}{self.last_words()}"

    def last_words(self) -> str:
        """The end of what it said, on one line."""
        lines = [line.strip()[:160] for line in _clean(self._last).splitlines() if line.strip()]
        told = "; ".join(lines[-2:])
        return ": " + "".join(c if c.isprintable() else "?" for c in told) if told else ""


def _become(argv: List[str]) -> NoReturn:
    """In the new process: the program itself."""
    try:
        LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        os.sched_setaffinity(0, CORES)
        tty.setraw(0)
        os.execvp(argv[0], argv)
    except BaseException as error:  # noqa: BLE001 - whatever it was, this must not become a second minder
        os.write(2, f"{argv[0]}: {error}\n".encode())
    os._exit(127)


def _clean(printed: bytes) -> str:
    return ESCAPES.sub("", printed.decode("utf-8", "replace"))


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


class Minder:
    """All tools, and the other end."""

    def __init__(self) -> None:
        self.tools = []  # type: List[Tool]
        self._heard = b""

    def serve(self) -> None:
        """Do what is asked until the other end goes."""
        while True:
            while b"\n" not in self._heard:
                self._wait(3600.0)
            line, self._heard = self._heard.split(b"\n", 1)
            try:
                said = {"answer": self.perform(json.loads(line.decode()))}
            except (Fault, OSError) as fault:
                said = {"fault": str(fault)}
            self.say(said)

    def perform(self, request: Dict[str, Any]) -> Any:
        """Do one thing, and tell what came of it."""
        arguments = dict(request)
        return getattr(self, "_do_" + arguments.pop("do"))(**arguments)

    def _do_spawn(self, name: str, argv: List[str], telemetry: str) -> int:
        self.tools.append(Tool(name, argv, telemetry))
        return len(self.tools) - 1

    def _do_alive(self) -> None:
        self.sleep(0.0)

    def _do_read(self, tool: int, until: str, timeout_s: float) -> str:
        minded, deadline = self.tools[tool], time.monotonic() + timeout_s
        while True:
            text = minded.read(until)
            if text is not None:
                return text
            if minded.status is not None:
                raise Fault(minded.ended())
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise Fault(f"{minded.name} did not answer in {timeout_s:g} s{minded.last_words()}")
            self._wait(left_s)

    def _do_type(self, tool: int, text: str, until: str, timeout_s: float) -> str:
        self.sleep(0.0)
        if until:
            self.tools[tool].forget()  # what it said before is no answer
        os.write(self.tools[tool].terminal, text.encode())
        return self._do_read(tool, until, timeout_s) if until else ""

    def _do_ask(self, tool: int, question: str) -> Any:
        self.sleep(0.0)
        return self.tools[tool].ask(question)

    def _do_moving(self, tool: int, port: int, timeout_s: float) -> str:
        deadline = time.monotonic() + timeout_s
        sent = COUNTERS.index("opackets")
        before = self.tools[tool].count(port)[sent]
        while self.tools[tool].count(port)[sent] == before:
            if time.monotonic() > deadline:
                raise Fault(f"{self.tools[tool].name} sent nothing in {timeout_s:g} s")
            self.sleep(0.002)
        return ""

    def _do_trial(self, **window: Any) -> Dict[str, Any]:
        try:
            return Trial(self, window).run()
        except BaseException:
            self.end()  # whatever went wrong, nothing keeps sending
            raise

    def _wait(self, seconds: float) -> None:
        """Wait so long, or until something happens; take in what tools print; leave when the other end has gone."""
        terminals = {tool.terminal: tool for tool in self.tools if tool.status is None}
        for ready in select.select([0, *terminals], [], [], seconds)[0]:
            if ready in terminals:
                terminals[ready].take()
                continue
            data = os.read(0, KEPT_BYTES)
            if not data:
                sys.exit()
            self._heard += data

    def sleep(self, seconds: float) -> None:
        """Wait so long, while all tools live."""
        until = time.monotonic() + seconds
        self._wait(0.0)
        while time.monotonic() < until:
            self._wait(max(0.0, until - time.monotonic()))
        for tool in self.tools:
            if tool.status is not None:
                raise Fault(tool.ended())

    def say(self, event: Dict[str, Any], must: bool = True) -> None:
        """Tell the other end; what need not be told is dropped where it does not listen."""
        if must or select.select([], [1], [], 0)[1]:
            sys.stdout.write(json.dumps(event) + "\n")
            sys.stdout.flush()

    def end(self) -> None:
        """End all tools, and all that they have started."""
        deadline = time.monotonic() + PATIENCE_S
        running = {tool.terminal: tool for tool in self.tools if tool.status is None}
        for tool in running.values():
            os.killpg(tool.pid, signal.SIGINT)
        while running and time.monotonic() < deadline:
            for terminal in select.select(list(running), [], [], 0.1)[0]:
                running[terminal].take()
                if running[terminal].status is not None:
                    del running[terminal]
        for tool in running.values():
            os.killpg(tool.pid, signal.SIGKILL)


class Trial:
    """Sending for a while, and what was counted."""

    def __init__(self, minder: Minder, window: Dict[str, Any]) -> None:
        self._minder = minder
        self._window = window
        self._ends = slice(window["ends"])
        self._before = []  # type: List[List[int]]
        self._samples = []  # type: List[Any]
        tools = {tool for tool, _ in window["ports"]}
        self._pollers = [path for tool in tools for path in minder.tools[tool].pollers()]
        self._waits_ns = []  # type: List[int]

    def run(self) -> Dict[str, Any]:
        """Go, watch, halt, wait for stragglers."""
        offset = time.time() - time.monotonic()
        self._before = self._count()[1]
        texts = [self._minder.perform(action) for action in self._window["go"]]
        self._waits_ns = [self._waited_ns()]  # those of a tool that starts late disturb nothing
        began, started_at = time.monotonic(), time.time()
        aborted = self._watch(began)
        texts += [self._minder.perform(action) for action in self._window["halt"]]
        after = self._drain()
        waits_ns = [later - earlier for earlier, later in zip(self._waits_ns, self._waits_ns[1:])]
        return {
            "before": self._before,
            "after": after,
            "samples": self._samples,
            "aborted": aborted,
            "clock_step_us": (time.time() - time.monotonic() - offset) * 1e6,
            "started_at": started_at,
            "waited_s": sum(waits_ns) / 1e9,
            "longest_wait_s": max(waits_ns, default=0) / 1e9,
            "texts": texts,
        }

    def _watch(self, began: float) -> bool:
        """Look at the counters until time is up, or too much is lost: whether that was so."""
        duration_s = self._window["duration_s"]
        looks = 0
        while True:
            at, counters = self._count()
            self._samples.append((at - began, counters))
            self._minder.say({"live": [at - began, self._before[self._ends], counters[self._ends]]}, must=False)
            if self._lost_too_much(counters):
                return True
            now_s = time.monotonic() - began
            if now_s >= duration_s:
                return False
            looks = max(looks + 1, int(now_s / SAMPLE_S))
            self._minder.sleep(min(looks * SAMPLE_S, duration_s) - now_s)

    def _lost_too_much(self, counters: List[List[int]]) -> bool:
        """Frames that were sent a while ago and have not come back are lost; later ones may be on their way."""
        if self._window["max_lost"] is None:
            return False
        arrived_at = self._samples[-1][0] - self._window["drain_s"]
        sent = next((old for at, old in reversed(self._samples) if at <= arrived_at), self._before)
        rows = list(zip(self._before, sent, counters))[self._ends]
        lost = sum(then[1] - before[1] - (now[0] - before[0]) for before, then, now in rows)
        return bool(lost > self._window["max_lost"])

    def _drain(self) -> List[List[int]]:
        """The counters once they stand still, or after the time for that."""
        deadline = time.monotonic() + self._window["drain_s"]
        last, counters = self._before, self._count()[1]
        while counters != last and time.monotonic() < deadline:
            self._minder.sleep(min(STILL_S, self._window["drain_s"]))
            last, counters = counters, self._count()[1]
        return counters

    def _count(self) -> Tuple[float, List[List[int]]]:
        """When, and the counters of all ports; the quickest of some looks."""
        looks = []  # type: List[Tuple[float, float, List[List[int]]]]
        while len(looks) < 3 and not (looks and looks[-1][0] <= SWIFT_S):
            began = time.monotonic()
            counters = [self._minder.tools[tool].count(port) for tool, port in self._window["ports"]]
            took = time.monotonic() - began
            looks.append((took, began + took / 2, counters))
        self._waits_ns.append(self._waited_ns())
        _, at, counters = min(looks)
        return at, counters

    def _waited_ns(self) -> int:
        """For how long the polling threads have waited for their cores since they started, all together."""
        told = (_text(path).split() for path in self._pollers)
        return sum(int(words[1]) for words in told if len(words) > 1)


def main() -> None:
    """Serve, and leave nothing running."""
    minder = Minder()
    if sys.argv[2:]:
        os.sched_setaffinity(0, {int(sys.argv[2])})
    signals = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    for number in signals:
        signal.signal(number, lambda *_: sys.exit())
    try:
        minder.serve()
    finally:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        minder.end()


if __name__ == "__main__":
    main()
