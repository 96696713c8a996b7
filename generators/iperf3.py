"""iperf3: TCP and UDP streams, told in JSON."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from pydantic import BaseModel, FiniteFloat, ValidationError

from nvbench.generators.stream_failures import failed
from nvbench.generators.streams import Ask, Flowed, StreamTest
from nvbench.hosts import Completed

CONNECT_MS = 3000

_OPTIONS = {
    StreamTest.TCP_STREAM: (),
    StreamTest.TCP_MAERTS: ("-R",),
    StreamTest.TCP_BIDIR: ("--bidir",),
    StreamTest.UDP_STREAM: ("-u",),
}


class _Sum(BaseModel):
    seconds: FiniteFloat
    bits_per_second: FiniteFloat
    retransmits: int | None = None


class _Datagrams(_Sum):
    jitter_ms: FiniteFloat
    lost_percent: FiniteFloat


class _Processor(BaseModel):
    host_total: FiniteFloat
    remote_total: FiniteFloat


class _TcpEnd(BaseModel):
    sum_sent: _Sum
    sum_received: _Sum
    sum_sent_bidir_reverse: _Sum | None = None
    sum_received_bidir_reverse: _Sum | None = None
    cpu_utilization_percent: _Processor

    def flowed(self) -> Flowed:
        back = self.sum_received_bidir_reverse
        sent = [each for each in (self.sum_sent, self.sum_sent_bidir_reverse) if each is not None]
        again = [each.retransmits for each in sent if each.retransmits is not None]
        return Flowed(
            elapsed_s=self.sum_received.seconds,
            goodput_bps=self.sum_received.bits_per_second,
            reverse_bps=back.bits_per_second if back else None,
            retransmits=sum(again) if again else None,
            client_cores=self.cpu_utilization_percent.host_total / 100,
            server_cores=self.cpu_utilization_percent.remote_total / 100,
        )


class _UdpEnd(BaseModel):
    sum: _Datagrams
    sum_received: _Sum | None = None
    cpu_utilization_percent: _Processor

    def flowed(self) -> Flowed:
        lost = self.sum.lost_percent / 100
        sent_bps = self.sum.bits_per_second
        return Flowed(
            elapsed_s=self.sum.seconds,
            # before 3.10 there is no such sum
            goodput_bps=self.sum_received.bits_per_second if self.sum_received else sent_bps * (1 - lost),
            lost_ratio=lost,
            jitter_us=self.sum.jitter_ms * 1000,
            client_cores=self.cpu_utilization_percent.host_total / 100,
            server_cores=self.cpu_utilization_percent.remote_total / 100,
        )


class _Report(BaseModel):
    error: str = ""
    end: dict[str, Any] = {}


class Iperf3:
    """iperf3(1). It takes whole seconds, so times are rounded up. Its processor time is that of its own processes."""

    name: ClassVar[str] = "iperf3"
    tests: ClassVar[frozenset[StreamTest]] = frozenset(_OPTIONS)
    client: ClassVar[str] = "iperf3"
    server: ClassVar[str] = "iperf3"
    remedy: ClassVar[str] = "apt-get install iperf3"
    packages: ClassVar[tuple[str, ...]] = ("iperf3",)

    def serve(self, ask: Ask, seconds: float) -> list[str]:
        """See `StreamTool.serve`; one client after the other, so that repeats need no new server."""
        return ["timeout", str(math.ceil(seconds)), "iperf3", "-s", "-p", str(ask.port)]

    def send(self, ask: Ask) -> list[str]:
        """See `StreamTool.send`."""
        argv = ["iperf3", "-c", ask.address, "-p", str(ask.port), "-J", "-i", "1", "--connect-timeout", str(CONNECT_MS)]
        argv += ["-t", str(math.ceil(ask.duration_s)), "-P", str(ask.parallel), *_OPTIONS[ask.test]]
        if ask.warmup_s:
            argv += ["-O", str(math.ceil(ask.warmup_s))]
        if ask.message_bytes is not None:
            argv += ["-l", str(ask.message_bytes)]
        if ask.test is StreamTest.UDP_STREAM:  # -b is for each stream; 0 is no limit
            argv += ["-b", f"{(ask.rate_bps or 0) / ask.parallel:.0f}"]
        return argv

    def parse(self, ask: Ask, done: Completed) -> Flowed:
        """See `StreamTool.parse`; an error may stand in the JSON whatever the exit status."""
        end = _UdpEnd if ask.test is StreamTest.UDP_STREAM else _TcpEnd
        try:
            report = _Report.model_validate_json(done.stdout)
            if report.error:
                raise failed(self.name, ask, done, report.error)
            return end.model_validate(report.end).flowed()
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(map(str, fault["loc"]))
            said = f"its JSON is not as expected: {where}: {fault['msg']}" if where else ""
            raise failed(self.name, ask, done, said) from error
