"""What more queues bring and where packets of more flows find their action, as tables below the results."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.text import Text

from nvbench.metrics import NOTHING
from nvbench.report.columns import VERDICT, Column, Row, of, percent, said
from nvbench.report.identity import apart, identity_of, settings
from nvbench.report.text import table
from nvbench.tables import LimitedBy

if TYPE_CHECKING:
    from nvbench.reading import Results

Values = Mapping[tuple[str, str], float]
"""What a datapath told: by who tells it and what it is."""

_IDENTITY = (
    *("run_id", "goal_loss_ratio", "datapath", "generator", "topology", "guest"),
    *("mtu", "flows", "queues", "direction", "frame_bytes", "imix"),
)
_OF_QUEUES = ("rxq_affinity",)
"""Options that go with the number of queues."""

_PLACES = {
    "hardware": ("phwol_hits",),
    "simple": ("simple_match_hits",),
    "emc": ("emc_hits",),
    "smc": ("smc_hits",),
    "megaflow": ("megaflow_hits",),
    "upcall": ("miss_with_success_upcall", "miss_with_failed_upcall"),
}
"""Where a packet finds its action, and the counters of a PMD that tell so."""

_OF_KERNEL = {"megaflow": ("lookups_hit",), "upcall": ("lookups_missed",)}
"""The same of the kernel's datapath, which has no caches before its megaflows."""

_IDLE_PORT = 0.01
"""A port that takes in less than this share of the busiest one's frames is only told addresses."""

_RATE = of("throughput", "Rate\nMpps")


class Readings:
    """What datapaths told after the trials that carry some results.

    Args:
        results: Where trials and their samples are.
        rows: The results.
    """

    def __init__(self, results: Results, rows: Iterable[Row]) -> None:
        import pyarrow as pa  # noqa: PLC0415 - slow to import
        from pyarrow import dataset  # noqa: PLC0415

        self._before: dict[tuple[str, str], str] = {}
        self._made: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        last: dict[tuple[str, str], str] = {}
        for trial in results.trials(["run_id", "trial_id", "case_id", "test"]).to_pylist():
            run, name, case = trial["run_id"], trial["trial_id"], trial["case_id"]
            self._before[run, name] = last.get((run, case), "")
            self._made[run, case, trial["test"]].append(name)
            last[run, case] = name
        names = {name for row in rows for name in self.carriers(row)}
        names |= {self._before[run, name] for run, name in self._before if name in names}
        self._after: dict[tuple[str, str], dict[tuple[str, str], float]] = defaultdict(dict)
        needed = dataset.field("trial_id").isin(pa.array(sorted(names), pa.string()))
        samples = results.samples(filter=needed)
        for each in samples.to_pylist():
            self._after[each["run_id"], each["trial_id"]][each["source"], each["metric"]] = each["value"]

    def carriers(self, row: Row) -> Sequence[str]:
        """The trials that carry a result; all that were made for it where none does."""
        return row["trial_ids"] or self._made[row["run_id"], row["case_id"], row["test"]]

    def after(self, row: Row) -> Values:
        """What was told after the last of its trials."""
        carriers = self.carriers(row)
        return self._after.get((row["run_id"], carriers[-1]), {}) if carriers else {}

    def during(self, row: Row) -> Values:
        """By how much each counter rose in its trials, as far as a reading before each is known."""
        risen: dict[tuple[str, str], float] = defaultdict(float)
        for name in self.carriers(row):
            before = self._after.get((row["run_id"], self._before.get((row["run_id"], name), "")))
            after = self._after.get((row["run_id"], name), {})
            if before is None:
                continue
            anew = any(value < before.get(key, 0.0) for key, value in after.items() if _counts(key))
            for key, value in after.items():
                risen[key] += value - (0.0 if anew else before.get(key, 0.0))
        return risen


def _counts(key: tuple[str, str]) -> bool:
    return key[1] != "polling_core"


def _families(results: Results, varied: str, unlike: Sequence[str] = ()) -> list[list[Row]]:
    """Rates that differ in nothing but one column, and in it; options that are `unlike` may differ, too."""
    rows = [row for row in results.results().to_pylist() if row["test"] == "throughput"]
    found: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in apart(rows)[0]:
        own = [(name, value) for name, value in settings(row).items() if name not in unlike]
        found[*(row[name] for name in _IDENTITY if name != varied), *own].append(row)
    families = [sorted(rows, key=lambda row: row[varied]) for rows in found.values()]
    return [rows for rows in families if len({row[varied] for row in rows}) > 1]


# -- queues --------------------------------------------------------------------------------------------------------


def by_queues(results: Results) -> Group | None:
    """What more queues bring against the fewest, and which core polls which; None where queues were not varied."""
    families = _families(results, "queues", _OF_QUEUES)
    if not families:
        return None
    readings = Readings(results, (row for family in families for row in family))
    return Group(*_of_queues([[_polled(row, readings) for row in family] for family in families]))


def _polled(row: Row, readings: Readings) -> Row:
    placed: dict[tuple[str, int], int] = {}
    for (source, metric), core in readings.after(row).items():
        if metric == "polling_core" and (found := re.fullmatch(r"port (\S+) queue (\d+)", source)):
            placed[found[1], int(found[2])] = int(core)
    taken = {port: readings.during(row).get((f"port {port}", "rx_packets"), 0.0) for port, _ in placed}
    least = _IDLE_PORT * max(taken.values(), default=0.0)
    cores = {core for (port, _), core in placed.items() if taken[port] >= least}
    return {**row, "placed": placed, "polling_cores": len(cores)}


def _of_queues(families: Sequence[Sequence[Row]]) -> Iterator[RenderableType]:
    rows = [_scaled(row, family[0]) for family in families for row in family]
    identity, shared = identity_of(rows)
    yield Text()
    yield Text(f"queues: what they bring, {shared}", style="bold")
    yield Text()
    columns = [*identity, _RATE, _SPEED_UP, _EFFICIENCY, _POLLING_CORES]
    yield table([*said(columns, rows), VERDICT], rows)
    yield Text()
    placements = [f"{_named(row)}: {_placement(row['placed'])}" for row in rows if row["placed"]]
    yield from map(Text, dict.fromkeys(placements))
    doubts = [_doubt(row, family[0]) for family in families for row in family[1:]]
    yield from (Text(f"warning: {doubt}", style="yellow") for doubt in dict.fromkeys(doubts) if doubt)


def _scaled(row: Row, base: Row) -> Row:
    """A result with its speed-up: none is known against a rate at which something else was at its limit."""
    known = row["rate_pps"] and base["rate_pps"] and (row is base or base["limited_by"] not in _ELSEWHERE)
    speed_up = row["rate_pps"] / base["rate_pps"] if known else None
    efficiency = speed_up and speed_up * base["queues"] / row["queues"]
    least = ">= " if row is not base and row["limited_by"] in _ELSEWHERE else ""
    return {**row, "speed_up": speed_up, "efficiency": efficiency, "least": least}


_ELSEWHERE = (LimitedBy.GENERATOR, LimitedBy.LINE_RATE)
"""What keeps a rate from telling what the device could do."""

_SPEED_UP = Column("Speed-\nup", lambda row: f"{row['least']}{row['speed_up']:.2f}" if row["speed_up"] else NOTHING)
_EFFICIENCY = Column(
    "Efficiency", lambda row: f"{row['least']}{row['efficiency'] * 100:.0f} %" if row["efficiency"] else NOTHING
)
_POLLING_CORES = Column("Polling\ncores", lambda row: str(row["polling_cores"] or NOTHING), optional=True)


def _named(row: Row) -> str:
    return f"{row['datapath']}, {_count(row['queues'], 'queue')}"


def _placement(placed: Mapping[tuple[str, int], int]) -> str:
    cores: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (port, queue), core in sorted(placed.items()):
        cores[core][port].append(str(queue))
    queues = {
        core: " and ".join(f"{port} queue {', '.join(own)}" for port, own in ports.items())
        for core, ports in sorted(cores.items())
    }
    return "; ".join(f"core {core} polls {polled}" for core, polled in queues.items())


def _doubt(row: Row, base: Row) -> str:
    """Why the efficiency tells nothing of cores, where there were not more of them as there were more queues."""
    queues, cores = row["queues"], row["polling_cores"]
    if not cores or not base["polling_cores"] or cores * base["queues"] >= queues * base["polling_cores"]:
        return ""
    less = f"{_count(base['queues'], 'queue')} on {base['polling_cores']}"
    on = _count(cores, "polling core")
    return f"{row['datapath']}: {_count(queues, 'queue')} on {on}, {less}: efficiency says nothing about cores"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


# -- flows ---------------------------------------------------------------------------------------------------------


def by_flows(results: Results) -> Group | None:
    """Where packets found their action, by the number of flows; None where that was not varied, or nothing told it."""
    families = _families(results, "flows")
    readings = Readings(results, (row for family in families for row in family)) if families else None
    rows = [{**row, **_found(readings.during(row))} for family in families for row in family] if readings else []
    return Group(*_of_flows(rows)) if any(row["megaflow"] is not None for row in rows) else None


def _found(values: Values) -> Mapping[str, float | None]:
    """The shares of the places where packets found their action, and how many lookups were lost."""
    total: dict[str, float] = defaultdict(float)
    for (_, metric), value in values.items():
        total[metric] += value
    places = _PLACES if "megaflow_hits" in total else _OF_KERNEL
    found = {place: sum(total[metric] for metric in metrics) for place, metrics in places.items()}
    lookups = sum(found.values())
    shares = {place: found[place] / lookups if lookups and place in found else None for place in _PLACES}
    return {**shares, "lookups_lost": total["lookups_lost"] if lookups else None}


def _of_flows(rows: Sequence[Row]) -> Iterator[RenderableType]:
    identity, shared = identity_of(rows)
    yield Text()
    yield Text(f"flows: where packets found their action, {shared}", style="bold")
    yield Text()
    yield table(said([*identity, _RATE, *_SHARES, _LOST], rows), rows)
    if any(row["simple"] for row in rows):
        yield Text()
        yield Text("simple match: flows that depend on the port alone need no cache; flow_set normal goes through them")


def _share(place: str, heading: str, *, always: bool = False) -> Column:
    return Column(heading, lambda row: percent(row[place] if always else row[place] or None), optional=True)


_SHARES = [
    _share("hardware", "Hardware"),
    _share("simple", "Simple\nmatch"),
    _share("emc", "EMC", always=True),
    _share("smc", "SMC", always=True),
    _share("megaflow", "Megaflow", always=True),
    _share("upcall", "Upcall", always=True),
]
_LOST = Column(
    "Lookups\nlost", lambda row: NOTHING if row["lookups_lost"] is None else f"{row['lookups_lost']:.0f}", optional=True
)
