"""What of a diagnosis changed between two runs: cycles per packet, cache hits, waiting, where frames are lost.

Each quantity is computed for several trials of a case on each side, those that count and whose load is near the
answer; sides are held against each other by the Mann-Whitney test, adjusted over the quantities by Holm's method.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from nvbench import stats
from nvbench.diagnosis import saturation
from nvbench.diagnosis.evidence import Samples, samples_of
from nvbench.diagnosis.hops import ledger
from nvbench.diagnosis.saturation import loads, polling
from nvbench.diagnosis.trials import ASIDE, VALID, CaseTrials, Row, cases, sound
from nvbench.errors import UsageError

if TYPE_CHECKING:
    from nvbench.reading import Results

NEAR = 1.25
"""Trials count whose load is at most this many times more or less than the answer: what a frame costs depends on how
many of them come at once."""

MOST_TRIALS = 40
"""Trials of a side that are looked at, the last ones."""

ALPHA = 0.05

SOURCES = r"pmd core|main thread|port|datapath|coverage|cpu core|frequency core|task switch|qdisc|softnet|guest"


@dataclass(frozen=True, slots=True)
class Shift:
    """A quantity on both sides.

    Attributes:
        name: What it is: `PMD cycles per packet`.
        unit: Its unit; `1` for shares.
        base: Its values there, one a trial.
        new: And there.
        p: Adjusted p value of "no difference".
        verdict: `more`, `less`, `within noise`, or `not enough trials`.
    """

    name: str
    unit: str
    base: tuple[float, ...]
    new: tuple[float, ...]
    p: float
    verdict: str

    @property
    def before(self) -> float:
        """Median of the base."""
        return median(self.base)

    @property
    def after(self) -> float:
        """Median of the other side."""
        return median(self.new)

    @property
    def told(self) -> bool:
        """Whether it differs by more than noise."""
        return self.verdict in ("more", "less")


@dataclass(frozen=True, slots=True)
class Contrast:
    """What changed of a case between two runs.

    Attributes:
        case_id: The case.
        base: Its run on one side.
        new: On the other.
        rates: Its answers in frames per second and direction, where both have one.
        shifts: Quantities that both sides have, those that changed first.
        untold: What cannot be said.
        simulated: Whether nothing real was measured.
    """

    case_id: str
    base: str
    new: str
    rates: tuple[float, float] | None
    shifts: tuple[Shift, ...]
    untold: tuple[str, ...]
    simulated: bool

    @property
    def cost(self) -> Shift | None:
        """The change of what a packet costs, where there is one."""
        return next((each for each in self.shifts if each.name == CYCLES and each.told), None)


CYCLES = "PMD cycles per packet"


def contrast(base: Results, new: Results, case_id: str | None = None) -> tuple[Contrast, ...]:
    """What changed between two runs, case by case.

    Raises:
        UsageError: They have no case in common, or one of them is simulated and the other is not.
    """
    sides = [{case.case_id: case for case in cases(results, case_id)} for results in (base, new)]
    names = [name for name in sides[0] if name in sides[1]]
    place = " and ".join(results.runs[0].run_id for results in (base, new))
    if not names:
        raise UsageError("the two runs have no case in common", place=place)
    if base.runs[0].simulated != new.runs[0].simulated:
        raise UsageError("one of the two runs is simulated and the other is not: nothing can be compared", place=place)
    return tuple(_contrast(base, new, sides[0][name], sides[1][name]) for name in names)


def _contrast(base: Results, new: Results, before: CaseTrials, after: CaseTrials) -> Contrast:
    quantities = [_quantities(results, case) for results, case in ((base, before), (new, after))]
    shifts = _shifts(*quantities)
    rates = (before.rate_pps, after.rate_pps)
    return Contrast(
        case_id=before.case_id,
        base=before.run_id,
        new=after.run_id,
        rates=(rates[0], rates[1]) if rates[0] and rates[1] else None,
        shifts=tuple(sorted(shifts, key=lambda each: not each.told)),
        untold=tuple(_untold(before, after, shifts)),
        simulated=before.simulated,
    )


def _untold(before: CaseTrials, after: CaseTrials, shifts: Sequence[Shift]) -> Iterator[str]:
    for case in (before, after):
        if not _near(case):
            yield f"what a frame cost in {case.run_id}: no trial that counts was made near its answer"
    if not any(each.name == CYCLES for each in shifts):
        yield f"{CYCLES}: not both runs have samples of pmd core N before and after such trials"
    if before.run_id != after.run_id:
        yield (
            "whether the change or the day made the difference: trials of one run share its conditions; "
            "`nvbench run --versus` measures both in turn"
        )


# -- the quantities of a side ------------------------------------------------------------------------------------------


def _near(case: CaseTrials) -> list[Row]:
    """The trials that count and whose load is near the answer; without an answer near that of the last one."""
    valid = [row for row in case.trials if row["test"] not in ASIDE and row["validity"] == VALID]
    own = [row for row in valid if sound(row) and row["intended_pps"] > 0]
    if not own:
        return []
    about = case.rate_pps or own[-1]["intended_pps"]
    return [row for row in own if about / NEAR <= row["intended_pps"] <= about * NEAR][-MOST_TRIALS:]


Quantities = dict[tuple[str, str], list[float]]
"""Name and unit -> a value for each trial."""


def _quantities(results: Results, case: CaseTrials) -> Quantities:
    rows = _near(case)
    sampled = samples_of(results, case.run_id, [row["trial_id"] for row in rows], SOURCES)
    found: Quantities = {}
    for row in rows:
        samples = sampled.get(row["trial_id"], Samples({}))
        measured = [*(measure(samples) for measure in _OF_SAMPLES), *(measure(row, samples) for measure in _OF_TRIALS)]
        for key, value in (item for each in measured for item in each.items()):
            found.setdefault(key, []).append(value)
    return found


Measured = Mapping[tuple[str, str], float]


def _cycles(samples: Samples) -> Measured:
    """Of all polling threads together: a frame that passes two of them costs both."""
    told = [polling(samples, source) for source in samples.sources(r"pmd core \d+")]
    packets = sum(each.packets for each in told if each)
    if None in told or not packets:
        return {}
    return {(CYCLES, "cycles"): sum(each.processing for each in told if each) / packets}


def _caches(samples: Samples) -> Measured:
    names = {
        "simple match hits": "simple_match_hits",
        "EMC hits": "emc_hits",
        "SMC hits": "smc_hits",
        "megaflow hits": "megaflow_hits",
    }
    sources = samples.sources(r"pmd core \d+")
    packets = sum(samples.change(source, "packets_received") or 0 for source in sources)
    if not packets:
        return {}
    return {
        (f"{name} per packet", "1"): sum(samples.change(source, metric) or 0 for source in sources) / packets
        for name, metric in names.items()
    }


def _batches(samples: Samples) -> Measured:
    sources = samples.sources(r"pmd core \d+")
    sent, batches = (sum(samples.change(each, name) or 0 for each in sources) for name in ("tx_packets", "tx_batches"))
    return {("frames per output batch", "frames"): sent / batches} if batches else {}


def _loads(row: Row, samples: Samples) -> Measured:
    names = {
        saturation.BUSY_WORDS: "PMD busy share",
        saturation.WAITED_WORDS: "PMD waiting for its core",
        saturation.MISSED_WORDS: "upcalls per packet",
        saturation.STOLEN_WORDS: "core kept by the hypervisor",
        saturation.SOFTIRQ_WORDS: "core in interrupts",
        saturation.LATE_WORDS: "generator's late frames",
    }
    found: dict[tuple[str, str], float] = {}
    for load in loads(row, samples):
        key = (names[load.what], "1")
        found[key] = max(load.share, found.get(key, 0.0))
    return found


def _losses(row: Row, samples: Samples) -> Measured:
    offered = row["sent_frames"] + row["refused_frames"]
    if not offered:
        return {}
    hops = ledger(row, samples).hops
    return {
        (f"lost at {hop.name}", "1"): (hop.entered - hop.left - sum(drop.frames for drop in hop.drops if not drop.lost))
        / offered
        for hop in hops
    }


def _frequency(samples: Samples) -> Measured:
    told = [samples.gauge(source, "hertz") for source in samples.sources(r"frequency core \d+")]
    found = [(each.before + each.after) / 2 for each in told if each]
    return {("frequency of the cores", "hertz"): sum(found) / len(found)} if found else {}


_OF_SAMPLES: tuple[Callable[[Samples], Measured], ...] = (_cycles, _caches, _batches, _frequency)
_OF_TRIALS: tuple[Callable[[Row, Samples], Measured], ...] = (_loads, _losses)


# -- both sides --------------------------------------------------------------------------------------------------------


def _shifts(base: Quantities, new: Quantities) -> list[Shift]:
    """Of the quantities that both sides have and that were not one and the same number all the time."""
    common = [key for key in base if key in new and len({*base[key], *new[key]}) > 1]
    tested = [stats.mann_whitney(base[key], new[key]) for key in common]
    adjusted = stats.holm([each.p for each in tested])
    shifts = []
    for key, p, each in zip(common, adjusted, tested, strict=True):
        least_p = len(common) * stats.least_p(len(base[key]), len(new[key]))
        shifts.append(Shift(*key, tuple(base[key]), tuple(new[key]), p, _verdict(p, least_p, each.sign)))
    return shifts


def _verdict(p: float, least_p: float, sign: int) -> str:
    if p < ALPHA and sign:
        return "more" if sign > 0 else "less"
    return "not enough trials" if least_p >= ALPHA else "within noise"
