"""A campaign of functional checks as it is kept: a verdict a case, and the evidence for it.

The folder of a campaign::

    results/20250131T120000Z-check-local/
        campaign.json               testbed, fingerprint, a verdict a case; whole again after each case
        evidence/5.4.6.1/           commands.txt, captures, counters of a case
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from nvbench import __version__
from nvbench.errors import NotReadyError, StoreError, UsageError
from nvbench.parts import durable_file

CAMPAIGN_FILE = "campaign.json"
EVIDENCE = "evidence"
LATEST = "latest-check"
"""The word for the campaign that began last, as `latest` is for the run."""

VERSION = 1


class Outcome(StrEnum):
    """What came of a case."""

    PASS = "PASS"  # noqa: S105 - no password
    FAIL = "FAIL"
    BLOCKED = "BLOCKED"
    """The bench lacks what it needs."""

    ERROR = "ERROR"
    """The check itself broke; nothing is known of the bench."""


@dataclass(frozen=True, slots=True)
class Observation:
    """Something that a check saw.

    Attributes:
        holds: Whether it is as it should be.
        told: What was expected and what was seen, in a sentence.
        quote: The line of a tool's output, or the counter, that shows it.
        file: The file of the evidence in which more of it stands; empty where there is none.
    """

    holds: bool
    told: str
    quote: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table that a check draws: pings between all pairs, queues and their shares.

    Attributes:
        title: What it shows.
        columns: Headings; the first is that of the rows' own names.
        rows: Cells, as text.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of a case.

    Attributes:
        case: Its number in the test plan, such as 5.4.6.1; where that has none `mtu@linux_bridge`.
        check: The check's name: `mtu`.
        title: What is tested.
        path: Where: the kind of a datapath, or `bench`.
        outcome: What came of it.
        told: Why, in a sentence.
        quote: The line that decided it.
        seconds: How long it took.
        observations: All that was seen, in order.
        grids: Tables of what was seen.
        advice: What to do about it.
        files: The files of its evidence, in the order in which they were begun, below `evidence/CASE`.
        expected: What the testbed expects of it; None where it says nothing, which is that it does not fail.
    """

    case: str
    check: str
    title: str
    path: str
    outcome: Outcome
    told: str
    quote: str = ""
    seconds: float = 0.0
    observations: tuple[Observation, ...] = ()
    grids: tuple[Grid, ...] = ()
    advice: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    expected: Outcome | None = None

    @property
    def key(self) -> str:
        """What it is matched by, and expected under beside its number: `mtu@ovs_dpdk`."""
        return f"{self.check}@{self.path}"

    @property
    def surprising(self) -> bool:
        """Whether it is otherwise than expected; where nothing is expected, whether it failed or broke."""
        if self.expected is not None:
            return self.outcome is not self.expected
        return self.outcome in (Outcome.FAIL, Outcome.ERROR)


@dataclass(frozen=True)
class Campaign:
    """A campaign that was read, or is under way.

    Attributes:
        path: Its folder.
        testbed: The testbed's name.
        started_at: When it began.
        duration_s: How long it took, so far.
        finished: Whether it came to its end.
        fingerprint: What each host was.
        paths: The kinds of datapaths that were looked at, in order; `bench` first where it was.
        verdicts: In the order in which they came.
        bench: The table of the set-up: what, and what was found, host by host.
        nvbench: Version of the program.
    """

    path: Path
    testbed: str
    started_at: datetime
    duration_s: float = 0.0
    finished: bool = False
    fingerprint: Mapping[str, Any] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    bench: tuple[Grid, ...] = ()
    nvbench: str = __version__

    @property
    def name(self) -> str:
        """Its folder's name."""
        return self.path.name

    @property
    def surprises(self) -> tuple[Verdict, ...]:
        """The verdicts that are otherwise than expected."""
        return tuple(verdict for verdict in self.verdicts if verdict.surprising)

    @property
    def state(self) -> str:
        """Whether it came to its end, in a word."""
        return "finished" if self.finished else "unfinished"

    def count(self, outcome: Outcome) -> int:
        """How many cases came out like that."""
        return sum(verdict.outcome is outcome for verdict in self.verdicts)

    def evidence(self, verdict: Verdict) -> Path:
        """The folder of a case's evidence."""
        return self.path / EVIDENCE / verdict.case

    @classmethod
    def begin(
        cls,
        root: Path,
        testbed: str,
        fingerprint: Mapping[str, Any],
        paths: tuple[str, ...],
        bench: tuple[Grid, ...] = (),
    ) -> Campaign:
        """Start one in a new folder below `root`.

        Raises:
            NotReadyError: Nothing can be written there.
        """
        now = datetime.now(UTC)
        stem, number = f"{now:%Y%m%dT%H%M%SZ}-check-{testbed}", 1
        try:
            while True:
                path = root / (stem if number == 1 else f"{stem}-{number}")
                try:
                    path.mkdir(parents=True)
                    break
                except FileExistsError:
                    number += 1
        except OSError as error:
            raise NotReadyError(f"results cannot be written: {error.strerror}", place=str(root)) from error
        made = cls(path, testbed, now, fingerprint=fingerprint, paths=paths, bench=bench)
        made.save()
        return made

    def save(self) -> None:
        """Write it down, whole.

        Raises:
            StoreError: It cannot be written.
        """
        plain = {key: value for key, value in asdict(self).items() if key != "path"}
        record = {"version": VERSION, **plain, "started_at": self.started_at.isoformat()}
        with durable_file(self.path / CAMPAIGN_FILE) as file:
            file.write(json.dumps(record, indent=1, default=str).encode())

    @classmethod
    def read(cls, path: Path) -> Campaign:
        """The campaign in a folder.

        Raises:
            StoreError: It cannot be read.
        """
        place = path / CAMPAIGN_FILE
        try:
            record = json.loads(place.read_text())
            if record.pop("version") != VERSION:
                raise StoreError("was written by another version of nvbench", place=str(place))
            record["started_at"] = datetime.fromisoformat(record["started_at"])
            record["verdicts"] = tuple(_verdict(each) for each in record["verdicts"])
            record["bench"] = tuple(_grid(each) for each in record["bench"])
            record["paths"] = tuple(record["paths"])
            return cls(path, **record)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise StoreError(f"is no campaign: {error}", place=str(place)) from error


def is_campaign(path: Path) -> bool:
    """Whether a folder holds one."""
    try:
        return (path / CAMPAIGN_FILE).is_file()
    except OSError:  # too long for a name
        return False


def find_campaigns(root: Path) -> tuple[Path, ...]:
    """The folders of the campaigns below `root`, the oldest first."""
    try:
        return tuple(sorted(Path(each.path) for each in os.scandir(root) if is_campaign(Path(each.path))))
    except OSError:
        return ()


def resolve_campaign(root: Path, spec: str) -> Path:
    """The folder of a campaign by a path, a name or the start of one, `latest-check` or `latest-check~1`.

    Raises:
        UsageError: There is none, or several.
    """
    for path in (root / spec, Path(spec)):
        if spec and is_campaign(path):
            return path
    found = find_campaigns(root)
    word, _, back = spec.partition("~")
    if word == LATEST and (not back or back.isdecimal()):
        if len(found) > int(back or 0):
            return found[-1 - int(back or 0)]
        remedy = "" if found else "`nvbench check` makes one"
        raise UsageError(f"of {len(found)} campaigns {spec} is none", place=str(root), remedy=remedy)
    named = [path for path in found if spec and path.name.startswith(spec)]
    if len(named) == 1:
        return named[0]
    what = f"{len(named)} campaigns begin with {spec!r}" if named else f"no campaign is called {spec!r}"
    shown = ", ".join(path.name for path in (named or found)[-3:]) or "none"
    raise UsageError(what, place=str(root), remedy=f"there are {shown}")


def _verdict(record: dict[str, Any]) -> Verdict:
    record["outcome"] = Outcome(record["outcome"])
    record["expected"] = record["expected"] and Outcome(record["expected"])
    record["observations"] = tuple(Observation(**each) for each in record["observations"])
    record["grids"] = tuple(_grid(each) for each in record["grids"])
    return Verdict(**{**record, "advice": tuple(record["advice"]), "files": tuple(record["files"])})


def _grid(record: dict[str, Any]) -> Grid:
    return Grid(record["title"], tuple(record["columns"]), tuple(tuple(row) for row in record["rows"]))
