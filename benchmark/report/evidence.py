"""Which trials a result comes from: the rows of a report, each with the anchor of its trials, and those trials' tables.

A page of ten thousand cases must stay one that a browser opens: of many trials some are shown, and the rest is told of.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from nvbench.metrics import NOTHING, metric, number
from nvbench.reading import Results
from nvbench.report.columns import LOSS, Column, Layout, Row, frame, goal, latency_points, load
from nvbench.report.document import Details, Listing, Paragraph, Part
from nvbench.report.identity import apart, is_stream
from nvbench.runs import Run

ALL = "trials"
"""Anchor of the chapter of trials; what is not shown leads there."""

MOST_TRIALS = 3000
"""Trials that a page shows."""

MOST_OF_ONE = 100
"""Trials that it shows of one result, and of those that carry none."""

_NO_HISTOGRAM = ("latency_histogram", "interval_lost_frames", "directions", "settings")


@dataclass(frozen=True)
class Measured:
    """What one run measured, as a page tells it.

    Attributes:
        results: The tables of this run alone.
        name: What a reader calls it.
        rows: Its results in order, each with `anchor` and, where there are several runs, `run`.
        impossible: What the bench cannot do, a line a reason.
        shown: Names of the trials that are shown: those of each anchor, in order.
        others: Likewise those of a case and test that carry no result.
        places: Trial -> the anchor of the table that has it.
        made: How many trials there are by case and test.
        invalid: How many of them do not count.
    """

    results: Results
    name: str
    rows: tuple[Row, ...]
    impossible: tuple[str, ...]
    shown: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    others: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    made: Mapping[tuple[str, str], int] = field(default_factory=dict)
    invalid: int = 0

    @property
    def run(self) -> Run:
        """The run."""
        return self.results.runs[0]

    @property
    def hidden(self) -> int:
        """How many trials are not shown."""
        shown = {name for names in (*self.shown.values(), *self.others.values()) for name in names}
        return sum(self.made.values()) - len(shown)


def name_of(run: Run) -> str:
    """What a reader calls a run: its label, or its name."""
    return run.label or run.run_id


def gathered(results: Results) -> tuple[Measured, ...]:
    """What each run measured, in the order in which they were given."""
    several = len(results.runs) > 1
    names = [name_of(run) for run in results.runs]
    found = []
    for place, run in enumerate(results.runs):
        name = run.run_id if names.count(names[place]) > 1 else names[place]
        found.append(_measured(Results((run,)), name, place + 1, MOST_TRIALS // len(names), several))
    return tuple(found)


def _measured(results: Results, name: str, place: int, most: int, several: bool) -> Measured:
    rows, impossible = apart(results.results().to_pylist())
    made: dict[tuple[str, str], list[str]] = defaultdict(list)
    invalid = 0
    for table, validity in (("trials", "validity"), ("streams", "valid")):
        for each in results.table(table, ["case_id", "test", "trial_id", validity]).to_pylist():
            made[each["case_id"], each["test"]].append(each["trial_id"])
            invalid += each[validity] not in (True, "valid")
    shown: dict[str, tuple[str, ...]] = {}
    carrying: dict[tuple[str, str], set[str]] = defaultdict(set)
    told = []
    for count, row in enumerate(rows):
        names = tuple(row["trial_ids"] or made[row["case_id"], row["test"]])
        carrying[row["case_id"], row["test"]] |= set(names)
        anchor = f"t{place}-{count + 1}"
        if names and most > 0:
            shown[anchor] = names[:MOST_OF_ONE]
            most -= len(shown[anchor])
        told.append({**finite(row), "anchor": anchor if anchor in shown else ALL, "run": name if several else ""})
    others: dict[tuple[str, str], tuple[str, ...]] = {}
    for group, names_made in made.items():
        left = [each for each in names_made if each not in carrying[group]][: min(MOST_OF_ONE, max(most, 0))]
        others[group] = tuple(left)
        most -= len(left)
    places = {name: _other(place, number) for number, left in enumerate(others.values()) for name in left}
    places |= {name: anchor for anchor, names in reversed(shown.items()) for name in names}
    counts = {group: len(names_made) for group, names_made in made.items()}
    return Measured(results, name, tuple(told), tuple(impossible), shown, others, places, counts, invalid)


def finite(row: Row) -> Row:
    """A row without what is no number, as files edited by hand may have it."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()
    }


def _other(place: int, number: int) -> str:
    """The anchor of the trials of a group that carry no result."""
    return f"o{place}-{number + 1}"


def trials_parts(measured: Measured) -> Iterator[Part]:
    """A table of the trials of each result that is shown, folded away by case and test."""
    stored = _stored(measured)
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in measured.rows:
        groups[row["case_id"], row["test"]].append(row)
    for group, rows in groups.items():
        shown = [row for row in rows if row["anchor"] in measured.shown]
        if parts := list(_tables(measured, group, shown, stored)):
            count = measured.made.get(group, 0)
            told = f"{group[1].replace('_', ' ')}, {group[0]}: {count:,} trial{'' if count == 1 else 's'}"
            yield Details(told, tuple(parts))
    if measured.hidden:
        yield Paragraph(
            f"{measured.hidden:,} of {sum(measured.made.values()):,} trials are not shown here; all of them: "
            f"`nvbench export {measured.run.run_id} --table trials --format csv`."
        )


def _tables(
    measured: Measured, group: tuple[str, str], rows: Sequence[Row], stored: Mapping[str, Row]
) -> Iterator[Part]:
    for row in rows:
        names = measured.shown[row["anchor"]]
        trials = [stored[name] for name in names if name in stored]
        missing = len(names) - len(trials)
        carriers = "the trial that carries it" if len(names) == 1 else f"the {len(names)} trials that carry it"
        caption = f"{_what(row)}: {carriers}" + (f"; {missing} not in the store" if missing else "")
        yield Listing(STREAMS if is_stream(row) else TRIALS, trials, caption, anchor=row["anchor"])
    rest = [stored[name] for name in measured.others.get(group, ()) if name in stored]
    if rest:
        layout = STREAMS if "tool" in rest[0] else TRIALS
        yield Listing(layout, rest, "Others: they led there, or do not count", measured.places[rest[0]["trial_id"]])


def _what(row: Row) -> str:
    """A result among those of its case and test."""
    said = [goal(row) or ("" if row["load_share"] is None else f"at {load(row)}")]
    said += [f"{frame(row)} B"] if row["frame_bytes"] else []
    told = ", ".join(text for text in said if text) or row["test"].replace("_", " ")
    return f"block {row['block']}, {told}" if row["block"] else told


def _stored(measured: Measured) -> dict[str, Row]:
    """The trials that are shown, by name."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import
    from pyarrow import dataset  # noqa: PLC0415

    from nvbench.schema import schema  # noqa: PLC0415

    names = sorted({name for told in (*measured.shown.values(), *measured.others.values()) for name in told})
    wanted = dataset.field("trial_id").isin(pa.array(names, pa.string()))
    found: dict[str, Row] = {}
    for table in ("trials", "streams"):
        columns = [name for name in schema(table).names if name not in _NO_HISTOGRAM and "offloads" not in name]
        found |= {each["trial_id"]: each for each in measured.results.table(table, columns, wanted).to_pylist()}
    return found


def _count(name: str) -> Column:
    return Column(name.capitalize(), lambda row: f"{row[f'{name}_frames']:,}")


def _validity(row: Row) -> str:
    reason = f": {row['reason']}" if row["reason"] else ""
    return f"{row['validity']}{reason}{', aborted' if row['aborted'] else ''}"


def _scaled(name: str, heading: str, column: str = "") -> Column:
    shown = metric(name)
    return Column(heading, lambda row: shown.text(row[column or shown.column]))


_TRIAL = Column("Trial", lambda row: str(row["trial_id"]), words=True)

TRIALS = Layout(
    [_TRIAL, Column("Purpose", lambda row: str(row["purpose"]), words=True)],
    [
        [
            Column("Started\nUTC", lambda row: f"{row['started_at']:%H:%M:%S}" if row["started_at"] else NOTHING),
            Column("Sent for\ns", lambda row: number(row["elapsed_s"])),
            Column("Load\nMpps", lambda row: number(row["intended_pps"] * 1e-6)),
            LOSS,
            *latency_points("p50", "p99", "max"),
        ],
        [*map(_count, ("sent", "received", "lost", "late", "refused"))],
    ],
    [Column("Validity", _validity, words=True)],
)
"""Columns of trials."""

STREAMS = Layout(
    [_TRIAL, Column("Tool", lambda row: str(row["tool"]), words=True)],
    [
        [
            Column("Repeat", lambda row: f"{row['repeat']}"),
            Column("Sent for\ns", lambda row: NOTHING if row["elapsed_s"] is None else number(row["elapsed_s"])),
            _scaled("goodput", "Goodput\nGbit/s"),
            _scaled("transactions", "Transactions\n1/s"),
            _scaled("packet_rate", "Packets\nkpps"),
            _scaled("packet_size", "Packet\nB"),
            Column("Retrans-\nmits", lambda row: NOTHING if row["retransmits"] is None else f"{row['retransmits']:,}"),
            _scaled("cores", "CPU\ncores"),
        ]
    ],
    [Column("Counts", lambda row: "yes" if row["valid"] else f"no: {row['reason']}", words=True)],
)
"""Columns of the runs of a tool between two endpoints."""
