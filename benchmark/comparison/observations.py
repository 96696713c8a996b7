"""From the tables of runs to observations: what was measured of each case, how often, and between which bounds."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nvbench.comparison.base import Observation
from nvbench.comparison.identity import CORE, Identity, identity
from nvbench.errors import StoreError
from nvbench.metrics import Metric, metric

if TYPE_CHECKING:
    import pyarrow as pa

    from nvbench.reading import Results

Row = Mapping[str, Any]

JUDGED: Mapping[str, tuple[str, ...]] = {
    "throughput": ("throughput",),
    "latency": ("latency_p50", "latency_p99"),
    "frame_loss": ("loss",),
    "back_to_back": ("burst",),
    "recovery": ("recovery_time",),
    "reset": ("outage",),
    "mrr": ("throughput",),
    "soak": ("loss",),
    "learning": ("addresses", "learning_rate"),
    **dict.fromkeys(("tcp_stream", "tcp_maerts", "tcp_bidir", "udp_stream"), ("goodput",)),
    **dict.fromkeys(("tcp_rr", "tcp_crr", "udp_rr"), ("transactions",)),
}
"""Test -> the metrics that it is judged by, if nothing else is asked for."""

AT_LEAST = "at least this"
"""How the verdict on a result begins that would have been greater with more to offer."""

_TRIALLED = ("mrr", "latency")
"""Tests each of whose repeats is a trial."""

_RATES = ("throughput", "rate_l1", "rate_l2")
_NEEDED = ["run_id", "block", "case_id", "trial_ids", "settings", "load_share", "goal_loss_ratio", "rate_pps"]
_NEEDED += ["lower_pps", "upper_pps", "loss_ratio", "repeats", "verdict", "emulated", "limited_by"]
_TOLD = [*(name for name in CORE if name not in ("vary", "vlan", "pcap", "load", "goal"))]
_TOLD += ["case_id", "load_share", "goal_loss_ratio"]
_NEEDED = list(dict.fromkeys([*_NEEDED, *_TOLD]))


@dataclass(slots=True)
class Case:
    """What one side measured of a case.

    Attributes:
        identity: What it measures.
        rows: Its results.
    """

    identity: Identity
    rows: list[Row] = field(default_factory=list)

    @property
    def case_id(self) -> str:
        """Its name in the newest run."""
        return str(self.rows[-1]["case_id"])

    @property
    def test(self) -> str:
        """Its test."""
        return str(self.rows[-1]["test"])

    def unmeasured(self, of: Metric) -> list[str]:
        """What the results say of themselves that have no value of a metric: `broke: ...`, too disturbed, and so on."""
        return [str(row["verdict"]) for row in self.rows if row[of.column] is None]

    @property
    def repeated(self) -> bool:
        """Whether its one result is made of several measurements."""
        return len(self.rows) == 1 and (self.rows[0]["repeats"] or 0) > 1


class Side:
    """The cases of one side of a comparison, and their observations.

    Attributes:
        results: Its runs.
        cases: By their identity.
        left_out: Values that are no numbers, or less than 0: how many, by the case's name and the metric's.
    """

    def __init__(self, results: Results, asked: tuple[Metric, ...] = ()) -> None:
        self.results = results
        self.left_out: dict[tuple[str, str], int] = defaultdict(int)
        self._asked = asked
        self._repeats: dict[str, Mapping[tuple[object, ...], list[Row]]] = {}
        self.cases: dict[Identity, Case] = {}
        known: dict[tuple[object, ...], Case] = {}  # the same in many runs: worked out once
        for row, settings in self._rows():
            place = (*map(row.__getitem__, _TOLD), id(settings))
            if place not in known:
                own = identity(row, settings)
                known[place] = self.cases.setdefault(own, Case(own))
            known[place].rows.append(row)

    def metrics(self, case: Case) -> tuple[Metric, ...]:
        """What a case is judged by."""
        return self._asked or tuple(map(metric, JUDGED.get(case.test, ())))

    def observations(self, case: Case, of: Metric, *, repeats: bool) -> tuple[Observation, ...]:
        """What was measured of a case: each result, or with `repeats` each measurement that its one result is of."""
        if repeats:
            return tuple(self._kept(case, of, self._repeated(case, of)))
        found = (
            Observation(row[of.column], row["run_id"], row["block"], *_bounds(row, of), tuple(row["trial_ids"] or ()))
            for row in case.rows
            if row[of.column] is not None
        )
        return tuple(self._kept(case, of, found))

    def _kept(self, case: Case, of: Metric, found: Iterable[Observation]) -> Iterator[Observation]:
        for each in found:
            ends = [end for end in (each.value, each.lower, each.upper) if end is not None]
            if all(math.isfinite(end) and end >= 0 for end in ends):
                yield each
            else:
                self.left_out[case.case_id, of.name] += 1

    def _repeated(self, case: Case, of: Metric) -> Iterator[Observation]:
        [row] = case.rows
        if case.test in _TRIALLED:
            for trial_id in row["trial_ids"] or ():
                for trial in self._of("trials").get((row["run_id"], trial_id), ()):
                    lossless = case.test == "mrr" and of.name == "throughput" and not trial["loss_ratio"]
                    value = _rate(trial) if of.name == "throughput" else trial.get(of.column)
                    if value is not None:
                        yield Observation(value, row["run_id"], 0, value if lossless else None, None, (trial_id,))
            return
        for stream in self._of("streams").get((row["run_id"], case.case_id, case.test, row["block"]), ()):
            value = _flowed(stream) if of.name == "goodput" else stream.get(of.column)
            if value is not None:
                yield Observation(value, row["run_id"], 0, trial_ids=(stream["trial_id"],))

    def repeatable(self, case: Case, of: Metric) -> bool:
        """Whether the measurements of its one result can be had one by one."""
        if not case.repeated:
            return False
        if case.test in _TRIALLED:
            return of.name == "throughput" or of.column in _TRIAL_COLUMNS
        return JUDGED.get(case.test, ("",))[0] in ("goodput", "transactions") and of.column in _STREAM_COLUMNS

    # -- tables ----------------------------------------------------------------------------------------------------

    def _rows(self) -> Iterator[tuple[Row, Identity]]:
        columns = dict.fromkeys([*_NEEDED, *(each.column for each in self._asked)])
        if not self._asked:
            columns |= dict.fromkeys(metric(name).column for names in JUDGED.values() for name in names)
        table = read(self.results, "results", list(columns))
        settings = _settings(table)
        yield from zip(table.drop_columns("settings").to_pylist(), settings, strict=True)

    def _of(self, name: str) -> Mapping[tuple[object, ...], list[Row]]:
        """The rows of `trials` or of `streams`, by what a result knows of them; read once."""
        from pyarrow import dataset  # noqa: PLC0415

        if name not in self._repeats:
            keys = ["run_id", "trial_id"] if name == "trials" else ["run_id", "case_id", "test", "block"]
            own = _TRIAL_COLUMNS if name == "trials" else _STREAM_COLUMNS
            found: dict[tuple[object, ...], list[Row]] = defaultdict(list)
            only = dataset.field("test").isin(_TRIALLED) if name == "trials" else None
            for row in read(self.results, name, list(dict.fromkeys([*keys, *own])), only).to_pylist():
                if row.get("valid", True):
                    found[tuple(row[key] for key in keys)].append(row)
            self._repeats[name] = found
        return self._repeats[name]


_LATENCY = ["latency_min_us", "latency_p50_us", "latency_p90_us", "latency_p99_us", "latency_p99_9_us"]
_LATENCY += ["latency_max_us"]
_TRIAL_COLUMNS = [*_LATENCY, "pdv_us", "ipdv_mean_us", "ipdv_max_us", "loss_ratio", "received_frames", "elapsed_s"]
_TRIAL_COLUMNS += ["directions"]
_STREAM_COLUMNS = [*_LATENCY, "trial_id", "valid", "goodput_bps", "reverse_bps", "packets_pps", "packet_bytes"]
_STREAM_COLUMNS += ["transactions_per_s", "retransmits", "cores"]


def _bounds(row: Row, of: Metric) -> tuple[float | None, float | None]:
    """Between which loads a rate lies that was searched for; a value that could have been greater has no upper one."""
    value = row[of.column]
    if row["test"] == "throughput" and of.name in _RATES:
        scale = value / row["rate_pps"] if row["rate_pps"] else 1.0
        upper = row["upper_pps"]
        return value, None if upper is None else max(value, upper * scale)
    if row["test"] == "learning" and of.name == "learning_rate":
        return value, row["upper_pps"]
    lossless = row["test"] == "mrr" and of.name in _RATES and not row["loss_ratio"]
    at_least = row["verdict"].startswith(AT_LEAST) and of.name in ("burst", "addresses")
    return (value if lossless or at_least else None), None


def _rate(trial: Row) -> float | None:
    """Measured forwarding rate (RFC 2285 section 3.6.1), in frames per second and direction."""
    count = len(trial["directions"] or ())
    return trial["received_frames"] / trial["elapsed_s"] / count if trial["elapsed_s"] and count else None


def _flowed(stream: Row) -> float | None:
    """Payload in both directions."""
    goodput = stream["goodput_bps"]
    return None if goodput is None else float(goodput + (stream["reverse_bps"] or 0.0))


def _settings(table: pa.Table) -> list[Identity]:
    """The settings of each row; those that many rows share are one and the same."""
    import pyarrow.compute as pc  # noqa: PLC0415

    known: dict[Identity, Identity] = {}
    found = []
    for chunk in table["settings"].chunks:
        flat = pc.list_flatten(chunk)
        pairs = list(zip(flat.field("name").to_pylist(), flat.field("value").to_pylist(), strict=True))
        place = 0
        for length in pc.list_value_length(chunk).to_pylist():
            own = tuple(pairs[place : place + (length or 0)])
            if own not in known:
                known[own] = tuple(sorted(own, key=lambda pair: ("." in pair[0], pair)))  # endpoints' after the others
            found.append(known[own])  # one and the same object for all that are alike
            place += length or 0
    return found


def read(results: Results, name: str, columns: list[str], only: Any = None) -> pa.Table:
    """Columns of a table, of the rows for which the expression `only` holds.

    Raises:
        StoreError: It cannot be read, or holds something else than it should.
    """
    import pyarrow as pa  # noqa: PLC0415

    try:
        return results.table(name, columns, only)
    except (pa.ArrowException, ValueError, TypeError) as error:
        what = f"table {name} cannot be read: {str(error).splitlines()[0]}"
        raise StoreError(what, place=str(results.runs[0].path), remedy="was it edited by hand?") from error
