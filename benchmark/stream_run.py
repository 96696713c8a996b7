"""One run of a tool between the endpoints of a rig: watched, with flags and counters read around it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from nvbench.errors import GeneratorError
from nvbench.generators.streams import Ask, Flowed, StreamTest, StreamTool
from nvbench.hosts import Completed, Host, Process
from nvbench.offloads import Flags, Offloads, parse_features, refused, settings, side_effects
from nvbench.rigs import Endpoint, StreamRig
from nvbench.tables import LatencySummary, Sample, Setting, StreamRow

WATCH_S = 0.5
LOOK_S = 1.5
"""Between looks at counters, each of which costs a process; that everything lives is looked at more often."""

SILENT_S = 3.0
"""A connection over which nothing has come for so long stands still."""

SILENT_BYTES = 4096
SERVER_START_S = 5.0
BULK = frozenset({StreamTest.TCP_STREAM, StreamTest.TCP_BIDIR, StreamTest.UDP_STREAM})
"""Tests in which the client sends all the time."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What an endpoint's kernel has counted on its device: packets before segmentation offload, and bytes."""

    sent_packets: int
    sent_bytes: int
    received_packets: int
    received_bytes: int


class SilentError(Exception):
    """A tool was started and nothing came through."""


class Endpoints:
    """The two endpoints of a rig, and their flags as they were found."""

    def __init__(self, rig: StreamRig) -> None:
        self.rig = rig
        self._found = {end.address: self.flags(end) for end in (rig.client, rig.server)}

    @property
    def each(self) -> tuple[Endpoint, Endpoint]:
        """Client and server."""
        return self.rig.client, self.rig.server

    def flags(self, end: Endpoint) -> Flags:
        """What ethtool says of an endpoint's device now."""
        return parse_features(end.guest.host.run(["ethtool", "--json", "-k", end.device]).stdout)

    def switch(self, asked: Offloads) -> tuple[list[str], list[str]]:
        """Put both endpoints into a state; what is not asked for becomes what was found.

        Returns:
            What they did not take, and what changed without having been asked for.
        """
        faults, effects = [], []
        for who, end in zip(("client", "server"), self.each, strict=True):
            found = self._found[end.address]
            whole = Offloads.found(found).overlaid(asked)
            end.guest.host.run(["ethtool", "-K", end.device, *whole.words()], check=False)
            now = self.flags(end)
            faults += [f"{who}: {told}" for told in refused(asked, now)]
            effects += [f"{who}: {told}" for told in side_effects(asked, found, now)]
        return faults, effects

    def stored(self, end: Endpoint) -> tuple[Setting, ...]:
        """An endpoint's flags as rows keep them."""
        return settings(self.flags(end))


def counted(end: Endpoint) -> Counted:
    """An endpoint's counters now."""
    names = ("tx_packets", "tx_bytes", "rx_packets", "rx_bytes")
    folder = f"/sys/class/net/{end.device}/statistics"
    told = end.guest.host.run(["cat", *(f"{folder}/{name}" for name in names)]).stdout.split()
    return Counted(*(int(value) for value in told))


def busy_s(host: Host) -> float:
    """Seconds that the cores of a host have been busy since boot, all together (proc(5), /proc/stat)."""
    fields = [int(value) for value in (host.read("/proc/stat") or "cpu 0").splitlines()[0].split()[1:]]
    user, nice, system, _idle, _iowait, irq, softirq, *_ = (*fields, *[0] * 7)
    return (user + nice + system + irq + softirq) / 100.0


@dataclass
class StreamRun:
    """One run of a tool between the endpoints of a rig."""

    endpoints: Endpoints
    tool: StreamTool
    ask: Ask
    warnings: tuple[str, ...] = ()
    samples: list[Sample] = field(default_factory=list)

    def measured(self, row: StreamRow) -> StreamRow:
        """`row`, with what was measured.

        Raises:
            SilentError: Nothing came through.
            GeneratorError: The tool failed.
            CommandError: An endpoint did not answer.
        """
        rig = self.endpoints.rig
        recording = rig.recorder.recording(self.ask.warmup_s + self.ask.duration_s)
        server = rig.server.guest.host.spawn(self.tool.serve(self.ask, self.ask.limit_s + SERVER_START_S))
        try:
            self._await_server(server)
            with recording:
                before, busy, began = self._counted(), busy_s(rig.switch_host), time.monotonic()
                done = self._watched(self.tool.send(self.ask))
                took_s = time.monotonic() - began
                busy = busy_s(rig.switch_host) - busy
                after = self._counted()
        finally:
            self.samples = recording.samples
            server.close(0.2)  # by a signal, which `timeout` passes on
        flowed = self.tool.parse(self.ask, done)
        self.warnings = flowed.warnings
        sent, back = _between(before, after, sender_first=self.ask.test is not StreamTest.TCP_MAERTS)
        return replace(
            row,
            tool=self.tool.name,
            elapsed_s=flowed.elapsed_s,
            goodput_bps=flowed.goodput_bps,
            reverse_bps=flowed.reverse_bps,
            packets_pps=sent.sent_packets / took_s,
            packet_bytes=sent.sent_bytes / sent.sent_packets if sent.sent_packets else None,
            acks_pps=back.sent_packets / took_s,
            transactions_per_s=flowed.transactions_per_s,
            retransmits=flowed.retransmits,
            lost_ratio=flowed.lost_ratio,
            jitter_us=flowed.jitter_us,
            latency=_latency(flowed),
            cores=busy / took_s,
            client_cores=flowed.client_cores,
            server_cores=flowed.server_cores,
        )

    def _counted(self) -> tuple[Counted, Counted]:
        client, server = self.endpoints.each
        return counted(client), counted(server)

    def _await_server(self, server: Process) -> None:
        """Wait until the server listens on its port, or has ended."""
        host = self.endpoints.rig.server.guest.host
        kinds = "-ltun"
        deadline = time.monotonic() + SERVER_START_S
        while time.monotonic() < deadline:
            if f":{self.ask.port} " in host.run(["ss", "-H", kinds], check=False).stdout:
                return
            try:
                ended = server.receive(0.02) is None
            except TimeoutError:
                continue
            if ended:
                break
        last = (server.complaints() or ["it said nothing"])[-1]
        raise GeneratorError(f"the server of {self.tool.name} does not listen on port {self.ask.port}: {last}")

    def _watched(self, argv: list[str]) -> Completed:
        """The client's run to its end, while datapath, guests and progress are watched.

        Raises:
            SilentError: Nothing comes through.
            DatapathError: The datapath has gone.
            GuestError: A guest has gone.
            GeneratorError: It takes far longer than it was asked to.
        """
        rig = self.endpoints.rig
        client = rig.client.guest.host.spawn(argv)
        began, lines = time.monotonic(), []
        heard, heard_at, look_at = counted(rig.server).received_bytes, began, began + LOOK_S
        try:
            while True:
                try:
                    line = client.receive(WATCH_S)
                except TimeoutError:
                    rig.check_alive()
                    now = time.monotonic()
                    if now - began > self.ask.limit_s:
                        raise GeneratorError(f"{self.tool.name} took more than {self.ask.limit_s:g} s") from None
                    if now < look_at:
                        continue
                    look_at = now + LOOK_S
                    if (bytes_now := counted(rig.server).received_bytes) - heard > SILENT_BYTES * (now - heard_at):
                        heard, heard_at = bytes_now, now
                    elif now - heard_at > SILENT_S and self.ask.test in BULK:
                        raise SilentError(f"{self.tool.name} runs, and nothing arrives for {SILENT_S:g} s") from None
                    continue
                if line is None:
                    break
                lines.append(line)
            complaints = client.complaints()
            status = client.close()
        except BaseException:
            client.kill()
            raise
        text = "\n".join(lines)
        seconds = time.monotonic() - began
        return Completed(tuple(argv), -1 if status is None else status, text, "\n".join(complaints), seconds)


def _between(
    before: tuple[Counted, Counted], after: tuple[Counted, Counted], *, sender_first: bool
) -> tuple[Counted, Counted]:
    """What was counted at the sending end, and at the other."""
    ends = []
    for old, new in zip(before, after, strict=True):
        ends.append(
            Counted(
                new.sent_packets - old.sent_packets,
                new.sent_bytes - old.sent_bytes,
                new.received_packets - old.received_packets,
                new.received_bytes - old.received_bytes,
            )
        )
    return (ends[0], ends[1]) if sender_first else (ends[1], ends[0])


def _latency(flowed: Flowed) -> LatencySummary:
    told: Mapping[str, float] = flowed.latency_us
    names = ("min", "p50", "p90", "p99", "p99_9", "max")
    return LatencySummary(**{f"latency_{name}_us": told.get(name) for name in names})
