"""How loaded each part was while a trial ran: polling threads, cores, the generator, and what kept them from work.

Cycles of a polling thread are those of `dpif-netdev/pmd-stats-show` (ovs-vswitchd(8), "PMD"): `processing cycles` are
spent on frames, `idle cycles` on polling queues that had none. Both count the time-stamp counter, which runs on while
the thread is off its core.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nvbench.diagnosis.evidence import Evidence, Samples

BUSY = 0.95
"""From this share of its time on a polling thread has none left."""

SOFTIRQ = 0.9
"""The same of a core that the kernel forwards on."""

WAITED = 0.10
"""Share of the trial in which a polling thread waited for its core, from which on it was kept from working. Whatever a
host runs beside takes a few hundredths of a core that is not isolated."""

STOLEN = 0.02
"""Share of a core's time that the hypervisor kept."""

LATE = 0.01
"""Share of the frames that a generator did not send in time."""

MISSES = 0.02
"""Share of the frames that no cache of the datapath knew. A frame that does costs some hundred cycles, one that does
not goes through the flow tables and costs some ten thousands: from here on misses are most of the work."""

_TASK = re.compile(r"task switch pmd-c(\d+).*")
"""A polling thread of Open vSwitch, by its own name: `pmd-c01/id:8` polls on core 1."""


@dataclass(frozen=True, slots=True)
class Load:
    """How loaded a part was.

    Attributes:
        part: `pmd core 1`, `cpu core 0`, `generator`.
        what: What the share is of: `busy`, `waited for its core`.
        share: From 0 to 1.
        limit: From where on it is saturated.
        text: It in words.
        evidence: What it is computed from.
    """

    part: str
    what: str
    share: float
    limit: float
    text: str
    evidence: tuple[Evidence, ...]

    @property
    def saturated(self) -> bool:
        """Whether nothing is left."""
        return self.share >= self.limit


BUSY_WORDS = "busy"
WAITED_WORDS = "waited for its core"
STOLEN_WORDS = "kept by the hypervisor"
SOFTIRQ_WORDS = "in interrupts"
LATE_WORDS = "late"
MISSED_WORDS = "unknown to the caches"


def loads(trial: Mapping[str, Any], samples: Samples) -> list[Load]:
    """How loaded each part was, as far as there are samples of it."""
    return [
        *_pollers(trial, samples),
        *_misses(samples),
        *_waiting(trial, samples),
        *_cores(samples),
        *_generator(trial),
    ]


@dataclass(frozen=True, slots=True)
class Polling:
    """What a polling thread did during a trial.

    Attributes:
        packets: Frames that it received.
        processing: Cycles that it spent on them.
        idle: Cycles in which it found none.
        evidence: The counters.
    """

    packets: float
    processing: float
    idle: float
    evidence: tuple[Evidence, ...]

    @property
    def cycles_per_packet(self) -> float | None:
        """Processing cycles over frames; None where there were none."""
        return self.processing / self.packets if self.packets else None

    def busy(self, sent_for_s: float, sampled_s: float) -> float:
        """Share of the cycles that went into frames while traffic was sent.

        The counters are read somewhat before and after the traffic, when the thread has nothing to do: of the cycles
        between both readings those of the trial are `sent_for_s / sampled_s`.
        """
        cycles = (self.processing + self.idle) * min(1.0, sent_for_s / sampled_s if sampled_s > 0 else 1.0)
        return min(1.0, self.processing / cycles) if cycles > 0 else 0.0


def polling(samples: Samples, source: str) -> Polling | None:
    """The cycles of a polling thread; None where they were not sampled before and after."""
    packets, processing, idle = (
        samples.counter(source, name) for name in ("packets_received", "processing_cycles", "idle_cycles")
    )
    if packets is None or processing is None or idle is None or min(packets.change, processing.change, idle.change) < 0:
        return None
    return Polling(packets.change, processing.change, idle.change, (packets, processing, idle))


def _pollers(trial: Mapping[str, Any], samples: Samples) -> Iterator[Load]:
    for source in samples.sources(r"pmd core \d+|main thread"):
        if (told := polling(samples, source)) is None:
            continue
        share = told.busy(trial["elapsed_s"] or 0.0, samples.window_s(source, "processing_cycles"))
        cost = "" if told.cycles_per_packet is None else f", {told.cycles_per_packet:.0f} cycles per packet"
        yield Load(source, BUSY_WORDS, share, BUSY, f"{source} busy {_percent(share)}{cost}", told.evidence)


def _misses(samples: Samples) -> Iterator[Load]:
    """Frames that went up to the switch, of those that polling threads received."""
    for source in samples.sources(r"pmd core \d+|main thread"):
        packets = samples.counter(source, "packets_received")
        misses = list(samples.counters(source, "miss_with_(success|failed)_upcall"))
        if packets is None or packets.change <= 0 or not misses:
            continue
        share = min(1.0, sum(each.change for each in misses) / packets.change)
        text = f"{source}: {_percent(share)} of the frames were in no cache of the datapath (upcalls)"
        yield Load(source, MISSED_WORDS, share, MISSES, text, (*misses, packets))


def _waiting(trial: Mapping[str, Any], samples: Samples) -> Iterator[Load]:
    """Polling threads that were runnable and did not run (/proc/PID/task/TID/schedstat, second field)."""
    for source in samples.sources(_TASK.pattern):
        told, matched = samples.counter(source, "waited_s"), _TASK.fullmatch(source)
        elapsed_s = trial["elapsed_s"]
        if told is None or told.change < 0 or not elapsed_s or matched is None:
            continue
        window_s = max(samples.window_s(source, "waited_s"), elapsed_s)
        share = min(1.0, told.change / window_s)
        part = f"pmd core {int(matched[1])}"
        text = f"{part} waited {told.change * 1e3:.0f} ms of {window_s:.2f} s for its core, which other tasks had"
        yield Load(part, WAITED_WORDS, share, WAITED, text, (told, *_switched(samples, source)))


def _switched(samples: Samples, source: str) -> Iterator[Evidence]:
    yield from samples.counters(source, "switches_involuntary")


_CORE_TIMES = ("user_s", "system_s", "irq_s", "softirq_s", "steal_s", "idle_s", "iowait_s")


def _cores(samples: Samples) -> Iterator[Load]:
    for source in samples.sources(r"cpu core \d+"):
        told = {name: samples.counter(source, name) for name in _CORE_TIMES}
        known = {name: each for name, each in told.items() if each is not None and each.change >= 0}
        total = sum(each.change for each in known.values())
        if total <= 0:
            continue
        if stolen := known.get("steal_s"):
            share = stolen.change / total
            text = f"{source}: the hypervisor kept it for {_percent(share)} of the time"
            yield Load(source, STOLEN_WORDS, share, STOLEN, text, (stolen,))
        interrupts = tuple(known[name] for name in ("softirq_s", "irq_s") if name in known)
        if interrupts:
            share = sum(each.change for each in interrupts) / total
            text = f"{source}: {_percent(share)} of the time in interrupts (softirq)"
            yield Load(source, SOFTIRQ_WORDS, share, SOFTIRQ, text, (*interrupts, *_squeezed(samples, source)))


def _squeezed(samples: Samples, source: str) -> Iterator[Evidence]:
    yield from samples.counters(source.replace("cpu", "softnet"), "squeezed|dropped")


def _generator(trial: Mapping[str, Any]) -> Iterator[Load]:
    asked, late = trial.get("asked_frames"), trial.get("late_frames")
    if asked and late is not None:
        share = late / asked
        evidence = Evidence("trial", "late_frames", "frames", 0, late)
        text = f"generator: {_percent(share)} of its frames were late and were not sent"
        yield Load("generator", LATE_WORDS, share, LATE, text, (evidence,))


def _percent(share: float) -> str:
    return "100 %" if share >= 0.9995 else f"{share * 100:.3g} %"
