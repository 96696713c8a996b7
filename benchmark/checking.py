"""The conductor of checks: brings stands up, has checks act on them, judges, keeps the evidence, takes all down."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from itertools import groupby, zip_longest
from types import FrameType
from typing import Protocol

from nvbench.bench import Bench
from nvbench.campaign import Campaign, Outcome, Verdict
from nvbench.checks import CHECKS
from nvbench.checks.description import setup_tables
from nvbench.errors import NotPossibleError, NvbenchError, StoreError, UsageError
from nvbench.faults import did_you_mean
from nvbench.stands import BENCH, PATHS, Check, Ground, Record, Wish, stand
from nvbench.testbed import Testbed

GRACE_S = 30.0
"""What a check that was given up may take to put back what it changed."""

TRIES = 2
"""How often a stand that does not come up is tried before the cases that are left are given up with it."""

GONE = "gone meanwhile: "
NO_ROOM = "its evidence was dropped, as the disk is full"

_Found = tuple[Outcome, str, str]
"""The outcome, why in a sentence, and the line that decided it."""


@dataclass(frozen=True)
class Case:
    """A check on a path."""

    check: Check
    path: str

    @property
    def name(self) -> str:
        """Its number in the test plan, or `mtu@linux_bridge`."""
        return self.check.case(self.path)

    @property
    def words(self) -> frozenset[str]:
        """The words that choose it, beside its path."""
        return frozenset({self.name, f"{self.check.name}@{self.path}", self.check.name, *self.check.tags})


class Observer(Protocol):
    """Who watches a campaign."""

    def stage(self, text: str) -> None:
        """Something is being brought up."""

    def begins(self, case: Case) -> None:
        """A check begins to act."""

    def verdict(self, verdict: Verdict) -> None:
        """What came of it."""


# -- choosing --------------------------------------------------------------------------------------------------


def all_cases(checks: Sequence[Check] = CHECKS) -> list[Case]:
    """Every check on each of its paths, in the order of the test plan."""
    return [Case(check, path) for check in checks for path in (BENCH, *PATHS) if path in check.cases]


def chosen(words: Sequence[str], cases: Sequence[Case]) -> list[Case]:
    """The cases that some words mean: numbers, names and tags choose, paths narrow that down.

    Raises:
        UsageError: A word means none, or all together do.
    """
    paths = {word for word in words if word in (BENCH, *PATHS)}
    wanted = [word for word in words if word not in paths]
    known = sorted({word for case in cases for word in case.words})
    for word in wanted:
        if word not in known:
            guess = did_you_mean(word, [*known, BENCH, *PATHS])
            raise UsageError(f"no case, check or tag is called {word!r}", remedy=guess or "nvbench check --list")
    found = [
        case
        for case in cases
        if (not paths or case.path in paths) and (not wanted or not case.words.isdisjoint(wanted))
    ]
    if not found:
        raise UsageError(f"{' '.join(words)}: no case is all of that", remedy="nvbench check --list")
    return found


def check_expectations(testbed: Testbed, cases: Sequence[Case]) -> None:
    """Does nothing where all that a testbed expects is of cases that there are.

    Raises:
        UsageError: One is not; with its place.
    """
    known = {name for case in cases for name in (case.name, f"{case.check.name}@{case.path}")}
    for name in testbed.expect:
        if name not in known:
            what = f"expect: there is no case {name!r}"
            guess = did_you_mean(name, known)
            raise UsageError(what, place=testbed.place("expect", name), remedy=guess or "nvbench check --list")


# -- conducting ------------------------------------------------------------------------------------------------


class _TimeUpError(BaseException):
    """A check took too long. No check can take it for a failure of its own."""


@dataclass
class Conductor:
    """A campaign under way.

    Attributes:
        bench: On what.
        campaign: Where it is kept.
        observer: Who watches.
        raised: Brings stands up.
    """

    bench: Bench
    campaign: Campaign
    observer: Observer
    raised: Callable[[Bench, str, Wish], AbstractContextManager[Ground]] = stand
    _ground: Ground | None = field(default=None, init=False)
    _stack: ExitStack = field(default_factory=ExitStack, init=False)
    _refusals: list[Verdict] = field(default_factory=list, init=False)
    _mark: int = field(default=0, init=False)

    def run(self, cases: Sequence[Case]) -> Campaign:
        """Have every case looked at; whatever comes of one, the next is looked at, on a stand that is sound.

        Raises:
            StoreError: A verdict cannot be kept.
        """
        began = time.monotonic()
        self._mark = self.bench.journal.mark()
        self.campaign = replace(self.campaign, bench=setup_tables(self.campaign.fingerprint))
        try:
            for (path, wish), group in groupby(_ordered(cases), key=lambda case: (case.path, case.check.wish)):
                self._refusals.clear()
                for case in group:
                    self._keep(self._looked_at(case, wish), began)
                if self._ground is not None and path != BENCH and not wish.alone:
                    self.observer.stage(f"taking {path} down")
                self._take_down()
        finally:
            self._take_down()
        self.campaign = replace(self.campaign, finished=True, duration_s=time.monotonic() - began)
        self.campaign.save()
        return self.campaign

    def _keep(self, verdict: Verdict, began: float) -> None:
        expect = self.bench.testbed.expect
        expected = expect.get(verdict.case, expect.get(verdict.key))
        verdict = replace(verdict, expected=Outcome(expected) if expected else None)
        try:
            self._save(verdict, began)
        except StoreError:  # the verdict needs the room more than its evidence does
            shutil.rmtree(self.campaign.evidence(verdict), ignore_errors=True)
            verdict = replace(verdict, files=(), advice=(*verdict.advice, NO_ROOM))
            self._save(verdict, began)
        self.observer.verdict(verdict)

    def _save(self, verdict: Verdict, began: float) -> None:
        verdicts = (*self.campaign.verdicts, verdict)
        grown = replace(self.campaign, verdicts=verdicts, duration_s=time.monotonic() - began)
        grown.save()
        self.campaign = grown

    def _looked_at(self, case: Case, wish: Wish) -> Verdict:
        began = time.monotonic()
        verdict = Verdict(case.name, case.check.name, case.check.title, case.path, Outcome.ERROR, "")
        ground = self._standing(verdict, wish)
        if isinstance(ground, Verdict):
            return replace(ground, seconds=time.monotonic() - began)
        began = time.monotonic()  # bringing up is for all who share the stand
        self.observer.begins(case)
        return replace(self._acted(case, ground, verdict), seconds=time.monotonic() - began)

    def _acted(self, case: Case, ground: Ground, verdict: Verdict) -> Verdict:
        record = Record(self.campaign.evidence(verdict))
        found: _Found = (Outcome.ERROR, "", "")
        try:
            before = ground.state()
            ground.witnessed(record)
            found = judged(case.check, ground, record)
            ground.witnessed(None)
            amiss = _amiss(ground, before)
        except Exception as error:  # noqa: BLE001 - as in `judged`
            amiss = f"{GONE}{_told(error)}"
        outcome, told, quote = found
        if amiss:
            record.advise(f"{amiss}; what came next had a stand of its own")
        if amiss or outcome is Outcome.ERROR:
            self._take_down()  # what comes next finds a stand as it should be
        if amiss.startswith(GONE) and outcome is not Outcome.ERROR:
            outcome, told, quote = Outcome.ERROR, f"{amiss}, so that nothing is known", ""
        if record.full:
            shutil.rmtree(self.campaign.evidence(verdict), ignore_errors=True)  # the verdicts need the room
            record.files.clear()
            record.advise(NO_ROOM)
        return replace(
            verdict,
            outcome=outcome,
            told=told or amiss,
            quote=quote,
            observations=tuple(record.observations),
            grids=tuple(record.grids),
            advice=tuple(dict.fromkeys(record.advice)),
            files=tuple(record.files),
        )

    # -- stands ------------------------------------------------------------------------------------------------

    def _standing(self, verdict: Verdict, wish: Wish) -> Ground | Verdict:
        """What a case stands on, or what comes of it without."""
        if self._ground is not None:
            return self._ground
        if len(self._refusals) >= TRIES or any(each.outcome is Outcome.BLOCKED for each in self._refusals):
            last = self._refusals[-1]
            return replace(verdict, outcome=last.outcome, told=last.told)
        try:
            if wish.alone or verdict.path == BENCH:
                self._ground = Ground(self.bench, verdict.path)
            else:
                self.observer.stage(f"bringing up {verdict.path}")
                self._ground = self._stack.enter_context(self.raised(self.bench, verdict.path, wish))
        except NotPossibleError as error:
            refused = replace(verdict, outcome=Outcome.BLOCKED, told=error.what)
        except Exception as error:  # noqa: BLE001 - as in `judged`
            refused = replace(verdict, told=f"the stand does not come up: {_told(error)}")
        else:
            self._refusals.clear()
            return self._ground
        self._refusals.append(refused)
        return refused

    def _take_down(self) -> None:
        """What is up goes; what does not go stays in the bench's journal, whose end tells of it."""
        self._ground = None
        stack, self._stack = self._stack, ExitStack()
        try:
            stack.close()
            # What a check brought up by itself, and was not given the time to take down.
            if faults := self.bench.journal.undo_since(self._mark):
                self.observer.stage(f"not undone yet: {'; '.join(faults)}")
        except Exception as error:  # noqa: BLE001 - no reason for those that come next not to be looked at
            self.observer.stage(f"taking down: {_told(error)}")


def _amiss(ground: Ground, before: str) -> str:
    """What is wrong with a stand after a check has acted on it; empty where nothing is."""
    if faults := ground.faults():
        return f"{GONE}{faults[0]}"
    after = ground.state()
    if after == before:
        return ""
    found, left = ([*text.splitlines(), ""] for text in (before, after))
    pairs = ([line.strip() or "nothing" for line in pair] for pair in zip_longest(found, left, fillvalue=""))
    one, other = next(([one, other] for one, other in pairs if one != other), ("this", "that"))
    return f"the check left something behind: {other} where there was {one}"


def _ordered(cases: Iterable[Case]) -> list[Case]:
    """Those that share a stand together; the stands in the order in which they are asked for first."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in sorted(cases, key=lambda case: (BENCH, *PATHS).index(case.path)):
        groups.setdefault((case.path, repr(case.check.wish)), []).append(case)
    return [case for group in groups.values() for case in group]


def judged(check: Check, ground: Ground, record: Record) -> _Found:
    """Have a check act, and say what came of it.

    Returns:
        The outcome, why in a sentence, and the line that decided it.
    """
    try:
        with _limited(check.limit_s):
            check.act(ground, record)
    except NotPossibleError as error:
        if all(seen.holds for seen in record.observations):
            return Outcome.BLOCKED, error.what, ""
        record.advise(f"the rest could not be looked at: {error.what}")
    except (Exception, _TimeUpError) as error:  # noqa: BLE001 - one verdict, not the end of a campaign
        return Outcome.ERROR, _broke(check, error), ""
    if not record.observations:
        return Outcome.ERROR, "the check is at fault: it has observed nothing", ""
    failed = [seen for seen in record.observations if not seen.holds]
    decided = failed[0] if failed else record.observations[-1]
    return (Outcome.FAIL if failed else Outcome.PASS), decided.told, decided.quote


def _broke(check: Check, error: BaseException) -> str:
    if isinstance(error, _TimeUpError):
        return f"took more than {check.limit_s:g} s and was given up"
    return str(error) if isinstance(error, NvbenchError) else f"the check is at fault: {_told(error)}"


def _told(error: BaseException) -> str:
    return str(error) if isinstance(error, NvbenchError) else f"{type(error).__name__}: {error}"


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Raise _TimeUpError after so many seconds, and again where what is then put back hangs, too."""
    armed = True

    def up(_number: int, _frame: FrameType | None) -> None:
        if armed:
            raise _TimeUpError

    found = signal.signal(signal.SIGALRM, up)
    signal.setitimer(signal.ITIMER_REAL, seconds, GRACE_S)
    try:
        try:
            yield
        finally:
            armed = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, found)
