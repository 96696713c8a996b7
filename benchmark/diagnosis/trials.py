"""Which trial of a case tells most about it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nvbench.errors import UsageError
from nvbench.trial import Validity

if TYPE_CHECKING:
    from nvbench.reading import Results

Row = Mapping[str, Any]

ASIDE = ("ceiling", "reset", "learning")
"""Tests whose trials lose frames for reasons of their own: no switch, a restart, addresses not yet learned."""

VALID = Validity.VALID.name.lower()
TRIALS_READ_EXCEPT = ("latency_histogram", "interval_lost_frames")


@dataclass(frozen=True)
class CaseTrials:
    """A case of a run with what was measured of it.

    Attributes:
        run_id: The run.
        case_id: The case.
        trials: Its trials, in the order in which they were made.
        answers: Its results.
        streams: Its runs of tools between two endpoints.
        simulated: Whether nothing real was measured.
    """

    run_id: str
    case_id: str
    trials: tuple[Row, ...]
    answers: tuple[Row, ...]
    streams: tuple[Row, ...]
    simulated: bool

    @property
    def rate_pps(self) -> float | None:
        """The highest rate that was an answer; None where nothing was searched for, or nothing found."""
        rates = [row["rate_pps"] for row in self.answers if row["test"] == "throughput" and row["rate_pps"]]
        return max(filter(math.isfinite, rates), default=None)

    def most_telling(self) -> tuple[Row, str]:
        """The trial that tells most, and why it is that one.

        Of the trials that lost frames it is the one with the least load above the answer: what fails first. Trials
        that do not count stand in only where no other lost anything, and where none did it is the answer's own.
        """
        own = [row for row in self.trials if row["test"] not in ASIDE] or list(self.trials)
        lossy = [row for row in own if sound(row) and lost(row) > 0]
        valid = [row for row in lossy if row["validity"] == VALID]
        for pool, word in ((valid, ""), (lossy, ", though it does not count")):
            least = self.rate_pps or 0.0
            above = [row for row in pool if row["intended_pps"] > least] if least else []
            if above:
                return _first(above), f"the least load above the answer that lost frames{word}"
            if pool and not least:
                return _first(pool), f"the least load that lost frames{word}"
        return self._own_trial(own)

    def _own_trial(self, own: Sequence[Row]) -> tuple[Row, str]:
        carriers = {trial_id for row in self.answers for trial_id in row["trial_ids"] or ()}
        carried = [row for row in own if row["trial_id"] in carriers]
        if carried:
            return carried[-1], "the answer's own trial: none above it lost frames"
        return own[-1], "the last trial: none lost frames"

    def trial(self, trial_id: str) -> tuple[Row, str]:
        """The trial of that name.

        Raises:
            UsageError: This case has none.
        """
        for row in (*self.trials, *self.streams):
            if row["trial_id"] == trial_id:
                return row, "asked for"
        known = [row["trial_id"] for row in (*self.trials, *self.streams)]
        raise UsageError(
            f"case {self.case_id} has no trial {trial_id}",
            place=self.run_id,
            remedy=f"it has {known[0]} to {known[-1]}; `nvbench show --trials` lists them",
        )


COUNTED = ("asked_frames", "sent_frames", "late_frames", "refused_frames", "received_frames", "lost_frames")
TOLD = (*COUNTED, "intended_pps", "elapsed_s")


def sound(row: Row) -> bool:
    """Whether a trial of frames has all its numbers: files may have been edited."""
    return all(row[name] is not None and math.isfinite(row[name]) and row[name] >= 0 for name in TOLD)


def lost(row: Row) -> int:
    """Frames of a sound trial that the device took and did not forward, and those that it did not take."""
    return int(row["lost_frames"] + row["refused_frames"])


def _first(rows: Sequence[Row]) -> Row:
    """The least load; of several trials with it the one that lost most."""
    return min(rows, key=lambda row: (row["intended_pps"], -lost(row)))


def cases(results: Results, case_id: str | None = None) -> Iterator[CaseTrials]:
    """The cases of all runs in `results`, in the order in which they were measured, or the one of that name.

    Raises:
        UsageError: There is no such case, or nothing was measured.
    """
    from pyarrow.dataset import field  # noqa: PLC0415 - heavy

    wanted = None if case_id is None else field("case_id") == case_id
    tables = {
        name: results.table(name, _columns(name), wanted).to_pylist() for name in ("trials", "results", "streams")
    }
    found = False
    for run in results.runs:
        own = {name: [row for row in rows if row["run_id"] == run.run_id] for name, rows in tables.items()}
        made = (*own["trials"], *own["streams"])
        grouped = {name: _by_case(rows) for name, rows in own.items()}
        for name in dict.fromkeys(row["case_id"] for row in made if row["test"] != "ceiling"):
            found = True
            trials, answers, streams = (
                tuple(grouped[table].get(name, ())) for table in ("trials", "results", "streams")
            )
            yield CaseTrials(run.run_id, name, trials, answers, streams, run.simulated)
    if not found:
        raise _nothing(results, case_id)


def _columns(table: str) -> list[str] | None:
    from nvbench.schema import schema  # noqa: PLC0415 - heavy

    return [name for name in schema(table).names if name not in TRIALS_READ_EXCEPT] if table == "trials" else None


def _by_case(rows: Sequence[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in rows:
        grouped.setdefault(row["case_id"], []).append(row)
    return grouped


def _nothing(results: Results, case_id: str | None) -> UsageError:
    place = ", ".join(run.run_id for run in results.runs)
    known = results.trials(["case_id", "test"]).to_pylist() + results.table("streams", ["case_id", "test"]).to_pylist()
    names = list(dict.fromkeys(row["case_id"] for row in known if row["test"] != "ceiling"))
    if case_id is None or not names:
        return UsageError("no trials to explain: nothing was measured in this run", place=place)
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return UsageError(f"no case is called {case_id!r}", place=place, remedy=f"there are {shown}")
