"""What became of a trial of Pktgen-DPDK's, from the counters that were watched while it ran."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from nvbench.generators.account import Done, judge
from nvbench.generators.minder import Watched
from nvbench.trial import Counters, Latency, Pauses, Step, Trial, Validity

STAMP_S = 0.0005
"""How well the time is known at which counters were so."""

STANDS_BURSTS = 4
"""Bursts that must have been due in a time without a frame, for the port to have stood still."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a trial was to be.

    Attributes:
        load_pps: Frames per second and direction.
        duration_s: For how long.
        burst: Frames that it sends at once.
        ends: Sending and receiving port of each direction, by their places among those watched.
        ring_frames: What a receive ring holds.
        max_lost: Frames that may be lost without the trial failing.
    """

    load_pps: float
    duration_s: float
    burst: int
    ends: tuple[tuple[int, int], ...]
    ring_frames: int
    max_lost: int | None


def trial_of(watched: Watched, asked: Asked, *, stuck: str = "") -> Trial:
    """The trial that was watched.

    Args:
        watched: What was seen of it.
        asked: What it was to be.
        stuck: What kept it from stopping in time; empty where it stopped.
    """
    total = watched.total
    offered = sum(total[port].opackets for port, _ in asked.ends)
    rate_pps = sum(watched.sent_pps(port) for port, _ in asked.ends)
    elapsed_s = offered / rate_pps if rate_pps else asked.duration_s
    directions = tuple(
        _counters(total[port].opackets, total[back].ipackets, asked, elapsed_s) for port, back in asked.ends
    )
    done = Done(
        elapsed_s=elapsed_s,
        directions=directions,
        latency=Latency(),
        pauses=_pauses(watched, asked),
        aborted=watched.aborted,
        clock_step_us=watched.clock_step_us,
        started_at=watched.started_at,
    )
    missed = sum(total[port].imissed for _, port in asked.ends)
    validity, reason = _judged(done, asked, missed, stuck)
    return done.trial(Step(asked.load_pps, asked.duration_s), (validity, reason))


def _counters(sent: int, received: int, asked: Asked, elapsed_s: float) -> Counters:
    """Of one direction. What is no more than the counters' own grain is not late; a surplus is nobody's own frames."""
    late = asked.load_pps * elapsed_s - sent
    grain = asked.burst + 1 + asked.load_pps * STAMP_S
    return Counters(
        sent=sent,
        late=round(late) if late > grain else 0,
        received=min(sent, received),
        foreign=max(0, received - sent),
    )


def _pauses(watched: Watched, asked: Asked) -> Pauses:
    """When it was not there; and when it was there, with frames to send, and none left."""
    stood = [0.0]
    for (since, then), (at, now) in pairwise(watched.samples):
        moved = any(now[port].opackets != then[port].opackets for port, _ in asked.ends)
        due = asked.load_pps * (at - since) > STANDS_BURSTS * asked.burst
        stood.append(stood[-1] + at - since if due and not moved else 0.0)
    longest_s = max(stood)
    total_s = sum(now - then for then, now in pairwise(stood) if now > then)
    return replace(
        watched.pauses,
        device_longest_us=max(0.0, longest_s - watched.waited_s) * 1e6,
        device_total_us=max(0.0, total_s - watched.waited_s) * 1e6,
    )


def _judged(done: Done, asked: Asked, missed: int, stuck: str) -> tuple[Validity, str]:
    allowed = asked.max_lost or 0
    total = sum(done.directions, Counters())
    if stuck:
        return Validity.STALLED, f"Pktgen did not stop in time: {stuck}"
    if missed and total.lost > allowed:
        return Validity.PAUSED, f"Pktgen did not take in {missed} frames that came back to it"
    validity, reason = judge(done, asked.load_pps, allowed, ring_frames=asked.ring_frames)
    stood_ms = done.pauses.device_total_us / 1000
    if validity is Validity.UNDERSENT and stood_ms * asked.load_pps * len(asked.ends) / 1000 >= total.late / 2:
        return Validity.STALLED, f"device took nothing for {stood_ms:.1f} ms"
    return validity, reason
