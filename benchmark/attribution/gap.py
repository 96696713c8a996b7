"""The gap between two cases, taken apart."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nvbench.attribution.cases import (
    PATH,
    Case,
    Rows,
    cases_of,
    ends,
    factors_of,
    fullest,
    hung,
    left_out,
)
from nvbench.attribution.fit import Estimate, Fit, significant, unevenness
from nvbench.attribution.words import OFF, ON, listed, percent, times, told
from nvbench.metrics import number

if TYPE_CHECKING:
    from nvbench.attribution.fit import Floats

ROUNDING = 1e-9
REST = "what the model leaves"
Places = frozenset[int]
Step = tuple[Places, int]


@dataclass(frozen=True, slots=True)
class Effect:
    """A part of a gap.

    Attributes:
        name: What differs: `TSO`, `the path itself`; several where cases cannot tell them apart.
        factor: Goodput with it over goodput without.
        low: Lower end of the 95 % interval of `factor`.
        high: Upper end.
        share: Part of the gap, on a logarithmic scale; the shares of a gap add up to 1.
        share_low: Lower end of its 95 % interval (Fieller's); infinite where the gap itself is within noise.
        share_high: Upper end.
    """

    name: str
    factor: float
    low: float
    high: float
    share: float
    share_low: float
    share_high: float

    @property
    def noise(self) -> bool:
        """Whether it may be nothing at all."""
        return self.low <= 1.0 <= self.high


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why one case is faster than another.

    Attributes:
        fast_case: Its `case_id`.
        slow_case: Likewise.
        gap_factor: Goodput of the one over that of the other: geometric means over their repeats.
        low: Lower end of its 95 % interval.
        high: Upper end.
        effects: The parts of the gap, largest first; at last what the model leaves of it.
        interactions: What two differences together give beyond the product of each alone; no parts of the gap.
        regained: What options of the slow path give back, as parts of the gap that they close.
        warnings: What did not pass, what was left out, and where the model is weak.
        sentence: The answer in words.
    """

    fast_case: str
    slow_case: str
    gap_factor: float
    low: float
    high: float
    effects: tuple[Effect, ...]
    interactions: tuple[Effect, ...]
    regained: tuple[Effect, ...]
    warnings: tuple[str, ...]
    sentence: str


def explain(rows: Rows, *, fast: str = "", slow: str = "", test: str = "") -> Explanation:
    """Take the gap between two cases apart.

    Args:
        rows: Of the table `streams`.
        fast: The `case_id` to explain; by default the fastest path's best with all switches on that pass.
        slow: What to compare it with; by default the slowest path's, with as many on as pass and its own options
            at their worst.
        test: By default TCP in bulk, or else the first test that measured goodput.

    Raises:
        UsageError: There are no two cases to compare, or none of that name.
    """
    tests = [row["test"] for row in rows if row.get("goodput_bps") is not None]
    test = test or ("tcp_stream" if "tcp_stream" in tests or not tests else tests[0])
    own = [row for row in rows if row["test"] == test]
    cases = cases_of(own)
    passed = [case for case in cases if case.logs]
    top, bottom = ends(passed, fast, slow)
    used = [case for case in passed if case.path in (top.path, bottom.path)]
    word = test.partition("_")[0].upper()
    warnings = [*hung(cases, word), *left_out(passed, used)]
    if any(row.get("emulated") for row in own):
        warnings.insert(0, "emulated: not a performance figure")
    return _Gap(word, top, bottom, used).explained(warnings)


class _Gap:
    """Two cases, and the model of all cases over their paths.

    A term of the model is the set of differences from the slow case that it counts in: none for the slow case itself.
    """

    def __init__(self, word: str, fast: Case, slow: Case, cases: Sequence[Case]) -> None:
        import numpy as np  # noqa: PLC0415 - slow to import

        self.word, self.fast, self.slow, self.cases = word, fast, slow, cases
        self.factors = factors_of(cases, slow)
        self.met = {case.case_id: self._differences(place) for place, case in enumerate(cases)}
        self.of_rows = [place for place, case in enumerate(cases) for _ in case.logs]
        logs = np.array([log for case in cases for log in case.logs])
        singles = [Places(), *(Places({place}) for place in range(len(self.factors)))]
        terms = [*singles, *map(Places, itertools.combinations(range(len(self.factors)), 2))]
        sets = [self.met[cases[place].case_id] for place in self.of_rows]
        design = np.array([[term <= differences for term in terms] for differences in sets], float)
        columns = [*range(len(singles)), *significant(design, logs, self.of_rows, certain=len(singles))]
        self.terms = [terms[column] for column in columns]
        self.fit = Fit(design[:, columns], logs, self.of_rows)
        self.observed = self._mean_of(fast) - self._mean_of(slow)

    def _differences(self, place: int) -> Places:
        return Places(number for number, factor in enumerate(self.factors) if factor.cases[place])

    def _mean_of(self, case: Case) -> Floats:
        """What the runs weigh in the mean of a case."""
        import numpy as np  # noqa: PLC0415

        own: Floats = np.array([self.cases[place] is case for place in self.of_rows], float)
        return own / len(case.logs)

    def explained(self, warnings: Sequence[str]) -> Explanation:
        """The gap in its parts."""
        gap = self.fit.estimate(self.observed)
        parts, how = self._parts()
        weights = [self.fit.weights(terms) for _, terms in parts]
        effects = [self._effect(name, weighed) for (name, _), weighed in zip(parts, weights, strict=True)]
        effects.sort(key=lambda effect: -abs(effect.share))
        rest = self.observed - sum(weights)
        if abs(rest).max() > ROUNDING:
            effects.append(self._effect(REST, rest))
        return Explanation(
            self.fast.case_id,
            self.slow.case_id,
            *gap.factor,
            tuple(effects),
            tuple(self._interactions()),
            tuple(self._effect(name, self._mean_of(case) - self._mean_of(self.slow)) for name, case in self._own()),
            (*warnings, *how, *self._weak()),
            self._sentence(gap, effects),
        )

    def _effect(self, name: str, weights: Floats) -> Effect:
        gained, share = self.fit.estimate(weights), self.fit.ratio(weights, self.observed)
        return Effect(name, *gained.factor, share.value, share.low, share.high)

    def _interactions(self) -> Iterator[Effect]:
        import numpy as np  # noqa: PLC0415

        for place, term in enumerate(self.terms):
            if len(term) > 1:
                name = " with ".join(self.factors[factor].level for factor in sorted(term))
                yield self._effect(name, self.fit.weights(np.eye(len(self.terms))[place]))

    def _parts(self) -> tuple[list[tuple[str, Floats]], list[str]]:
        """Each difference and the terms that it adds, and what there is to say about how they were found."""
        different = self.met[self.fast.case_id]
        walked = _walks(different, {met for met in self.met.values() if met <= different})
        if different and not walked:
            return self._filled_in(different)
        return [(self.factors[place].name, self._added(steps)) for place, steps in walked.items()], []

    def _added(self, steps: Mapping[Step, float]) -> Floats:
        """The terms that these steps add, each step by its share."""
        import numpy as np  # noqa: PLC0415

        added: Floats = np.zeros(len(self.terms))
        for (before, place), share in steps.items():
            added += [share * (place in term and term <= before | {place}) for term in self.terms]
        return added

    def _filled_in(self, different: Places) -> tuple[list[tuple[str, Floats]], list[str]]:
        """The parts by the model alone: pairs shared evenly, and what cannot be told apart as one part."""
        import numpy as np  # noqa: PLC0415

        parts = {
            place: np.array([(place in term and term <= different) / max(1, len(term)) for term in self.terms])
            for place in sorted(different)
        }
        unknown = [place for place in parts if not self.fit.can_tell(parts[place])]
        found = [(self.factors[place].name, parts[place]) for place in parts if place not in unknown]
        how = [
            f"no measured cases lead from {self.slow.case_id} to {self.fast.case_id} one difference at a time: "
            "the model fills the gap in"
        ]
        if unknown:
            together = listed([self.factors[place].name for place in unknown])
            found.append((together, np.sum([parts[place] for place in unknown], axis=0)))
            how.append(f"these cases cannot tell apart: {together}")
        return found, how

    def _own(self) -> Iterator[tuple[str, Case]]:
        """The slow path's cases with other values of the options that only it has, under the names of those."""
        own = {name for name in self.slow.traits if name not in self.fast.traits}
        if self.slow.path == self.fast.path:
            return
        for case in fullest(self.cases, self.slow.path, self.fast):
            changed = [name for name in sorted(own) if case.traits.get(name) != self.slow.traits[name]]
            if changed:
                yield listed([told(name, case.traits.get(name, OFF)) for name in changed]), case

    def _weak(self) -> Iterator[str]:
        """Where the model is weak."""
        merged = [factor.name for factor in self.factors if len(factor.traits) > 1]
        yield from (f"these cases cannot tell apart: {name}" for name in merged)
        if self.fit.misfit is not None:
            yield (
                f"the model does not fit well (lack of fit, p = {self.fit.misfit:.2g}): more than two differences act "
                "together, or cases drift; the intervals include that"
            )
        if not self.fit.freedom:
            yield "too few runs for intervals: it takes several repeats"
        scatter = {
            path: [log - case.mean for case in self.cases if case.path == path for log in case.logs]
            for path in (self.fast.path, self.slow.path)
        }
        ratio = unevenness(scatter[self.fast.path], scatter[self.slow.path])
        if ratio:
            yield (
                f"repeats over {self.slow.path} scatter {times(ratio)} as much as over {self.fast.path}; "
                "the intervals take the mean of both"
            )

    def _sentence(self, gap: Estimate, effects: Sequence[Effect]) -> str:
        fast, slow = (f"{case.path}{self._switches(case)}" for case in (self.fast, self.slow))
        clause = f"{self.word} over {fast} is {times(*gap.factor)} as fast as over {slow}"
        if gap.low <= 0 <= gap.high:
            return f"{clause}: {'that is within noise' if self.fit.freedom else 'too few runs to tell it from noise'}."
        clear = [effect for effect in effects if not effect.noise]
        parts = [f"{percent(effect.share, effect.share_low, effect.share_high)} is {effect.name}" for effect in clear]
        noise = [f"{e.name} ({times(e.factor)})" for e in effects if e.noise and e.name != REST]
        text = f"{clause}: of that gap, {listed(parts)}" if parts else clause
        text += f"; within noise: {listed(noise)}" if noise else ""
        for name, case in self._own():
            reached = math.exp(case.mean - self.fast.mean)
            text += f"; with {name} {self.slow.path} reaches {number(reached, 2)} of {self.fast.path}"
        return f"{text}."

    def _switches(self, case: Case) -> str:
        """Which of the switches that differ anywhere are on in a case."""
        varied = sorted({name for factor in self.factors for name, _ in factor.traits if name != PATH})
        switches = [name for name in varied if case.traits.get(name) in (ON, OFF)]
        on = [told(name, ON) for name in switches if case.traits[name] == ON]
        if on:
            return f" with {listed(on)}"
        return f" without {listed([told(name, ON) for name in switches])}" if switches else ""


def _walks(different: Places, met: set[Places]) -> dict[int, dict[Step, float]]:
    """Each difference's steps, by their share of all orders that lead over measured cases alone; empty if none do."""
    ordered = sorted(met, key=len)
    behind: Counter[Places] = Counter({Places(): 1})
    for places in ordered[1:]:
        behind[places] = sum(behind[places - {place}] for place in places)
    ahead: Counter[Places] = Counter({different: 1})
    for places in reversed(ordered[:-1]):
        ahead[places] = sum(ahead[places | {place}] for place in different - places)
    walked: dict[int, dict[Step, float]] = {place: {} for place in sorted(different) if behind[different]}
    for places in ordered:
        for place in different - places if walked else ():
            if orders := behind[places] * ahead[places | {place}]:
                walked[place][places, place] = orders / behind[different]
    return walked
