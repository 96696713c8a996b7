"""The ledger of a trial's frames: hop by hop what came in, what went on, what was dropped and by which reason.

Each hop begins with what the one before it passed on, so that what all hops lost is what the trial lost: drops that
somebody counted, and a remainder that nobody did. A hop whose end was not counted is told together with the next.

Counters of Open vSwitch: `rx_packets` of a port are frames before its ingress policer, `rx_dropped` what that took
away; `tx_packets` are frames that the far end took, `tx_dropped` those that it did not, by reason in `ovs_tx_*_drops`
(Documentation/topics/dpdk/bridge.rst, lib/netdev-dpdk.c). Drops within the datapath are in `coverage/show`
(`drop_action_*`, `datapath_drop_*`), which gathers those of a polling thread about once a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nvbench.diagnosis.evidence import Evidence, Samples
from nvbench.diagnosis.trials import lost
from nvbench.topology import GuestPort, Outer, Topology, segments

GENERATOR = "generator"
SWITCH = "switch"
TRIAL = "trial"
"""Source of what the generator counted."""

TX_REASONS = {
    "ovs_tx_qos_drops": "egress policer",
    "ovs_tx_failure_drops": "far end's ring full",
    "ovs_tx_mtu_exceeded_drops": "larger than the MTU",
    "ovs_tx_invalid_hwol_drops": "offload that the port cannot do",
}
POLICED = "ingress policer"
RING_FULL = "ring full"
NIC_FULL = "NIC's ring full"
FLOWS_DROP = "flows say drop"
UPCALL_FAILED = "upcall failed"
QDISC = "queueing discipline"
BACKLOG = "backlog full"
LATE = "late, never offered"


@dataclass(frozen=True, slots=True)
class Drop:
    """Frames that ended at a hop.

    Attributes:
        reason: Why, in words.
        frames: How many.
        evidence: What counted them.
        place: The port or part where they ended.
        lost: Whether they count as lost; late frames were never offered.
    """

    reason: str
    frames: int
    evidence: Evidence
    place: str
    lost: bool = True


@dataclass(frozen=True, slots=True)
class Hop:
    """A part of the way.

    Attributes:
        name: What it is: `generator`, `queue of nvp0`, `lookup`, `nvp1`.
        entered: Frames that came to it.
        left: Frames that went on.
        drops: Frames that it ended, as far as somebody counted them.
    """

    name: str
    entered: int
    left: int
    drops: tuple[Drop, ...]

    @property
    def unaccounted(self) -> int:
        """Frames that went in, did not come out, and that no counter knows; negative where more came out."""
        return self.entered - self.left - sum(drop.frames for drop in self.drops)


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where the frames of a trial went.

    Attributes:
        hops: From the generator and back to it.
        lost: Frames that the trial lost, refused ones among them.
        unseen: Counters that are missing, so that hops are told together.
    """

    hops: tuple[Hop, ...]
    lost: int
    unseen: tuple[str, ...] = ()

    @property
    def drops(self) -> tuple[Drop, ...]:
        """All drops of lost frames."""
        return tuple(drop for hop in self.hops for drop in hop.drops if drop.lost)

    @property
    def told(self) -> int:
        """Lost frames that somebody counted."""
        return sum(drop.frames for drop in self.drops)

    @property
    def gaps(self) -> tuple[Hop, ...]:
        """The hops that do not add up."""
        return tuple(hop for hop in self.hops if hop.unaccounted)


@dataclass(frozen=True, slots=True)
class _Mark:
    """A point on the way: how many frames passed it, if that was counted, and what ended since the last one."""

    name: str
    passed: int | None
    drops: tuple[Drop, ...] = ()


def ledger(trial: Mapping[str, Any], samples: Samples) -> Ledger:
    """The ledger of a trial of frames."""
    marks = [*_generator(trial), *_switch(trial, samples)]
    back = _Mark("back", trial["received_frames"])
    asked = trial["asked_frames"]
    hops, unseen = _hops(asked, [*marks, back])
    return Ledger(tuple(hops), lost(trial), tuple(unseen))


def _generator(trial: Mapping[str, Any]) -> Iterator[_Mark]:
    late = _counted(trial, "late_frames", GENERATOR, LATE, lost=False)
    yield _Mark(GENERATOR, trial["sent_frames"] + trial["refused_frames"], late)


def _counted(trial: Mapping[str, Any], column: str, place: str, reason: str, *, lost: bool = True) -> tuple[Drop, ...]:
    frames = trial[column]
    evidence = Evidence(TRIAL, column, "frames", 0, frames)
    return (Drop(reason, frames, evidence, place, lost),) if frames else ()


def _hops(entered: int, marks: Sequence[_Mark]) -> tuple[list[Hop], list[str]]:
    """Marks become hops; those that nobody counted are joined with the next that somebody did."""
    hops: list[Hop] = []
    unseen: list[str] = []
    names: list[str] = []
    drops: list[Drop] = []
    for mark in marks:
        names.append(mark.name)
        drops += mark.drops
        if mark.passed is None:
            unseen.append(mark.name)
            continue
        hops.append(Hop(", ".join(names), entered, mark.passed, tuple(drops)))
        entered, names, drops = mark.passed, [], []
    return hops, unseen


# -- the switch ----------------------------------------------------------------------------------------------------


def port_names(samples: Samples) -> dict[int, str]:
    """Number of a link -> name of the switch's port there: `nvp0` and `nv0` are of the first."""
    ports = (name.removeprefix("port ") for name in samples.sources(r"port (nvp|nv|nvv)\d+"))
    return {int(re.sub(r"\D", "", name)): name for name in ports}


def far_end(topology: str, link: int) -> str:
    """What stands at the far end of a link: the generator, or a guest by its name."""
    end = [end for pair in segments(Topology(topology)) for end in pair][link]
    return f"guest vm{end.guest + 1}" if isinstance(end, GuestPort) else GENERATOR


def is_outer(topology: str, link: int) -> bool:
    """Whether a link ends at the generator."""
    return isinstance([end for pair in segments(Topology(topology)) for end in pair][link], Outer)


def routes(trial: Mapping[str, Any]) -> list[list[tuple[int, int]]]:
    """For each direction the links by which its frames go into and out of each segment, in their order."""
    forward = [(2 * index, 2 * index + 1) for index in range(len(segments(Topology(trial["topology"]))))]
    backward = [(last, first) for first, last in reversed(forward)]
    return [forward, backward][: max(1, len(trial["directions"] or ()))]


def _switch(trial: Mapping[str, Any], samples: Samples) -> Iterator[_Mark]:
    ports = port_names(samples)
    refused = _counted(trial, "refused_frames", ports.get(0, SWITCH), RING_FULL)
    if not ports:
        yield _Mark(SWITCH, None, refused)
        return
    inside = list(_inside(samples))
    for index, stage in enumerate(zip(*routes(trial), strict=True)):
        into = [ports.get(first, f"link {first}") for first, _ in stage]
        out = [ports.get(last, f"link {last}") for _, last in stage]
        received = _sum(samples, into, ("rx_packets",))
        missed = [
            drop for name in into for drop in _dropped(samples, f"port {name}", "rx_missed_errors", NIC_FULL, name)
        ]
        if index == 0:
            yield _Mark(f"queue of {' and '.join(into)}", received, (*refused, *missed))
        else:
            guest = far_end(trial["topology"], stage[0][0])
            yield _Mark(guest, received, (*_in_guest(samples, guest), *missed))
        policed = [drop for name in into for drop in _dropped(samples, f"port {name}", "rx_dropped", POLICED, name)]
        admitted = None if received is None else received - sum(drop.frames for drop in policed)
        if policed:
            yield _Mark(f"{' and '.join(into)}, in", admitted, tuple(policed))
        ending = [drop for name in out for drop in _sending(samples, name)]
        sent = _sum(samples, out, ("tx_packets",))
        offered = None if sent is None else sent + sum(drop.frames for drop in ending)
        short = None if admitted is None or offered is None else max(0, admitted - offered)
        taken, inside = _taken(inside, short)
        yield _Mark("lookup", offered, tuple(taken))
        yield _Mark(f"{' and '.join(out)}, out", sent, tuple(ending))


def _sum(samples: Samples, ports: Sequence[str], metrics: Sequence[str]) -> int | None:
    found = [samples.change(f"port {name}", metric) for name in ports for metric in metrics]
    return None if not found or None in found else round(sum(value for value in found if value is not None))


def _dropped(samples: Samples, source: str, pattern: str, reason: str, place: str) -> Iterator[Drop]:
    for told in samples.counters(source, pattern):
        yield Drop(reason, round(told.change), told, place)


def _sending(samples: Samples, port: str) -> Iterator[Drop]:
    """What a port did not get rid of, by reason where the switch tells reasons."""
    source = f"port {port}"
    reasons = [
        Drop(reason, round(told.change), told, port)
        for metric, reason in TX_REASONS.items()
        for told in samples.counters(source, metric)
    ]
    yield from reasons
    yield from _dropped(samples, f"qdisc {port}", "drops", QDISC, port)
    for told in samples.counters(source, "tx_dropped"):
        rest = round(told.change) - sum(drop.frames for drop in reasons)
        if rest > 0:
            yield Drop("reason not told", rest, told, port)


def _in_guest(samples: Samples, guest: str) -> Iterator[Drop]:
    for name in samples.sources(rf"{guest} (port|softnet) .*"):
        yield from _dropped(samples, name, "[rt]x_dropped|dropped", "dropped by its kernel", guest)


def _inside(samples: Samples) -> Iterator[Drop]:
    """What the datapath says that it dropped between its ports."""
    for told in samples.counters("coverage", "(datapath_)?drop_.*"):
        words = told.metric.removeprefix("datapath_drop_").removeprefix("drop_").replace("_", " ")
        reason = {"action of pipeline": FLOWS_DROP, "upcall error": UPCALL_FAILED}.get(words, words)
        yield Drop(reason, round(told.change), told, "lookup")
    for name in samples.sources(r"softnet core \d+"):
        yield from _dropped(samples, name, "dropped", BACKLOG, name)


def _taken(drops: Sequence[Drop], short: int | None) -> tuple[list[Drop], list[Drop]]:
    """Of drops that are counted for the whole switch those of one hop: no more than it is short of; and the rest."""
    if short is None:
        return list(drops), []
    taken, rest = [], []
    for drop in drops:
        frames = min(drop.frames, short)
        short -= frames
        if frames:
            taken.append(Drop(drop.reason, frames, drop.evidence, drop.place))
        if drop.frames > frames:
            rest.append(Drop(drop.reason, drop.frames - frames, drop.evidence, drop.place))
    return taken, rest
