"""tcpreplay: plays a file of frames out of one of the kernel's devices; the kernel's counters tell what came of it."""

from __future__ import annotations

import math
import re
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from nvbench.abilities import Ability
from nvbench.endpoint import LinkKind
from nvbench.errors import GeneratorError, UsageError
from nvbench.generators.base import Kind, Live, OnLive, Seat
from nvbench.generators.capture import MOST_BYTES, MOST_FRAMES, capture, read_capture, unrolled, unrolled_count
from nvbench.generators.talk import Talk
from nvbench.generators.tcpreplay.account import Account, counted
from nvbench.hosts.base import Host, Process
from nvbench.traffic import Direction, Traffic, learning_frames, templates
from nvbench.trial import AbortRule, Counters, Step, Trial

PROGRAM = "tcpreplay"
OLDEST = (4, 2)
"""Older ones pace by guess, or cannot be given a time."""

FLAT_OUT_PPS = 5e6
"""More than a send(2) a frame reaches on any processor: asked for this, it is not paced."""

ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class TcpreplayCommand:
    """tcpreplay's command line.

    Attributes:
        program: Its path.
        device: The kernel's device that it sends through.
        file: The frames.
        core: Where it runs.
        load_pps: What it should offer; flat out from `FLAT_OUT_PPS`.
        duration_s: For how long.
    """

    program: str
    device: str
    file: str
    core: int
    load_pps: float
    duration_s: float

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line; of whole seconds there is one too many, as a bound: the number of frames ends it."""
        frames = max(1, round(self.load_pps * self.duration_s))
        paced = (f"--pps={self.load_pps:.6f}", f"--limit={frames}")
        return (
            *("nice", "-n", "-20", "taskset", "-c", str(self.core)),  # the rest of the host waits while a trial runs
            *(self.program, "-q", "--no-flow-stats", f"--intf1={self.device}", "--preload-pcap", "--loop=0"),
            *(("--topspeed",) if self.load_pps >= FLAT_OUT_PPS else paced),
            f"--duration={math.ceil(self.duration_s) + 1}",
            self.file,
        )


class Tcpreplay:
    """tcpreplay on a host, one for each direction of a trial.

    Args:
        process: Its far end, spawned.
        seat: Where it sits.
        version: What it says of itself.
    """

    name = "tcpreplay"
    simulated = False

    def __init__(self, process: Process, seat: Seat, version: str) -> None:
        self.version = version
        self.clock: dict[str, float] = {}
        self._process = process
        self._seat = seat
        self._host = seat.host
        self._place = f"host {seat.host.name}"
        self._talk = Talk(process, "tcpreplay's far end", self._place)
        first, second = (port.kernel for port in seat.layout.ports)
        # A second port without a device: what is sent comes back to the first, from a reflector.
        self._paths = ((first, second or first), (second, first))
        self._traffic: Traffic | None = None

    @classmethod
    def start(cls, seat: Seat) -> Tcpreplay:
        """Bring its far end to the host and spawn it.

        Raises:
            CommandError: It cannot be started.
        """
        seat.host.make_folder(seat.folder)
        path = f"{seat.folder}/tcpreplay_far.py"
        with resources.as_file(resources.files("nvbench.generators.tcpreplay") / "far.py") as source:
            seat.host.upload(source, path)
        version = ".".join(map(str, _version(seat.host, seat.program or PROGRAM)))
        core = str(seat.housekeeping_core)
        return cls(
            seat.host.spawn(["taskset", "-c", core, "python3", "-u", path, seat.file_prefix]),
            seat,
            f"{PROGRAM} {version}",
        )

    def ready(self, timeout_s: float = 30.0) -> None:
        """See `Generator.ready`."""
        deadline = time.monotonic() + timeout_s
        for device in filter(None, self._paths[0]):
            while (self._host.read(f"/sys/class/net/{device}/carrier") or "").strip() != "1":
                self.check_alive()
                if time.monotonic() > deadline:
                    raise GeneratorError(f"{device} has no carrier", place=self._place, remedy=f"ip link show {device}")
                time.sleep(0.02)
        self.check_alive()

    def check_alive(self) -> None:
        """See `Generator.check_alive`."""
        self._talk.check_alive()

    def configure(self, traffic: Traffic) -> None:
        """See `Generator.configure`; the frames are written into a file on the host."""
        needed = traffic.largest_packet_bytes
        for device, _ in self._paths[: traffic.directions]:
            mtu = int(self._host.read(f"/sys/class/net/{device}/mtu") or 0)
            if mtu < needed:
                what = f"frames of {traffic.largest_frame_bytes} bytes do not go through {device}, its MTU is {mtu}"
                raise GeneratorError(what, place=self._place, remedy=f"ip link set {device} mtu {needed}")
        for direction, frames in enumerate(self._played(traffic)):
            self._upload(self._file(direction), frames)
        for port, frame in () if traffic.pcap else learning_frames(traffic):
            self._upload(self._file(port, "learn"), [frame])
        self._traffic = traffic

    def _played(self, traffic: Traffic) -> Iterator[Iterable[bytes]]:
        """The frames of each direction; those of a user's file as they are, in their order, the same in both."""
        if traffic.pcap is None:
            yield from map(unrolled, templates(traffic))
            return
        try:
            found, frames = read_capture(traffic.pcap.path)
        except UsageError as error:
            raise GeneratorError(str(error), place=self._place) from None
        if found != traffic.pcap:
            raise GeneratorError(f"{found.path}: has changed since the run was planned", place=self._place)
        for _ in range(traffic.directions):
            yield frames

    def learn(self) -> None:
        """See `Generator.learn`; sends the frames three times, as any of them may be lost.

        Of a user's file nobody knows who receives its frames, and where: a frame of ours would teach a switch what is
        not so. Nothing is sent; it floods what it has not learned.
        """
        if self._traffic and self._traffic.pcap:
            return
        program = self._seat.program or PROGRAM
        for port, (device, _) in enumerate(self._paths):
            if device:
                words = ["-q", "--topspeed", "--loop=3", f"--intf1={device}", self._file(port, "learn")]
                self._host.run([program, *words])

    def trial(
        self,
        load_pps: float,
        duration_s: float,
        abort: AbortRule,
        on_live: OnLive | None = None,
        *,
        then: Step | None = None,
        detail: bool = False,  # noqa: ARG002 - it has none to give
    ) -> Trial:
        """See `Generator.trial`; raises GeneratorError where a second load should follow."""
        if self._traffic is None or then is not None:
            what = "configure comes before trial" if then is None else "tcpreplay cannot change the load"
            raise GeneratorError(what, place=self._place)
        paths = self._paths[: self._traffic.directions]
        cores, program = self._seat.layout.cores, self._seat.program or PROGRAM
        commands = [
            TcpreplayCommand(
                program, device, self._file(direction), cores[direction % len(cores)], load_pps, duration_s
            )
            for direction, (device, _) in enumerate(paths)
        ]
        asked = {
            "argvs": [command.argv for command in commands],
            "paths": paths,
            "duration_s": duration_s,
            "drain_s": self._seat.drain_s,
            "max_lost": abort.max_lost_frames,
        }
        try:
            event = self._follow(asked, duration_s + self._seat.drain_s + ANSWER_S, on_live)
            found = Account.of(event, paths, load_pps, duration_s, self._place)
        except BaseException:
            self._process.kill()  # whatever happened: nothing keeps sending
            raise
        done = found.done
        validity, reason = found.verdict(load_pps, abort.max_lost_frames or 0)
        return done.trial(Step(load_pps, duration_s), (validity, reason))

    def close(self) -> None:
        """See `Generator.close`."""
        self._process.close()

    def _file(self, direction: int, what: str = "play") -> str:
        return f"{self._seat.folder}/{self._seat.file_prefix}-{what}{direction}.pcap"

    def _upload(self, path: str, frames: Iterable[bytes]) -> None:
        with tempfile.NamedTemporaryFile() as made:
            made.write(capture(frames))
            made.flush()
            self._host.upload(Path(made.name), path)

    def _follow(self, asked: dict[str, Any], patience_s: float, on_live: OnLive | None) -> dict[str, Any]:
        """A trial, to its last event."""
        self._talk.say(asked)
        deadline = time.monotonic() + patience_s
        while True:
            event = self._talk.event("live done", deadline)
            if event["event"] == "done":
                return event
            if on_live:
                total = sum((counted(event["counters"], path) for path in asked["paths"]), Counters())
                on_live(Live(float(event["elapsed_s"]), total))


def _version(host: Host, program: str) -> tuple[int, ...]:
    """Its version; empty where it does not run.

    Raises:
        CommandError: There is none.
    """
    told = host.run([program, "--version"], check=False)
    found = re.search(r"tcpreplay version: (\d+)\.(\d+)(?:\.(\d+))?", told.stdout + told.stderr)
    return tuple(int(part) for part in found.groups() if part) if found else ()


def _missing(host: Host, program: str) -> str:
    if not host.run(["which", "python3"], check=False).ok:
        return "no python3 to run it from"
    if not host.run(["which", program or PROGRAM], check=False).ok:
        return f"no {program}" if program else "no tcpreplay (apt-get install tcpreplay)"
    version = _version(host, program or PROGRAM)
    if version < OLDEST:
        told = ".".join(map(str, version)) or "one that does not tell"
        return f"it needs tcpreplay {'.'.join(map(str, OLDEST))} or newer, there is {told}"
    return ""


def _cannot_send(traffic: Traffic) -> str:
    if traffic.pcap:  # bounded where it is read
        return ""
    template = templates(replace(traffic, direction=Direction.UNIDIRECTIONAL))[0]
    count = unrolled_count(template)
    total = count * traffic.average_frame_bytes
    if count > MOST_FRAMES or total > MOST_BYTES:
        return (
            f"plays a file of all different frames: {count} of them, {total / 1e6:.0f} MB, are too many "
            f"({MOST_FRAMES} and {MOST_BYTES / 1e6:.0f} MB at most)"
        )
    return ""


TCPREPLAY = Kind(
    name="tcpreplay",
    process="tcpreplay",
    uses=frozenset({"tcpreplay", "python3"}),
    links=(LinkKind.VETH, LinkKind.DEVICE),
    abilities=lambda _links: frozenset({Ability.PACED, Ability.ADDRESSES}),
    cannot_send=_cannot_send,
    missing=_missing,
    start=Tcpreplay.start,
    memory_mb=lambda _buffers_mb: 0,
    plays_files=True,
)
