"""A generator and a device in one, simulated: deterministic by seed, without waiting, always labelled."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from itertools import accumulate, pairwise

from nvbench.generators import devices
from nvbench.generators.base import Live, OnLive
from nvbench.generators.devices import Device, LoadedDevice, Slice
from nvbench.traffic import FlowField, Traffic
from nvbench.trial import AbortRule, Counters, Latency, Pauses, Step, Timeline, Trial, Validity

DETAIL_SLICES = 1000
FRAME_TIME_S = 1e-3


class SimulatedGenerator:
    """The generator's interface over a `Device`."""

    name = "simulated"
    version = "simulated"
    simulated = True

    def __init__(self, device: Device | LoadedDevice, seed: int) -> None:
        self.clock: dict[str, float] = {}
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._under_load = device if isinstance(device, LoadedDevice) else LoadedDevice(device, self._random)
        self._device = self._under_load.device
        self._traffic = Traffic(64)

    def configure(self, traffic: Traffic) -> None:
        """See `Generator.configure`."""
        self._traffic = traffic

    def learn(self) -> None:
        """See `Generator.learn`."""

    def trial(
        self,
        load_pps: float,
        duration_s: float,
        abort: AbortRule,
        on_live: OnLive | None = None,
        *,
        then: Step | None = None,
        detail: bool = False,
    ) -> Trial:
        """See `Generator.trial`."""
        directions = self._traffic.directions
        steps = [Step(load_pps, duration_s), *([then] if then else [])]
        total_s = sum(step.duration_s for step in steps)
        slice_s = max(FRAME_TIME_S, total_s / DETAIL_SLICES) if detail else devices.SLICE_S
        slices = list(self._offered(steps, abort, slice_s, on_live))
        elapsed = sum(each.seconds for each in slices)
        one = self._counters(slices, steps, elapsed, directions)
        paused = self._random.random() < self._device.pause_probability
        if paused:
            one = Counters(one.sent, one.late, received=max(0, one.received - one.sent // 1000 - 1))
        self._under_load.counted(directions, elapsed, one)
        validity, reason = self._judge(one, paused)
        busy = one.sent - one.received > 0
        return Trial(
            intended_pps=load_pps,
            duration_s=total_s,
            elapsed_s=elapsed,
            directions=(one,) * directions,
            latency=self._latency(one.received * directions, busy),
            pauses=Pauses(device_longest_us=5000.0 if paused else 0.0),
            aborted=elapsed < total_s - 1e-9,
            validity=validity,
            reason=reason,
            started_at=time.time(),
            then=then,
            timeline=_timeline(slices, one, directions) if detail else None,
            ipdv=Latency(((200, max(1, one.received - 1)),)) if detail and one.received > 1 else Latency(),
        )

    def _offered(self, steps: list[Step], abort: AbortRule, slice_s: float, on_live: OnLive | None) -> Iterator[Slice]:
        """The device's slices, told as they go by."""
        directions = self._traffic.directions
        elapsed = offered = lost = told = 0.0
        for each in self._under_load.offer(steps, directions, abort, slice_s):
            yield each
            elapsed, offered, lost = elapsed + each.seconds, offered + each.offered, lost + each.lost
            if on_live is not None and elapsed >= told:
                told = elapsed + devices.POLL_S
                on_live(Live(elapsed, Counters(sent=int(offered), received=int(offered) - int(lost))))
                time.sleep(0)  # whoever was set off by that may have something to do to the device
        if FlowField.MAC_SRC in self._traffic.vary:
            self._under_load.learn(min(self._traffic.flows, int(offered)), steps[0].load_pps)

    def warm(self, seconds: float) -> None:
        """Let the device have seen so much traffic before the first trial."""
        self._under_load.warm_s = seconds

    def _counters(self, slices: list[Slice], steps: list[Step], elapsed: float, directions: int) -> Counters:
        asked, left = 0.0, elapsed
        for step in steps:
            asked += step.load_pps * min(left, step.duration_s)
            left = max(0.0, left - step.duration_s)
        sent = round(sum(each.offered for each in slices) / directions)
        lost = min(sent, int(sum(each.lost for each in slices) / directions + 1e-6))
        return Counters(sent=sent, late=max(0, round(asked) - sent), received=sent - lost)

    def _judge(self, counters: Counters, paused: bool) -> tuple[Validity, str]:
        if paused:
            return Validity.STALLED, "device took nothing for 5.0 ms"
        if counters.late > 0.001 * (counters.sent + counters.late):
            return Validity.UNDERSENT, "the simulated generator's ceiling"
        return Validity.VALID, ""

    def _latency(self, frames: int, busy: bool) -> Latency:
        middle = 400_000 if busy else 4000
        bins = (
            (middle // 2, frames // 10),
            (middle, frames - frames // 10 - frames // 100),
            (middle * 4, frames // 100),
        )
        return Latency(tuple((value, count) for value, count in bins if count))

    def ready(self, timeout_s: float = 30.0) -> None:
        """See `Generator.ready`."""

    def check_alive(self) -> None:
        """See `Generator.check_alive`."""

    def close(self) -> None:
        """See `Generator.close`."""


def _timeline(slices: list[Slice], one: Counters, directions: int) -> Timeline:
    """The slices as whole frames whose sums are those of the counters."""
    sent = _whole([each.offered for each in slices], one.sent * directions)
    lost = _whole([each.lost for each in slices], (one.sent - one.received) * directions)
    received = tuple(taken - gone for taken, gone in zip(sent, lost, strict=True))
    return Timeline(slices[0].seconds if slices else 0.0, sent, (0,) * len(sent), received)


def _whole(parts: list[float], total: int) -> tuple[int, ...]:
    if not parts:
        return ()
    edges = [0, *(min(total, int(edge + 1e-6)) for edge in accumulate(parts))]
    edges[-1] = total
    return tuple(after - before for before, after in pairwise(edges))
