"""Named causes: what the ledger, the loads and the options of a trial say together, each with its evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nvbench.diagnosis import hops, saturation
from nvbench.diagnosis.evidence import Evidence, Samples
from nvbench.diagnosis.hops import Drop, Ledger
from nvbench.diagnosis.saturation import Load
from nvbench.tables import LimitedBy
from nvbench.units import scaled

SMALL_RING = 256
"""Descriptors up to which a queue is called tiny, if it is what frames were lost for."""

USUAL_RING = 4096
"""Descriptors that a queue can have: what such a one would have held is said of a tiny one."""


class Cause(StrEnum):
    """Why frames were lost, or why no more were sent."""

    TINY_QUEUE = "tiny queue"
    POLICER = "policer"
    SHARED_CORE = "shared PMD core"
    STOLEN_CORE = "PMD core taken by the hypervisor"
    UPCALLS = "upcall storm"
    MTU = "MTU too small"
    GUEST_RING = "guest's receive ring full"
    RECEIVER_RING = "generator's receive ring full"
    PMD = "PMD saturated"
    SOFTIRQ = "softirq core saturated"
    FLOWS = "flows drop"
    QDISC = "queueing discipline drops"
    GENERATOR = "generator limited"
    LINE_RATE = "line rate"


@dataclass(frozen=True, slots=True)
class Finding:
    """A cause that the evidence names.

    Attributes:
        cause: The cause.
        frames: Lost frames that it explains; 0 where it limits without loss.
        text: It in words.
        evidence: What says so.
    """

    cause: Cause
    frames: int
    text: str
    evidence: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Facts:
    """All that is known of a trial.

    Attributes:
        trial: Its row.
        answer: The answer that it belongs to; empty where there is none.
        samples: Its samples.
        ledger: Its frames; None of a stream, where nobody counts them.
        loads: How loaded the parts were.
    """

    trial: Mapping[str, Any]
    answer: Mapping[str, Any]
    samples: Samples
    ledger: Ledger | None
    loads: tuple[Load, ...]

    @property
    def drops(self) -> tuple[Drop, ...]:
        """Lost frames that somebody counted."""
        return self.ledger.drops if self.ledger else ()

    def saturated(self, what: str) -> list[Load]:
        """The parts that had nothing left of it."""
        return [load for load in self.loads if load.what == what and load.saturated]

    def at_the_door(self) -> tuple[Drop, ...]:
        """Frames that a full ring refused before any program of the switch saw them."""
        return tuple(drop for drop in self.drops if drop.reason in (hops.RING_FULL, hops.NIC_FULL))

    @property
    def refused(self) -> int:
        """How many."""
        return sum(drop.frames for drop in self.at_the_door())


# -- drops that carry their cause with them ------------------------------------------------------------------------

_BY_REASON = {
    hops.POLICED: (Cause.POLICER, "{place}: its ingress policer dropped {frames} frames"),
    hops.TX_REASONS["ovs_tx_qos_drops"]: (Cause.POLICER, "{place}: its egress policer dropped {frames} frames"),
    hops.TX_REASONS["ovs_tx_mtu_exceeded_drops"]: (
        Cause.MTU,
        "{place}: {frames} frames were larger than its MTU lets out",
    ),
    hops.FLOWS_DROP: (Cause.FLOWS, "{frames} frames met a flow that drops them"),
    hops.QDISC: (Cause.QDISC, "{place}: its queueing discipline dropped {frames} frames"),
    hops.BACKLOG: (Cause.SOFTIRQ, "{place}: the kernel's backlog was full for {frames} frames"),
}


def _told_by_reason(facts: Facts) -> Iterator[Finding]:
    for drop in facts.drops:
        if drop.reason in _BY_REASON:
            cause, words = _BY_REASON[drop.reason]
            text = words.format(place=drop.place, frames=drop.frames)
            yield Finding(cause, drop.frames, text + _size(facts, cause), (drop.evidence,))


def _size(facts: Facts, cause: Cause) -> str:
    return f"; they have {facts.trial['frame_bytes']} B with FCS" if cause is Cause.MTU else ""


def _full_far_rings(facts: Facts) -> Iterator[Finding]:
    links = {name: link for link, name in hops.port_names(facts.samples).items()}
    for drop in facts.drops:
        if drop.reason != hops.TX_REASONS["ovs_tx_failure_drops"] or drop.place not in links:
            continue
        topology, link = facts.trial["topology"], links[drop.place]
        cause = Cause.RECEIVER_RING if hops.is_outer(topology, link) else Cause.GUEST_RING
        retries = tuple(facts.samples.counters(f"port {drop.place}", "ovs_tx_retries"))
        who = hops.far_end(topology, link)
        text = f"{drop.place}: {who} did not take {drop.frames} frames, its receive ring was full"
        yield Finding(cause, drop.frames, text, (drop.evidence, *retries))


# -- frames that a full ring refused: why was it full? ---------------------------------------------------------------


def _tiny_queue(facts: Facts) -> Iterator[Finding]:
    """The poller had time left, and a usual queue would have held what came while it was elsewhere."""
    ring = _ring(facts)
    if not facts.refused or not 0 < ring <= SMALL_RING:
        return
    pps = facts.trial["intended_pps"] / max(1, facts.trial["queues"])
    if facts.saturated(saturation.BUSY_WORDS) or facts.saturated(saturation.MISSED_WORDS):
        return
    stall_s = facts.trial["device_stall_max_us"] / 1e6
    if stall_s > USUAL_RING / pps:
        return
    text = f"a queue of {ring} descriptors holds {ring / pps * 1e3:.3g} ms of {scaled(pps, 'pps')}"
    if stall_s:
        text += f"; it took nothing for up to {stall_s * 1e3:.3g} ms, which {USUAL_RING} descriptors would have held"
    busy = [load for load in facts.loads if load.what == saturation.BUSY_WORDS]
    text += "".join(f"; {load.text}" for load in busy)
    evidence = tuple(each for load in busy for each in load.evidence)
    yield Finding(Cause.TINY_QUEUE, facts.refused, text, (*_doors(facts), *evidence))


def _ring(facts: Facts) -> int:
    """Descriptors of the queue that frames come in by: those that it has, or those that were asked for; 0: unknown."""
    has = facts.samples.gauge(f"port {hops.port_names(facts.samples).get(0)} queue 0", "rx_vring_size")
    asked = {each["name"]: each["value"] for each in facts.trial["settings"] or ()}.get("descriptors", "")
    return int(has.after) if has else int(asked) if asked.isdigit() else 0


def _doors(facts: Facts) -> tuple[Evidence, ...]:
    return tuple(drop.evidence for drop in facts.at_the_door())


def _kept_away(facts: Facts) -> Iterator[Finding]:
    """Frames wait while a poller is off its core, and are refused once its ring is full."""
    for what, cause in ((saturation.WAITED_WORDS, Cause.SHARED_CORE), (saturation.STOLEN_WORDS, Cause.STOLEN_CORE)):
        for load in facts.saturated(what):
            if cause is Cause.STOLEN_CORE and not _polls(facts, load.part):
                continue
            spent = facts.saturated(saturation.BUSY_WORDS)  # of the time that it had left it had none over
            frames = facts.refused if spent else min(facts.refused, facts.trial.get("refused_in_stall_frames") or 0)
            while_away = "" if spent else " while the ring took nothing"
            told = f"; {frames} frames were refused{while_away}" if frames else ""
            yield Finding(cause, frames, load.text + told, (*load.evidence, *(_doors(facts) if frames else ())))


def _polls(facts: Facts, core: str) -> bool:
    return core.replace("cpu", "pmd") in facts.samples.sources(r"pmd core \d+")


def _upcalls(facts: Facts) -> Iterator[Finding]:
    for load in facts.saturated(saturation.MISSED_WORDS):
        failed = sum(drop.frames for drop in facts.drops if drop.reason == hops.UPCALL_FAILED)
        frames = failed + facts.refused
        lookups = tuple(facts.samples.counters("datapath", "lookups_(missed|lost)"))
        table = tuple(facts.samples.counters("coverage", "upcall_flow_limit_hit|mac_learning_evicted"))
        cost = [each for each in facts.loads if each.what == saturation.BUSY_WORDS and each.part == load.part]
        text = "; ".join([load.text, *(each.text for each in cost)])
        yield Finding(Cause.UPCALLS, frames, text, (*load.evidence, *lookups, *table))


def _saturated_poller(facts: Facts) -> Iterator[Finding]:
    """Where nothing else is known that took its time: upcalls, or another task on its core."""
    kept = {load.part for what in (saturation.MISSED_WORDS, saturation.WAITED_WORDS) for load in facts.saturated(what)}
    for load in facts.saturated(saturation.BUSY_WORDS):
        if load.part in kept:
            continue
        yield Finding(Cause.PMD, facts.refused, load.text, (*load.evidence, *_doors(facts)))


def _saturated_softirq(facts: Facts) -> Iterator[Finding]:
    for load in facts.saturated(saturation.SOFTIRQ_WORDS):
        yield Finding(Cause.SOFTIRQ, facts.refused, load.text, load.evidence)


# -- what limits without loss ----------------------------------------------------------------------------------------


def _generator(facts: Facts) -> Iterator[Finding]:
    for load in facts.saturated(saturation.LATE_WORDS):
        yield Finding(Cause.GENERATOR, 0, load.text, load.evidence)
        return
    if facts.answer.get("limited_by") == LimitedBy.GENERATOR and facts.answer.get("ceiling_pps"):
        ceiling = scaled(facts.answer["ceiling_pps"], "pps")
        yield Finding(Cause.GENERATOR, 0, f"the generator sends no more than {ceiling}, with no switch in the way")


def _line_rate(facts: Facts) -> Iterator[Finding]:
    line_pps = facts.answer.get("line_rate_pps")
    if facts.answer.get("limited_by") == LimitedBy.LINE_RATE and line_pps:
        rate = scaled(facts.answer.get("rate_pps") or line_pps, "pps")
        yield Finding(Cause.LINE_RATE, 0, f"{rate} of the link's {scaled(line_pps, 'pps')} passed")


_RULES: tuple[Callable[[Facts], Iterator[Finding]], ...] = (
    _told_by_reason,
    _full_far_rings,
    _upcalls,
    _tiny_queue,
    _kept_away,
    _saturated_poller,
    _saturated_softirq,
    _generator,
    _line_rate,
)
"""In the order in which causes of the same number of frames are told."""


def findings(facts: Facts) -> tuple[Finding, ...]:
    """The causes that the evidence names, the one that explains most frames first."""
    found = [finding for rule in _RULES for finding in rule(facts)]
    return tuple(sorted(found, key=lambda finding: -finding.frames))
