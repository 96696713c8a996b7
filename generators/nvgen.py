"""nvgen: the paced, measuring DPDK generator that nvbench brings along as C source, driven by JSON lines."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nvbench.errors import CommandError, GeneratorError
from nvbench.generators.base import Layout, Live, OnLive
from nvbench.generators.native import build, built
from nvbench.generators.native.command import NvgenCommand
from nvbench.hosts.base import Host, Process
from nvbench.traffic import Template, Traffic, learning_frames, templates
from nvbench.trial import AbortRule, Counters, Latency, Pauses, Trial, Validity
from nvbench.units import scaled

__all__ = ["Done", "Nvgen", "NvgenCommand", "build", "built", "judge"]

ANSWER_S = 5.0
"""A live nvgen speaks many times within this."""

CLOCK_STEP_US = 1000.0
FOREIGN_FRAMES, FOREIGN_RATIO = 10, 0.01
LATE_RATIO = 0.001
"""Of the frames asked for: more late than this, and the generator did not send the load."""

PAUSED_RATIO = 0.02
"""The same where it was paused: it sent the load all the rest of the time, and what it sent is what counts."""


@dataclass(frozen=True, slots=True)
class Done:
    """nvgen's account of a trial."""

    elapsed_s: float
    directions: tuple[Counters, ...]
    latency: Latency
    pauses: Pauses
    aborted: bool
    clock_step_us: float
    started_at: float

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> Done:
        """Reads a `done` event.

        Raises:
            GeneratorError: It is not one.
        """
        try:
            return cls(
                elapsed_s=float(event["elapsed_s"]),
                directions=_directions(event),
                latency=Latency(tuple((int(ns), int(count)) for ns, count in event["latency"])),
                pauses=Pauses(**{name: event["pauses"][name] for name in Pauses.__dataclass_fields__}),
                aborted=bool(event["aborted"]),
                clock_step_us=float(event["clock_step_us"]),
                started_at=float(event["started_at"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise GeneratorError(f"nvgen's account of a trial cannot be read: {error!r}") from error


def _directions(event: Mapping[str, Any]) -> tuple[Counters, ...]:
    return tuple(
        Counters(**{name: int(direction[name]) for name in Counters.__dataclass_fields__})
        for direction in event["directions"]
    )


def judge(done: Done, load_pps: float, allowance: int = 0, *, ring_frames: int = 0) -> tuple[Validity, str]:
    """Whether a trial can be believed, and the evidence if not.

    Args:
        done: What was measured.
        load_pps: What was asked for, in frames per second and direction.
        allowance: Frames that may be lost without the trial failing; loss within it needs no explanation.
        ring_frames: What a receive ring holds: a pause in which fewer came has lost none.
    """
    total = sum(done.directions, Counters())
    if abs(done.clock_step_us) > CLOCK_STEP_US:
        return Validity.CLOCK, f"clock stepped by {done.clock_step_us / 1000:+.1f} ms"
    strange = total.foreign + total.duplicate
    if strange > max(FOREIGN_FRAMES, FOREIGN_RATIO * total.received):
        return (
            Validity.FOREIGN,
            f"{total.foreign} foreign and {total.duplicate} duplicate frames, {total.received} received",
        )
    lossy, reason = _judge_loss(done, total, load_pps, allowance, ring_frames)
    if total.late > LATE_RATIO * (total.offered + total.late):
        validity, late = _judge_late(done, total, load_pps)
        # Loss that no pause explains stands, whatever else was late: the device had less to do than was asked.
        if validity is Validity.UNDERSENT or (validity is Validity.PAUSED and lossy is not None):
            return validity, late
    return lossy or Validity.VALID, reason


def _judge_late(done: Done, total: Counters, load_pps: float) -> tuple[Validity, str]:
    """Frames not sent: by a generator that cannot, by one that was not there, or too few to matter."""
    directions, pauses = len(done.directions), done.pauses
    share = total.late / (total.offered + total.late)
    explained = pauses.generator_total_us * load_pps * directions / 1e6
    if explained >= total.late / 2:
        if share <= PAUSED_RATIO:
            return Validity.VALID, ""
        away_ms = pauses.generator_total_us / 1000
        return Validity.PAUSED, f"generator was not there for {away_ms:.1f} ms ({total.late} frames not sent)"
    sent_pps = total.offered / done.elapsed_s / directions if done.elapsed_s else 0.0
    if load_pps >= 1e6:
        return Validity.UNDERSENT, f"sent {sent_pps / 1e6:.2f} of {load_pps / 1e6:.2f} Mpps"
    return Validity.UNDERSENT, f"sent {scaled(sent_pps, 'pps')} of {scaled(load_pps, 'pps')}"


def _judge_loss(
    done: Done, total: Counters, load_pps: float, allowance: int, ring_frames: int
) -> tuple[Validity | None, str]:
    """Whether pauses explain the loss; None where it is the device's own."""
    pauses = done.pauses
    lost = total.lost + total.refused
    if lost <= allowance:
        return Validity.VALID, ""
    frames_per_us = load_pps * len(done.directions) / 1e6
    by_device = max(float(pauses.refused_in_stall), pauses.device_total_us * frames_per_us)
    by_generator = 0.0  # explains frames that nobody took in, never frames that the device refused
    if pauses.generator_longest_us * load_pps / 1e6 >= ring_frames:
        by_generator = min(float(total.lost), pauses.generator_total_us * frames_per_us)
    if lost - by_device - by_generator > allowance:
        return None, ""
    if by_device >= by_generator:
        return (
            Validity.STALLED,
            f"device took nothing for {pauses.device_longest_us / 1000:.1f} ms "
            f"({pauses.refused_in_stall} frames refused)",
        )
    return (
        Validity.PAUSED,
        f"generator was not there for {pauses.generator_total_us / 1000:.1f} ms ({total.lost} frames lost)",
    )


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
        for socket in command.sockets:
            host.remove(socket)  # left by a killed generator, it would keep this one from binding
        return cls(host.spawn(command.argv), command, host, drain_s=drain_s)

    def ready(self, timeout_s: float = 30.0) -> None:
        """Waits until its ports are up and connected.

        Raises:
            GeneratorError: It did not come up in time, or said why it cannot.
        """
        event = self._event("ready", time.monotonic() + timeout_s)
        self.version = f"nvgen on {event['version']}"
        self.ports = tuple(event["ports"])
        self.clock = {"tsc_hz": float(event["tsc_hz"]), "dpdk_hz": float(event["dpdk_hz"])}

    def check_alive(self) -> None:
        """Does nothing where it is up, or still waits for a switch.

        Raises:
            GeneratorError: It has ended, or said why it cannot go on.
        """
        try:
            line = self._process.receive(0.0)
        except TimeoutError:
            return
        if line is None:
            raise self._died()
        raise GeneratorError(f"nvgen: {line}", place=self._place)

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

    def trial(self, load_pps: float, duration_s: float, abort: AbortRule, on_live: OnLive | None = None) -> Trial:
        """See `Generator.trial`."""
        self._trials += 1
        self._send(
            {
                "cmd": "start",
                "trial": self._trials,
                "rate_pps": load_pps,
                "duration_s": duration_s,
                "drain_s": self.drain_s,
                "max_lost": abort.max_lost_frames,
            }
        )
        deadline = time.monotonic() + duration_s + self.drain_s + ANSWER_S
        try:
            done = Done.parse(self._follow(deadline, on_live))
        except BaseException:
            self._process.kill()  # whatever happened: nothing keeps sending
            raise
        ring = self._command.layout.descriptors
        validity, reason = judge(done, load_pps, abort.max_lost_frames or 0, ring_frames=ring)
        return Trial(
            intended_pps=load_pps,
            duration_s=duration_s,
            elapsed_s=done.elapsed_s,
            directions=done.directions,
            latency=done.latency,
            pauses=done.pauses,
            aborted=done.aborted,
            validity=validity,
            reason=reason,
            started_at=done.started_at,
        )

    def close(self) -> None:
        """See `Generator.close`."""
        self._process.close()
        for path in (*self._command.sockets, self._command.runtime_folder):
            self._host.remove(path)

    def _follow(self, deadline: float, on_live: OnLive | None) -> dict[str, Any]:
        self._event("started", deadline)
        while True:
            event = self._event("live done", deadline)
            if event["event"] == "done":
                return event
            if on_live:
                on_live(Live(float(event["elapsed_s"]), sum(_directions(event), Counters())))

    def _ask(self, command: dict[str, Any], answer: str) -> None:
        self._send(command)
        self._event(answer, time.monotonic() + ANSWER_S)

    def _send(self, command: dict[str, Any]) -> None:
        try:
            self._process.send(json.dumps(command))
        except CommandError as error:
            raise self._died() from error

    def _event(self, expected: str, deadline: float) -> dict[str, Any]:
        """The next event, one of those expected."""
        try:
            line = self._process.receive(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            self._process.kill()
            raise GeneratorError(
                f"nvgen said nothing in time (no {expected.replace(' ', ' or ')}){self._last_words()}",
                place=self._place,
            ) from None
        if line is None:
            raise self._died()
        try:
            event = json.loads(line)
            name = event["event"]
        except (ValueError, KeyError, TypeError) as error:
            raise GeneratorError(f"nvgen answered {line[:80]!r}", place=self._place) from error
        if name == "error":
            raise GeneratorError(f"nvgen: {event.get('what', '')}{self._last_words()}", place=self._place)
        if name not in expected.split():
            raise GeneratorError(f"nvgen answered {name} instead of {expected}", place=self._place)
        return dict(event)

    def _died(self) -> GeneratorError:
        status = self._process.close(1.0)
        how = "" if status is None else f" with status {status}"
        return GeneratorError(f"nvgen ended{how}{self._last_words()}", place=self._place)

    def _last_words(self) -> str:
        """The end of what it complained of, on one line."""
        lines = [line.strip() for line in self._process.complaints() if line.strip()]
        return f": {'; '.join(lines[-2:])}" if lines else ""


def _stream(direction: int, template: Template, layout: Layout) -> dict[str, Any]:
    # A second port without a device: what is sent comes back to the first, from a reflector.
    reflected = not layout.ports[1].device
    return {
        "tx_port": direction,
        "rx_port": direction if reflected else 1 - direction,
        "frame": template.frame.hex(),
        "ipv4_offset": template.ipv4_offset,
        "stamp_offset": template.stamp_offset,
        "flows": template.flows,
        "fields": [{"offset": field.offset, "width": field.width, "first": field.first} for field in template.fields],
    }
