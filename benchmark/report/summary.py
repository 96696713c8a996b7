"""What a run found, in sentences and in a few numbers: nothing that its results do not say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from nvbench.metrics import metric, number
from nvbench.report.columns import EMULATED, OWN_METRIC, Row, frame, percent
from nvbench.report.curves import MOST_ROWS, anchor, lines, offered_percent
from nvbench.report.document import Card, Cards, Notice, Part, Points, Tone
from nvbench.report.evidence import Measured
from nvbench.report.identity import is_stream
from nvbench.report.rfc2544 import undersent
from nvbench.store import RunState
from nvbench.tables import LimitedBy
from nvbench.units import duration, scaled

MOST_LINES = 6
"""Set-ups that are told of one by one."""

_LIMITED = {
    LimitedBy.SUT: "the device is the limit",
    LimitedBy.GENERATOR: "the generator is the limit, the device may do more",
    LimitedBy.LINE_RATE: "the link is the limit",
    LimitedBy.UNKNOWN: "a lower bound, since higher loads could not be judged",
}


def findings(measured: Measured) -> list[Part]:
    """The few numbers that matter, and the verdicts in sentences."""
    cards = tuple(_cards(measured.rows))
    told = tuple(sentences(measured))
    points = Points(told) if told else Notice("No results: nothing can be said.", Tone.WARN)
    return [Cards(cards), points] if cards else [points]


def notices(runs: Sequence[Measured]) -> Iterator[Notice]:
    """What a reader must know before reading any number; of which run, where not all are meant."""
    told: dict[Notice, list[str]] = {}
    for each in runs:
        for notice in _doubts(each):
            told.setdefault(notice, []).append(each.name)
    for notice, names in told.items():
        yield notice if len(names) == len(runs) else replace(notice, text=f"{', '.join(names)}: {notice.text}")


def _doubts(measured: Measured) -> Iterator[Notice]:
    run = measured.run
    if run.state != RunState.FINISHED:
        told = "still going on" if run.state == RunState.RUNNING else run.state
        yield Notice(f"This run is {told}: the report holds what was measured until then.", Tone.WARN)
    if run.simulated:
        yield Notice("Simulated: no device was measured.", Tone.WARN)
    if any(row["emulated"] for row in measured.rows):
        yield Notice(f"{EMULATED.capitalize()}.", Tone.WARN)
    if run.quick:
        yield Notice("Quick: trials were shortened; these are not the durations of RFC 2544.")


def known(value: float | None) -> bool:
    """Whether a value is there and is a number."""
    return value is not None and math.isfinite(value)


def words(test: str) -> str:
    """A test as a sentence begins with it: `Frame loss`, `TCP stream`."""
    first, _, rest = test.replace("_", " ").partition(" ")
    return f"{first.upper() if first in ('tcp', 'udp', 'mrr') else first.capitalize()} {rest}".strip()


def found_rates(rows: Sequence[Row]) -> list[Row]:
    """Rates that a search for no loss found, other than none at all."""
    own = [row for row in rows if row["test"] == "throughput" and known(row["rate_pps"]) and row["rate_pps"]]
    return [row for row in own if not row["goal_loss_ratio"]] or own


# -- numbers -------------------------------------------------------------------------------------------------------


def _cards(rows: Sequence[Row]) -> Iterator[Card]:
    found = found_rates(rows)
    several = len({row["datapath"] for row in rows}) > 1
    if found:
        least = min(found, key=lambda row: (row["frame_bytes"], -row["rate_pps"]))
        most = max(found, key=lambda row: row["rate_bps_l1"] or 0.0)
        share = (
            f"{percent(least['rate_pps'] / least['line_rate_pps'])} of the line rate" if least["line_rate_pps"] else ""
        )
        yield _card(
            least, scaled(least["rate_pps"], "pps"), f"{frame(least)}-byte frames{_loss_of(least)}", share, several
        )
        note = f"on the wire, with {frame(most)}-byte frames"
        yield _card(most, scaled(most["rate_bps_l1"], "bit/s"), "highest bit rate", note, several)
    latencies = [row for row in rows if row["test"] == "latency" and known(row["latency_p99_us"]) and row["load_share"]]
    if latencies:
        middle = min(latencies, key=lambda row: (abs(row["load_share"] - 0.5), row["frame_bytes"]))
        note = f"{frame(middle)} B at {percent(middle['load_share'])} of the throughput, one way"
        yield _card(middle, f"{number(middle['latency_p99_us'])} us", "99th percentile of latency", note, several)
    worst = max(
        (row for row in rows if row["test"] == "frame_loss" and known(row["loss_ratio"])), key=_loss, default=None
    )
    if worst:
        note = f"{frame(worst)} B, offered {percent(offered_percent(worst) / 100)} of the line rate"
        yield _card(worst, percent(worst["loss_ratio"]), "greatest loss", note, several)
    outage = max((row for row in rows if known(row["outage_s"])), key=lambda row: float(row["outage_s"]), default=None)
    if outage:
        yield _card(outage, f"{number(outage['outage_s'], 3)} s", "without forwarding at a restart", "", several)
    for test in dict.fromkeys(row["test"] for row in rows if is_stream(row) and known(row["value_median"])):
        best = max((row for row in rows if row["test"] == test and known(row["value_median"])), key=_median)
        own = metric(OWN_METRIC[test])
        value = f"{own.text(best['value_median'])} {own.shown_unit}"
        yield _card(best, value, f"best {words(test)}", best["datapath"], several=False)


def _loss(row: Row) -> float:
    return float(row["loss_ratio"])


def _median(row: Row) -> float:
    return float(row["value_median"])


def _loss_of(row: Row) -> str:
    return f", at most {percent(row['goal_loss_ratio'])} lost" if row["goal_loss_ratio"] else ", none lost"


def _card(row: Row, value: str, label: str, note: str, several: bool) -> Card:
    told = ", ".join(text for text in (row["datapath"] if several else "", note) if text)
    return Card(value, label, told, anchor(row))


# -- sentences -----------------------------------------------------------------------------------------------------


def sentences(measured: Measured) -> Iterator[str]:
    """What a run found, the tests in RFC 2544's order, and how far it can be trusted."""
    rows = measured.rows
    for tell in (_throughput, _latency, _frame_loss, _restart, _streams):
        yield from tell(rows)
    yield from _trust(measured)


def _each_line(rows: Sequence[Row], tell: Callable[[str, list[Row]], Iterator[str]]) -> Iterator[str]:
    """What there is to tell of each set-up; of many the first, as they stand in the tables."""
    if not rows:
        return
    found = lines([{**row, "run": ""} for row in rows[:MOST_ROWS]])
    for label, own in list(found.items())[:MOST_LINES]:
        subject = own[0]["datapath"] if len(found) == 1 else label
        yield from tell(subject, own)
    if len(found) > MOST_LINES or len(rows) > MOST_ROWS:
        yield f"{words(rows[0]['test'])}: more set-ups stand in the table below."


def _throughput(rows: Sequence[Row]) -> Iterator[str]:
    yield from _each_line(found_rates(rows), _rates)
    nothing = [row for row in rows if row["test"] == "throughput" and not (known(row["rate_pps"]) and row["rate_pps"])]
    if nothing:
        cases = "one case" if len(nothing) == 1 else f"{len(nothing)} cases"
        reasons = dict.fromkeys(row["verdict"] for row in nothing if row["verdict"])
        yield f"No rate was found in {cases}{': ' + '; '.join(list(reasons)[:3]) if reasons else ''}."


def _rates(subject: str, rows: list[Row]) -> Iterator[str]:
    least = min(rows, key=lambda row: row["frame_bytes"])
    share = (
        f", {percent(least['rate_pps'] / least['line_rate_pps'])} of the line rate" if least["line_rate_pps"] else ""
    )
    lossless = "without loss" if not least["goal_loss_ratio"] else f"losing at most {percent(least['goal_loss_ratio'])}"
    yield (
        f"{subject} forwards {least['rate_pps']:,.0f} frames/s of {frame(least)} bytes {lossless}{share}; "
        f"{_LIMITED.get(least['limited_by'], 'limit unknown')}."
    )
    full = [row for row in rows if row["limited_by"] == LimitedBy.LINE_RATE]
    if full and len(full) < len(rows):
        smallest = min(full, key=lambda row: row["frame_bytes"])
        if all(row in full for row in rows if row["frame_bytes"] >= smallest["frame_bytes"]):
            upwards = " and larger ones" if len({row["frame_bytes"] for row in full}) > 1 else ""
            yield f"{subject} fills the link with {frame(smallest)}-byte frames{upwards}."
    elif full:
        yield f"{subject} fills the link with every frame size that was measured."


def _latency(rows: Sequence[Row]) -> Iterator[str]:
    own = [row for row in rows if row["test"] == "latency" and known(row["latency_p50_us"])]
    yield from _each_line(own, _latencies)


def _latencies(subject: str, rows: list[Row]) -> Iterator[str]:
    size = min(row["frame_bytes"] for row in rows)
    own = sorted((row for row in rows if row["frame_bytes"] == size), key=lambda row: row["load_share"] or 0.0)
    told = []
    for each in [*own[:1], *own[1:][-1:]]:
        p99 = f", 99 % within {number(each['latency_p99_us'])} us" if known(each["latency_p99_us"]) else ""
        at = f"at {percent(each['load_share'])} of the throughput" if each["load_share"] else "at a probe's load"
        told.append(f"{at} half of the frames take at most {number(each['latency_p50_us'])} us{p99}")
    yield f"{subject}, {frame(own[0])}-byte frames: {'; '.join(told)}."


def _frame_loss(rows: Sequence[Row]) -> Iterator[str]:
    own = [row for row in rows if row["test"] == "frame_loss" and known(row["loss_ratio"])]
    yield from _each_line(own, _losses)


def _losses(subject: str, rows: list[Row]) -> Iterator[str]:
    told = []
    for size in sorted({row["frame_bytes"] for row in rows}):
        top = max((row for row in rows if row["frame_bytes"] == size), key=lambda row: row["load_share"] or 0.0)
        offered = percent(offered_percent(top) / 100)
        share = percent(top["loss_ratio"]) if top["loss_ratio"] else "none"
        most = ", all that the generator could" if undersent(top) else ""
        told.append(f"{share} of {frame(top)}-byte frames ({offered} of the line rate offered{most})")
    yield f"Under the highest load {subject} loses {', '.join(told)}."


def _restart(rows: Sequence[Row]) -> Iterator[str]:
    own = [row for row in rows if known(row["outage_s"])]
    if own:
        worst = max(own, key=lambda row: float(row["outage_s"]))
        told = f"forwards nothing for up to {number(worst['outage_s'], 3)} s"
        yield f"Killed and started again, {worst['datapath']} {told}."


def _streams(rows: Sequence[Row]) -> Iterator[str]:
    for test in dict.fromkeys(row["test"] for row in rows if is_stream(row)):
        own = metric(OWN_METRIC[test])
        told = [row for row in rows if row["test"] == test and known(row["value_median"])]
        best = {path: max(own_rows, key=_median) for path, own_rows in _by_path(told).items()}
        if best:
            values = [f"{path} {own.text(_median(row))} {own.shown_unit}" for path, row in best.items()]
            yield f"{words(test)}, the best case of each path (median): {', '.join(values)}."
        failed = sum(row["test"] == test and not known(row["value_median"]) for row in rows)
        if failed:
            yield f"{words(test)}: {failed} of {failed + len(told)} cases did not pass."


def _by_path(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["datapath"], []).append(row)
    return found


def _trust(measured: Measured) -> Iterator[str]:
    """How much was measured, and how much of it does not count."""
    if trials := sum(measured.made.values()):
        took = f" in {duration(measured.run.duration_s)}" if measured.run.duration_s is not None else ""
        cases = len({case for case, _ in measured.made})
        aside = f"; {measured.invalid:,} were set aside as disturbed, and count for nothing" if measured.invalid else ""
        yield f"Measured: {trials:,} trials of {cases:,} case{'' if cases == 1 else 's'}{took}{aside}."
    if measured.impossible:
        yield "Some cases are not possible on this bench; they are listed with their reasons below."
