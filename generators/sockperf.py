"""sockperf: requests and responses with the percentiles of their round trips."""

from __future__ import annotations

import math
import re
from typing import ClassVar

from nvbench.generators.stream_failures import failed, one_stream, too_short
from nvbench.generators.streams import Ask, Flowed, StreamTest
from nvbench.hosts import Completed

WARMUP_S = 0.4
COOLDOWN_S = 0.05
"""What it leaves out of its time by itself, at the beginning and at the end."""

_NUMBER = r" *(\d{1,12}(?:\.\d{1,9})?)"
_VALID = re.compile(
    rf"\[Valid Duration\] RunTime={_NUMBER} sec; SentMessages=(\d{{1,18}}); ReceivedMessages=(\d{{1,18}})"
)
_MEAN = re.compile(rf"avg-(rtt|latency)={_NUMBER}")
_OBSERVED = re.compile(rf"---> (<MAX> observation|<MIN> observation|percentile [\d.]+) ={_NUMBER}")
_NAMES = {
    "<MIN> observation": "min",
    "percentile 50.000": "p50",
    "percentile 90.000": "p90",
    "percentile 99.000": "p99",
    "percentile 99.900": "p99_9",
    "<MAX> observation": "max",
}


class Sockperf:
    """sockperf(1) in ping-pong mode.

    Its messages have 14 bytes or more, 14 where none are asked for. It takes whole seconds, so times are rounded up,
    and always leaves out its first 0.4 s, no more and no less.
    """

    name: ClassVar[str] = "sockperf"
    tests: ClassVar[frozenset[StreamTest]] = frozenset({StreamTest.TCP_RR, StreamTest.UDP_RR})
    client: ClassVar[str] = "sockperf"
    server: ClassVar[str] = "sockperf"
    remedy: ClassVar[str] = "apt-get install sockperf"
    packages: ClassVar[tuple[str, ...]] = ("sockperf",)

    def serve(self, ask: Ask, seconds: float) -> list[str]:
        """See `StreamTool.serve`."""
        return ["timeout", str(math.ceil(seconds)), "sockperf", "sr", "-p", str(ask.port), *_protocol(ask)]

    def send(self, ask: Ask) -> list[str]:
        """See `StreamTool.send`.

        Raises:
            GeneratorError: It is to make parallel streams.
        """
        one_stream(self.name, ask)
        argv = ["sockperf", "ping-pong", "-i", ask.address, "-p", str(ask.port), *_protocol(ask), "--full-rtt"]
        if ask.message_bytes is not None:
            argv += ["-m", str(ask.message_bytes)]
        return [*argv, "-t", str(math.ceil(WARMUP_S + ask.duration_s + COOLDOWN_S))]

    def parse(self, ask: Ask, done: Completed) -> Flowed:
        """See `StreamTool.parse`; the exit status is 0 even when nobody answers."""
        valid, mean = _VALID.search(done.stdout), _MEAN.search(done.stdout)
        if not valid or not mean or not float(valid[1]) or not int(valid[2]):
            raise failed(self.name, ask, done)
        elapsed_s, sent, received = float(valid[1]), int(valid[2]), int(valid[3])
        if too_short(ask, elapsed_s):
            raise failed(self.name, ask, done, f"answers came for {elapsed_s:g} s of {ask.duration_s:g}")
        trip = 1 if mean[1] == "rtt" else 2  # its latency is half of a round trip
        observed = {_NAMES.get(what, ""): float(value) * trip for what, value in _OBSERVED.findall(done.stdout)}
        observed.pop("", None)
        late = (f"sockperf leaves out its first {WARMUP_S} s only",) if ask.warmup_s > WARMUP_S else ()
        return Flowed(
            elapsed_s,
            transactions_per_s=received / elapsed_s,
            lost_ratio=max(0.0, 1 - received / sent) if ask.test is StreamTest.UDP_RR else None,
            latency_us={"mean": float(mean[2]) * trip, **observed},
            warnings=late,
        )


def _protocol(ask: Ask) -> list[str]:
    return ["--tcp"] if ask.test is StreamTest.TCP_RR else []
