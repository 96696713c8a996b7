"""TRex in its stateless mode: a server of our own, driven by TRex's own client on the host where it is installed."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from importlib import resources
from pathlib import PurePosixPath
from typing import Any

from nvbench.abilities import Ability
from nvbench.endpoint import LinkKind
from nvbench.errors import CommandError, GeneratorError, LostConnectionError
from nvbench.fingerprint import cores
from nvbench.generators.account import judge
from nvbench.generators.base import Kind, Live, OnLive, Seat
from nvbench.generators.talk import Talk
from nvbench.generators.trex.account import LOOK_S, Pace, account, directions, overflowed
from nvbench.generators.trex.setup import LEAST_MEMORY_MB, TrexConfig, streams
from nvbench.hosts.base import Host, Process
from nvbench.traffic import Template, Traffic, learning_frames, templates
from nvbench.trial import AbortRule, Counters, Step, Trial, Validity
from nvbench.units import FCS_BYTES

HOME = "/opt/trex"
"""Where it is unless the testbed says otherwise: there, or in a folder there for each version."""

RELEASES = "https://trex-tgn.cisco.com/trex/release/"
MOST_BYTES = 9 * 1024 + 22 + FCS_BYTES
"""The largest frame that it takes, with FCS."""

START_S = 120.0
"""A server that is not up in this time, or a link, will not be; its driver then says why."""

ANSWER_S = 15.0
"""Its client gives up on a server that hangs before this."""

_CLIENT = "automation/trex_control_plane/interactive"
_FAR_END = ("trex_driver.py", "trex_server.py")


class Trex:
    """A TRex server and its driver.

    Frames that TRex did not send are late: it waits where a ring is full, and stretches its schedule, so that nobody
    knows how many a device would have refused. It cannot tell frames apart: more that came than were sent are foreign.

    Args:
        process: The driver, spawned.
        seat: Where it sits.
    """

    name = "trex"
    simulated = False

    def __init__(self, process: Process, seat: Seat) -> None:
        self.version = ""
        self.clock: dict[str, float] = {}
        self._process = process
        self._seat = seat
        self._place = f"host {seat.host.name}"
        self._talk = Talk(process, "TRex's driver", self._place)
        self._ports = [port for port in seat.layout.ports if port.device]
        self._traffic: Traffic | None = None
        self._templates: tuple[Template, ...] = ()

    @classmethod
    def start(cls, seat: Seat) -> Trex:
        """Bring the driver to the host and have it start a server. It is usable after `ready`.

        Raises:
            CommandError: It cannot be started.
            GeneratorError: There is no TRex.
        """
        host, folder = seat.host, find(seat.host, seat.program)
        if not folder:
            raise GeneratorError(f"no TRex in {seat.program or HOME}", place=f"host {host.name}")
        host.make_folder(seat.folder)
        for name in _FAR_END:
            with resources.as_file(resources.files("nvbench.generators.trex") / name) as source:
                host.upload(source, f"{seat.folder}/{name}")
        core, driver = str(seat.housekeeping_core), f"{seat.folder}/{_FAR_END[0]}"
        started = cls(host.spawn(["taskset", "-c", core, "python3", "-u", driver, seat.file_prefix]), seat)
        ports = [port for port in seat.layout.ports if port.device]
        started._talk.say(
            {
                "do": "open",
                "trex": folder,
                "config": TrexConfig(seat.layout, seat.housekeeping_core, cores(host)).text,
                "pci": [port.device for port in ports if not port.kernel],
                "ports": len(ports),
                "mark": seat.file_prefix,
                "patience_s": START_S,
            }
        )
        return started

    def ready(self, timeout_s: float = START_S + ANSWER_S) -> None:
        """See `Generator.ready`."""
        self.version = f"TRex {self._talk.event('ready', time.monotonic() + timeout_s)['version']}"

    def check_alive(self) -> None:
        """See `Generator.check_alive`."""
        self._talk.check_alive()

    def configure(self, traffic: Traffic) -> None:
        """See `Generator.configure`; TRex is told of the frames with each trial."""
        self.check_alive()
        self._templates = templates(traffic)
        self._traffic = traffic

    def learn(self) -> None:
        """See `Generator.learn`; sends the frames three times, as any of them may be lost."""
        if self._traffic is None:
            raise GeneratorError("configure comes before learn", place=self._place)
        asked: list[list[dict[str, Any]]] = [[] for _ in self._ports]
        for port, frame in learning_frames(self._traffic):
            if port < len(asked):
                plain = Template((frame,), (0,), (), 1, 0, 0)
                asked[port] = streams(plain, 100.0, 0.03, 0)
        self._run(asked, [], 0.03, None, None)

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
            what = "configure comes before trial" if then is None else "TRex does not change the load of a trial"
            raise GeneratorError(what, place=self._place)
        asked: list[list[dict[str, Any]]] = [[] for _ in self._ports]
        for direction, template in enumerate(self._templates):
            asked[direction] = streams(template, load_pps, duration_s, direction + 1)
        # A second port without a device: what is sent comes back to the first, from a reflector.
        paths = [(out, len(self._ports) - 1 - out) for out in range(len(self._templates))]
        pace = Pace()

        def live(event: dict[str, Any]) -> None:
            total = sum(directions(event["ports"], paths), Counters())
            if event["within_s"] <= LOOK_S:
                pace.add(float(event["elapsed_s"]), total.offered)
            if on_live:
                on_live(Live(float(event["elapsed_s"]), total))

        event = self._run(asked, paths, duration_s, abort.max_lost_frames, live)
        done = account(event, paths, pace, load_pps, duration_s)
        allowance = abort.max_lost_frames or 0
        validity, reason = judge(done, load_pps, allowance, ring_frames=self._seat.layout.descriptors)
        if missed := overflowed(event["ports"], done, allowance):
            validity, reason = Validity.PAUSED, f"TRex's own receive rings overflowed ({missed} frames)"
        elif validity is Validity.UNDERSENT and event["queue_full"]:
            reason = f"{reason}; its transmit rings were full {event['queue_full']} times"
        return done.trial(Step(load_pps, duration_s), (validity, reason))

    def close(self) -> None:
        """See `Generator.close`."""
        self._process.close(ANSWER_S)
        for left in (self._seat.folder, f"/run/dpdk/{self._seat.file_prefix}"):
            self._seat.host.remove(left)

    def _run(
        self,
        asked: list[list[dict[str, Any]]],
        paths: Sequence[tuple[int, int]],
        duration_s: float,
        max_lost: int | None,
        live: Any,
    ) -> dict[str, Any]:
        """Send streams, and what came of it; whatever goes wrong, nothing keeps sending."""
        window = {"paths": paths, "duration_s": duration_s, "drain_s": self._seat.drain_s, "max_lost": max_lost}
        deadline = time.monotonic() + duration_s * 1.02 + self._seat.drain_s + ANSWER_S
        try:
            self._talk.say({"do": "trial", "streams": asked, **window})
            while True:
                event = self._talk.event("live done", deadline)
                if event["event"] == "done":
                    return event
                if live is not None:
                    live(event)
        except BaseException:
            self._process.kill()
            raise


def find(host: Host, program: str) -> str:
    """TRex's folder on a host: where the testbed says, or the newest where such things are; empty without one."""
    root = program or HOME
    root = str(PurePosixPath(root).parent) if PurePosixPath(root).name.endswith("t-rex-64") else root
    found = host.run(["find", "-L", root, "-maxdepth", "2", "-name", "_t-rex-64"], check=False).stdout.split()
    folders = [str(PurePosixPath(path).parent) for path in found]

    def newness(folder: str) -> list[int]:
        return [int(number) for number in re.findall(r"\d+", PurePosixPath(folder).name)]

    return max(folders, key=newness, default="")


def _missing(host: Host, program: str) -> str:
    folder = find(host, program)
    if not folder:
        return (
            f"no TRex in {program or HOME}: unpack a release there ({RELEASES}), "
            "or name its folder as generator.programs.trex of the testbed"
        )
    code = "import sys; sys.path.insert(0, sys.argv[1]); import trex.stl.api"
    try:
        done = host.run(["python3", "-c", code, f"{folder}/{_CLIENT}"], check=False)
    except LostConnectionError:
        raise
    except CommandError as error:
        return f"no Python 3 that runs TRex's client ({error.what})"
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return (
        "" if done.ok else f"TRex's client in {folder} does not run there: {lines[-1] if lines else 'no reason given'}"
    )


def _cannot_send(traffic: Traffic) -> str:
    too_large = traffic.largest_frame_bytes > MOST_BYTES
    return f"has no buffers for frames of more than {MOST_BYTES} bytes" if too_large else ""


TREX = Kind(
    name="trex",
    process="_t-rex-64",
    uses=frozenset({"python3", "hugepages"}),
    links=(LinkKind.VETH, LinkKind.DEVICE, LinkKind.PCI),
    abilities=lambda _links: frozenset({Ability.PACED, Ability.BURSTS, Ability.LATENCY, Ability.ADDRESSES}),
    cannot_send=_cannot_send,
    missing=_missing,
    start=Trex.start,
    memory_mb=lambda buffers_mb: max(LEAST_MEMORY_MB, buffers_mb),
)
