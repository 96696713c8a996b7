"""Which charts a chapter has, of all runs that a report is of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nvbench.metrics import metric, number
from nvbench.report.bars import Bar, Bars
from nvbench.report.columns import OWN_METRIC, Row, frame, load
from nvbench.report.curves import (
    MOST_ROWS,
    anchor,
    bit_rates,
    frame_rates,
    latency_by_load,
    left_out,
    lines,
    loss,
    named,
    percentiles,
)
from nvbench.report.distribution import Distribution, distributions
from nvbench.report.document import Notice, Paragraph, Part, Picture, Tone
from nvbench.report.evidence import Measured
from nvbench.report.identity import is_stream, labels
from nvbench.report.scales import Axis
from nvbench.report.summary import known, words

MOST_CASES = 4
"""Cases whose latency is drawn."""

MOST_BARS = 24

LOWER_BOUND = " An empty mark is a lower bound: the generator was the limit, or nothing was tried above."


def pictures(test: str, runs: Sequence[Measured]) -> Iterator[Part]:
    """The charts of a test's chapter."""
    rows = [row for each in runs for row in each.rows]
    match test:
        case "throughput":
            yield from _throughput([row for row in rows if row["test"] == test and known(row["rate_pps"])])
        case "frame_loss":
            yield from _loss([row for row in rows if row["test"] == test and known(row["loss_ratio"])])
        case "latency":
            yield from _latency(runs)
        case _:
            yield from _streams([row for row in rows if is_stream(row) and known(row["value_median"])])


def _throughput(rows: Sequence[Row]) -> Iterator[Part]:
    if not rows:
        return
    if not any(row["rate_pps"] for row in rows):
        yield Notice("Every rate is zero: not one load passed.", Tone.WARN)
    found = lines(rows)
    rates, bits = frame_rates(found), bit_rates(found)
    bound = LOWER_BOUND if rates.hollow else ""
    yield Picture(rates, f"Frames a second against the frame size, below what the link carries.{left_out(found)}")
    yield Picture(bits, f"The same in bits a second on the wire.{bound}")


def _loss(rows: Sequence[Row]) -> Iterator[Part]:
    if rows:
        found = _by_size(rows)
        yield Picture(loss(found), f"Frames lost against the load that was offered.{left_out(found)}")


def _by_size(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Curves by frame size, and by what else tells them apart."""
    found: dict[str, list[Row]] = {}
    kinds = lines(rows)
    for name, own in kinds.items():
        for row in sorted(own, key=lambda row: row["frame_bytes"]):
            found.setdefault(f"{frame(row)} B" + (f", {name}" if len(kinds) > 1 else ""), []).append(row)
    return found


# -- latency -------------------------------------------------------------------------------------------------------


def _latency(runs: Sequence[Measured]) -> Iterator[Part]:
    """For each case its distribution at every load, and its percentiles over the loads."""
    rows = [row for each in runs for row in each.rows if row["test"] == "latency" and known(row["latency_p50_us"])]
    cases = list(dict.fromkeys(row["case_id"] for row in rows))
    drawn = [row for row in rows if row["case_id"] in cases[:MOST_CASES]]
    several = len(runs) > 1
    if several:  # a line a run: at the highest load
        tops = {(row["case_id"], row["run"]): row for row in sorted(drawn, key=_load)}
        distributed = list(tops.values())
    else:
        distributed = drawn
    stored: dict[tuple[str, str], Distribution] = {}
    for each in runs:
        own = [row for row in distributed if row["run_id"] == each.run.run_id]
        found = distributions(each.results, own)
        stored |= {(each.name, row["anchor"]): one for row, one in zip(own, found, strict=True)}
    for case in cases[:MOST_CASES]:
        yield from _case([row for row in drawn if row["case_id"] == case], stored, several, runs)
    if len(cases) > MOST_CASES:
        yield Paragraph(f"The first {MOST_CASES} of {len(cases):,} cases are drawn; the table has all.")


def _load(row: Row) -> float:
    return float(row["load_share"] or 0.0)


def _case(
    rows: Sequence[Row], stored: dict[tuple[str, str], Distribution], several: bool, runs: Sequence[Measured]
) -> Iterator[Part]:
    what = f"{rows[0]['datapath']}, {frame(rows[0])} B"
    own = [(row, stored.get((row["run"] or runs[0].name, row["anchor"]))) for row in sorted(rows, key=_load)]
    measured = [
        (f"{row['run']}, {_at(row)}" if several else _at(row), row, one) for row, one in own if one and one.points
    ]
    unreadable = sum(one.unreadable for _, one in own if one)
    gone = f" {unreadable} stored histograms cannot be read, and are missing." if unreadable else ""
    if measured:
        told = "Each step ends where fewer than ten frames lie beyond."
        chart = percentiles(f"Latency distribution: {what}", measured)
        yield Picture(chart, f"{what}: latency by percentile, every frame counted. {told}{gone}")
    elif gone:
        yield Notice(gone.strip(), Tone.WARN)
    loaded = [(str(row["run"]), row) for row in rows if row["load_share"] is not None]
    if len({row["load_share"] for _, row in loaded}) > 1:
        yield Picture(latency_by_load(f"Latency by load: {what}", loaded), f"{what}: latency against load.")


def _at(row: Row) -> str:
    return f"at {load(row)}" + ("" if row["load_share"] else " load")


# -- streams -------------------------------------------------------------------------------------------------------


def _streams(rows: Sequence[Row]) -> Iterator[Part]:
    """For each test the medians with their spread, a colour a path."""
    for test in dict.fromkeys(row["test"] for row in rows):
        every = [row for row in rows if row["test"] == test][:MOST_ROWS]
        paths = list(dict.fromkeys((row["run"], row["datapath"]) for row in every))
        own = metric(OWN_METRIC[test])
        bars = []
        for row in every[:MOST_BARS]:
            name = ", ".join(filter(None, (row["run"], *labels(row, every)))) or named(row)
            least, median, most = (row[f"value_{point}"] * own.scale for point in ("min", "median", "max"))
            said = f"{name}: median {number(median)} {own.shown_unit}, {number(least)} to {number(most)}"
            colour = paths.index((row["run"], row["datapath"])) % 8
            bars.append(Bar(name, (median,), number(median), said, least, most, colour, anchor(row)))
        axis = Axis(f"{own.label.lower()}, {own.shown_unit}", low=0.0)
        more = f" The first {MOST_BARS} of {len(every)} cases." if len(every) > MOST_BARS else ""
        yield Picture(
            Bars(words(test), axis, tuple(bars)), f"{words(test)}: median, and from the least to the greatest.{more}"
        )
