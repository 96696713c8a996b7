"""Does a limit of a member's rate hold, in each direction: what passes, how large a burst, and how soon?"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from nvbench.errors import GeneratorError, NotPossibleError
from nvbench.hosts import Process
from nvbench.stands import BRIDGE, OVS, PEER, SRIOV, Check, Record, Stand, Way

LIMIT_BPS, NIC_LIMIT_BPS = 2_000_000, 200_000_000
"""Little enough for emulated guests on a busy host, which manage some five of them; and enough for a real NIC, of
which some refuse less than 11 Mbit/s (ixgbe), and others silently take 50 for it (i40e)."""

OFFERED = 4
"""So many times the limit is offered."""

BURST_S = 0.2
"""For so long the limit takes for its burst: to be seen in samples of a tenth of a second."""

LEAST, MOST = 0.75, 1.15
"""Shares of the limit that have to pass, and may. Switches count a packet's bytes with or without its headers, which
are 3 % of it; a bucket that is emptied by whole packets, and a sender that has to wait for its processor, lose more."""

CLEARLY = 1.5
"""So many times the limit has to pass without it, or else nothing is seen of the limit."""

IDLE = 0.85
"""Where more than this share of what passes without a limit also does with it, it does nothing."""

CONTROL_S, LIMITED_S = 1, 2
SAMPLE_S = 0.1
SETTLING = 5
"""Over so many samples together the rate is at its limit once the burst is over."""

PAYLOAD_BYTES = 1400
FRAME_BYTES = PAYLOAD_BYTES + 8 + 20 + 14
"""With the headers of UDP, IPv4 and Ethernet, without FCS: rates are told of these."""

FLOWS: Mapping[Way, tuple[str, str]] = {Way.OUT: ("vm1", "vm2"), Way.IN: (PEER, "vm1")}
_PORT = 5310
_SAID = {Way.OUT: "what vm1 sends", Way.IN: "what vm1 receives"}
_COLUMNS = ("Mbit/s", "limit", "offered", "passes without", "passes with it", "burst", "settled after")
_PATIENCE_S = 20.0
START_S = 0.15
"""In this time a server starts to listen; a client that finds none is started again."""


@dataclass(frozen=True, slots=True)
class Passage:
    """What came of a stream at its receiver.

    Attributes:
        offered_bps: What was sent.
        samples: What came, in bytes of payload, in each tenth of a second.
        lost: Datagrams that did not come.
    """

    offered_bps: float
    samples: tuple[float, ...]
    lost: int

    def bps(self, start: int = 0, count: int | None = None) -> float:
        """Mean rate of frames over some samples, as many as there are from the start."""
        taken = self.samples[start:][:count]
        return _frames_bits(sum(taken)) / (len(taken) * SAMPLE_S) if taken else 0.0

    def settled(self, limit_bps: float) -> int | None:
        """The first sample from which on the rate is at the limit; None if it never is."""
        starts = range(len(self.samples) - SETTLING + 1)
        return next((start for start in starts if self.bps(start, SETTLING) <= MOST * limit_bps), None)

    def burst_bytes(self, limit_bps: float) -> float:
        """How much more than the limit came until then, in bytes of frames."""
        count = self.settled(limit_bps) or 0
        return max(0.0, _frames_bits(sum(self.samples[:count])) - limit_bps * count * SAMPLE_S) / 8


def _frames_bits(payload_bytes: float) -> float:
    return payload_bytes * 8 * FRAME_BYTES / PAYLOAD_BYTES


def act(stand: Stand, record: Record) -> None:
    """Both directions at once: with the limit, then without. One that cannot be limited here is told, not judged."""
    limit_bps = limit_of(stand)
    least = LEAST * limit_bps
    ways: list[Way] = []
    refused: list[NotPossibleError] = []
    with ExitStack() as stack:
        for way in FLOWS:
            try:
                stack.enter_context(stand.levers.limited("vm1", way, limit_bps, burst_of(limit_bps)))
                ways.append(way)
            except NotPossibleError as error:
                refused.append(error)
        if not ways:
            raise refused[0]
        _check_tool(stand, ways)
        held = _streams(stand, record, ways, LIMITED_S, "limited", lambda each: passed(each, limit_bps) >= least)
    free = _streams(stand, record, ways, CONTROL_S, "unlimited", lambda each: each.bps() >= CLEARLY * limit_bps)
    for way in ways:
        if free[way].bps() < CLEARLY * limit_bps:
            what = f"{_SAID[way]}: without a limit only {_mbps(free[way].bps())} pass, too little to see one of "
            raise NotPossibleError(what + _mbps(limit_bps))
    for way in ways:
        _judge(record, way, free[way], held[way], limit_bps)
    for refusal in refused:
        record.advise(f"One direction is not looked at: {refusal.what}")
    rows = [_row(way, free[way], held[way], limit_bps) for way in ways]
    record.draw("What passes, as frames without FCS", _COLUMNS, rows)


def limit_of(stand: Stand) -> int:
    """The limit that is set, in bits a second: what emulated guests can pass, or what real NICs can limit."""
    return NIC_LIMIT_BPS if stand.path == SRIOV and stand.bench.testbed.switch.sriov else LIMIT_BPS


def burst_of(limit_bps: int) -> int:
    """The burst that goes with a limit, in bytes."""
    return round(limit_bps * BURST_S / 8)


def _check_tool(stand: Stand, ways: Sequence[Way]) -> None:
    for name in dict.fromkeys(name for way in ways for name in FLOWS[way]):
        if not stand.member(name).host.run(["which", "iperf3"], check=False).ok:
            raise NotPossibleError(f"no iperf3 at {name}, by which it is seen what passes (apt-get install iperf3)")


def passed(held: Passage, limit_bps: float) -> float:
    """What passed once the burst was over, as a rate of frames."""
    settled = held.settled(limit_bps)
    return held.bps(SETTLING if settled is None else max(settled, 1))


def _judge(record: Record, way: Way, free: Passage, held: Passage, limit_bps: int) -> None:
    settled, rate_bps = held.settled(limit_bps), passed(held, limit_bps)
    allowed = f"{LEAST * limit_bps / 1e6:.1f} to {_mbps(MOST * limit_bps)}"
    told = f"{_SAID[way]}: of {_mbps(held.offered_bps)} offered {_mbps(rate_bps)} pass at a limit of {_mbps(limit_bps)}"
    without = f"{_mbps(free.bps())} without it"
    samples = " ".join(f"{_frames_bits(each) / SAMPLE_S / 1e6:.1f}" for each in held.samples)
    quote = f"iperf3 at the receiver, Mbit/s each {SAMPLE_S} s: {samples}; {held.lost} datagrams lost"
    if rate_bps > MOST * limit_bps:
        why = "it is accepted, and not in force" if rate_bps > IDLE * free.bps() else "that is too much"
        record.observe(False, f"{told}, {without}: {why} (allowed {allowed})", quote)
    elif rate_bps < LEAST * limit_bps:
        record.observe(False, f"{told}, {without}: that is too little (allowed {allowed})", quote)
    else:
        burst, after_s = held.burst_bytes(limit_bps), (settled or 0) * SAMPLE_S
        told += (
            f" (allowed {allowed}), {without}; a burst of {burst / 1e3:.0f} kB of {burst_of(limit_bps) / 1e3:.0f} kB"
        )
        record.observe(True, f"{told} comes first, the limit holds after {after_s:.1f} s", quote)


def _row(way: Way, free: Passage, held: Passage, limit_bps: int) -> list[str]:
    settled = held.settled(limit_bps)
    rates_bps = (limit_bps, held.offered_bps, free.bps(), passed(held, limit_bps))
    numbers = [f"{bps / 1e6:.1f}" for bps in rates_bps]
    if settled is None:
        return [_SAID[way], *numbers, "-", "never"]
    return [_SAID[way], *numbers, f"{held.burst_bytes(limit_bps) / 1e3:.0f} kB", f"{settled * SAMPLE_S:.1f} s"]


def _mbps(bps: float) -> str:
    return f"{bps / 1e6:.1f} Mbit/s"


# -- traffic ---------------------------------------------------------------------------------------------------


def _streams(
    stand: Stand, record: Record, ways: Sequence[Way], seconds: int, step: str, enough: Callable[[Passage], bool]
) -> dict[Way, Passage]:
    """Datagrams flow, in all these directions at once; once more where less passes than should: by a busy host."""
    found = _streamed(stand, record, ways, seconds, step)
    return found if all(map(enough, found.values())) else _streamed(stand, record, ways, seconds, f"{step}-again")


def _streamed(stand: Stand, record: Record, ways: Sequence[Way], seconds: int, step: str) -> dict[Way, Passage]:
    with ExitStack() as stack:
        servers, clients = {}, {}
        for way in ways:
            argv = ["iperf3", "-s", "-1", "-J", "-i", str(SAMPLE_S), "-p", _port(way)]
            servers[way] = stand.member(FLOWS[way][1]).host.spawn(argv)
            stack.callback(servers[way].kill)
        time.sleep(START_S)
        for way in ways:
            clients[way] = _client(stand, way, seconds, stack)
        found = {}
        for way in ways:
            told, deadline = _output(clients[way], seconds), time.monotonic() + _PATIENCE_S
            while "refused" in told.get("error", "") and time.monotonic() < deadline:  # its server is not there yet
                told = _output(_client(stand, way, seconds, stack), seconds)
            if "error" in told:
                raise GeneratorError(f"iperf3: {told['error']}", place=FLOWS[way][0])
            received = _output(servers[way], 0)
            record.keep(f"iperf3-{way}-{step}.json", json.dumps({"sender": told, "receiver": received}, indent=1))
            found[way] = passage_of(told, received)
    return found


def _port(way: Way) -> str:
    return str(_PORT + list(FLOWS).index(way))


def _client(stand: Stand, way: Way, seconds: int, stack: ExitStack) -> Process:
    sender, receiver = map(stand.member, FLOWS[way])
    payload_bps = OFFERED * limit_of(stand) * PAYLOAD_BYTES // FRAME_BYTES
    argv = ["iperf3", "-c", receiver.address, "-p", _port(way), "-u", "-b", str(payload_bps), "-l", str(PAYLOAD_BYTES)]
    process = sender.host.spawn([*argv, "-t", str(seconds), "-J", "--connect-timeout", "10000"])
    stack.callback(process.kill)
    return process


def _output(process: Process, seconds: int) -> dict[str, Any]:
    """What a program printed until its end."""
    lines, deadline = [], time.monotonic() + seconds + _PATIENCE_S
    while True:
        try:
            line = process.receive(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            raise GeneratorError("iperf3 does not end") from None
        if line is None:
            break
        lines.append(line)
    try:
        told: dict[str, Any] = json.loads("\n".join(lines))
    except ValueError:
        raise GeneratorError(f"iperf3: {' '.join([*lines, *process.complaints()]) or 'said nothing'}") from None
    return told


def passage_of(sender: Mapping[str, Any], receiver: Mapping[str, Any]) -> Passage:
    """What came of a stream, from what iperf3 tells at both ends; the last sample is a part of one, and left out."""
    sums = [each["sum"] for each in receiver["intervals"]]
    samples = tuple(
        float(each["bytes"]) * SAMPLE_S / each["seconds"] for each in sums if each["seconds"] > SAMPLE_S / 2
    )
    sent = sender["end"].get("sum_sent") or sender["end"]["sum"]  # before 3.10 there is one sum
    return Passage(_frames_bits(sent["bytes"]) / sent["seconds"], samples, sum(each["lost_packets"] for each in sums))


RATE_LIMIT = Check(
    name="rate_limit",
    title="a rate limit holds in both directions",
    cases={BRIDGE: "", OVS: "5.4.8.1", SRIOV: "5.4.8.2"},
    act=act,
    tags=("rate", "qos"),
)
