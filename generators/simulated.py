"""A generator and a device in one, simulated: deterministic by seed, without waiting, always labelled."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

from nvbench.generators.base import Live, OnLive
from nvbench.traffic import Traffic
from nvbench.trial import AbortRule, Counters, Latency, Pauses, Trial, Validity


@dataclass(frozen=True, slots=True)
class Device:
    """What the simulated device does.

    Attributes:
        capacity_pps: Frames per second that it forwards, all directions together.
        capacity_noise: Relative standard deviation of that from trial to trial.
        background_loss: Share of the frames lost at any load.
        pause_probability: Share of trials that the host disturbs.
        ceiling_pps: What the generator can send, per direction.
    """

    capacity_pps: float = 2.5e6
    capacity_noise: float = 0.0
    background_loss: float = 0.0
    pause_probability: float = 0.0
    ceiling_pps: float = 20e6


class SimulatedGenerator:
    """The generator's interface over a `Device`."""

    name = "simulated"
    version = "simulated"
    simulated = True

    def __init__(self, device: Device, seed: int) -> None:
        self.clock: dict[str, float] = {}
        self._device = device
        self._random = random.Random(seed)  # noqa: S311 - reproducible, not secret
        self._traffic = Traffic(64)

    def configure(self, traffic: Traffic) -> None:
        """See `Generator.configure`."""
        self._traffic = traffic

    def learn(self) -> None:
        """See `Generator.learn`."""

    def trial(self, load_pps: float, duration_s: float, abort: AbortRule, on_live: OnLive | None = None) -> Trial:
        """See `Generator.trial`."""
        offered_pps = min(load_pps, self._device.ceiling_pps)
        capacity = self._device.capacity_pps / self._traffic.directions
        capacity *= max(0.0, 1 + self._random.gauss(0, self._device.capacity_noise))
        loss_pps = max(0.0, offered_pps - capacity) + self._device.background_loss * min(offered_pps, capacity)
        elapsed = self._until_abort(loss_pps, duration_s, abort)
        asked, sent = int(load_pps * elapsed), int(offered_pps * elapsed)
        lost = min(sent, round(loss_pps * elapsed))
        one = Counters(sent=sent, late=asked - sent, received=sent - lost)
        paused = self._random.random() < self._device.pause_probability
        if paused:
            one = Counters(sent=sent, late=asked - sent, received=max(0, sent - lost - sent // 1000 - 1))
        validity, reason = self._judge(one, paused)
        if on_live is not None:
            on_live(Live(elapsed, one))
        return Trial(
            intended_pps=load_pps,
            duration_s=duration_s,
            elapsed_s=elapsed,
            directions=(one,) * self._traffic.directions,
            latency=self._latency(one.received, offered_pps / max(capacity, 1e-9)),
            pauses=Pauses(device_longest_us=5000.0 if paused else 0.0),
            aborted=elapsed < duration_s,
            validity=validity,
            reason=reason,
            started_at=time.time(),
        )

    def _until_abort(self, loss_pps: float, duration_s: float, abort: AbortRule) -> float:
        if abort.max_lost_frames is None or loss_pps <= 0:
            return duration_s
        needed = (abort.max_lost_frames + 1) / loss_pps / self._traffic.directions
        return min(duration_s, needed + 0.05)  # counters are looked at twenty times a second

    def _judge(self, counters: Counters, paused: bool) -> tuple[Validity, str]:
        if paused:
            return Validity.STALLED, "device took nothing for 5.0 ms"
        if counters.late > 0.001 * (counters.sent + counters.late):
            return Validity.UNDERSENT, "the simulated generator's ceiling"
        return Validity.VALID, ""

    def _latency(self, frames: int, utilisation: float) -> Latency:
        middle = 4000 if utilisation < 1 else 400_000
        bins = (
            (middle // 2, frames // 10),
            (middle, frames - frames // 10 - frames // 100),
            (middle * 4, frames // 100),
        )
        return Latency(tuple((value, count) for value, count in bins if count))

    def close(self) -> None:
        """See `Generator.close`."""
