"""Devices that exist only as numbers: what each does with the frames that it is offered.

A device is a fluid model, stepped through time: queues that fill and drain, capacities that vary, warm up and drift.
It is as deterministic as the random numbers that it is given, and takes no real time.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from nvbench.trial import AbortRule, Counters, Step

POLL_S = 0.05
"""Counters of a running trial are looked at twenty times a second."""

SLICE_S = 0.25


@dataclass(frozen=True, slots=True)
class Device:
    """What a simulated device does, and the generator before it.

    Attributes:
        capacity_pps: Frames per second that it forwards, all directions together.
        capacity_noise: Relative standard deviation of that from trial to trial.
        second_noise: The same from second to second.
        background_loss: Share of the frames lost at any load.
        buffer_frames: Frames that wait where more come than it forwards.
        stalls_per_s: How often it stops for `stall_s`, on average.
        stall_s: Length of such a stop.
        cold_share: Share of its capacity that it lacks when cold.
        warm_s: Seconds of traffic in which all but 1/e of that has come.
        queue_shares: Share of the frames that each of its queues gets; each can forward an equal part.
        livelock: Frames that it forwards less for each frame offered beyond its capacity.
        drift_per_s: Relative change of its capacity with each second of traffic.
        slow_share: Share of its capacity that a slow trial lacks.
        slow_probability: Share of the trials that are slow.
        address_table: MAC addresses that it can learn.
        learning_pps: MAC addresses a second that it can learn.
        pause_probability: Share of the trials that the host disturbs.
        ceiling_pps: What the generator can send, per direction.
    """

    capacity_pps: float = 2.5e6
    capacity_noise: float = 0.0
    second_noise: float = 0.0
    background_loss: float = 0.0
    buffer_frames: int = 0
    stalls_per_s: float = 0.0
    stall_s: float = 0.0
    cold_share: float = 0.0
    warm_s: float = 1.0
    queue_shares: tuple[float, ...] = (1.0,)
    livelock: float = 0.0
    drift_per_s: float = 0.0
    slow_share: float = 0.0
    slow_probability: float = 0.0
    address_table: int = 0
    learning_pps: float = math.inf
    pause_probability: float = 0.0
    ceiling_pps: float = 20e6


@dataclass(frozen=True, slots=True)
class Slice:
    """A moment of a trial: frames offered and lost in it, all directions together."""

    seconds: float
    offered: float
    lost: float


@dataclass
class Count:
    """What a device counts as it goes.

    Attributes:
        taken: Frames that it took in at each of its two ports, and sent out at the other.
        missed: Frames that came to each while it had no room for them.
        busy_s: Time in which it forwarded.
        idle_s: Time of traffic in which it waited for frames.
    """

    taken: list[int] = field(default_factory=lambda: [0, 0])
    missed: list[int] = field(default_factory=lambda: [0, 0])
    busy_s: float = 0.0
    idle_s: float = 0.0


@dataclass
class LoadedDevice:
    """A device with traffic on it: what it remembers from trial to trial.

    Attributes:
        device: The device.
        random: Where its variation comes from.
        warm_s: Seconds of traffic that it has seen.
        addresses: MAC addresses that it knows.
        count: What it has counted since it came up.
    """

    device: Device
    random: random.Random
    warm_s: float = 0.0
    addresses: int = 0
    count: Count = field(default_factory=Count)
    _away_s: float = 0.0
    _backlog: list[float] = field(default_factory=list)
    _second: int = -1
    _factor: float = 1.0

    def offer(self, steps: list[Step], directions: int, abort: AbortRule, slice_s: float = SLICE_S) -> Iterator[Slice]:
        """What happens while steps of load (each per direction) are offered, until the abort rule ends it."""
        device = self.device
        trial_factor = max(0.0, 1 + self.random.gauss(0, device.capacity_noise))
        if self.random.random() < device.slow_probability:
            trial_factor *= 1 - device.slow_share
        self._backlog = [0.0] * len(device.queue_shares)
        allowed = math.inf if abort.max_lost_frames is None else abort.max_lost_frames
        lost = 0.0
        for step in steps:
            offered_pps = min(step.load_pps, device.ceiling_pps) * directions
            remaining = step.duration_s
            while remaining > 1e-9:
                seconds = min(slice_s, remaining)
                capacity_pps = self._capacity_pps() * trial_factor
                found, backlog = self._slice(offered_pps, capacity_pps, seconds)
                if self._away_s > 0:
                    away = min(self._away_s, seconds)
                    self._away_s -= away
                    found = Slice(seconds, found.offered, max(found.lost, found.offered * away / seconds))
                if lost + found.lost > allowed and not math.isinf(allowed):
                    share = min(1.0, (allowed + 1 - lost) / found.lost)
                    found = _part(found, min(1.0, math.ceil(share * seconds / POLL_S) * POLL_S / seconds))
                    self.warm_s += found.seconds
                    yield found
                    return
                self._backlog = backlog
                self.warm_s += seconds
                lost += found.lost
                remaining -= seconds
                yield found

    def crash(self, seconds: float) -> None:
        """Forward nothing for so many seconds of traffic, and forget what was learned."""
        self._away_s, self.addresses = seconds, 0

    def counted(self, directions: int, seconds: float, one: Counters) -> None:
        """Count a trial that is over: what came in at each port and went out at the other, and the time it took."""
        busy_s = min(seconds, directions * one.sent / self.device.capacity_pps)
        self.count.busy_s += busy_s
        self.count.idle_s += seconds - busy_s
        for port in range(directions):
            self.count.taken[port] += one.received
            self.count.missed[port] += one.lost

    def learn(self, addresses: int, rate_pps: float) -> None:
        """See frames from so many addresses, one after the other."""
        learned = addresses * min(1.0, self.device.learning_pps / rate_pps)
        self.addresses = min(self.device.address_table, self.addresses + int(learned))

    def _capacity_pps(self) -> float:
        device = self.device
        if int(self.warm_s) != self._second:
            self._second = int(self.warm_s)
            self._factor = max(0.0, 1 + self.random.gauss(0, device.second_noise)) if device.second_noise else 1.0
        cold = device.cold_share * math.exp(-self.warm_s / device.warm_s) if device.cold_share else 0.0
        return device.capacity_pps * (1 - cold) * (1 + device.drift_per_s * self.warm_s) * self._factor

    def _slice(self, offered_pps: float, capacity_pps: float, seconds: float) -> tuple[Slice, list[float]]:
        device = self.device
        queues = len(device.queue_shares)
        room = device.buffer_frames / queues
        stalled_s = min(seconds, device.stall_s * self._stalls(seconds))
        lost, backlog = 0.0, []
        for share, waiting in zip(device.queue_shares, self._backlog, strict=True):
            arriving, able = offered_pps * share, capacity_pps / queues
            able = max(0.0, able - device.livelock * max(0.0, arriving - able))
            if stalled_s:  # a stop fills the buffer, then what is left of the slice drains it
                waiting += arriving * stalled_s  # noqa: PLW2901
                lost += max(0.0, waiting - room)
                waiting = min(waiting, room)  # noqa: PLW2901
            waiting = max(0.0, waiting + (arriving - able) * (seconds - stalled_s))  # noqa: PLW2901
            lost += max(0.0, waiting - room)
            backlog.append(min(waiting, room))
        offered = offered_pps * seconds
        lost += self._background(offered - lost)
        return Slice(seconds, offered, min(lost, offered)), backlog

    def _stalls(self, seconds: float) -> int:
        return _poisson(self.random, self.device.stalls_per_s * seconds)

    def _background(self, frames: float) -> int:
        if self.device.background_loss >= 1:
            return max(0, math.ceil(frames))
        return min(int(frames), _poisson(self.random, self.device.background_loss * max(0.0, frames)))


def _part(whole: Slice, share: float) -> Slice:
    return Slice(whole.seconds * share, whole.offered * share, whole.lost * share)


def _poisson(source: random.Random, mean: float) -> int:
    if mean <= 0:
        return 0
    if mean > 50:  # near enough to a normal distribution
        return max(0, round(source.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, source.random()
    while product > limit:
        count += 1
        product *= source.random()
    return count
