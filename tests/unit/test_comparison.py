"""Two sets of runs are judged: never a verdict that the numbers do not carry."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from nvbench.comparison import Change, Criteria, Verdict, compare
from nvbench.comparison.power import power_of
from nvbench.errors import StoreError, UsageError
from nvbench.reading import Results
from nvbench.store import RunWriter
from nvbench.tables import LatencySummary, LimitedBy, Setting, StreamRow
from nvbench.trial import Counters, Latency, Trial
from nvbench.trial_rows import trial_row
from tests.unit.made_runs import HEADER, SUBJECT, mrr, opened, rates, result, run

QUIET = (100.0, 100.1, 99.9, 100.2, 99.8, 100.05)
"""Six measurements with a noise of 0.15 %."""

PLAIN = Criteria()


def only(changes: tuple[Change, ...]) -> Change:
    [change] = changes
    return change


def judged(root: Path, base: tuple[float, ...], new: tuple[float, ...], criteria: Criteria = PLAIN) -> Change:
    return only(compare(rates(root, *base), rates(root, *new), criteria).changes)


def scaled(factor: float) -> tuple[float, ...]:
    return tuple(value * factor for value in QUIET)


# -- verdicts ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "verdict", "reason"),
    [
        (0.97, Verdict.REGRESSED, ""),
        (1.05, Verdict.IMPROVED, ""),
        (1.0004, Verdict.NO_CHANGE, "within noise"),
        (0.993, Verdict.NO_CHANGE, "below the smallest change of interest"),
    ],
)
def test_a_change_has_to_be_more_than_noise_and_large_enough(
    tmp_path: Path, factor: float, verdict: Verdict, reason: str
) -> None:
    change = judged(tmp_path, QUIET, scaled(factor))
    assert (change.verdict, change.reason) == (verdict, reason)
    assert change.change == pytest.approx(factor - 1)
    assert change.low <= change.change <= change.high
    assert change.base.low < change.base.median < change.base.high
    assert len(change.base.observations) == len(change.new.observations) == 6


def test_the_smallest_change_of_interest_is_asked_for(tmp_path: Path) -> None:
    assert judged(tmp_path, QUIET, scaled(0.993), Criteria(min_change=0.005)).verdict is Verdict.REGRESSED


def test_less_is_better_where_less_is_better(tmp_path: Path) -> None:
    subject = replace(SUBJECT, test="reset")
    base, new = (
        opened(*(run(tmp_path, [result(1e6, subject, outage_s=value)]) for value in values))
        for values in (QUIET, scaled(0.9))
    )
    change = only(compare(base, new).changes)
    assert (change.metric.name, change.verdict) == ("outage", Verdict.IMPROVED)


def test_one_repeat_or_three_are_too_few_however_large_the_change(tmp_path: Path) -> None:
    assert judged(tmp_path, (100.0,), (50.0,)).reason == "1 sample on a side, of 4 that are needed"
    few = judged(tmp_path, QUIET[:3], scaled(0.5)[:3])
    assert (few.verdict, few.reason) == (Verdict.NOT_ENOUGH, "3 and 3 samples, of 4 that are needed")
    assert (few.low, few.high, few.p_adjusted) == (None, None, None)
    assert few.change == pytest.approx(-0.5)


def test_what_is_clear_in_one_case_may_not_be_among_many(tmp_path: Path) -> None:
    subjects = [replace(SUBJECT, test="mrr", frame_bytes=64 + size, case_id=str(size)) for size in range(30)]

    def side(factor: float) -> list[Path]:
        rows = [
            [
                result(value * (factor if size == 0 else 1), subject, loss_ratio=0.1)
                for size, subject in enumerate(subjects)
            ]
            for value in QUIET[:5]
        ]
        return [run(tmp_path, own) for own in rows]

    base, new = side(1.0), side(0.9)
    alone = only(compare(opened(*base), opened(*new), Criteria(filter="frame_bytes:64")).changes)
    among = compare(opened(*base), opened(*new)).changes
    assert (alone.verdict, alone.p) == (Verdict.REGRESSED, pytest.approx(2 / 252))
    assert among[0].p == alone.p
    assert among[0].verdict is Verdict.NOT_ENOUGH
    assert among[0].reason == "p 0.0079 is too much among 30 tests, 7 samples a side are needed"
    assert {change.verdict for change in among[1:]} == {Verdict.NO_CHANGE}


def test_benjamini_hochberg_finds_more_where_much_has_changed(tmp_path: Path) -> None:
    sizes = range(30)

    def side(factor: float) -> list[Path]:
        subjects = [replace(SUBJECT, test="mrr", frame_bytes=64 + size) for size in sizes]
        return [run(tmp_path, [result(v * factor, s, loss_ratio=0.1) for s in subjects]) for v in QUIET[:5]]

    sides = opened(*side(1.0)), opened(*side(0.9))
    holm, bh = (compare(*sides, Criteria(correction=name)) for name in ("holm", "bh"))
    assert (holm.count(Verdict.REGRESSED), bh.count(Verdict.REGRESSED)) == (0, 30)
    assert "Benjamini-Hochberg" in bh.method


def test_no_false_verdict_between_runs_of_the_same(tmp_path: Path) -> None:
    dice = np.random.default_rng(5)
    subjects = [replace(SUBJECT, test="mrr", frame_bytes=64 + size) for size in range(40)]

    def side() -> list[Path]:
        return [
            run(tmp_path, [result(1e6 * dice.lognormal(0, 0.1), s, loss_ratio=0.1) for s in subjects]) for _ in range(8)
        ]

    found = compare(opened(*side()), opened(*side()))
    assert found.count(Verdict.NO_CHANGE) == 40


# -- rates that were searched for ----------------------------------------------------------------------------------


def searched(root: Path, *intervals: tuple[float, float | None], limit: LimitedBy = LimitedBy.SUT) -> object:
    rows = [result(low, lower_pps=low, upper_pps=high, limited_by=limit) for low, high in intervals]
    return opened(*(run(root, [row]) for row in rows))


def test_search_intervals_that_overlap_are_no_change(tmp_path: Path) -> None:
    base = searched(tmp_path, *[(100.0 + i / 10, 102.0) for i in range(6)])
    new = searched(tmp_path, *[(101.2 + i / 10, 103.0) for i in range(6)])
    change = only(compare(base, new).changes)
    assert change.change > 0.01
    assert (change.verdict, change.reason) == (Verdict.NO_CHANGE, "the search's intervals overlap")
    assert change.low < 0 < change.high


def test_search_intervals_that_lie_apart_are_a_change(tmp_path: Path) -> None:
    base = searched(tmp_path, *[(100.0 + i / 10, 101.0) for i in range(6)])
    new = searched(tmp_path, *[(97.0 + i / 10, 98.0) for i in range(6)])
    change = only(compare(base, new).changes)
    assert change.verdict is Verdict.REGRESSED
    assert change.low == pytest.approx(97.0 / 101 - 1, abs=0.005)


def test_one_search_a_side_says_so_and_whether_they_overlap(tmp_path: Path) -> None:
    overlap = only(compare(searched(tmp_path, (100.0, 102.0)), searched(tmp_path, (101.0, 103.0))).changes)
    apart = only(compare(searched(tmp_path, (100.0, 101.0)), searched(tmp_path, (90.0, 91.0))).changes)
    assert overlap.reason == "1 sample on a side, of 4 that are needed; the search's intervals overlap"
    assert apart.reason == "1 sample on a side, of 4 that are needed"


def test_a_slower_generator_is_no_slower_device(tmp_path: Path) -> None:
    base = searched(tmp_path, *[(100.0 + i / 10, 100.2 + i / 10) for i in range(6)])
    new = searched(tmp_path, *[(90.0 + i / 10, None) for i in range(6)], limit=LimitedBy.GENERATOR)
    change = only(compare(base, new).changes)
    assert change.change < -0.09
    assert change.verdict is Verdict.NO_CHANGE
    assert change.high is None


def test_a_device_that_is_no_longer_the_limit_improved_by_at_least_that(tmp_path: Path) -> None:
    base = searched(tmp_path, *[(90.0 + i / 10, 90.2 + i / 10) for i in range(6)])
    new = searched(tmp_path, *[(100.0 + i / 10, None) for i in range(6)], limit=LimitedBy.LINE_RATE)
    change = only(compare(base, new).changes)
    assert (change.verdict, change.reason) == (
        Verdict.IMPROVED,
        "at least this: the greater side was not at its limit",
    )
    assert (change.low > 0.1, change.high) == (True, None)


def test_both_at_line_rate_is_no_change(tmp_path: Path) -> None:
    sides = [searched(tmp_path, *[(100.0 + i / 1e4, None)] * 6, limit=LimitedBy.LINE_RATE) for i in (0, 1)]
    change = only(compare(*sides).changes)
    assert (change.verdict, change.reason) == (
        Verdict.NO_CHANGE,
        "at the limit of what could be offered on both sides",
    )


def test_a_rate_at_which_nothing_was_lost_is_one_that_could_be_more(tmp_path: Path) -> None:
    base, new = (
        opened(*(run(tmp_path, [mrr(value, loss_ratio=0.0)]) for value in values)) for values in (QUIET, scaled(0.9))
    )
    assert only(compare(base, new).changes).verdict is Verdict.NO_CHANGE


# -- which cases belong together -----------------------------------------------------------------------------------


def test_cases_are_matched_by_what_they_measure_not_by_name_or_order(tmp_path: Path) -> None:
    small, large = replace(SUBJECT, test="mrr"), replace(SUBJECT, test="mrr", frame_bytes=1518)
    base = opened(*(run(tmp_path, [result(v, small), result(v / 5, large)]) for v in QUIET))
    new = opened(
        *(
            run(tmp_path, [result(v / 5, replace(large, case_id="b")), result(v, replace(small, case_id="a"))])
            for v in QUIET
        )
    )
    found = compare(base, new)
    assert [dict(change.identity)["frame_bytes"] for change in found.changes] == ["64", "1518"]
    assert [change.change for change in found.changes] == [0.0, 0.0]


def test_names_tell_apart_what_the_store_has_no_column_for(tmp_path: Path) -> None:
    tagged = replace(SUBJECT, test="mrr", case_id="ovs_dpdk-1q-64B-vlan100")
    rows = [result(2.0, tagged), mrr(1.0)]
    found = compare(opened(run(tmp_path, rows)), opened(run(tmp_path, rows[::-1])))
    assert [(dict(change.identity).get("vlan"), change.base.median) for change in found.changes] == [
        (None, 1.0),
        ("100", 2.0),
    ]


def test_what_one_side_has_alone_is_named(tmp_path: Path) -> None:
    other = result(1.0, replace(SUBJECT, test="mrr", frame_bytes=1518, case_id="ovs_dpdk-1q-1518B"))
    found = compare(opened(run(tmp_path, [mrr(1.0), other])), opened(run(tmp_path, [mrr(1.0)])))
    assert (found.only_base, found.only_new) == (("ovs_dpdk-1q-1518B mrr",), ())


def with_setting(value: str, **more: str) -> object:
    pairs = {"emc": value} | more
    return replace(SUBJECT, test="mrr", settings=tuple(Setting(*pair) for pair in pairs.items()))


def test_a_setting_that_a_whole_side_has_otherwise_is_a_difference_of_the_sides(tmp_path: Path) -> None:
    base = opened(run(tmp_path, [result(1.0, with_setting("on", smc="off"))]))
    new = opened(run(tmp_path, [result(1.0, with_setting("off", smc="off"))]))
    found = compare(base, new)
    assert len(found.changes) == 1
    assert [(each.name, each.base, each.new, each.expected) for each in found.differences] == [
        ("settings.ovs_dpdk.emc", "on", "off", False)
    ]
    assert found.environments_differ


def test_frames_of_another_file_are_another_case_though_each_side_has_but_one(tmp_path: Path) -> None:
    base, new = (
        opened(run(tmp_path, [result(1.0), result(1.0, with_setting("on", pcap=file))]))
        for file in ("web@0a1b2c3d", "web@ffffffff")
    )
    found = compare(base, new)
    assert [dict(change.identity).get("pcap") for change in found.changes] == [None]
    assert len(found.only_base) == len(found.only_new) == 1
    assert not found.differences


def test_a_setting_that_is_swept_tells_cases_apart(tmp_path: Path) -> None:
    both = [result(1.0, with_setting("on")), result(2.0, with_setting("off"))]
    found = compare(opened(run(tmp_path, both)), opened(run(tmp_path, both[:1])))
    assert [dict(change.identity)["emc"] for change in found.changes] == ["on"]
    assert len(found.only_base) == 1
    assert not found.differences


def test_loads_and_goals_are_cases_of_their_own(tmp_path: Path) -> None:
    latency = replace(SUBJECT, test="latency")
    point = LatencySummary(latency_p50_us=5.0)
    rows = [result(1.0, latency, load_share=share, latency=point) for share in (0.0, 0.5, 1.0)]
    rows += [result(1.0, goal_loss_ratio=ratio) for ratio in (0.0, 0.005)]
    found = compare(opened(run(tmp_path, rows)), opened(run(tmp_path, rows)))
    assert [change.goal for change in found.changes] == ["NDR", "PDR 0.50 %", "probe", "50 %", "100 %"]


# -- repeats, and runs that were made in turn ----------------------------------------------------------------------


def trial(name: str, received: int, microseconds: int) -> Trial:
    latency = Latency(((microseconds * 1000, 20_000),))
    return Trial(1e4, 1.0, 1.0, (Counters(10_000, received=received),), latency, trial_id=name)


@pytest.mark.parametrize(("test", "metric"), [("mrr", "throughput"), ("latency", "latency_p50")])
def test_the_trials_of_a_lone_result_are_its_samples(tmp_path: Path, test: str, metric: str) -> None:
    subject = replace(SUBJECT, test=test)

    def side(received: int, microseconds: int) -> Path:
        trials = [trial(f"t{i}", received - i, microseconds + i) for i in range(6)]
        names = tuple(each.trial_id for each in trials)
        row = result(1.0, subject, repeats=6, trial_ids=names, load_share=1.0)
        stray = trial_row(subject, trial("t99", 1, 900), purpose="other")
        return run(tmp_path, [row], trials=[*(trial_row(subject, each, purpose="p") for each in trials), stray])

    found = compare(opened(side(9000, 50)), opened(side(8000, 60)))
    change = next(each for each in found.changes if each.metric.name == metric)
    assert len(change.base.observations) == len(change.new.observations) == 6
    assert change.verdict is Verdict.REGRESSED
    assert change.base.observations[0].trial_ids == ("t0",)
    assert any("one run a side" in text for text in found.warnings)


def test_the_runs_of_a_tool_are_the_samples_of_a_stream(tmp_path: Path) -> None:
    subject = replace(SUBJECT, test="tcp_stream", frame_bytes=0)

    def side(factor: float) -> Path:
        rows = [
            StreamRow(
                subject=subject,
                repeat=repeat,
                tool="iperf3",
                parallel=1,
                started_at=datetime.now(UTC),
                duration_s=1.0,
                goodput_bps=value * factor,
                reverse_bps=value,
                valid=repeat < 6,
            )
            for repeat, value in enumerate((*QUIET, 1.0))
        ]
        return run(tmp_path, [result(None, subject, goodput_bps=1.0, repeats=6)], streams=rows)

    change = only(compare(opened(side(1.0)), opened(side(0.5))).changes)
    assert (change.metric.name, len(change.base.observations)) == ("goodput", 6)
    assert change.base.median == pytest.approx(2 * np.median(QUIET))
    assert change.verdict is Verdict.REGRESSED


def in_turn(
    root: Path, base: list[float], new: list[float], change: str = "datapath.emc=false", keys: str = "emc"
) -> tuple[Results, Results]:
    """Two runs, each of which knows the other's name."""
    paths = []
    for values, side, setting in ((base, "base", "on"), (new, "new", "off")):
        subject = with_setting("on" if change == "same" else setting)
        rows = [result(value, subject, block=block, loss_ratio=0.1) for block, value in enumerate(values)]
        paths.append(run(root, rows, replace(HEADER, versus={"side": side, "change": change, "keys": keys})))
    for path, partner in zip(paths, reversed(paths), strict=True):
        record = json.loads((path / "run.json").read_text())
        record["versus"]["partner"] = partner.name
        (path / "run.json").write_text(json.dumps(record))
    return opened(paths[0]), opened(paths[1])


def test_blocks_cancel_the_drift_of_runs_made_in_turn(tmp_path: Path) -> None:
    drift = [100 * 1.05**block for block in range(8)]
    slower = [value * 0.97 * (1 + 0.002 * (block % 2)) for block, value in enumerate(drift)]
    found = compare(*in_turn(tmp_path, drift, slower))
    assert only(found.changes).verdict is Verdict.REGRESSED
    assert "over blocks" in found.method
    assert [(each.name, each.expected) for each in found.differences] == [("settings.ovs_dpdk.emc", True)]
    assert not found.environments_differ
    apart = compare(
        opened(*(run(tmp_path, [mrr(value)]) for value in drift)),
        opened(*(run(tmp_path, [mrr(value)]) for value in slower)),
    )
    assert only(apart.changes).verdict is Verdict.NO_CHANGE


def test_too_few_blocks_for_pairs_are_tested_as_two_samples(tmp_path: Path) -> None:
    found = compare(*in_turn(tmp_path, list(QUIET[:5]), list(scaled(0.9)[:5])))
    assert only(found.changes).p == pytest.approx(2 / 252)
    assert only(found.changes).verdict is Verdict.REGRESSED
    assert "over blocks" not in found.method


def test_a_run_against_the_same_in_turn_finds_nothing(tmp_path: Path) -> None:
    dice = np.random.default_rng(8)
    drift = np.cumprod(dice.lognormal(0, 0.1, 10))
    base, new = (1e6 * drift * dice.lognormal(0, 0.03, (2, 10))).tolist()
    found = compare(*in_turn(tmp_path, base, new, "same", ""))
    assert only(found.changes).verdict is Verdict.NO_CHANGE
    assert not found.differences


# -- what cannot be compared, and what is wrong with it ------------------------------------------------------------


def test_a_run_is_not_compared_with_itself(tmp_path: Path) -> None:
    path = run(tmp_path, [mrr(1.0)])
    with pytest.raises(UsageError, match="both sides: nothing differs from itself"):
        compare(opened(path), opened(path))


def test_simulated_and_real_devices_are_mixed_only_if_asked(tmp_path: Path) -> None:
    sides = opened(run(tmp_path, [mrr(1.0)])), opened(run(tmp_path, [mrr(1.0)], replace(HEADER, simulated=True)))
    with pytest.raises(UsageError, match=r"simulated device.*--mix-simulated"):
        compare(*sides)
    found = compare(*sides, Criteria(mix_simulated=True))
    assert "simulated: no device was measured (new)" in found.warnings


def test_no_case_in_common(tmp_path: Path) -> None:
    sides = (rates(tmp_path, 1.0), opened(run(tmp_path, [result(1.0)])))
    with pytest.raises(UsageError, match=r"ovs_dpdk-1q-64B mrr and ovs_dpdk-1q-64B throughput: no case in common"):
        compare(*sides)


def test_other_schema_versions_are_refused(tmp_path: Path) -> None:
    base, new = run(tmp_path, [mrr(1.0)]), run(tmp_path, [mrr(1.0)])
    record = json.loads((new / "run.json").read_text())
    (new / "run.json").write_text(json.dumps(record | {"schema_version": 0}))
    with pytest.raises(UsageError, match="written by different versions of the store"):
        compare(opened(base), opened(new))


def test_runs_without_results_or_without_values(tmp_path: Path) -> None:
    empty, full = run(tmp_path), run(tmp_path, [mrr(1.0)])
    with pytest.raises(UsageError, match=rf"new {empty.name}: no results"):
        compare(opened(full), opened(empty))
    with pytest.raises(UsageError, match="no runs on the base side"):
        compare(opened(), opened(full))
    other = run(tmp_path, [mrr(1.0)])
    with pytest.raises(UsageError, match="no values to compare in goodput"):
        compare(opened(full), opened(other), Criteria(metrics=("goodput",)))
    with pytest.raises(UsageError, match="unknown metric 'speed'"):
        compare(opened(full), opened(other), Criteria(metrics=("speed",)))


@pytest.mark.parametrize("values", [{"alpha": 0.0}, {"alpha": 5.0}, {"min_change": -1.0}, {"alpha": float("nan")}])
def test_criteria_are_ratios(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="not between 0 and 1"):
        Criteria(**values)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("frame_bytes", "needs a name and a value"),
        ("colour:red", "no case has a 'colour'"),
        ("frame_bytes:9000", "no case in common is of that kind"),
    ],
)
def test_filters_that_mean_nothing(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        compare(rates(tmp_path, 1.0), rates(tmp_path, 1.0), Criteria(filter=text))


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -5.0])
def test_what_is_no_number_is_left_out_and_told(tmp_path: Path, odd: float) -> None:
    found = compare(rates(tmp_path, *QUIET, odd), rates(tmp_path, *scaled(0.9)))
    change = only(found.changes)
    assert (change.verdict, len(change.base.observations)) == (Verdict.REGRESSED, 6)
    assert (
        "1 values that are no numbers, or below 0, were left out: ovs_dpdk-1q-64B throughput (base)" in found.warnings
    )


def test_nothing_but_odd_values_is_no_sample(tmp_path: Path) -> None:
    change = judged(tmp_path, (float("nan"),) * 6, QUIET)
    assert (change.verdict, change.reason) == (Verdict.NOT_ENOUGH, "no value on the base side")
    assert (change.change, change.p, change.base.median) == (None, None, None)


def test_zeros(tmp_path: Path) -> None:
    zeros = (0.0,) * 6
    nothing = judged(tmp_path, zeros, zeros)
    assert (nothing.verdict, nothing.reason, nothing.change) == (Verdict.NO_CHANGE, "0 on both sides", 0.0)
    gone = judged(tmp_path, QUIET, zeros)
    assert (gone.verdict, gone.change) == (Verdict.REGRESSED, -1.0)
    come = judged(tmp_path, zeros, QUIET)
    assert (come.verdict, come.reason, come.change, come.high) == (Verdict.IMPROVED, "from 0", None, None)


def test_a_case_that_broke_is_told_not_forgotten(tmp_path: Path) -> None:
    broke = opened(run(tmp_path, [mrr(None, verdict="broke: the switch has gone")]))
    change = only(compare(rates(tmp_path, *QUIET), broke).changes)
    assert (change.verdict, change.reason) == (
        Verdict.NOT_ENOUGH,
        "no value on the new side: broke: the switch has gone",
    )


def test_what_was_too_disturbed_is_counted_beside_what_was_not(tmp_path: Path) -> None:
    disturbed = [mrr(None, verdict="too disturbed for an answer", block=block) for block in range(4)]
    base = opened(run(tmp_path, [*disturbed[:2], mrr(1.0)]))
    found = compare(base, opened(run(tmp_path, [*disturbed, mrr(1.0), mrr(1.0)])))
    assert only(found.changes).reason == (
        "1 sample on a side, of 4 that are needed; 6 more without a value: too disturbed for an answer"
    )
    assert "2 results have no value: too disturbed for an answer (base)" in found.warnings
    nothing = compare(opened(run(tmp_path, disturbed)), opened(run(tmp_path, disturbed)))
    assert only(nothing.changes).reason == "no value on either side: too disturbed for an answer"


def test_half_a_run_says_that_it_is_one(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, HEADER)
    writer.append_result(mrr(1.0))
    found = compare(rates(tmp_path, 1.0), opened(writer.path))
    assert any(f"{writer.run_id} is running" in text and text.endswith("(new)") for text in found.warnings)


def test_parquet_that_was_edited_by_hand_is_a_clear_line(tmp_path: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    path = run(tmp_path, [mrr(1.0)])
    part = path / "results" / "00000001-00000001.parquet"
    table = parquet.read_table(part)
    column = table.column_names.index("rate_pps")
    parquet.write_table(table.set_column(column, "rate_pps", pa.array(["fast"])), part)
    with pytest.raises(StoreError, match=r"results.*cannot be read"):
        compare(rates(tmp_path, 1.0), opened(path))
    part.write_bytes(b"PAR1 half of it")
    with pytest.raises(StoreError, match=r"results.*cannot be read"):
        compare(rates(tmp_path, 1.0), opened(path))


def test_latencies_of_other_loads_say_so(tmp_path: Path) -> None:
    subject = replace(SUBJECT, test="latency")

    def side(rate: float) -> object:
        points = LatencySummary(latency_p50_us=5.0, latency_p99_us=9.0)
        return opened(*(run(tmp_path, [result(rate, subject, load_share=1.0, latency=points)]) for _ in range(4)))

    found = compare(side(1e6), side(0.9e6))
    assert [change.metric.name for change in found.changes] == ["latency_p50", "latency_p99"]
    assert found.changes[0].reason == "the same on both sides; at a load that differs by -10.0 %"


# -- power, and size -----------------------------------------------------------------------------------------------


def test_power_says_how_small_a_change_could_have_been_seen(tmp_path: Path) -> None:
    noise = 0.02
    dice = np.random.default_rng(2)
    base, new = (100 * dice.lognormal(0, noise, (2, 8))).tolist()
    [power] = power_of(compare(rates(tmp_path, *base), rates(tmp_path, *new)))
    assert power.noise == pytest.approx(noise, rel=0.4)
    assert 0.01 < power.smallest < 0.06
    assert power.needed > 8


def test_power_is_bounded_by_the_search_and_by_what_could_be_offered(tmp_path: Path) -> None:
    wide = [searched(tmp_path, *[(100.0 + i, 105.0 + i) for i in range(6)]) for _ in range(2)]
    [power] = power_of(compare(*wide))
    assert (power.smallest > 0.04, power.needed) == (True, None)
    assert power.reason == "the search's interval is 4.9 % wide"
    endless = [searched(tmp_path, *[(100.0 + i, None) for i in range(6)]) for _ in range(2)]
    assert power_of(compare(*endless))[0].reason.startswith("more could not be offered")
    alone = compare(rates(tmp_path, 1.0), rates(tmp_path, 1.0))
    assert (power_of(alone)[0].smallest, power_of(alone)[0].needed) == (None, None)


def test_time_grows_no_faster_than_the_number_of_cases(tmp_path: Path) -> None:
    dice = np.random.default_rng(1)

    def seconds(count: int) -> float:
        subjects = [replace(SUBJECT, test="mrr", flows=number, case_id=f"c{number}") for number in range(count)]
        sides = []
        for _ in range(2):
            rows = [result(dice.lognormal(), each, block=b, loss_ratio=0.1) for each in subjects for b in range(4)]
            sides.append(opened(run(tmp_path, rows)))
        began = time.process_time()
        assert len(compare(*sides).changes) == count
        return time.process_time() - began

    few, many = seconds(200), seconds(2000)
    assert many < 10 * 3 * few
