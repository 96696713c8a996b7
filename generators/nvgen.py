"""nvgen: the paced, measuring DPDK generator that nvbench brings along as C source, driven by JSON lines."""

from __future__ import annotations

import time
from typing import Any

from nvbench.abilities import Ability
from nvbench.errors import CommandError, GeneratorError, LostConnectionError
from nvbench.generators.account import Done, counters, judge
from nvbench.generators.base import DPDK_LINKS, Kind, Layout, Live, OnLive, Seat, runtime_folder
from nvbench.generators.native import build, built
from nvbench.generators.native.command import NvgenCommand
from nvbench.generators.talk import Talk
from nvbench.hosts.base import Host, Process
from nvbench.traffic import Template, Traffic, learning_frames, templates
from nvbench.trial import AbortRule, Counters, Step, Trial

__all__ = ["NVGEN", "Done", "Nvgen", "NvgenCommand", "build", "built", "judge"]

OLDEST_DPDK = "21.11"
"""Its source uses names that DPDK has had since then."""

ANSWER_S = 5.0
"""A live nvgen speaks many times within this."""


class Nvgen:
    """A running nvgen.

    Args:
        process: The spawned program.
        command: What it was started with.
        host: Where.
        drain_s: Longest wait for stragglers after the last frame of a trial.
    """

    name = "nvgen"
    simulated = False

    def __init__(self, process: Process, command: NvgenCommand, host: Host, *, drain_s: float = 0.1) -> None:
        self.version = ""
        self.ports: tuple[dict[str, Any], ...] = ()
        self.clock: dict[str, float] = {}
        self.drain_s = drain_s
        self._process = process
        self._command = command
        self._host = host
        self._place = f"host {host.name}"
        self._talk = Talk(process, self.name, self._place)
        self._traffic: Traffic | None = None
        self._trials = 0

    @classmethod
    def start(
        cls,
        host: Host,
        layout: Layout,
        *,
        binary: str,
        housekeeping_core: int,
        file_prefix: str,
        receive: bool = True,
        drain_s: float = 0.1,
    ) -> Nvgen:
        """Spawns nvgen. It is usable after `ready`, which may need a switch to connect to its ports first.

        Raises:
            CommandError: It cannot be started.
        """
        command = NvgenCommand(binary, layout, housekeeping_core, file_prefix, receive)
        for socket in layout.sockets:
            host.remove(socket)  # left by a killed generator, it would keep this one from binding
        return cls(host.spawn(command.argv), command, host, drain_s=drain_s)

    def ready(self, timeout_s: float = 30.0) -> None:
        """Waits until its ports are up and connected.

        Raises:
            GeneratorError: It did not come up in time, or said why it cannot.
        """
        event = self._talk.event("ready", time.monotonic() + timeout_s)
        self.version = f"nvgen on {event['version']}"
        self.ports = tuple(event["ports"])
        self.clock = {"tsc_hz": float(event["tsc_hz"]), "dpdk_hz": float(event["dpdk_hz"])}

    def check_alive(self) -> None:
        """Does nothing where it is up, or still waits for a switch.

        Raises:
            GeneratorError: It has ended, or said why it cannot go on.
        """
        self._talk.check_alive()

    def configure(self, traffic: Traffic) -> None:
        """See `Generator.configure`."""
        streams = [
            _stream(direction, template, self._command.layout) for direction, template in enumerate(templates(traffic))
        ]
        self._ask({"cmd": "configure", "streams": streams}, "configured")
        self._traffic = traffic

    def learn(self) -> None:
        """See `Generator.learn`; sends the frames three times, as any of them may be lost."""
        if self._traffic is None:
            raise GeneratorError("configure comes before learn", place=self._place)
        frames = [{"port": port, "frame": frame.hex()} for port, frame in learning_frames(self._traffic)]
        self._ask({"cmd": "learn", "frames": frames, "repeat": 3}, "learned")

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
        self._trials += 1
        steps = (Step(load_pps, duration_s), *((then,) if then else ()))
        asked_s = sum(step.duration_s for step in steps)
        self._talk.say(
            {
                "cmd": "start",
                "trial": self._trials,
                **_load(steps[0]),
                "then": _load(then) if then else None,
                "drain_s": self.drain_s,
                "max_lost": abort.max_lost_frames,
                "detail": detail,
            }
        )
        deadline = time.monotonic() + asked_s + self.drain_s + ANSWER_S
        try:
            done = Done.parse(self._follow(deadline, on_live))
        except BaseException:
            self._process.kill()  # whatever happened: nothing keeps sending
            raise
        ring = self._command.layout.descriptors
        highest_pps = max(step.load_pps for step in steps)
        return done.trial(steps[0], judge(done, highest_pps, abort.max_lost_frames or 0, ring_frames=ring), then)

    def close(self) -> None:
        """See `Generator.close`."""
        self._process.close()
        for path in (*self._command.layout.sockets, runtime_folder(self._command.file_prefix)):
            self._host.remove(path)

    def _follow(self, deadline: float, on_live: OnLive | None) -> dict[str, Any]:
        self._talk.event("started", deadline)
        while True:
            event = self._talk.event("live done", deadline)
            if event["event"] == "done":
                return event
            if on_live:
                on_live(Live(float(event["elapsed_s"]), sum(counters(event), Counters())))

    def _ask(self, command: dict[str, Any], answer: str) -> None:
        self._talk.say(command)
        self._talk.event(answer, time.monotonic() + ANSWER_S)


def _load(step: Step) -> dict[str, float]:
    return {"rate_pps": step.load_pps, "duration_s": step.duration_s}


def _stream(direction: int, template: Template, layout: Layout) -> dict[str, Any]:
    # A second port without a device: what is sent comes back to the first, from a reflector.
    reflected = not layout.ports[1].device
    return {
        "tx_port": direction,
        "rx_port": direction if reflected else 1 - direction,
        "frames": [frame.hex() for frame in template.frames],
        "sequence": template.sequence,
        "ipv4_offset": template.ipv4_offset,
        "stamp_offset": template.stamp_offset,
        "flows": template.flows,
        "fields": [{"offset": field.offset, "width": field.width, "first": field.first} for field in template.fields],
    }


def _missing(host: Host, _program: str) -> str:
    if not host.run(["which", "cc"], check=False).ok:
        return "no C compiler"
    try:
        found = host.run(["pkg-config", "--modversion", "libdpdk"], check=False)
    except LostConnectionError:
        raise
    except CommandError:
        return "no pkg-config"
    if not found.ok:
        return "no libdpdk to build it on"
    if not host.run(["pkg-config", "--exists", f"libdpdk >= {OLDEST_DPDK}"], check=False).ok:
        return f"it needs DPDK {OLDEST_DPDK} or newer, there is {found.stdout.strip()}"
    return "" if host.run(["pkg-config", "--exists", "jansson"], check=False).ok else "no libjansson to build it on"


def _start(seat: Seat) -> Nvgen:
    return Nvgen.start(
        seat.host,
        seat.layout,
        binary=build(seat.host, seat.cache),
        housekeeping_core=seat.housekeeping_core,
        file_prefix=seat.file_prefix,
        drain_s=seat.drain_s,
    )


NVGEN = Kind(
    name="nvgen",
    process="nvgen",
    uses=frozenset({"nvgen", "hugepages"}),
    links=DPDK_LINKS,
    abilities=lambda _links: frozenset(Ability),
    cannot_send=lambda _traffic: "",
    missing=_missing,
    start=_start,
    prepare=build,
)
