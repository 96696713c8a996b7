"""netperf: streams, requests and responses, by its omni test, told as KEY=value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from nvbench.errors import GeneratorError
from nvbench.generators.stream_failures import failed, one_stream
from nvbench.generators.streams import Ask, Flowed, StreamTest
from nvbench.hosts import Completed

_OPTIONS = {
    StreamTest.TCP_STREAM: ("-d", "send", "-T", "tcp"),
    StreamTest.TCP_MAERTS: ("-d", "recv", "-T", "tcp"),
    StreamTest.TCP_RR: ("-d", "rr", "-T", "tcp"),
    StreamTest.TCP_CRR: ("-d", "rr", "-c", "-T", "tcp"),
    StreamTest.UDP_STREAM: ("-d", "send", "-T", "udp", "-R", "1"),  # without -R 1 it sends past the routing table
    StreamTest.UDP_RR: ("-d", "rr", "-T", "udp"),
}

_ANSWERED = (StreamTest.TCP_RR, StreamTest.TCP_CRR, StreamTest.UDP_RR)

_LATENCY = {"min": "MIN", "mean": "MEAN", "p50": "P50", "p90": "P90", "p99": "P99", "max": "MAX"}

_KEYS = (
    *("THROUGHPUT", "THROUGHPUT_UNITS", "ELAPSED_TIME", "LOCAL_SEND_CALLS", "REMOTE_RECV_CALLS"),
    *(f"{side}_{key}" for side in ("LOCAL", "REMOTE") for key in ("CPU_UTIL", "CPU_COUNT", "TRANSPORT_RETRANS")),
)

_TRANSACTIONS = "Trans/s"

_UNITS = {
    _TRANSACTIONS: 1.0,
    "10^3bits/s": 1e3,
    "10^6bits/s": 1e6,
    "10^9bits/s": 1e9,
    "KBytes/s": 8.0 * 2**10,
    "MBytes/s": 8.0 * 2**20,
    "GBytes/s": 8.0 * 2**30,
}
"""Bits, or transactions, in each unit that it declares; its bytes come in powers of two."""


class Netperf:
    """netperf(1). It takes whole seconds, so times are rounded up. Its processor time is that of the whole machine.

    It writes 16 KiB at a time where no `message_bytes` are asked for, iperf 3 and 2 write 128 KiB: where the endpoints
    are the limit it then shows far less than they, and as much with the same size.

    A warm-up is its first interim result; the others count, as the client saw them. Of UDP streams that would be what
    was sent, so there it is not left out; nor is it from latency, retransmits and processor time.
    """

    name: ClassVar[str] = "netperf"
    tests: ClassVar[frozenset[StreamTest]] = frozenset(_OPTIONS)
    client: ClassVar[str] = "netperf"
    server: ClassVar[str] = "netserver"
    remedy: ClassVar[str] = (
        "netperf is in Debian's non-free part (Ubuntu's multiverse): "
        "add that to apt's sources, then apt-get update and apt-get install netperf"
    )
    packages: ClassVar[tuple[str, ...]] = ()

    def serve(self, ask: Ask, seconds: float) -> list[str]:
        """See `StreamTool.serve`; -D keeps it in the foreground, -N keeps debug files out of /tmp."""
        return ["timeout", str(math.ceil(seconds)), "netserver", "-D", "-N", "-p", str(ask.port)]

    def send(self, ask: Ask) -> list[str]:
        """See `StreamTool.send`.

        Raises:
            GeneratorError: It is to make parallel streams, or to send at a rate.
        """
        one_stream(self.name, ask)
        if ask.rate_bps is not None:
            raise GeneratorError("netperf sends as fast as it can", remedy="use iperf3 or iperf2 for a rate")
        warmup_s = 0.0 if ask.test is StreamTest.UDP_STREAM else ask.warmup_s
        answered = ask.test in _ANSWERED  # of bulk, latency would be how long a send takes
        keys = (*_KEYS, *(f"{key}_LATENCY" for key in _LATENCY.values())) if answered else _KEYS
        argv = [
            "netperf",
            "-H",
            ask.address,
            "-p",
            str(ask.port),
            "-t",
            "omni",
            "-c",
            "-C",
            *(["-j"] if answered else []),
        ]
        argv += ["-l", str(math.ceil(warmup_s + ask.duration_s))]
        if warmup_s:  # negative: look at the clock after each send, so that it is as long as asked
            argv += ["-D", f"-{warmup_s:g}"]
        return [*argv, "--", *_OPTIONS[ask.test], *_sizes(ask), "-k", ",".join(keys)]

    def parse(self, ask: Ask, done: Completed) -> Flowed:
        """See `StreamTool.parse`."""
        values = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
        if not done.ok or "THROUGHPUT" not in values:
            raise failed(self.name, ask, done)
        try:
            return _flowed(ask, values)
        except (KeyError, ValueError, ZeroDivisionError) as error:
            raise failed(self.name, ask, done, f"its KEY=value lines are not as expected: {error!r}") from error


def _sizes(ask: Ask) -> list[str]:
    if ask.message_bytes is None:
        return []
    size = str(ask.message_bytes)
    match ask.test:
        case StreamTest.TCP_STREAM | StreamTest.UDP_STREAM:
            return ["-m", size]
        case StreamTest.TCP_MAERTS:
            return ["-M", size]
        case _:
            return ["-r", f"{size},{size}"]


def _flowed(ask: Ask, values: Mapping[str, str]) -> Flowed:
    unit = values["THROUGHPUT_UNITS"]
    datagrams = ask.test in (StreamTest.UDP_STREAM, StreamTest.UDP_RR)
    elapsed_s, rate = _number(values, "ELAPSED_TIME"), _number(values, "THROUGHPUT") * _UNITS[unit]
    lost = None
    if ask.test is StreamTest.UDP_STREAM:
        lost = max(0.0, 1 - _number(values, "REMOTE_RECV_CALLS") / _number(values, "LOCAL_SEND_CALLS"))
    elif ask.warmup_s:
        elapsed_s, rate = _after_first(values)
    latency = _LATENCY if ask.test in _ANSWERED else {}
    again = [_number(values, f"{side}_TRANSPORT_RETRANS") for side in ("LOCAL", "REMOTE")]
    return Flowed(
        elapsed_s,
        goodput_bps=None if unit == _TRANSACTIONS else rate,
        transactions_per_s=rate if unit == _TRANSACTIONS else None,
        retransmits=None if datagrams or min(again) < 0 else int(sum(again)),
        lost_ratio=lost,
        latency_us={name: _number(values, f"{key}_LATENCY") for name, key in latency.items()},
        client_cores=_cores(values, "LOCAL"),
        # of CRR it counts the server's time, 4 s more than the test's, and divides by the test's
        server_cores=None if ask.test is StreamTest.TCP_CRR else _cores(values, "REMOTE"),
        warnings=_early(ask),
    )


def _after_first(values: Mapping[str, str]) -> tuple[float, float]:
    """Time and rate of the interim results but the first; they do not count the time in which buffers empty."""
    count = sum(key.startswith("NETPERF_INTERVAL[") for key in values)
    parts = [
        (
            _number(values, f"NETPERF_INTERVAL[{index}]"),
            _number(values, f"NETPERF_INTERIM_RESULT[{index}]") * _UNITS[values[f"NETPERF_UNITS[{index}]"]],
        )
        for index in range(1, count)
    ]
    elapsed_s = sum(seconds for seconds, _ in parts)
    return elapsed_s, sum(seconds * rate for seconds, rate in parts) / elapsed_s


def _number(values: Mapping[str, str], key: str) -> float:
    number = float(values[key])
    if not math.isfinite(number):
        raise ValueError(f"{key}={number}")
    return number


def _cores(values: Mapping[str, str], side: str) -> float | None:
    percent = _number(values, f"{side}_CPU_UTIL")  # of all cores
    return None if percent < 0 else percent / 100 * _number(values, f"{side}_CPU_COUNT")


def _early(ask: Ask) -> tuple[str, ...]:
    if not ask.warmup_s:
        return ()
    if ask.test is StreamTest.UDP_STREAM:
        return ("netperf counts the first moments of UDP streams too",)
    return ("netperf's latency, retransmits and processor time count the warm-up too",)
