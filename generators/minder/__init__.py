"""Traffic tools under a minder: started, typed to and watched on their host, by way of `minder.py` there.

A tool that is spoken to over a network cannot be stopped in time, nor its counters read in time. The minder does both
on the tool's host, by one clock, and ends the tools when nobody is left to ask for that.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

from nvbench.errors import GeneratorError
from nvbench.generators.base import Live, OnLive
from nvbench.generators.talk import Talk
from nvbench.hosts.base import Host, Process
from nvbench.trial import Counters, Pauses

ANSWER_S = 5.0
"""A live minder answers within this, beyond the time that was asked for; ending its tools takes 2 s of it."""

ACTION_S = 5.0


@dataclass(frozen=True, slots=True)
class Type:
    """Type to a tool's terminal.

    Attributes:
        tool: Its number.
        text: What to type, with its newline.
        until: Regular expression of what it then prints, which is the answer; empty: go on at once.
        timeout_s: How long that may take.
    """

    tool: int
    text: str
    until: str = ""
    timeout_s: float = ACTION_S


@dataclass(frozen=True, slots=True)
class Moving:
    """Wait until frames leave a port of a tool."""

    tool: int
    port: int
    timeout_s: float = ACTION_S


Action = Type | Moving


@dataclass(frozen=True, slots=True)
class Window:
    """A trial, as a minder is told of it.

    Attributes:
        go: What makes the tools send. The trial's time begins when it is done.
        halt: What makes them stop; they should go on receiving.
        ports: Tool and DPDK port number of each port whose counters are watched.
        ends: How many of `ports`, from the first, the trial's frames leave and come back to; what the others count
            is neither sent nor received.
        duration_s: Time between `go` and `halt`.
        drain_s: After `halt` the counters have this long to come to a stand.
        max_lost: It ends early once more frames than this have not come back, of those sent `drain_s` ago or
            earlier; None: never.
    """

    go: tuple[Action, ...]
    halt: tuple[Action, ...]
    ports: tuple[tuple[int, int], ...]
    duration_s: float
    drain_s: float
    max_lost: int | None = None
    ends: int = 2

    @property
    def longest_s(self) -> float:
        """What it may take at most."""
        patience = sum(action.timeout_s for action in (*self.go, *self.halt))
        return float(self.duration_s + self.drain_s + patience)


@dataclass(frozen=True, slots=True)
class PortCounters:
    """What DPDK has counted of a port since it came up.

    Attributes:
        ipackets: Frames that came in.
        opackets: Frames that its device took.
        imissed: Frames that came while its ring was full.
        oerrors: Frames that its device failed to send.
    """

    ipackets: int
    opackets: int
    imissed: int
    oerrors: int

    def __sub__(self, other: PortCounters) -> PortCounters:
        return PortCounters(*(getattr(self, name) - getattr(other, name) for name in PortCounters.__slots__))


Look = tuple[PortCounters, ...]
"""Counters of each of the ports of a window, at a moment."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What a minder saw of a trial.

    Attributes:
        before: Counters before it.
        after: Counters after it, once they had come to a stand.
        samples: Counters between `go` and `halt`, about every 50 ms: when, in seconds by the host's CLOCK_MONOTONIC
            since `go` was done, and what. The first is of the window's begin, the last of its end.
        aborted: Whether it ended early.
        clock_step_us: How far CLOCK_REALTIME moved against CLOCK_MONOTONIC.
        started_at: Unix time of the window's begin.
        waited_s: How long the tools' polling threads were ready to run and waited for their cores.
        longest_wait_s: The most of that between two samples.
        texts: What came of each action of `go` and `halt`.
    """

    before: Look
    after: Look
    samples: tuple[tuple[float, Look], ...]
    aborted: bool
    clock_step_us: float
    started_at: float
    waited_s: float
    longest_wait_s: float
    texts: tuple[str, ...]

    @classmethod
    def parse(cls, told: Mapping[str, Any]) -> Watched:
        """Reads a minder's account of a trial.

        Raises:
            GeneratorError: It is not one.
        """
        try:
            return cls(
                **{
                    **told,
                    "before": _look(told["before"]),
                    "after": _look(told["after"]),
                    "samples": tuple((float(at), _look(look)) for at, look in told["samples"]),
                    "texts": tuple(told["texts"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise GeneratorError(f"a minder's account of a trial cannot be read: {error!r}") from error

    @property
    def total(self) -> Look:
        """What each port counted, from before the first frame until after the last."""
        return tuple(after - before for before, after in zip(self.before, self.after, strict=True))

    @property
    def pauses(self) -> Pauses:
        """The times at which a tool was not there."""
        return Pauses(generator_longest_us=self.longest_wait_s * 1e6, generator_total_us=self.waited_s * 1e6)

    def sent_pps(self, port: int) -> float:
        """Frames per second that left a port in the window; 0.0 without two samples. `port` is its place in `ports`."""
        seconds, moved = self._window(port)
        return moved.opackets / seconds if seconds else 0.0

    def received_pps(self, port: int) -> float:
        """The same of frames that came in."""
        seconds, moved = self._window(port)
        return moved.ipackets / seconds if seconds else 0.0

    def _window(self, port: int) -> tuple[float, PortCounters]:
        (begin_s, first), (end_s, last) = self.samples[0], self.samples[-1]
        return end_s - begin_s, last[port] - first[port]


class Minder:
    """A minder, and the tools that it minds. It and they end with `close`, with nvbench, and with the connection.

    Args:
        process: The spawned minder.
        host: Where.
    """

    def __init__(self, process: Process, host: Host) -> None:
        self._process = process
        self._place = f"host {host.name}"
        self._talk = Talk(process, "the minder of its tools", self._place)

    @classmethod
    def start(cls, host: Host, folder: str, file_prefix: str, core: int | None = None) -> Minder:
        """Starts one.

        Args:
            host: Where.
            folder: A folder there, made if needed, whose owner removes it.
            file_prefix: Part of its command line, so that what is left of it can be found.
            core: Where it runs; its tools run where they like.

        Raises:
            CommandError: It cannot be started.
        """
        host.make_folder(folder)
        path = str(PurePosixPath(folder) / "minder.py")
        with resources.as_file(resources.files("nvbench.generators.minder") / "far.py") as source:
            host.upload(source, path)
        place = [] if core is None else [str(core)]
        return cls(host.spawn(["nice", "-n", "-20", "python3", path, file_prefix, *place]), host)

    def spawn(self, argv: Sequence[str], *, name: str = "", telemetry: str = "") -> int:
        """Starts a tool on a terminal of its own.

        Args:
            argv: Its command line.
            name: What messages call it; its file's name unless given.
            telemetry: Path of its DPDK telemetry socket (`dpdk_telemetry.v2`), which it makes itself.

        Returns:
            Its number.
        """
        named = name or PurePosixPath(argv[0]).name
        return int(self._ask({"do": "spawn", "name": named, "argv": list(argv), "telemetry": telemetry}, 0.0))

    def read(self, tool: int, until: str, timeout_s: float = ACTION_S) -> str:
        """What a tool has printed since the last time, up to the end of a match of a regular expression.

        Raises:
            GeneratorError: It did not print that in time, or has ended; with its last words.
        """
        return str(self._ask({"do": "read", "tool": tool, "until": until, "timeout_s": timeout_s}, timeout_s))

    def act(self, action: Action) -> str:
        """Does one thing now; what came of it.

        Raises:
            GeneratorError: It came to nothing in its time, or a tool has ended.
        """
        return str(self._ask(_request(action), action.timeout_s))

    def ask(self, tool: int, question: str) -> Any:
        """What a tool answers by DPDK telemetry: `/ethdev/info,0`.

        Raises:
            GeneratorError: Nothing.
        """
        return self._ask({"do": "ask", "tool": tool, "question": question}, 0.0)

    def trial(self, window: Window, on_live: OnLive | None = None) -> Watched:
        """Sends for a while. Whatever goes wrong, all tools have ended when this raises.

        Raises:
            GeneratorError: A tool died, hung, or did not do what was asked.
        """
        request = {
            **asdict(window),
            "do": "trial",
            "go": [_request(action) for action in window.go],
            "halt": [_request(action) for action in window.halt],
        }
        try:
            return Watched.parse(self._ask(request, window.longest_s, on_live))
        except BaseException:
            self.kill()
            raise

    def check_alive(self) -> None:
        """Does nothing while it and all its tools run.

        Raises:
            GeneratorError: One has ended; with its last words.
        """
        self._ask({"do": "alive"}, 0.0)

    def close(self) -> None:
        """Ends the tools in order, and the minder."""
        self._process.close()

    def kill(self) -> None:
        """Ends them at once."""
        self._process.kill()

    def _ask(self, request: Mapping[str, Any], longest_s: float, on_live: OnLive | None = None) -> Any:
        self._talk.say(request)
        deadline = time.monotonic() + longest_s + ANSWER_S
        while True:
            event = self._talk.hear(deadline)
            if "fault" in event:
                raise GeneratorError(str(event["fault"]), place=self._place)
            if "answer" in event:
                return event["answer"]
            if "live" not in event:
                raise GeneratorError(f"the minder of its tools answered {str(event)[:80]}", place=self._place)
            if on_live:
                on_live(_live(event))


def _request(action: Action) -> dict[str, Any]:
    return {"do": type(action).__name__.lower(), **asdict(action)}


def _look(rows: Sequence[Sequence[int]]) -> Look:
    return tuple(PortCounters(*map(int, row)) for row in rows)


def _live(event: Mapping[str, Any]) -> Live:
    elapsed_s, before, now = event["live"]
    moved = [after - then for then, after in zip(_look(before), _look(now), strict=True)]
    return Live(
        float(elapsed_s),
        Counters(sent=sum(row.opackets for row in moved), received=sum(row.ipackets for row in moved)),
    )
