"""Which cases of two sides belong together: those that measure the same, but for what the comparison is about."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from nvbench.comparison.identity import CORE, Identity, rank
from nvbench.comparison.observations import JUDGED, Case
from nvbench.errors import UsageError

Cases = Mapping[Identity, Case]

_TESTS = {test: place for place, test in enumerate(JUDGED)}


@dataclass(frozen=True, slots=True)
class Match:
    """A case that both sides have.

    Attributes:
        identity: What it measures on both.
        base: Before.
        new: After.
    """

    identity: Identity
    base: Case
    new: Case


@dataclass(frozen=True, slots=True)
class Unlike:
    """What all cases of a kind have on one side and none on the other, so that it tells no case from another.

    Attributes:
        datapath: Of which cases.
        name: What.
        base: Its value there; empty where there is none.
        new: And there.
    """

    datapath: str
    name: str
    base: str
    new: str


@dataclass(frozen=True, slots=True)
class Matched:
    """Cases side by side.

    Attributes:
        both: Those that both sides have, in order.
        only_base: Those that the other lacks.
        only_new: Likewise.
        unlike: What does not tell cases apart.
    """

    both: tuple[Match, ...]
    only_base: tuple[Case, ...]
    only_new: tuple[Case, ...]
    unlike: tuple[Unlike, ...]


def match(base: Cases, new: Cases, changed: Collection[str] = ()) -> Matched:
    """Put cases together by all that they measure.

    A setting that is the same in all cases of a datapath on one side, and another in all on the other, tells no cases
    apart: it is a difference between the sides. So is what was `changed` on purpose, whatever it is.
    """
    groups: dict[tuple[str, ...], tuple[list[Case], list[Case]]] = defaultdict(lambda: ([], []))
    for side, cases in enumerate((base, new)):
        for case in cases.values():
            told = dict(case.identity)
            groups[case.test, "" if "datapath" in changed else told.get("datapath", "")][side].append(case)
    both: list[Match] = []
    only: tuple[list[Case], list[Case]] = ([], [])
    unlike: dict[Unlike, None] = {}
    for (_, datapath), sides in groups.items():
        if not all(sides):
            for mine, found in zip(only, sides, strict=True):
                mine.extend(found)
            continue
        dropped = _dropped(*sides, changed)
        keyed = [_keyed(cases, dropped) for cases in sides]
        both += [Match(key, case, keyed[1][key]) for key, case in keyed[0].items() if key in keyed[1]]
        for mine, own, other in ((only[0], keyed[0], keyed[1]), (only[1], keyed[1], keyed[0])):
            mine += [case for key, case in own.items() if key not in other]
        unlike |= {Unlike(datapath, name, *values): None for name, values in dropped.items()}
    both.sort(key=lambda each: order(each.identity))
    only_base, only_new = (tuple(sorted(own, key=lambda case: order(case.identity))) for own in only)
    return Matched(tuple(both), only_base, only_new, tuple(unlike))


def _dropped(base: Sequence[Case], new: Sequence[Case], changed: Collection[str]) -> dict[str, tuple[str, str]]:
    """The names that tell no cases apart, with their values on both sides."""
    sides = [[dict(case.identity) for case in cases] for cases in (base, new)]
    dropped = {}
    for name in dict.fromkeys(name for told in sides for case in told for name in case):
        one, other = ({case.get(name, "") for case in told} for told in sides)
        constant = len(one) == len(other) == 1 and name not in CORE
        if one != other and (name in changed or constant):
            dropped[name] = ("; ".join(sorted(one)), "; ".join(sorted(other)))
    return dropped


def _keyed(cases: Iterable[Case], dropped: Collection[str]) -> dict[Identity, Case]:
    """Cases by what is left of their identity; by all of it where too little would be left to tell them apart."""
    found: dict[Identity, list[Case]] = defaultdict(list)
    for case in cases:
        found[tuple(pair for pair in case.identity if pair[0] not in dropped)].append(case)
    return {(key if len(alike) == 1 else case.identity): case for key, alike in found.items() for case in alike}


def order(identity: Identity) -> tuple[object, ...]:
    """Where a case stands among others: by its test, then by its path, then by its frames."""
    told = dict(identity)
    where = [_TESTS.get(told["test"], len(_TESTS)), *(rank(told.get(name, "")) for name in CORE[1:])]
    options = [(name, rank(value)) for name, value in identity if name not in CORE]
    return (*where[: CORE.index("frame_bytes")], options, *where[CORE.index("frame_bytes") :])


def chosen(text: str, known: Iterable[Identity]) -> Callable[[Identity], bool]:
    """Whether a case is asked for by a filter: `frame_bytes:64,128 datapath:ovs*`, all of which must hold.

    Raises:
        UsageError: It is no filter, or no case has such a name.
    """
    terms = []
    names = sorted({name for identity in known for name, _ in identity})
    for word in text.split():
        name, colon, globs = word.partition(":")
        if not colon or not globs:
            raise UsageError("needs a name and a value", place=f"--filter {word!r}", remedy="as in frame_bytes:64,128")
        check_names([name], names, "--filter")
        terms.append((name, globs.split(",")))

    def holds(identity: Identity) -> bool:
        told = dict(identity)
        return all(any(fnmatchcase(told.get(name, ""), glob) for glob in globs) for name, globs in terms)

    return holds


def check_names(names: Iterable[str], known: Collection[str], option: str) -> None:
    """Refuse a name that no case has.

    Raises:
        UsageError: One is unknown.
    """
    for name in names:
        if name not in known:
            raise UsageError(f"no case has a {name!r}", place=option, remedy=f"there are {', '.join(known)}")
