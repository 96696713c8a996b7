"""A diagnosis: of the trial that tells most about a case, where its frames went, what was saturated, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nvbench.diagnosis import saturation
from nvbench.diagnosis.evidence import Samples, samples_of
from nvbench.diagnosis.findings import Cause, Facts, Finding, findings
from nvbench.diagnosis.hops import SWITCH, Ledger, ledger
from nvbench.diagnosis.saturation import Load, loads
from nvbench.diagnosis.trials import VALID, CaseTrials, Row, cases, sound
from nvbench.units import scaled

if TYPE_CHECKING:
    from nvbench.reading import Results


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What can be said of a case, and what cannot.

    Attributes:
        run_id: The run.
        case_id: The case.
        trial_id: The trial that this is about.
        chosen: Why that one.
        load: What was offered, as printed: `2.5 Mpps each way for 1 s`.
        offered: Frames put to the device.
        ledger: Where they went; None where nobody counted them.
        loads: How loaded each part was.
        findings: Named causes, the one that explains most frames first.
        untold: What cannot be told, and which samples are missing for it.
        simulated: Whether nothing real was measured.
    """

    run_id: str
    case_id: str
    trial_id: str
    chosen: str
    load: str
    offered: int
    ledger: Ledger | None
    loads: tuple[Load, ...]
    findings: tuple[Finding, ...]
    untold: tuple[str, ...]
    simulated: bool

    @property
    def saturated(self) -> tuple[Load, ...]:
        """The parts that had nothing left."""
        return tuple(load for load in self.loads if load.saturated)

    @property
    def cause(self) -> Cause | None:
        """What explains most of what was lost, or what limits where nothing was; None where nothing does."""
        lossy = self.ledger is not None and self.ledger.lost > 0
        told = [each.cause for each in self.findings if each.frames or not lossy]
        return told[0] if told else None

    @property
    def headline(self) -> str:
        """It all in a sentence."""
        lossy = self.ledger is not None and self.ledger.lost > 0
        if self.ledger is None:
            told = f"{self.load}: no frames were counted"
        elif not self.ledger.lost:
            told = f"no frame of {self.offered} was lost at {self.load}"
        else:
            share = f"{self.ledger.lost / self.offered * 100:.3g} %" if self.offered else "all"
            told = f"{self.ledger.lost} of {self.offered} frames ({share}) were lost at {self.load}"
        causes = ", ".join(dict.fromkeys(str(each.cause) for each in self.findings if each.frames or not lossy))
        if lossy:
            return f"{told}: {causes}" if causes else f"{told}; why is not evident"
        return f"{told}; seen: {causes}" if causes else told

    @property
    def sum(self) -> str:
        """Whether the hops add up to what was lost, in words."""
        if self.ledger is None or not (self.ledger.lost or self.ledger.gaps):
            return ""
        if not self.ledger.gaps:
            return f"It adds up: each of the {self.ledger.lost} lost frames was counted where it ended."
        where = ", ".join(_gap(hop.name, hop.unaccounted) for hop in self.ledger.gaps)
        return f"It does not add up: of {self.ledger.lost} lost frames {self.ledger.told} were counted; {where}."


def _gap(hop: str, frames: int) -> str:
    if frames > 0:
        return f"{frames} went into '{hop}' and were neither passed on nor dropped by any counter"
    return f"{-frames} more came out of '{hop}' than its counters let in"


def diagnose(results: Results, case_id: str | None = None, trial_id: str | None = None) -> tuple[Diagnosis, ...]:
    """A diagnosis of each case of each run, or of one.

    Args:
        results: The runs.
        case_id: The case; None for all.
        trial_id: The trial to look at; None for the one that tells most.

    Raises:
        UsageError: There is no such case or trial, or nothing was measured.
    """
    chosen = [(case, *_choose(case, trial_id)) for case in cases(results, case_id)]
    sampled: dict[tuple[str, str], Samples] = {}
    for run in results.runs:
        own = [row["trial_id"] for case, row, _ in chosen if case.run_id == run.run_id]
        sampled |= {(run.run_id, name): samples for name, samples in samples_of(results, run.run_id, own).items()}
    return tuple(
        _diagnosis(case, row, why, sampled.get((case.run_id, row["trial_id"]), Samples({})))
        for case, row, why in chosen
    )


def _choose(case: CaseTrials, trial_id: str | None) -> tuple[Row, str]:
    if trial_id is not None:
        return case.trial(trial_id)
    return case.most_telling() if case.trials else (case.streams[-1], "the last run of the tool")


def _diagnosis(case: CaseTrials, row: Row, why: str, samples: Samples) -> Diagnosis:
    counted = "asked_frames" in row
    whole = counted and sound(row)
    found = ledger(row, samples) if whole else None
    loaded = tuple(loads(row, samples))
    answers = [each for each in case.answers if each["test"] == row["test"]]
    facts = Facts(row, answers[0] if answers else {}, samples, found, loaded)
    causes = findings(facts) if whole or not counted else ()
    offered = row["sent_frames"] + row["refused_frames"] if whole else 0
    return Diagnosis(
        run_id=case.run_id,
        case_id=case.case_id,
        trial_id=row["trial_id"],
        chosen=why,
        load=_load(row),
        offered=offered,
        ledger=found,
        loads=loaded,
        findings=causes,
        untold=tuple(_untold(facts, causes, counted=counted, whole=whole)),
        simulated=case.simulated or bool(row.get("simulated")),
    )


def _load(row: Row) -> str:
    if "intended_pps" not in row:
        return f"{row['tool']}, {scaled(row['goodput_bps'] or 0.0, 'bit/s')}"
    both = " each way" if len(row["directions"] or ()) > 1 else ""
    state = "" if row["validity"] == VALID else f", a trial that does not count ({row['validity']}: {row['reason']})"
    return f"{scaled(row['intended_pps'] or 0.0, 'pps')}{both} for {row['elapsed_s'] or 0.0:.3g} s{state}"


# -- what cannot be told ---------------------------------------------------------------------------------------------


def _untold(facts: Facts, causes: tuple[Finding, ...], *, counted: bool, whole: bool) -> Iterator[str]:
    yield from facts.samples.faults
    if not counted:
        yield "where frames went: a test between two endpoints counts none on their way"
    elif not whole:
        yield "where frames went: numbers of the trial's own are missing or less than 0"
    if not facts.samples:
        yield "what was saturated and where within the switch frames ended: no samples of this trial"
        return
    if facts.samples.lone():
        yield "what went on during the trial: its counters were sampled once, so nothing tells what they were before"
        return
    yield from _missing(facts)
    yield from _unexplained(facts, causes)


_WANTED: Mapping[str, tuple[str, str]] = {
    "whether a polling thread was saturated": ("pmd core N cycles", r"pmd core \d+"),
    "whether a polling thread was kept off its core": ("task switch pmd-*", r"task switch pmd-c.*"),
}


def _missing(facts: Facts) -> Iterator[str]:
    if facts.ledger and SWITCH in facts.ledger.unseen:
        yield "where within the switch frames ended: no samples of its ports"
    elif facts.ledger and facts.ledger.unseen:
        yield f"what each of these hops lost by itself: no samples of {', '.join(facts.ledger.unseen)}"
    if facts.trial["datapath"] == "ovs_dpdk":
        for what, (source, pattern) in _WANTED.items():
            if not facts.samples.sources(pattern):
                yield f"{what}: no samples of {source}"
    if not facts.samples.sources(r"cpu core \d+"):
        yield "what the cores did: no samples of cpu core N"


def _unexplained(facts: Facts, causes: tuple[Finding, ...]) -> Iterator[str]:
    explained = any(
        each.frames and set(each.evidence) & {drop.evidence for drop in facts.at_the_door()} for each in causes
    )
    if facts.refused and not explained:
        busy = [load.text for load in facts.loads if load.what == saturation.BUSY_WORDS]
        told = f" ({'; '.join(busy)})" if busy else ": no samples of what polls it"
        yield f"why a full ring refused {facts.refused} frames{told}"
    silent = [drop for drop in facts.drops if drop.reason == "reason not told"]
    for drop in silent:
        yield f"why {drop.place} did not send {drop.frames} frames: no samples of its ovs_tx_*_drops tell"
    if facts.ledger and any(hop.name == "lookup" and hop.unaccounted > 0 for hop in facts.ledger.hops):
        yield "drops within the datapath of the last second: Open vSwitch gathers those about once a second"
