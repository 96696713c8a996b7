"""Comparing: two sets of runs are opened, refused or matched, sampled, and judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from statistics import median
from typing import TYPE_CHECKING

from nvbench.comparison import observations
from nvbench.comparison.base import Comparison, Observation
from nvbench.comparison.identity import CORE, Identity
from nvbench.comparison.matching import Match, Matched, chosen, match
from nvbench.comparison.observations import Case
from nvbench.comparison.surroundings import differences
from nvbench.comparison.verdicts import Criteria, Sampled, judge
from nvbench.errors import UsageError
from nvbench.metrics import metric
from nvbench.store import RunState

if TYPE_CHECKING:
    from nvbench.reading import Results
    from nvbench.runs import Run

SHOWN = 3
"""Cases that a warning names."""


def compare(base: Results, new: Results, criteria: Criteria = Criteria()) -> Comparison:  # noqa: B008 - frozen
    """Judge what changed from one set of runs to another.

    Raises:
        UsageError: They cannot be compared: nothing in common, simulated and real devices, other schema versions.
        StoreError: Their tables cannot be read.
    """
    _refuse(base, new, criteria)
    asked = tuple(map(metric, criteria.metrics))
    sides = observations.Side(base, asked), observations.Side(new, asked)
    partners = _partners(base.runs, new.runs)
    matched = _matched(*sides, _changed(partners), criteria)
    samples = list(_samples(*sides, matched.both, {base.run_id: new.run_id for base, new in partners}, criteria))
    if not samples:
        named = f" in {', '.join(criteria.metrics)}" if asked else ""
        raise UsageError(f"the runs have no values to compare{named}", remedy="`nvbench show` tells what they have")
    changes, method = judge(samples, criteria, _varied(matched))
    purpose = partners[0][1].versus.get("change", "") if partners else ""
    return Comparison(
        base=tuple(run.run_id for run in base.runs),
        new=tuple(run.run_id for run in new.runs),
        changes=changes,
        differences=differences(base, new, matched, criteria.expect, purpose),
        only_base=tuple(_name(case) for case in matched.only_base),
        only_new=tuple(_name(case) for case in matched.only_new),
        warnings=tuple(dict.fromkeys(_warnings(*sides, matched.both, in_turn=bool(partners)))),
        alpha=criteria.alpha,
        min_change=criteria.min_change,
        method=method,
    )


def _name(case: Case) -> str:
    return f"{case.case_id} {case.test}"


# -- what cannot be compared ---------------------------------------------------------------------------------------


def _refuse(base: Results, new: Results, criteria: Criteria) -> None:
    runs = (*base.runs, *new.runs)
    if not base.runs or not new.runs:
        raise UsageError(f"no runs on the {'base' if not base.runs else 'new'} side", remedy="name at least one")
    both = {run.path.resolve(): run for run in base.runs}
    for run in new.runs:
        if run.path.resolve() in both:
            raise UsageError("is on both sides: nothing differs from itself", place=run.run_id, remedy="name another")
    versions = {run.record.get("schema_version"): run for run in runs}
    if len(versions) > 1:
        told = ", ".join(f"{run.run_id} has schema {version}" for version, run in versions.items())
        raise UsageError("written by different versions of the store", place=told, remedy="measure one of them anew")
    simulated = {run.simulated: run.run_id for run in runs}
    if len(simulated) > 1 and not criteria.mix_simulated:
        raise UsageError(
            f"{simulated[True]} is of a simulated device, {simulated[False]} of a real one: they say nothing together",
            remedy="to compare them all the same: --mix-simulated",
        )


def _matched(base: observations.Side, new: observations.Side, changed: Iterable[str], criteria: Criteria) -> Matched:
    """The cases of both sides, those that were asked for."""
    for side, told in ((base, "base"), (new, "new")):
        if not side.cases:
            raise UsageError("no results", place=f"{told} {_some(run.run_id for run in side.results.runs)}")
    matched = match(base.cases, new.cases, set(changed))
    if not matched.both:
        raise UsageError(
            "no case in common",
            place=f"{_name(next(iter(base.cases.values())))} and {_name(next(iter(new.cases.values())))}",
            remedy="`nvbench show` tells what each run measured",
        )
    holds = chosen(criteria.filter, _identities(matched))
    both = tuple(each for each in matched.both if holds(each.identity))
    if not both:
        raise UsageError("no case in common is of that kind", place=f"--filter {criteria.filter!r}")
    only_base, only_new = (
        tuple(case for case in cases if holds(case.identity)) for cases in (matched.only_base, matched.only_new)
    )
    return Matched(both, only_base, only_new, matched.unlike)


def _identities(matched: Matched) -> list[Identity]:
    """Those of all cases."""
    only = [case.identity for case in (*matched.only_base, *matched.only_new)]
    return [*(each.identity for each in matched.both), *only]


# -- runs that were made in turn -----------------------------------------------------------------------------------


def _partners(base: Iterable[Run], new: Iterable[Run]) -> list[tuple[Run, Run]]:
    """The runs of both sides that were made in turn with each other; none unless all were."""
    base, new = tuple(base), tuple(new)
    by_name = {other.run_id: other for other in new}
    found = [(one, by_name[name]) for one in base if (name := one.versus.get("partner", "")) in by_name]
    return found if len(found) == len(base) == len(new) else []


def _changed(partners: Iterable[tuple[Run, Run]]) -> Iterator[str]:
    """What of the cases was changed on purpose, by the names that the store has for it."""
    for base, _ in partners:
        yield from filter(None, base.versus.get("keys", "").split(","))


def _in_turn(
    base: Iterable[Observation], new: Iterable[Observation], partners: Mapping[str, str]
) -> tuple[tuple[Observation, Observation], ...]:
    """What both sides measured in one block, by twos; of several in a block on a side, their middle."""
    before, after = _blocks(base), _blocks(new)
    pairs = [(own, (partners[own[0]], own[1])) for own in before if own[0] in partners]
    return tuple((before[own], after[other]) for own, other in pairs if other in after)


def _blocks(found: Iterable[Observation]) -> dict[tuple[str, int], Observation]:
    blocks: dict[tuple[str, int], list[Observation]] = {}
    for each in found:
        blocks.setdefault((each.run_id, each.block), []).append(each)
    return {place: _middle(each) for place, each in blocks.items()}


def _middle(found: list[Observation]) -> Observation:
    if len(found) == 1:
        return found[0]
    lower, upper = (
        None if None in ends else median(end for end in ends if end is not None)
        for ends in ([each.lower for each in found], [each.upper for each in found])
    )
    return replace(found[0], value=median(each.value for each in found), lower=lower, upper=upper)


# -- samples -------------------------------------------------------------------------------------------------------


def _samples(
    base: observations.Side,
    new: observations.Side,
    both: Iterable[Match],
    partners: Mapping[str, str],
    criteria: Criteria,
) -> Iterator[Sampled]:
    for each in both:
        note = _loads(each, criteria.min_change)
        for place, of in enumerate(base.metrics(each.base)):
            repeats = base.repeatable(each.base, of) and new.repeatable(each.new, of)
            before = base.observations(each.base, of, repeats=repeats)
            after = new.observations(each.new, of, repeats=repeats)
            pairs = _in_turn(before, after, partners) if not repeats else ()
            if before or after or (place == 0 and not criteria.metrics):
                yield Sampled(each, of, before, after, pairs, note)


def _loads(match: Match, least: float) -> str:
    """That a latency is of other loads, as they are where they are shares of what was found."""
    if match.base.test != "latency":
        return ""
    found = [[row["rate_pps"] for row in case.rows if row["rate_pps"]] for case in (match.base, match.new)]
    if not all(found):
        return ""
    change = median(found[1]) / median(found[0]) - 1
    return f"at a load that differs by {change:+.1%}".replace("%", " %") if abs(change) > least else ""


def _varied(matched: Matched) -> frozenset[str]:
    """What names a case: the columns of the store, and the settings that differ between cases."""
    values: dict[str, set[str]] = {}
    for own in _identities(matched):
        for name, value in own:
            values.setdefault(name, set()).add(value)
    return frozenset(name for name, found in values.items() if len(found) > 1 or name in CORE)


# -- what a reader must know ---------------------------------------------------------------------------------------


def _warnings(
    base: observations.Side, new: observations.Side, both: tuple[Match, ...], *, in_turn: bool
) -> Iterator[str]:
    one = list(_labels(base, [each.base for each in both]))
    other = list(_labels(new, [each.new for each in both]))
    yield from (f"{text} (both sides)" for text in one if text in other)
    yield from (f"{text} (base)" for text in one if text not in other)
    yield from (f"{text} (new)" for text in other if text not in one)
    before, after = ({text for run in side.results.runs for text in run.warnings} for side in (base, new))
    yield from (f"{text} (base only)" for text in sorted(before - after))
    yield from (f"{text} (new only)" for text in sorted(after - before))
    if not in_turn and len(base.results.runs) == len(new.results.runs) == 1:
        yield "one run a side: how far runs of the same differ is not part of the noise; --versus measures both in turn"


def _labels(side: observations.Side, cases: Iterable[Case]) -> Iterator[str]:
    """What one side's numbers are not."""
    runs = side.results.runs
    for run in runs:
        if run.state != RunState.FINISHED:
            yield f"{run.run_id} is {run.state}: what it measured until then is compared"
    if any(run.quick for run in runs):
        yield "quick: short trials, not RFC 2544 durations"
    if any(run.simulated for run in runs):
        yield "simulated: no device was measured"
    if any(row["emulated"] for case in cases for row in case.rows):
        yield "a processor is emulated: no performance figures"
    missing = [text for case in cases for of in side.metrics(case)[:1] for text in case.unmeasured(of)]
    if missing:
        yield f"{len(missing)} results have no value: {_some(dict.fromkeys(missing))}"
    if side.left_out:
        names = _some(f"{case} {name}" for case, name in side.left_out)
        yield f"{sum(side.left_out.values())} values that are no numbers, or below 0, were left out: {names}"


def _some(texts: Iterable[str]) -> str:
    texts = list(texts)
    return ", ".join(texts[:SHOWN]) + (f" and {len(texts) - SHOWN} more" if len(texts) > SHOWN else "")
