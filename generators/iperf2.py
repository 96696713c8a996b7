"""iperf 2: TCP and UDP streams, told in text.

Its CSV (`-y C`) is of no use: it has tenths of a second only, dates of 1970, and, of UDP, nothing that the server saw.
"""

from __future__ import annotations

import math
import re
from typing import ClassVar

from nvbench.generators.stream_failures import failed, too_short
from nvbench.generators.streams import Ask, Flowed, StreamTest
from nvbench.hosts import Completed

UNLIMITED_BPS = 10**11
"""More than it can send; a UDP client that is told no rate sends 1 Mbit/s, and refuses 0."""

# Of single streams: the time in a [SUM] line is wrong where streams end one after the other.
_ROW = r"^\[ *(\d{1,9})\] +(\d{1,9}\.\d{1,9})-(\d{1,9}\.\d{1,9}) sec +(\d{1,18}) Bytes +\d+ bits/sec"
_SENT = re.compile(_ROW + r" *$", re.MULTILINE | re.ASCII)
_RECEIVED = re.compile(_ROW + r" +(\d{1,9}\.\d{1,9}) ms +(\d{1,18})/ *(\d{1,18}) ", re.MULTILINE | re.ASCII)


class Iperf2:
    """iperf(1) of the second generation.

    A TCP client's figures are the sender's, who waits at the end until the server has everything: they are the
    receiver's too. After a warm-up, whole seconds count, as the sender saw them.
    """

    name: ClassVar[str] = "iperf2"
    tests: ClassVar[frozenset[StreamTest]] = frozenset({StreamTest.TCP_STREAM, StreamTest.UDP_STREAM})
    client: ClassVar[str] = "iperf"
    server: ClassVar[str] = "iperf"
    remedy: ClassVar[str] = "apt-get install iperf"
    packages: ClassVar[tuple[str, ...]] = ("iperf",)

    def serve(self, ask: Ask, seconds: float) -> list[str]:
        """See `StreamTool.serve`."""
        datagrams = ["-u"] if ask.test is StreamTest.UDP_STREAM else []
        return ["timeout", str(math.ceil(seconds)), "iperf", "-s", "-p", str(ask.port), *datagrams]

    def send(self, ask: Ask) -> list[str]:
        """See `StreamTool.send`."""
        argv = ["iperf", "-c", ask.address, "-p", str(ask.port), "-P", str(ask.parallel), "-f", "b"]
        if ask.message_bytes is not None:
            argv += ["-l", str(ask.message_bytes)]
        if ask.test is StreamTest.UDP_STREAM:  # -b is for each stream, and its M is 2^20
            return [
                *argv,
                "-t",
                f"{ask.duration_s:g}",
                "-u",
                "-b",
                f"{(ask.rate_bps or UNLIMITED_BPS) / ask.parallel:.0f}",
            ]
        if ask.warmup_s:
            return [*argv, "-t", str(math.ceil(ask.warmup_s) + math.ceil(ask.duration_s)), "-i", "1"]
        return [*argv, "-t", f"{ask.duration_s:g}"]

    def parse(self, ask: Ask, done: Completed) -> Flowed:
        """See `StreamTool.parse`; the exit status is 0 even when nobody answers."""
        flowed = _udp(ask, done.stdout) if ask.test is StreamTest.UDP_STREAM else _tcp(ask, done.stdout)
        if flowed is None:
            raise failed(self.name, ask, done, _silent_server(done))
        return flowed


def _tcp(ask: Ask, text: str) -> Flowed | None:
    rows = [(stream, float(start_s), float(end_s), int(size)) for stream, start_s, end_s, size in _SENT.findall(text)]
    if len({stream for stream, *_ in rows}) != ask.parallel:
        return None
    begin_s = float(math.ceil(ask.warmup_s))
    if begin_s:  # seconds; what comes after them is the time in which buffers empty
        last_s = begin_s + math.ceil(ask.duration_s)
        rows = [row for row in rows if row[1] >= begin_s and row[2] <= last_s]
    elapsed_s = max((end_s for _, _, end_s, _ in rows), default=begin_s) - begin_s
    if elapsed_s <= 0 or too_short(ask, elapsed_s):
        return None
    return Flowed(elapsed_s, goodput_bps=sum(size for *_, size in rows) * 8 / elapsed_s)


def _udp(ask: Ask, text: str) -> Flowed | None:
    reports = _RECEIVED.findall(text)
    elapsed_s = max((float(end_s) for _, _, end_s, *_ in reports), default=0.0)
    datagrams = sum(int(total) for *_, total in reports)
    if len(reports) != ask.parallel or not elapsed_s:
        return None
    return Flowed(
        elapsed_s,
        goodput_bps=sum(int(size) for _, _, _, size, *_ in reports) * 8 / elapsed_s,
        lost_ratio=sum(int(lost) for *_, lost, _ in reports) / datagrams if datagrams else None,
        jitter_us=sum(float(jitter_ms) for *_, jitter_ms, _, _ in reports) / len(reports) * 1000,
        warnings=("iperf 2 counts the first moments of UDP streams too",) if ask.warmup_s else (),
    )


def _silent_server(done: Completed) -> str:
    """What is wrong where a client went through with it, but lacks its server's account."""
    sent_all = _SENT.search(done.stdout) and "failed" not in done.stderr
    return "the server did not report on every stream; it may have crashed" if sent_all else ""
