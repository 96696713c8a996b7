"""The cases of a run: what differs between them, which two to compare, and what did not pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nvbench.attribution.words import OFF, ON, listed, some, told
from nvbench.errors import UsageError

PATH = "datapath"
TRAITS = (PATH, "topology", "guest", "queues", "mtu", "generator", "parallel")
"""What may differ between cases beside their settings."""

Rows = Sequence[Mapping[str, Any]]
Trait = tuple[str, str]


@dataclass(frozen=True)
class Case:
    """A case and its runs.

    Attributes:
        case_id: Its name.
        traits: What may set it apart: its path, its settings.
        logs: Natural logarithms of the goodput, of the runs that count.
        runs: All of them.
        reasons: Why some do not count.
    """

    case_id: str
    traits: Mapping[str, str]
    logs: tuple[float, ...]
    runs: int
    reasons: tuple[str, ...]

    @property
    def path(self) -> str:
        """The datapath."""
        return self.traits[PATH]

    @property
    def mean(self) -> float:
        """Of `logs`."""
        return sum(self.logs) / len(self.logs)

    def on(self, names: Iterable[str]) -> int:
        """How many of these switches are on."""
        return sum(self.traits.get(name) == ON for name in names)

    def has(self, traits: Iterable[Trait]) -> bool:
        """Whether it has all of them."""
        return all(self.traits.get(name) == value for name, value in traits)


@dataclass(frozen=True)
class Factor:
    """A difference from the slow case: traits that always go together, and which cases have them."""

    traits: tuple[Trait, ...]
    cases: tuple[bool, ...]

    @property
    def name(self) -> str:
        """In words, as a part of a gap."""
        return listed(["the path itself" if name == PATH else told(name, value) for name, value in self.traits])

    @property
    def level(self) -> str:
        """In words, as what a case has."""
        return listed([value if name == PATH else told(name, value) for name, value in self.traits])


def cases_of(rows: Rows) -> list[Case]:
    """The cases of these runs, in the order of their first ones."""
    grouped: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["case_id"], []).append(row)
    found = []
    for case_id, own in grouped.items():
        traits = {name: str(own[0][name]) for name in TRAITS if own[0].get(name) not in (None, "")}
        traits |= {setting["name"]: str(setting["value"]) for setting in own[0].get("settings") or ()}
        rates = [(row.get("goodput_bps") or 0.0) + (row.get("reverse_bps") or 0.0) for row in own if row["valid"]]
        reasons = dict.fromkeys(str(row["reason"]) for row in own if row.get("reason"))
        found.append(Case(case_id, traits, tuple(math.log(rate) for rate in rates if rate > 0), len(own), (*reasons,)))
    return found


def ends(cases: Sequence[Case], fast: str, slow: str) -> tuple[Case, Case]:
    """The fast and the slow case: those named, or the fastest path and the slowest as their users get them.

    Raises:
        UsageError: There are no two cases, or none of that name.
    """
    named = {case.case_id: case for case in cases}
    for case_id in filter(None, (fast, slow)):
        if case_id not in named:
            raise UsageError("traffic passed in no run of this case", place=case_id, remedy=some(list(named)))
    if len(cases) < 2 or (fast and fast == slow):
        raise UsageError("there is nothing to compare: it takes two cases in which traffic passed")
    paths = sorted({case.path for case in cases}, key=lambda path: max(c.mean for c in cases if c.path == path))
    top = named.get(fast) or _fastest([case for case in cases if case.case_id != slow], paths, named.get(slow))
    if slow:
        return top, named[slow]
    others = [path for path in paths if path != top.path]
    if others:
        return top, min((case for path in others for case in fullest(cases, path, top)), key=lambda case: case.mean)
    rest = [case for case in cases if case is not top]
    return top, min(rest, key=lambda case: (case.on(case.traits), case.mean))


def _fastest(cases: Sequence[Case], paths: Sequence[str], slow: Case | None) -> Case:
    """The best case of the best path, which is another one than that of `slow` where there is one."""
    here = [path for path in paths if any(case.path == path for case in cases)]
    path = [path for path in here if not slow or path != slow.path][-1:] or here[-1:]
    return max(fullest(cases, path[0], slow), key=lambda case: case.mean)


def fullest(cases: Sequence[Case], path: str, like: Case | None = None) -> list[Case]:
    """The cases of a path with most switches on that pass, one for each choice of the options that only it has.

    Whatever is no switch, such as the MTU, is as in `like` as far as it can be.
    """
    elsewhere = {name for case in cases if case.path != path for name in case.traits}
    found = [case for case in cases if case.path == path]
    shared = {name for case in found for name in case.traits if name in elsewhere or not elsewhere}
    if like:
        plain = [(name, value) for name, value in like.traits.items() if value not in (ON, OFF)]
        alike = [sum(case.has([trait]) for trait in plain) for case in found]
        found = [case for case, count in zip(found, alike, strict=True) if count == max(alike)]
    choices: dict[tuple[Trait, ...], list[Case]] = {}
    for case in found:
        own = sorted((name, value) for name, value in case.traits.items() if name not in shared)
        choices.setdefault(tuple(own), []).append(case)
    return [max(group, key=lambda case: (case.on(shared), case.mean)) for group in choices.values()]


def factors_of(cases: Sequence[Case], slow: Case) -> list[Factor]:
    """What differs from the slow case anywhere, the path first; traits that always go together are one."""
    values: dict[str, list[str]] = {}
    for case in cases:
        for name, value in case.traits.items():
            values.setdefault(name, []).append(value)
    merged: dict[tuple[bool, ...], list[Trait]] = {}
    for name, found in values.items():
        levels = sorted(set(found), key=lambda value: (value != slow.traits.get(name), value == ON, value))
        for level in levels[1:]:
            merged.setdefault(tuple(case.has([(name, level)]) for case in cases), []).append((name, level))
    return [Factor(tuple(traits), places) for places, traits in merged.items()]


def hung(cases: Sequence[Case], word: str) -> Iterator[str]:
    """Where nothing passed at all, a line a path, by what those cases and no others have."""
    for path in dict.fromkeys(case.path for case in cases):
        own = [case for case in cases if case.path == path]
        stuck = [case for case in own if not case.logs]
        if not stuck:
            continue
        rule = [*_rule(own, stuck)]
        reasons = list(dict.fromkeys(reason for case in stuck for reason in case.reasons))
        why = f": {some(reasons)}" if reasons else ""
        where = f" with {listed([f'{told(name, ON)} {value}' for name, value in rule])}" if rule else ""
        if not rule and len(stuck) < len(own):
            where = f" in {some([case.case_id for case in stuck])}"
        yield f"{word} did not pass at all over {path}{where}{why}"


def _rule(cases: Sequence[Case], stuck: Sequence[Case]) -> Iterator[Trait]:
    """The fewest traits that all stuck cases have and no other; with each those that cannot be told from it."""
    passing = [case for case in cases if case.logs]
    common = [trait for trait in stuck[0].traits.items() if all(case.has([trait]) for case in stuck)]
    if not passing or any(case.has(common) for case in passing):
        return
    needed = list(common)
    for trait in common:
        without = [other for other in needed if other != trait]
        if not any(case.has(without) for case in passing):
            needed = without
    where = {trait: [case.has([trait]) for case in cases] for trait in common}
    yield from (trait for trait in common if where[trait] in [where[kept] for kept in needed])


def left_out(cases: Sequence[Case], used: Sequence[Case]) -> Iterator[str]:
    """What was measured and is no part of a comparison."""
    paths = {case.path for case in used}
    others = sorted({case.path for case in cases} - paths)
    if others:
        yield f"measured too, but no part of this: {listed(others)}"
    for case in used:
        if len(case.logs) < case.runs:
            why = f": {some(list(case.reasons))}" if case.reasons else ""
            yield f"{case.case_id}: {case.runs - len(case.logs)} of {case.runs} runs do not count{why}"
