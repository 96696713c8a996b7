"""Two plans that are measured in turn: what differs between them, which cases belong together, and whose turn it is.

A block measures every case once on each side. Blocks go A B, B A, A B, ...: of a bench that drifts, each side sees as
much of the early as of the late. The order of the cases is drawn anew for each block, and is the same on both sides.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from nvbench.errors import UsageError
from nvbench.faults import refuse
from nvbench.plan import SETUP_S, Case, Impossible, Plan, Setup, make_plan, setup_key
from nvbench.profile import load_profile
from nvbench.testbed import PACKAGE, Testbed, load_testbed, read_testbed
from nvbench.yamlfile import locate, parse

OPTION = "--versus"
SAME = "same"
TESTBED = "testbed."
"""How a key begins that is of the testbed; any other is of the profile."""

CHANGED = f"testbed of {OPTION}"
"""Where a testbed that was changed says that its values are written."""

QUICK_BLOCKS, FULL_BLOCKS = 8, 10
"""Even, so that neither side is first more often. The signed-rank test over n blocks says p = 2 / 2**n at best: eight
can show a change beside five other cases after the correction for their number, ten beside two dozen."""

TOLD = 5
"""Cases that are named where many cannot be paired."""

Pair = tuple[Case, Case]


class Side(StrEnum):
    """One of the two."""

    BASE = "base"
    NEW = "new"


@dataclass(frozen=True)
class Change:
    """What differs between the two sides: `KEY=VALUE` each, laid over the profile, or over the testbed.

    Attributes:
        overrides: As they were asked for; none of them for two sides that are the same.
    """

    overrides: tuple[str, ...] = ()

    @classmethod
    def parse(cls, texts: Sequence[str]) -> Change:
        """From the command line: each text holds overrides, with commas between; or the one word `same`.

        Raises:
            UsageError: `same` stands beside something else, or one is no `KEY=VALUE`.
        """
        found = [part for text in texts for part in _parted(text)]
        if found == [SAME]:
            return cls()
        for part in found:
            key, equals, _ = part.partition("=")
            if part == SAME:
                raise UsageError(f"`{SAME}` stands alone", place=OPTION, remedy="drop it, or the rest")
            if not equals or not re.fullmatch(r"[\w.]+", key.strip()):
                remedy = f"write KEY=VALUE, or {SAME}"
                raise UsageError("needs a key and a value", place=f"{OPTION} {part!r}", remedy=remedy)
        return cls(tuple(found))

    def __str__(self) -> str:
        return ", ".join(self.overrides) or SAME

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it sets, as they were written."""
        return tuple(override.partition("=")[0].strip() for override in self.overrides)

    @property
    def of_profile(self) -> tuple[str, ...]:
        """The overrides of the profile."""
        return tuple(each for each in self.overrides if not each.startswith(TESTBED))

    @property
    def of_testbed(self) -> tuple[str, ...]:
        """The overrides of the testbed, with its own keys."""
        return tuple(each.removeprefix(TESTBED) for each in self.overrides if each.startswith(TESTBED))

    def plan(self, profile: str, testbed: str | None, overrides: Sequence[str], *, quick: bool) -> Plan:
        """The plan of a profile with this laid over it and over its testbed.

        Args:
            profile: Name or file.
            testbed: Likewise; None for the profile's own.
            overrides: Those that hold for both sides.
            quick: Lay the file's `quick` section over the rest.

        Raises:
            UsageError: The profile, the testbed or their match has faults.
        """
        try:
            asked = load_profile(profile, (*overrides, *self.of_profile), quick)
            return make_plan(asked, self._testbed(testbed or asked.default_testbed))
        except UsageError as error:
            if not self.overrides:
                raise
            refuse(self._blamed(line) for line in str(error).splitlines())

    def _testbed(self, name: str) -> Testbed:
        """A testbed with this laid over it."""
        if not self.of_testbed:
            return load_testbed(name)
        file, data = locate("testbed", PACKAGE, name)
        document = parse(data, file)
        for override in self.of_testbed:
            document.override(override)
        return read_testbed(CHANGED, json.dumps(document.value).encode())

    def _blamed(self, line: str) -> str:
        """A fault, with the option by which its key was given."""
        line = re.sub(rf"^{CHANGED}:1: (?=[\w.]+: )", f"{OPTION} {TESTBED}", line)
        for key in self.keys:
            line = re.sub(rf"^-s '?{re.escape(key.removeprefix(TESTBED))}\b", f"{OPTION} {key}", line)
        return line if line.startswith(OPTION) else f"{OPTION} {self}: {line}"

    def covers(self, path: str) -> bool:
        """Whether what is at a path of a case, such as `datapath.mtu`, is part of this change."""
        plain = [re.sub(r"\.\d+(?=\.|$)", "", key) for key in self.keys]
        return any(path == key or path.startswith(f"{key}.") for key in plain)


@dataclass(frozen=True, slots=True)
class Turn:
    """A set-up that is measured on one side.

    Attributes:
        block: Of which block, from 0.
        side: On which side.
        number: Which of the pairs of set-ups it is of.
        setup: The set-up, with its cases in the order of this block.
        seed: For all that is drawn by lot in it.
    """

    block: int
    side: Side
    number: int
    setup: Setup
    seed: int


@dataclass(frozen=True)
class Versus:
    """Two plans, and how they are measured in turn.

    Attributes:
        change: What differs.
        base: Without it.
        new: With it.
        pairs: The cases of both that belong together; all cases of both plans are in one.
        blocks: How often each case is measured on each side.
    """

    change: Change
    base: Plan
    new: Plan
    pairs: tuple[Pair, ...]
    blocks: int

    def plan(self, side: Side) -> Plan:
        """The plan of a side."""
        return self.base if side is Side.BASE else self.new

    @property
    def keys(self) -> tuple[str, ...]:
        """What of the cases differs, by the names under which the store has it: `flow_tables`, `endpoints.tso`."""
        other_generator = self.base.profile.generator != self.new.profile.generator
        found = dict.fromkeys(["generator"] if other_generator else [])
        for base, new in self.pairs:
            one, other = _named(base), _named(new)
            found |= dict.fromkeys(name for name in one | other if one.get(name) != other.get(name))
        return tuple(found)

    def header(self, side: Side) -> dict[str, str]:
        """What the run of a side says of the other; that one's name is not known before both have begun."""
        return {"side": side, "change": str(self.change), "keys": ",".join(self.keys)}

    @property
    def bring_ups(self) -> int:
        """Set-ups of both sides in all blocks, and the ceilings of each side once."""
        setups = 0 if self.base.simulated else 2 * self.blocks * len(self._groups())
        return setups + self.base.ceilings + self.new.ceilings

    @property
    def expected_s(self) -> float:
        """Expected time of it all."""
        cases_s = sum(case.expected_s for pair in self.pairs for case in pair)
        return SETUP_S * self.bring_ups + self.blocks * cases_s

    def turns(self) -> Iterator[Turn]:
        """Whose turn it is, and with what: A B of each set-up in even blocks, B A in odd ones."""
        groups = self._groups()
        for block in range(self.blocks):
            dice = random.Random(f"{self.base.profile.seed} {block}")  # noqa: S311 - reproducible, not secret
            for number in dice.sample(range(len(groups)), len(groups)):
                pairs = dice.sample(groups[number], len(groups[number]))
                for side in (Side.BASE, Side.NEW) if block % 2 == 0 else (Side.NEW, Side.BASE):
                    cases = tuple(pair[side is Side.NEW] for pair in pairs)
                    setup = Setup(cases[0].path, cases[0].parameters, cases)
                    yield Turn(block, side, number, setup, dice.getrandbits(32))

    def whole(self) -> Plan:
        """All turns of both sides as one plan, for who tells how long it takes."""
        cases = (case for turn in self.turns() for case in turn.setup.cases)
        return replace(self.base, cases=tuple(cases), impossible=())

    def _groups(self) -> list[list[Pair]]:
        """The pairs whose cases share a set-up on both sides."""
        groups: dict[object, list[Pair]] = {}
        for base, new in self.pairs:
            groups.setdefault((setup_key(base), setup_key(new)), []).append((base, new))
        return list(groups.values())


def make_versus(base: Plan, new: Plan, change: Change, blocks: int | None = None) -> Versus:
    """Put the cases of two plans together, one to one, by everything that the change is not about.

    Args:
        base: Without the change.
        new: With it.
        change: What differs.
        blocks: How often each case is measured on each side; None for as often as suits the profile.

    Raises:
        UsageError: The change changes nothing, or the cases cannot be paired; lists every reason.
    """
    if change.overrides and _same(base, new):
        remedy = f"for two runs of the same give {OPTION} {SAME}"
        raise UsageError("changes nothing: all of it is so already", place=f"{OPTION} {change}", remedy=remedy)
    lines = [f"{OPTION} {change}: {text}" for text in (*_other_bench(base, new), *_other_tests(base, new))]
    pairs = [] if lines else _paired(base, new, change, lines)
    if lines:
        refuse([*lines[:TOLD], *([f"and {len(lines) - TOLD} more like these"] if len(lines) > TOLD else [])])
    reasons = [{each.case.case_id: each.reason for each in plan.impossible} for plan in (base, new)]
    possible: list[Pair] = []
    impossible: tuple[list[Impossible], list[Impossible]] = ([], [])
    for pair in pairs:
        whys = [known.get(case.case_id, "") for known, case in zip(reasons, pair, strict=True)]
        possible += [pair] if not any(whys) else []
        for found, case, why, other in zip(impossible, pair, whys, reversed(whys), strict=True):
            if why or other:
                found.append(Impossible(case, why or f"nothing to compare it with: {other}"))
    if not possible:
        refuse(f"{OPTION} {change}: {each.case.case_id}: not possible here: {each.reason}" for each in impossible[1])
    ones, others = (tuple(cases) for cases in zip(*possible, strict=True))
    base = replace(base, cases=ones, impossible=tuple(impossible[0]))
    new = replace(new, cases=others, impossible=tuple(impossible[1]))
    usual = QUICK_BLOCKS if base.profile.quick else FULL_BLOCKS
    return Versus(change, base, new, tuple(possible), blocks or usual)


def _same(base: Plan, new: Plan) -> bool:
    """Whether both do the same: a default that is written down changes nothing, and the names of cases leave it out."""
    names = [{case.case_id for case in _all(plan)} for plan in (base, new)]
    profile = new.profile.model_copy(update={"datapath": base.profile.datapath})
    return names[0] == names[1] and profile == base.profile and base.testbed.resolved() == new.testbed.resolved()


def _all(plan: Plan) -> list[Case]:
    """What was asked for, whether it can be had or not."""
    return [*plan.cases, *(each.case for each in plan.impossible)]


def _other_bench(base: Plan, new: Plan) -> Iterator[str]:
    if (base.testbed.name, base.testbed.hosts) != (new.testbed.name, new.testbed.hosts):
        yield "both sides are measured on one bench (name all hosts in the testbed, and change testbed.switch.host)"


def _other_tests(base: Plan, new: Plan) -> Iterator[str]:
    made, others = (
        [*(test.name for test in plan.profile.tests.each()), *(test.value for test, _ in plan.profile.tests.streams())]
        for plan in (base, new)
    )
    if made != others:
        yield f"one side makes the tests {', '.join(made)}, the other {', '.join(others)}"


def _paired(base: Plan, new: Plan, change: Change, lines: list[str]) -> list[Pair]:
    """The cases of both sides that belong together; what cannot be paired is told in `lines`.

    They agree in everything but what the change sets, and what is the same in no two cases of both: a consequence of
    it, as are the options of another kind of datapath.
    """
    sides = [_all(plan) for plan in (base, new)]
    told = [[_told(case) for case in cases] for cases in sides]
    names = dict.fromkeys(name for cases in told for case in cases for name in case)
    values = [{name: {case.get(name) for case in cases} for name in names} for cases in told]
    shared = [name for name in names if not change.covers(name) and values[0][name] & values[1][name]]
    kin: dict[object, tuple[list[Case], list[Case]]] = {}
    for index, cases in enumerate(sides):
        for case, facts in zip(cases, told[index], strict=True):
            kin.setdefault(tuple(facts.get(name) for name in shared), ([], []))[index].append(case)
    for ones, others in kin.values():
        for mine, theirs, side in ((ones, others, Side.BASE), (others, ones, Side.NEW)):
            if not theirs:
                lines += [f"{OPTION} {change}: {case.case_id} of the {side} side has no counterpart" for case in mine]
            elif len(mine) > 1:
                alike = f"{mine[0].case_id} and {mine[1].case_id}"
                what = f"{alike} of the {side} side differ only in what it changes (sweep that nowhere)"
                lines.append(f"{OPTION} {change}: {what}")
    return [(ones[0], others[0]) for ones, others in kin.values()] if not lines else []


def _told(case: Case) -> dict[str, object]:
    """All that a case is, by the keys of a profile."""
    path, traffic = case.path, case.traffic
    found: dict[str, object] = {"datapath.kind": path.kind, "datapath.topology": path.topology}
    found |= {"datapath.guest": path.guest, "streams": traffic is None}
    found |= {f"datapath.{name}": value for name, value in case.parameters.model_dump().items()}
    if traffic is not None:
        found["traffic.frame_bytes"] = traffic.imix or traffic.frame_bytes
        found["traffic.pcap"] = traffic.pcap and str(traffic.pcap)
        keys = ("flows", "vary", "vlan", "direction")
        found |= {f"traffic.{key}": getattr(traffic, key) for key in keys}
    if case.offloads is not None:
        found |= {f"endpoints.{name}": state for name, state in case.offloads.asked().items()}
    return found


def _named(case: Case) -> dict[str, object]:
    """The same by the names of the store's columns and settings."""
    own = {"datapath.kind": "datapath"}
    return {own.get(key, re.sub(r"^(datapath|traffic)\.", "", key)): value for key, value in _told(case).items()}


def _parted(text: str) -> Iterator[str]:
    """Overrides with commas between; those in brackets and in quotes are part of a value."""
    depth, quote, begin = 0, "", 0
    for at, letter in enumerate(text):
        if quote or letter in "'\"":
            quote = letter if not quote else "" if letter == quote else quote
        elif letter == "," and not depth:
            yield text[begin:at].strip()
            begin = at + 1
        else:
            depth += (letter in "[{(") - (letter in ")}]")
    yield text[begin:].strip()
