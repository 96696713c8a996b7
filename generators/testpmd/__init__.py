"""dpdk-testpmd as a generator: it sends as fast as it can. It measures no latency, and knows its frames from no others.

Its own senders will not do: `txonly` never looks at what comes back, `flowgen` sends out of both ports, and neither
sends the frames of a case. So it forwards: what a capture file holds goes out of a port (net_pcap reads it once, and
plays it from memory over and over), and what comes in at a port goes nowhere. That takes one polling core or more.

A trial of `BURST_S` or less, which is too short to look at counters often, is a burst of a set number of frames: a
capture file holds just these, and is played once, from the file, on one core. How long it took is what testpmd itself
counts of its polls that found frames. Reading a file is two to five times slower than playing from memory, slowest
where bursts are short and caches cold, and a burst that left slower than asked is told as any load that was not sent.
A file is not made larger than `MOST_BYTES`: what does not fit is sent as any trial is, for its time. (`start tx_first`
sends frames of its own, 32 at a time with gaps, and out of all ports.)

It cannot offer a set load but where NICs limit the rate of a queue. Nor does it keep to a link's speed where the link
has none: on virtual devices it offers more than was asked.
"""

from __future__ import annotations

import math
import re
import tempfile
import time
from collections.abc import Iterable, Sequence
from itertools import cycle, islice
from pathlib import Path

from nvbench.abilities import Ability
from nvbench.dpdk import known
from nvbench.endpoint import LinkKind
from nvbench.errors import CommandError, GeneratorError, LostConnectionError
from nvbench.generators.base import DPDK_LINKS, Kind, OnLive, Seat, runtime_folder, telemetry
from nvbench.generators.capture import capture, unrolled
from nvbench.generators.minder import Minder, Type, Window
from nvbench.generators.testpmd.account import Ends, burst, timed
from nvbench.generators.testpmd.command import MOST_FRAMES, PROGRAM, TestpmdCommand
from nvbench.hosts.base import Host
from nvbench.testpmd import version
from nvbench.traffic import Traffic, learning_frames, templates
from nvbench.trial import AbortRule, Step, Trial
from nvbench.units import FCS_BYTES, line_rate_pps

__all__ = ["TESTPMD", "Testpmd", "TestpmdCommand"]

PROMPT = "pmd> "
"""Other threads of it may write into the middle of its prompt."""

_COMPLAINT = re.compile(
    r"^.*(?:Bad arguments|Command not found|Ambiguous|\b[Ii]nvalid|[Ff]ail|(?<!RX-)\b[Ee]rror\b|[Cc]annot"
    r"|not supported).*$",
    re.MULTILINE,
)
"""`RX-error` is one of the counters that it prints when it stops."""

_ATTACHED = re.compile(r"^Port (\d+) is attached", re.MULTILINE)

BURST_S = 0.1
MOST_BYTES = 1 << 25
"""Of the file that holds a burst."""

RECORD_BYTES = 16
"""What such a file tells of each of its frames."""

SPARE_S = 0.01
"""A burst is given this beyond the time that it was asked to take; what has not left then is late."""

LOOK_S = 0.1
"""Between two looks at a link that is not up yet."""

TRIES = 1_000_000
"""A NIC whose queue is full is asked so often to take the rest of a burst: some 30 ms."""


class Testpmd:
    """A running dpdk-testpmd, under a minder on its host. Between trials it takes in and drops what comes.

    Args:
        minder: What watches it.
        tool: Its number there.
        command: What it was started with.
        seat: Where.
    """

    __test__ = False

    name = "testpmd"
    simulated = False

    def __init__(self, minder: Minder, tool: int, command: TestpmdCommand, seat: Seat) -> None:
        self.version = ""
        self.clock: dict[str, float] = {}
        self._minder = minder
        self._tool = tool
        self._command = command
        self._seat = seat
        self._place = f"host {seat.host.name}"
        self._traffic: Traffic | None = None
        self._sources: tuple[int, ...] = ()
        self._limited = False
        self._endless = False

    @classmethod
    def start(cls, seat: Seat) -> Testpmd:
        """Spawns it. It is usable after `ready`, which may need a switch to connect to its ports first.

        Raises:
            CommandError: It cannot be started.
        """
        command = TestpmdCommand(seat.program or PROGRAM, seat.layout, seat.housekeeping_core, seat.file_prefix)
        for socket in command.layout.sockets:
            seat.host.remove(socket)  # left by a killed generator, it would keep this one from binding
        minder = Minder.start(seat.host, seat.folder, seat.file_prefix, seat.housekeeping_core)
        argv = known(command.argv, version(seat.host))
        tool = minder.spawn(argv, name="testpmd", telemetry=telemetry(seat.file_prefix))
        return cls(minder, tool, command, seat)

    def ready(self, timeout_s: float = 30.0) -> None:
        """See `Generator.ready`."""
        deadline = time.monotonic() + timeout_s
        self._minder.read(self._tool, PROMPT, timeout_s)
        self.version = f"testpmd of {dict(self._minder.ask(self._tool, '/info'))['version']}"
        for place in range(len(self._command.layout.numbers)) if self._has_nics() else ():
            self._mbps(place, deadline)

    def check_alive(self) -> None:
        """See `Generator.check_alive`."""
        self._minder.check_alive()

    def configure(self, traffic: Traffic) -> None:
        """See `Generator.configure`."""
        self._play([[unrolled(template)] for template in templates(traffic)], "infinite_rx=1")
        self._do(*self._rest())
        self._traffic, self._endless = traffic, True

    def learn(self) -> None:
        """See `Generator.learn`; the frames go out three times, as any of them may be lost."""
        if self._traffic is None:
            raise GeneratorError("configure comes before learn", place=self._place)
        frames = [[[frame] * 3] for _, frame in learning_frames(self._traffic)]
        self._play(frames[: len(self._command.layout.numbers)])
        self._do(*self._send(once=False))
        self.configure(self._traffic)

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
        if self._traffic is None:
            raise GeneratorError("configure comes before a trial", place=self._place)
        if then is not None or detail:
            raise GeneratorError("testpmd has one load in a trial, and no detail to tell of it", place=self._place)
        most_pps = self._limit(load_pps)
        frames = _burst_frames(self._traffic, load_pps, duration_s)
        if frames:
            self._hold(frames)
        elif not self._endless:
            self.configure(self._traffic)
        own, directions = self._command.layout.numbers, range(self._traffic.directions)
        window = Window(
            go=tuple(map(self._typed, self._send(once=bool(frames)))),
            halt=tuple(map(self._typed, self._rest())),
            ports=tuple((self._tool, port) for port in (*own, *self._sources)),
            duration_s=duration_s + SPARE_S if frames else duration_s,
            drain_s=self._seat.drain_s,
            max_lost=abort.max_lost_frames,
            ends=len(own),
        )
        # With one port a reflector sends back to it what it sent.
        ends = Ends(
            sends=tuple(directions),
            receives=tuple(len(own) - 1 - direction for direction in directions),
            sources=tuple(len(own) + direction for direction in directions),
        )
        watched = self._minder.trial(window, on_live)
        self._check(watched.texts)
        asked = Step(load_pps, duration_s)
        if frames:
            return burst(watched, asked, ends, abort, told=watched.texts[len(window.go)], most_pps=most_pps)
        ring_frames, on_wires = self._seat.layout.descriptors, self._has_nics()
        return timed(watched, asked, ends, abort, ring_frames=ring_frames, on_wires=on_wires, limited=self._limited)

    def close(self) -> None:
        """See `Generator.close`."""
        self._minder.close()
        for path in (*self._command.layout.sockets, runtime_folder(self._command.file_prefix)):
            self._seat.host.remove(path)

    # -- what is said to it ------------------------------------------------------------------------------------

    def _hold(self, frames: int) -> None:
        """Have it ready to send so many frames of the case out of each port that sends, shared out among its queues."""
        assert self._traffic is not None  # noqa: S101 - asked before
        queues = self._seat.layout.queues
        cases = [list(unrolled(template)) for template in templates(self._traffic)]
        self._endless = False
        self._play([[islice(cycle(case), queue, frames, queues) for queue in range(queues)] for case in cases])

    def _play(self, streams: Sequence[Sequence[Iterable[bytes]]], *options: str) -> None:
        """Have it send these out of its ports, for each port a list for all queues, or one for each.

        A port without any sends nothing.
        """
        self._do("stop")
        for number in self._sources:
            self._do(f"port stop {number}", f"port detach {number}")
        self._sources = ()
        for index in range(len(self._command.layout.numbers)):
            device = f"net_null9{index},no-rx=1"
            if index < len(streams):
                paths = [f"{self._seat.folder}/{index}.{place}.pcap" for place in range(len(streams[index]))]
                for path, frames in zip(paths, streams[index], strict=True):
                    self._upload(path, frames)
                files = islice(cycle(paths), self._seat.layout.queues)
                device = ",".join((f"net_pcap{index}", *(f"rx_pcap={path}" for path in files), *options))
            answer = self._do(f"port attach {device}")
            found = _ATTACHED.search(answer)
            if not found:
                raise GeneratorError(f"testpmd does not tell that it took {device}", place=self._place)
            self._sources += (int(found[1]),)
            self._do(f"port start {found[1]}")

    def _upload(self, path: str, frames: Iterable[bytes]) -> None:
        with tempfile.NamedTemporaryFile() as made:
            made.write(capture(frames))
            made.flush()
            self._seat.host.upload(Path(made.name), path)

    def _send(self, *, once: bool) -> tuple[str, ...]:
        """What has it send: each port is joined with its source. What is sent but once is timed, on one core."""
        pairs = zip(self._sources, self._command.layout.numbers, strict=True)
        joined = ",".join(str(number) for pair in pairs for number in pair)
        cores = len(self._command.layout.cores)
        lines = ["stop", *([f"set nbcore {1 if once else cores}"] if cores > 1 else []), f"set portlist {joined}"]
        if once:
            lines.append("set record-core-cycles on")
        if once and self._has_nics():
            return *lines, f"set burst tx delay 0 retry {TRIES}", "set fwd io retry", "start"
        return *lines, "set fwd io", "start"

    def _rest(self) -> tuple[str, ...]:
        """What has it take in and drop what still comes."""
        return "stop", f"set portlist {','.join(map(str, self._command.layout.numbers))}", "set fwd rxonly", "start"

    def _has_nics(self) -> bool:
        return all("-a" in port.eal for port in self._seat.layout.ports if port.device)

    def _mbps(self, place: int, deadline: float = 0.0) -> int:
        """What the link of a port carries, in Mbit/s; `place` is the port's among those that it has.

        Raises:
            GeneratorError: It is down, and still so at the deadline, on `time.monotonic`.
        """
        question = f"/ethdev/link_status,{self._command.layout.numbers[place]}"
        while not (mbps := int((self._minder.ask(self._tool, question) or {}).get("speed", 0))):
            if time.monotonic() >= deadline:
                name = [port.device for port in self._seat.layout.ports if port.device][place]
                raise GeneratorError(f"port {name}: its link is down", place=self._place)
            time.sleep(LOOK_S)
        return mbps

    def _limit(self, load_pps: float) -> float:
        """Hold NICs to a load, or let go of them.

        Returns:
            The most that one sends then, in frames per second; inf where there are none.

        Raises:
            GeneratorError: Its link is down, or it does not limit the rate of a queue; with its driver's answer.
        """
        assert self._traffic is not None  # noqa: S101 - asked before
        if not self._has_nics():
            return math.inf
        ports = self._command.layout.numbers[: self._traffic.directions]
        mean_bytes = self._traffic.average_frame_bytes
        lines_pps = [line_rate_pps(self._mbps(place) * 1e6, mean_bytes) for place in range(len(ports))]
        limited = load_pps < max(lines_pps)
        if limited or self._limited:
            # In what a NIC takes for Mbit/s the frames are counted with their FCS, without preamble and gap.
            queues = self._seat.layout.queues
            mbps_each = load_pps * mean_bytes * 8 / 1e6 / queues
            limit = math.ceil(mbps_each) if limited else 0
            for port in ports:
                self._do(*(f"set port {port} queue {queue} rate {limit}" for queue in range(queues)))
        self._limited = limited
        return min(load_pps, *lines_pps)

    def _typed(self, line: str) -> Type:
        return Type(self._tool, f"{line}\n", PROMPT)

    def _do(self, *lines: str) -> str:
        """Its answer to the last of these lines."""
        texts = [self._minder.act(self._typed(line)) for line in lines]
        self._check(texts)
        return texts[-1]

    def _check(self, texts: Iterable[str]) -> None:
        for text in texts:
            if found := _COMPLAINT.search(text):
                line = text.strip().splitlines()[0]
                raise GeneratorError(f"testpmd: {line}: {found[0].strip()}", place=self._place)


def _burst_frames(traffic: Traffic, load_pps: float, duration_s: float) -> int:
    """Frames of a direction that a trial sends where it is a burst; 0 where it is none."""
    frames = round(load_pps * duration_s)
    fits = frames * (traffic.average_frame_bytes - FCS_BYTES + RECORD_BYTES) <= MOST_BYTES
    return frames if duration_s <= BURST_S and fits else 0


def _cannot_send(traffic: Traffic) -> str:
    frames = math.lcm(traffic.flows, len(traffic.sizes))
    return f"holds {MOST_FRAMES} frames, and these are {frames} before they repeat" if frames > MOST_FRAMES else ""


def _missing(host: Host, program: str) -> str:
    for name in (program or PROGRAM, "python3"):
        try:
            found = host.run(["which", name], check=False).ok
        except LostConnectionError:
            raise
        except CommandError:
            found = False
        if not found:
            return f"no {name}"
    return ""


def _abilities(links: Iterable[LinkKind]) -> frozenset[Ability]:
    paced = {Ability.PACED} if set(links) == {LinkKind.PCI} else set()
    return frozenset({Ability.BURSTS, *paced})


TESTPMD = Kind(
    name="testpmd",
    process=PROGRAM,
    uses=frozenset({"testpmd", "python3", "hugepages"}),
    links=DPDK_LINKS,
    abilities=_abilities,
    cannot_send=_cannot_send,
    missing=_missing,
    start=Testpmd.start,
    memory_mb=lambda buffers_mb: 6 * buffers_mb - 640,
)
