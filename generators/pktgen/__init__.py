"""Pktgen-DPDK as a generator: it holds a load; it measures no latency, and tells its own frames from no others."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath

from nvbench.abilities import Ability
from nvbench.errors import GeneratorError
from nvbench.generators.base import DPDK_LINKS, Kind, OnLive, Seat, runtime_folder, telemetry
from nvbench.generators.minder import Minder, Moving, Type, Watched, Window
from nvbench.generators.pktgen.account import Asked, trial_of
from nvbench.generators.pktgen.command import PktgenCommand
from nvbench.generators.pktgen.lua import (
    HALT,
    WAITS,
    Hello,
    Pace,
    Stream,
    answer,
    answered,
    begin,
    done,
    faulted,
    script,
)
from nvbench.hosts.base import Host
from nvbench.traffic import Direction, Traffic, templates
from nvbench.trial import AbortRule, Step, Trial
from nvbench.units import line_rate_pps

__all__ = ["PKTGEN", "Pktgen", "PktgenCommand"]

OLDEST, NEWEST = (22, 7), (24, 3)
"""Releases that it can be: later ones hold no load or share out cores in another way."""

FLOWS_MOST = 24_576
"""Its buffers of a port: each holds a frame that was made before it sends, so that some flows may have one more."""

FRAME_BYTES_MOST = 9234
MEMORY_MB = 3072
"""It has five pools of 240 MB for each of its two ports, whatever they are used for."""

SLOW_HZ = 10.0
"""Frames per second and direction while it gets under way."""

SLOW_S = 0.25
ANSWER_S = 5.0
"""It answers at once, and after a second where it waits for a port or a link."""

BUFFERS_S = 10.0
"""It fills the buffers of a port in a second, on a slow core in some."""

CLOCK_ERROR = 0.005
"""DPDK rounds a clock's frequency to 10 MHz: how far from its word the truth may be."""

FRAMES_TO_TELL = 10_000
"""A trial of fewer tells nothing of the clock."""

LINK_BPS = 10e9
"""Only roughly the links' speed: what is asked in percent of it holds until the next line of the script."""


class Pktgen:
    """A running Pktgen-DPDK, under a minder on its host.

    Args:
        minder: What watches it.
        tool: Its number there.
        command: What it was started with.
        seat: Where.
    """

    name = "pktgen"
    simulated = False

    def __init__(self, minder: Minder, tool: int, command: PktgenCommand, seat: Seat) -> None:
        self.version = ""
        self.clock: dict[str, float] = {}
        self._minder = minder
        self._tool = tool
        self._command = command
        self._seat = seat
        self._place = f"host {seat.host.name}"
        self._hz = self._measured_s = 0.0
        self._lines = 0
        self._traffic: Traffic | None = None

    @classmethod
    def start(cls, seat: Seat) -> Pktgen:
        """Spawns it. It is usable after `ready`, which may need a switch to connect to its ports first.

        Raises:
            CommandError: It cannot be started.
            GeneratorError: It is not there, or cannot have such ports.
        """
        place = f"host {seat.host.name}"
        binary = _find(seat.host, seat.program)
        if not binary:
            raise GeneratorError(_NOT_THERE, place=place)
        if seat.layout.queues > 1:
            raise GeneratorError("Pktgen is given one queue of each port, not more", place=place)
        path = f"{seat.folder}/pktgen.lua"
        command = PktgenCommand(binary, seat.layout, seat.housekeeping_core, seat.file_prefix, path)
        seat.host.make_folder(seat.folder)
        seat.host.write(path, script(len(command.layout.numbers)))
        for socket in command.layout.sockets:
            seat.host.remove(socket)  # left by a killed generator, it would keep this one from binding
        minder = Minder.start(seat.host, seat.folder, seat.file_prefix, seat.housekeeping_core)
        tool = minder.spawn(command.argv, name="pktgen", telemetry=telemetry(seat.file_prefix))
        return cls(minder, tool, command, seat)

    def ready(self, timeout_s: float = 30.0) -> None:
        """See `Generator.ready`."""
        said = self._minder.read(self._tool, f"{answered(0)}|{_STOPPED}", timeout_s)
        if cause := _start_fault(said):
            raise GeneratorError(f"Pktgen does not start: {cause}", place=self._place)
        hello = Hello.parse(answer(said, self._place), self._place)
        if not OLDEST <= hello.release <= NEWEST:
            raise GeneratorError(
                f"Pktgen {hello.version} is not one that holds a load here",
                place=self._place,
                remedy="22.07 to 24.03 do; later ones send less than asked, or share out cores in another way",
            )
        self.version = f"Pktgen {hello.version} on {hello.dpdk}"
        told_hz = _kernel_hz(self._seat.host.read("/proc/cpuinfo") or "", hello.dpdk_hz)
        self._hz, self._measured_s = (told_hz, float("inf")) if told_hz else (hello.dpdk_hz, 0.0)
        self.clock = {"tsc_hz": self._hz, "dpdk_hz": hello.dpdk_hz}

    def check_alive(self) -> None:
        """See `Generator.check_alive`."""
        self._minder.check_alive()

    def configure(self, traffic: Traffic) -> None:
        """See `Generator.configure`."""
        both = templates(replace(traffic, direction=Direction.BIDIRECTIONAL))
        for port, template in zip(self._command.layout.numbers, both, strict=False):
            self._ask(Stream.of(template, traffic.frame_bytes, traffic.vlan).lua(port))
        self._traffic = traffic

    def learn(self) -> None:
        """See `Generator.learn`: some frames of the case out of each port, from the address that the other sends to."""
        self._configured()
        self._watch(self._under_way(self._command.layout.numbers), SLOW_S, AbortRule())

    def trial(
        self,
        load_pps: float,
        duration_s: float,
        abort: AbortRule,
        on_live: OnLive | None = None,
        *,
        then: Step | None = None,
        detail: bool = False,
    ) -> Trial:
        """See `Generator.trial`."""
        traffic = self._configured()
        if then is not None or detail:
            raise GeneratorError("Pktgen has one load in a trial, and no detail to tell of it", place=self._place)
        pace = Pace.of(load_pps, self._hz, line_rate_pps(LINK_BPS, traffic.frame_bytes))
        ports = self._command.layout.numbers
        sending = ports[: traffic.directions]
        ends = tuple(zip(sending, ports[::-1], strict=False))
        asked = Asked(load_pps, duration_s, pace.burst, ends, self._seat.layout.descriptors, abort.max_lost_frames)
        watched = self._watch((*self._under_way(sending), self._typed(pace.lua)), duration_s, abort, on_live)
        trial = trial_of(watched, asked, stuck=self._stuck(watched))
        self._compare_clocks(trial, pace)
        return trial

    def close(self) -> None:
        """See `Generator.close`."""
        self._minder.close()
        for path in (*self._command.layout.sockets, runtime_folder(self._command.file_prefix)):
            self._seat.host.remove(path)

    # -- what is said to it ------------------------------------------------------------------------------------

    def _configured(self) -> Traffic:
        if self._traffic is None:
            raise GeneratorError("configure comes before frames are sent", place=self._place)
        return self._traffic

    def _under_way(self, ports: tuple[int, ...]) -> tuple[Type | Moving, ...]:
        """What has ports send slowly, until frames leave all of them: every start costs it a second."""
        moving = (Moving(self._tool, port, BUFFERS_S) for port in ports)
        return (self._typed(begin(ports, round(self._hz / SLOW_HZ))), *moving)

    def _watch(
        self, go: tuple[Type | Moving, ...], duration_s: float, abort: AbortRule, on_live: OnLive | None = None
    ) -> Watched:
        window = Window(
            go=go,
            halt=(self._typed(HALT, may_fail=True),),
            ports=tuple((self._tool, port) for port in sorted(self._command.layout.numbers)),
            duration_s=duration_s,
            drain_s=self._seat.drain_s,
            max_lost=abort.max_lost_frames,
        )
        return self._minder.trial(window, on_live)

    def _typed(self, text: str, *, may_fail: bool = False) -> Type:
        """A line to its script; where its failure is no answer it shows in the last words of a time-out."""
        self._lines += 1
        until = answered(self._lines) if may_fail else done(self._lines)
        return Type(self._tool, f"{self._lines} {text}\n", until, ANSWER_S)

    def _stuck(self, watched: Watched) -> str:
        """What kept it from stopping; empty where it stopped.

        Raises:
            GeneratorError: It did not understand, and may still send; it is killed.
        """
        told = faulted(watched.texts[-1])
        if told and not told.startswith(WAITS):
            self._minder.kill()
            raise GeneratorError(f"Pktgen: {told}", place=self._place)
        return told

    def _ask(self, text: str) -> str:
        return answer(self._minder.act(self._typed(text, may_fail=True)), self._place)

    def _compare_clocks(self, trial: Trial, pace: Pace) -> None:
        """Of a clock whose frequency the kernel does not tell, the longest trial that held its load tells it."""
        frames = trial.offered_pps * trial.elapsed_s
        if trial.elapsed_s <= self._measured_s or frames < FRAMES_TO_TELL or trial.pauses.generator_longest_us > 1000:
            return
        hz = trial.offered_pps * pace.cycles / pace.burst
        if abs(hz / self.clock["dpdk_hz"] - 1) < CLOCK_ERROR:
            self._hz, self._measured_s = hz, trial.elapsed_s
            self.clock = {**self.clock, "tsc_hz": hz}


_STOPPED = r"PANIC in \w+\(\):\s*\S[^\n]*\n|(?m:^\s*[Uu]sage:)"
"""What it prints when it does not start: before a stack trace, or after what it does not like of its command line."""


def _start_fault(said: str) -> str:
    """Why it did not start, in its own words; empty where it did."""
    if found := re.search(r"PANIC in \w+\(\):\s*(\S[^\n]*)\n\Z", said):
        return found[1].strip()
    if re.search(r"[Uu]sage:\Z", said):
        lines = [line.strip() for line in said.splitlines()[:-1] if line.strip()]
        return lines[-1] if lines else "it does not take its command line"
    return ""


def _kernel_hz(cpuinfo: str, dpdk_hz: float) -> float | None:
    """The clock's frequency as the kernel has measured it, which it tells by the loops of its first delays."""
    found = re.search(r"(?im)^bogomips\s*:\s*([\d.]+)", cpuinfo)
    hz = float(found[1]) * 1e6 / 2 if found else 0.0
    return hz if abs(hz / dpdk_hz - 1) < CLOCK_ERROR else None


_NOT_THERE = "Pktgen-DPDK is not installed"
_GET_IT = "build release 23.03 of github.com/pktgen/Pktgen-DPDK with Lua, and name it in the testbed"
_PLACES = ("", "pktgen", "app/pktgen", "build/app/pktgen", "usr/local/bin/pktgen")
"""Where the program is in a folder that the testbed names: as built, or as installed there."""


def _find(host: Host, program: str) -> str:
    """Path of the program; empty where there is none."""
    names = [str(PurePosixPath(program) / place) for place in _PLACES] if "/" in program else [program or "pktgen"]
    for name in names:
        found = host.run(["which", name], check=False)
        if found.ok:
            return found.stdout.strip()
    return ""


def _cannot_send(traffic: Traffic) -> str:
    if traffic.imix:
        return "sends frames of one size only"
    if traffic.frame_bytes > FRAME_BYTES_MOST:
        return f"sends frames of at most {FRAME_BYTES_MOST} bytes"
    return f"has no more than {FLOWS_MOST} flows" if traffic.flows > FLOWS_MOST else ""


PKTGEN = Kind(
    name="pktgen",
    process="pktgen",
    uses=frozenset({"python3", "hugepages"}),
    links=DPDK_LINKS,
    abilities=lambda _links: frozenset({Ability.PACED}),
    cannot_send=_cannot_send,
    missing=lambda host, program: "" if _find(host, program) else f"{_NOT_THERE} ({_GET_IT})",
    start=Pktgen.start,
    memory_mb=lambda _buffers_mb: MEMORY_MB,
)
