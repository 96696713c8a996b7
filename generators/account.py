"""A generator's account of a trial: read, judged, and made a trial of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nvbench.errors import GeneratorError
from nvbench.trial import Counters, Latency, Pauses, Step, Timeline, Trial, Validity
from nvbench.units import scaled

CLOCK_STEP_US = 1000.0
FOREIGN_FRAMES, FOREIGN_RATIO = 10, 0.01
LATE_RATIO = 0.001
"""Of the frames asked for: more late than this, and the generator did not send the load."""

PAUSED_RATIO = 0.02
"""The same where it was paused: it sent the load all the rest of the time, and what it sent is what counts."""


@dataclass(frozen=True, slots=True)
class Done:
    """A generator's own account of a trial; the attributes are those of `Trial`.

    Attributes:
        clock_step_us: How far CLOCK_REALTIME moved against CLOCK_MONOTONIC, or that against the TSC.
    """

    elapsed_s: float
    directions: tuple[Counters, ...]
    latency: Latency
    pauses: Pauses
    aborted: bool
    clock_step_us: float
    started_at: float
    timeline: Timeline | None = None
    ipdv: Latency = field(default_factory=Latency)

    def trial(self, asked: Step, verdict: tuple[Validity, str], then: Step | None = None) -> Trial:
        """The trial of which it is the account: of a load that was asked for, and of one that followed."""
        validity, reason = verdict
        return Trial(
            intended_pps=asked.load_pps,
            duration_s=asked.duration_s + (then.duration_s if then else 0.0),
            elapsed_s=self.elapsed_s,
            directions=self.directions,
            latency=self.latency,
            pauses=self.pauses,
            aborted=self.aborted,
            validity=validity,
            reason=reason,
            started_at=self.started_at,
            then=then,
            timeline=self.timeline,
            ipdv=self.ipdv,
        )

    @classmethod
    def parse(cls, event: Mapping[str, Any]) -> Done:
        """Reads nvgen's `done` event.

        Raises:
            GeneratorError: It is not one.
        """
        try:
            return cls(
                elapsed_s=float(event["elapsed_s"]),
                directions=counters(event),
                latency=_histogram(event["latency"]),
                pauses=Pauses(**{name: event["pauses"][name] for name in Pauses.__dataclass_fields__}),
                aborted=bool(event["aborted"]),
                clock_step_us=float(event["clock_step_us"]),
                started_at=float(event["started_at"]),
                timeline=_timeline(event["timeline"]) if "timeline" in event else None,
                ipdv=_histogram(event.get("ipdv", [])),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise GeneratorError(f"nvgen's account of a trial cannot be read: {error!r}") from error


def counters(event: Mapping[str, Any]) -> tuple[Counters, ...]:
    """The counters of a `live` or `done` event, one of each direction.

    Raises:
        KeyError, TypeError, ValueError: There are none.
    """
    return tuple(
        Counters(**{name: int(direction[name]) for name in Counters.__dataclass_fields__})
        for direction in event["directions"]
    )


def _histogram(bins: list[list[int]]) -> Latency:
    return Latency(tuple((int(ns), int(count)) for ns, count in bins))


def _timeline(columns: Mapping[str, Any]) -> Timeline:
    sent, refused, received = (tuple(map(int, columns[name])) for name in ("sent", "refused", "received"))
    return Timeline(float(columns["interval_s"]), sent, refused, received)


def judge(done: Done, load_pps: float, allowance: int = 0, *, ring_frames: int = 0) -> tuple[Validity, str]:
    """Whether a trial can be believed, and the evidence if not.

    Late frames are compared with all that were asked for, of both loads where one followed the other. Where a pause
    fell is not known, so that it may explain what the higher load would have lost in it.

    Args:
        done: What was measured.
        load_pps: What was asked for, in frames per second and direction; of two loads the higher.
        allowance: Frames that may be lost without the trial failing; loss within it needs no explanation.
        ring_frames: What a receive ring holds: a pause in which fewer came has lost none.
    """
    total = sum(done.directions, Counters())
    if abs(done.clock_step_us) > CLOCK_STEP_US:
        return Validity.CLOCK, f"clock stepped by {done.clock_step_us / 1000:+.1f} ms"
    strange = total.foreign + total.duplicate
    if strange > max(FOREIGN_FRAMES, FOREIGN_RATIO * total.received):
        return (
            Validity.FOREIGN,
            f"{total.foreign} foreign and {total.duplicate} duplicate frames, {total.received} received",
        )
    lossy, reason = _judge_loss(done, total, load_pps, allowance, ring_frames)
    if total.late > LATE_RATIO * (total.offered + total.late):
        validity, late = _judge_late(done, total, load_pps)
        # Loss that no pause explains stands, whatever else was late: the device had less to do than was asked.
        if validity is Validity.UNDERSENT or (validity is Validity.PAUSED and lossy is not None):
            return validity, late
    return lossy or Validity.VALID, reason


def _judge_late(done: Done, total: Counters, load_pps: float) -> tuple[Validity, str]:
    """Frames not sent: by a generator that cannot, by one that was not there, or too few to matter."""
    directions, pauses = len(done.directions), done.pauses
    share = total.late / (total.offered + total.late)
    explained = pauses.generator_total_us * load_pps * directions / 1e6
    if explained >= total.late / 2:
        if share <= PAUSED_RATIO:
            return Validity.VALID, ""
        away_ms = pauses.generator_total_us / 1000
        return Validity.PAUSED, f"generator was not there for {away_ms:.1f} ms ({total.late} frames not sent)"
    per_s = 1 / done.elapsed_s / directions if done.elapsed_s else 0.0
    sent_pps, asked_pps = total.offered * per_s, (total.offered + total.late) * per_s
    if asked_pps >= 1e6:
        return Validity.UNDERSENT, f"sent {sent_pps / 1e6:.2f} of {asked_pps / 1e6:.2f} Mpps"
    return Validity.UNDERSENT, f"sent {scaled(sent_pps, 'pps')} of {scaled(asked_pps, 'pps')}"


def _judge_loss(
    done: Done, total: Counters, load_pps: float, allowance: int, ring_frames: int
) -> tuple[Validity | None, str]:
    """Whether pauses explain the loss; None where it is the device's own."""
    pauses = done.pauses
    lost = total.lost + total.refused
    if lost <= allowance:
        return Validity.VALID, ""
    frames_per_us = load_pps * len(done.directions) / 1e6
    by_device = max(float(pauses.refused_in_stall), pauses.device_total_us * frames_per_us)
    by_generator = 0.0  # explains frames that nobody took in, never frames that the device refused
    if pauses.generator_longest_us * load_pps / 1e6 >= ring_frames:
        by_generator = min(float(total.lost), pauses.generator_total_us * frames_per_us)
    if lost - by_device - by_generator > allowance:
        return None, ""
    if by_device >= by_generator:
        return (
            Validity.STALLED,
            f"device took nothing for {pauses.device_longest_us / 1000:.1f} ms "
            f"({pauses.refused_in_stall} frames refused)",
        )
    return (
        Validity.PAUSED,
        f"generator was not there for {pauses.generator_total_us / 1000:.1f} ms ({total.lost} frames lost)",
    )
