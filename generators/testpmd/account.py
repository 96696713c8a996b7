"""A trial of dpdk-testpmd, made of what its minder saw and of what it told: one of a time, or one of a burst."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from nvbench.errors import GeneratorError
from nvbench.generators.account import Done, judge
from nvbench.generators.minder import Watched
from nvbench.trial import AbortRule, Counters, Latency, Pauses, Step, Trial, Validity
from nvbench.units import scaled

FAST = 0.01
"""Share by which a NIC that limits its rate may send more than was asked."""

AT_ONCE = 32
"""Frames that it takes and sends in one go: a burst of no more has no speed at which it could be late."""

_BUSY = re.compile(r"total cycles=(\d+) / .*\) at (\d+) MHz")


@dataclass(frozen=True, slots=True)
class Ends:
    """The ports of a trial, by their places among those watched.

    Attributes:
        sends: What each direction leaves.
        receives: What it comes back to.
        sources: What its frames are read from.
    """

    sends: tuple[int, ...]
    receives: tuple[int, ...]
    sources: tuple[int, ...]


def busy_s(told: str) -> float:
    """How long its polling core had frames to move, from what `stop` prints.

    Raises:
        GeneratorError: It does not tell.
    """
    found = _BUSY.search(told)
    if not found:
        raise GeneratorError("testpmd does not tell how long it was busy with a burst")
    return int(found[1]) / (int(found[2]) * 1e6)


def timed(
    watched: Watched,
    asked: Step,
    ends: Ends,
    abort: AbortRule,
    *,
    ring_frames: int,
    on_wires: bool = False,
    limited: bool = False,
) -> Trial:
    """The trial that was watched while frames were sent for a time.

    What leaves a source and not its port was refused by the port's device, unless that is a NIC: a source in memory
    is faster than any wire, and what leaves the NIC is what the device behind the wire was offered.

    Args:
        watched: What the minder saw.
        asked: The load and the time.
        ends: The ports.
        abort: When the trial was to end early.
        ring_frames: What a receive ring holds.
        on_wires: Whether the ports are NICs.
        limited: Whether they were told a rate.
    """
    total = watched.total
    counted = [total[place].opackets for place in ends.sends] if on_wires else [total[p].ipackets for p in ends.sources]
    rate_pps = sum(
        watched.sent_pps(send) if on_wires else watched.received_pps(source)
        for send, source in zip(ends.sends, ends.sources, strict=True)
    )
    elapsed_s = sum(counted) / rate_pps if rate_pps else asked.duration_s
    directions = _directions(watched, ends, counted, round(asked.load_pps * elapsed_s))
    done = _done(watched, elapsed_s, directions, watched.pauses)
    trial = _trial(done, watched, asked, ends, abort, ring_frames=ring_frames)
    if limited and trial.validity is not Validity.PAUSED and trial.offered_pps > (1 + FAST) * asked.load_pps:
        told = f"sent {scaled(trial.offered_pps, 'pps')} of {scaled(asked.load_pps, 'pps')}"
        reason = f"{told}: its NIC does not hold the rate that it was told"
        return replace(trial, validity=Validity.UNDERSENT, reason=reason)
    return trial


def burst(watched: Watched, asked: Step, ends: Ends, abort: AbortRule, *, told: str, most_pps: float) -> Trial:
    """The trial that was watched while a burst of a set number of frames was sent.

    It lasted as long as the core was busy with it, or as a NIC needs for it, which sends on after the core is done.
    That is within 2 % for long ones; a short one left somewhat faster, as reading its first frames and taking in its
    last ones are counted too. The core sends and receives, so that a pause makes a burst longer and loses nothing.

    Args:
        watched: What the minder saw.
        asked: Number of frames of a direction and their rate, as a load and a time.
        ends: The ports.
        abort: When the trial was to end early.
        told: What testpmd printed when it was stopped.
        most_pps: The most that a NIC sends, in frames per second and direction; inf where there is none.

    Raises:
        GeneratorError: testpmd does not tell how long it was busy.
    """
    frames = round(asked.load_pps * asked.duration_s)
    counted = [watched.total[place].ipackets for place in ends.sources]
    elapsed_s = max(busy_s(told), max(counted) / most_pps) if any(counted) else asked.duration_s
    due = frames if frames <= AT_ONCE else max(frames, round(asked.load_pps * elapsed_s))
    done = _done(watched, elapsed_s, _directions(watched, ends, counted, due), Pauses())
    return _trial(done, watched, asked, ends, abort)


def _done(watched: Watched, elapsed_s: float, directions: tuple[Counters, ...], pauses: Pauses) -> Done:
    return Done(
        elapsed_s=elapsed_s,
        directions=directions,
        latency=Latency(),
        pauses=pauses,
        aborted=watched.aborted,
        clock_step_us=watched.clock_step_us,
        started_at=watched.started_at,
    )


def _trial(done: Done, watched: Watched, asked: Step, ends: Ends, abort: AbortRule, *, ring_frames: int = 0) -> Trial:
    allowed = abort.max_lost_frames or 0
    validity, reason = judge(done, asked.load_pps, allowed, ring_frames=ring_frames)
    missed = sum(watched.total[place].imissed for place in ends.receives)
    if missed and sum(done.directions, Counters()).lost > allowed:
        validity, reason = Validity.PAUSED, f"testpmd did not take in {missed} frames that came back to it"
    return done.trial(asked, (validity, reason))


def _directions(watched: Watched, ends: Ends, counted: list[int], due: int) -> tuple[Counters, ...]:
    """Counters of each direction; a surplus of what came back is nobody's own frames."""
    rows = zip(counted, ends.sends, ends.receives, strict=True)
    return tuple(
        _counters(offered, watched.total[send].opackets, watched.total[back].ipackets, due)
        for offered, send, back in rows
    )


def _counters(offered: int, sent: int, received: int, due: int) -> Counters:
    return Counters(
        sent=sent,
        late=max(0, due - offered),
        refused=max(0, offered - sent),
        received=min(sent, received),
        foreign=max(0, received - sent),
    )
