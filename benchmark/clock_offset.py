"""How far another host's clock is from this machine's, found by exchanges of time as NTP does it."""

from __future__ import annotations

import time
from dataclasses import dataclass

from nvbench.errors import CommandError
from nvbench.hosts import Host, Process

SECOND_NS = 10**9
WHOLE = "%N"
"""What stands behind whole seconds where date(1) is busybox's, which knows no smaller ones."""

EXCHANGES = 16
PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """What an exchange of time says of a host's clock.

    Attributes:
        offset_s: Seconds by which the host's CLOCK_REALTIME is ahead of this machine's.
        error_s: The offset is right to so many seconds, one way or the other.
    """

    offset_s: float
    error_s: float


def clock_offset(host: Host) -> ClockOffset:
    """How far a host's clock is ahead of this machine's; 0 ± 0 for this machine itself.

    Of several exchanges the one with the smallest round trip counts (RFC 5905, section 10: the clock filter). The
    host read its clock at some moment of that round trip, so half of it bounds the error, however unlike the two ways
    are (section 8: the on-wire protocol, with one time stamp in place of the server's two).

    Raises:
        CommandError: The host does not tell its time.
        LostConnectionError: The connection to it broke.
    """
    if host.local:
        return ClockOffset(0.0, 0.0)
    # One program for all exchanges: starting one over SSH takes longer than the exchange itself.
    clock = host.spawn(["xargs", "-I{}", "date", "+%s%N"])
    try:
        exchanges = [_exchange(clock, host) for _ in range(EXCHANGES)]
    finally:
        clock.close()
    return min(exchanges, key=lambda exchange: exchange.error_s)


def _exchange(clock: Process, host: Host) -> ClockOffset:
    sent_ns = time.time_ns()
    clock.send("now")
    try:
        told = clock.receive(PATIENCE_S)
    except TimeoutError:
        told = None
    received_ns = time.time_ns()
    if told is None or not told.removesuffix(WHOLE).isdigit():
        raise CommandError(f"does not tell its time: {told or 'no answer'}", place=f"host {host.name}")
    whole = told.endswith(WHOLE)
    clock_ns = int(told.removesuffix(WHOLE)) * SECOND_NS + SECOND_NS // 2 if whole else int(told)
    grain_ns = SECOND_NS if whole else 0
    return ClockOffset((2 * clock_ns - sent_ns - received_ns) / 2e9, (received_ns - sent_ns + grain_ns) / 2e9)
