"""Change points are found where there are any, and hardly ever where there are none; runs become series."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise, permutations
from math import sqrt
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvbench.comparison.base import Verdict
from nvbench.errors import UsageError
from nvbench.metrics import metric
from nvbench.runs import Run, find_runs
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import ResultRow, Setting, Subject
from nvbench.trend import changepoints, series
from nvbench.trend.changepoints import chance_of_no_change, change_points, least_values
from nvbench.trend.selection import select
from nvbench.trend.series import Criteria, Point, Series, Trend, trend

THROUGHPUT = metric("throughput")
PLAIN = RunHeader("p", "t")
LEVEL = 0.05
Noise = Callable[[Random], float]

NOISES: dict[str, Noise] = {
    "normal": lambda draw: draw.gauss(0, 1),
    "heavy tails": lambda draw: draw.gauss(0, 1) / abs(draw.gauss(0, 1)),
    "many alike": lambda draw: float(round(draw.gauss(0, 1))),
    "skewed": lambda draw: draw.expovariate(1),
}


def steps(draw: Random, noise: Noise, *levels: tuple[int, float]) -> list[float]:
    """So many values at each level, with noise."""
    return [level + noise(draw) for count, level in levels for _ in range(count)]


@pytest.fixture
def few_shuffles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough for a p value of 0.05, which is then as exact and not as fine."""
    monkeypatch.setattr(changepoints, "SHUFFLES", (99, 300))


# -- change points -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("few_shuffles")
@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("count", [9, 20])
def test_a_false_alarm_is_as_rare_as_promised(count: int, noise: str) -> None:
    draw, times = Random(7), 300  # noqa: S311
    alarms = sum(chance_of_no_change(steps(draw, NOISES[noise], (count, 0.0))) <= LEVEL for _ in range(times))
    assert alarms <= times * LEVEL + 3 * (times * LEVEL * (1 - LEVEL)) ** 0.5


@pytest.mark.usefixtures("few_shuffles")
@pytest.mark.parametrize(
    ("levels", "least"),
    [
        (((4, 0.0), (4, 9.0)), 0.95),
        (((10, 0.0), (10, 2.0)), 0.6),
        (((30, 0.0), (30, 1.0)), 0.5),
        (((17, 0.0), (3, 4.0)), 0.9),
        (((10, 0.0), (10, 3.0), (10, 0.0)), 0.8),
    ],
)
def test_a_change_is_found(levels: Sequence[tuple[int, float]], least: float) -> None:
    draw, times = Random(7), 60  # noqa: S311
    found = [change_points(steps(draw, NOISES["normal"], *levels), LEVEL) for _ in range(times)]
    assert sum(len(points) == len(levels) - 1 for points in found) >= least * times


@pytest.mark.usefixtures("few_shuffles")
@pytest.mark.parametrize(("size", "levels"), [("large", (12, 6.0)), ("small", (12, 2.5)), ("late", (4, 4.0))])
def test_the_range_holds_the_change(size: str, levels: tuple[int, float]) -> None:
    draw = Random(7)  # noqa: S311
    found = [change_points(steps(draw, NOISES["normal"], (12, 0.0), levels), LEVEL) for _ in range(100)]
    single = [points[0] for points in found if len(points) == 1]
    assert len(single) > 60
    assert sum(point.earliest <= 12 <= point.latest for point in single) >= 0.92 * len(single)


@pytest.mark.usefixtures("few_shuffles")
def test_further_changes_are_false_as_rarely() -> None:
    draw, times = Random(7), 100  # noqa: S311
    found = [change_points(steps(draw, NOISES["normal"], (15, 0.0), (15, 9.0)), LEVEL) for _ in range(times)]
    assert all(any(point.position == 15 for point in points) for points in found)
    extra = sum(len(points) > 1 for points in found)
    assert extra <= times * LEVEL + 3 * (times * LEVEL * (1 - LEVEL)) ** 0.5


def test_an_outlier_is_no_change() -> None:
    quiet = [100 + place % 3 for place in range(20)]
    assert change_points([*quiet, 3, 1000, *quiet], LEVEL) == ()


def test_a_change_shows_once_it_has_lasted() -> None:
    before = [100.0 + place % 4 for place in range(20)]
    found = [len(change_points([*before, *[90.0 + place % 2 for place in range(count)]], LEVEL)) for count in range(6)]
    assert found == [0, 0, 0, 1, 1, 1]


def test_the_least_number_of_values_is_where_a_change_can_be_told() -> None:
    assert [least_values(level) for level in (0.05, 0.01, 0.001)] == [8, 10, 14]
    for count, told in ((7, False), (8, True)):
        halves = [float(place + 100 * (place >= count // 2)) for place in range(count)]
        assert (chance_of_no_change(halves) <= LEVEL) is told


def test_the_chance_is_that_of_all_orders() -> None:
    values = [4.0, 9.0, 5.0, 7.0, 1.0, 2.0, 2.5]
    scores = changepoints._scores(np.array(values))
    every = np.array([*permutations(scores)])
    greatest, _ = changepoints._differences(every)
    exact = (greatest >= changepoints._differences(scores[None])[0] * (1 - 1e-4)).mean()
    assert chance_of_no_change(values) == pytest.approx(exact, abs=4 * (exact / sum(changepoints.SHUFFLES)) ** 0.5)


def test_the_statistic_is_the_greatest_difference_of_means() -> None:
    values = np.array([4.0, 9.0, 5.0, 7.0, 1.0, 2.0, 2.5])
    scores = changepoints._scores(values).astype(float)
    differences = {
        split: abs(scores[:split].mean() - scores[split:].mean()) / sqrt(1 / split + 1 / (7 - split))
        for split in (3, 4)
    }
    greatest, split = changepoints._differences(scores[None])
    assert (split[0], greatest[0]) == (4, pytest.approx(max(differences.values())))


@settings(max_examples=50)
@given(st.lists(st.integers(0, 5), max_size=40), st.sampled_from([1e-9, 1.0, 1e9]))
def test_points_are_in_order_apart_and_do_not_depend_on_units(values: list[int], unit: float) -> None:
    points = change_points([float(value) for value in values], LEVEL)
    places = [0, *(point.position for point in points), len(values)]
    assert not points or min(after - before for before, after in pairwise(places)) >= changepoints.LEAST_SIDE
    for point in points:
        assert point.earliest <= point.position <= point.latest
        assert 0 < point.p <= LEVEL
    scaled = change_points([value * unit for value in values], LEVEL)
    assert [point.position for point in scaled] == [point.position for point in points]


@pytest.mark.parametrize("values", [[], [1.0], [0.0] * 50, [3.3] * 9])
def test_nothing_is_said_of_nothing(values: list[float]) -> None:
    assert change_points(values, LEVEL) == ()


# -- series --------------------------------------------------------------------------------------------------------


def subject(frame_bytes: int = 64, build: str = "a", options: Sequence[Setting] = ()) -> Subject:
    case = f"c{frame_bytes}" + "".join(f"-{option.name}_{option.value}" for option in options)
    return Subject(case, "throughput", "ovs_dpdk", "nvgen", frame_bytes, settings=(Setting("prefix", build), *options))


class Bench:
    """A results folder; every run in it is a day younger than the one before."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._days = 0

    def run(self, *rows: ResultRow, header: RunHeader = PLAIN) -> str:
        """A run with these results; its name."""
        self._days += 1
        with RunWriter.create(self.root, header) as writer:
            for row in rows:
                writer.append_result(row)
            writer._record["started_at"] = (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=self._days)).isoformat()
        return writer.run_id

    def rates(self, *rates: float | None, build: str = "a", **more: str) -> None:
        """A run for each rate."""
        header = RunHeader("p", "t", fingerprint={"hosts": {"switch": {"versions": {"ovs": build}}}})
        for rate in rates:
            self.run(ResultRow(subject=subject(build=build), rate_pps=rate), header=header)

    def trend(self, **criteria: Any) -> Trend:
        """The trend of throughput over all of it."""
        return trend(select(self.root).runs, THROUGHPUT, Criteria(**criteria))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path / "results")


BEFORE = [2.50e6, 2.51e6, 2.49e6, 2.50e6, 2.52e6]
AFTER = [2.40e6, 2.41e6, 2.40e6, 2.39e6, 2.42e6]


def test_a_change_has_size_interval_chance_both_runs_and_what_else_changed(bench: Bench) -> None:
    bench.rates(*BEFORE, build="3.1.0")
    bench.rates(*AFTER, build="3.2.0")
    found = bench.trend()

    [case] = found.series
    [shift] = case.shifts
    assert case.values == (*BEFORE, *AFTER)
    assert (shift.before.run_id, shift.after.run_id) == (found.runs[4].run_id, found.runs[5].run_id)
    assert (shift.base, shift.new, shift.change) == (2.5e6, 2.4e6, pytest.approx(-0.04))
    assert shift.low is not None
    assert shift.high is not None
    assert -0.06 < shift.low < -0.04 < shift.high < -0.02
    assert shift.p <= 0.05
    assert case.verdict is shift.verdict is Verdict.REGRESSED
    assert found.regressed
    changed = {difference.name: (difference.base, difference.new) for difference in shift.differences}
    assert changed["hosts.switch.versions.ovs"] == ("3.1.0", "3.2.0")
    assert changed["settings.ovs_dpdk.prefix"] == ("3.1.0", "3.2.0")


def test_what_got_better_again_has_not_regressed(bench: Bench) -> None:
    bench.rates(*BEFORE, *BEFORE, *AFTER, *AFTER, *BEFORE, *BEFORE)
    found = bench.trend()
    assert [shift.verdict for shift in found.series[0].shifts] == [Verdict.REGRESSED, Verdict.IMPROVED]
    assert not found.regressed


def test_a_change_below_the_smallest_of_interest_is_none(bench: Bench) -> None:
    bench.rates(*BEFORE, *AFTER)
    assert bench.trend(min_change=0.05).series[0].verdict is Verdict.NO_CHANGE


def test_of_small_steps_the_large_one_stays(bench: Bench) -> None:
    levels = [100.0] * 8 + [100.4] * 8 + [90.0] * 8
    bench.rates(*(level + place % 3 / 100 for place, level in enumerate(levels)))
    [shift] = bench.trend().series[0].shifts
    assert shift.position == 16
    assert shift.base == median(level + place % 3 / 100 for place, level in enumerate(levels[:16]))


def test_few_runs_say_nothing(bench: Bench) -> None:
    bench.rates(*BEFORE[:3], *AFTER[:4])
    [case] = bench.trend().series
    assert case.verdict is Verdict.NOT_ENOUGH
    assert case.lacking == "not enough runs: 7, a change takes 8"


def test_one_run_is_a_point(bench: Bench) -> None:
    bench.rates(2.5e6)
    assert bench.trend().series[0].lacking.startswith("not enough runs: 1")


def test_many_cases_raise_no_false_alarm() -> None:
    draw, run = Random(7), Run(Path(), {})  # noqa: S311
    many = [
        Series("c", (("frame_bytes", f"{size}"),), tuple(Point(run, draw.gauss(100, 3)) for _ in range(12)))
        for size in range(300)
    ]
    assert sum(chance_of_no_change(each.values) <= LEVEL for each in many) > 5
    assert not any(each.shifts for each in series._judged(many, THROUGHPUT, Criteria()))


def test_settings_tell_cases_apart_where_a_run_has_both(bench: Bench) -> None:
    tso = [Setting("userspace_tso", "on")], [Setting("userspace_tso", "off")]
    for build in ("a", "b"):
        bench.run(*(ResultRow(subject=subject(64, build, option), rate_pps=1e6) for option in tso))
    found = bench.trend()
    assert [dict(case.identity)["userspace_tso"] for case in found.series] == ["off", "on"]
    assert all(len(case.points) == 2 for case in found.series), "a build's prefix tells no cases apart"


def test_a_run_that_measured_a_case_in_blocks_is_one_point(bench: Bench) -> None:
    bench.run(*(ResultRow(subject=subject(), rate_pps=rate, block=block) for block, rate in enumerate((1e6, 3e6, 2e6))))
    assert bench.trend().series[0].values == (2e6,)


def test_what_is_no_number_is_left_out_and_told(bench: Bench) -> None:
    bench.rates(1e6, float("nan"), None, 1e6)
    found = bench.trend()
    assert found.series[0].values == (1e6, 1e6)
    assert found.notes == ("c64: 1 left out, no number or below 0",)


def test_zeros_are_zeros(bench: Bench) -> None:
    bench.rates(*[0.0] * 10)
    assert bench.trend().series[0].verdict is Verdict.NO_CHANGE
    bench.rates(*AFTER)
    [shift] = bench.trend().series[0].shifts
    assert (shift.change, shift.verdict) == (None, Verdict.IMPROVED)


def test_a_metric_that_nothing_has_is_refused(bench: Bench) -> None:
    bench.rates(1e6)
    with pytest.raises(UsageError, match=r"no case has a value of goodput \(there are throughput\)"):
        trend(select(bench.root).runs, metric("goodput"))
    with pytest.raises(UsageError, match="no case is like that"):
        bench.trend(filter="frame_bytes:9000")


@pytest.mark.parametrize("criteria", [{"alpha": 0.0}, {"alpha": 0.3}, {"min_change": -0.1}, {"min_change": 1.5}])
def test_criteria_are_shares(criteria: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="not between"):
        Criteria(**criteria)


# -- which runs ----------------------------------------------------------------------------------------------------


def names(runs: Sequence[Run]) -> list[str]:
    return [run.run_id for run in runs]


def test_a_trend_is_over_runs_like_the_latest(bench: Bench) -> None:
    row = ResultRow(subject=subject(), rate_pps=1e6)
    plain = [bench.run(row), bench.run(row)]
    for other in (
        RunHeader("q", "t"),
        RunHeader("p", "u"),
        RunHeader("p", "t", quick=True),
        RunHeader("p", "t", simulated=True),
        RunHeader("p", "t", versus={"side": "new"}),
    ):
        bench.run(row, header=other)
    plain.append(bench.run(row))
    with pytest.raises(KeyboardInterrupt), RunWriter.create(bench.root, RunHeader("p", "t")):
        raise KeyboardInterrupt
    assert names(select(bench.root).runs) == plain


def test_runs_that_are_named_are_taken_once_and_in_order(bench: Bench) -> None:
    row = ResultRow(subject=subject(), rate_pps=1e6)
    first, second = bench.run(row), bench.run(row, header=RunHeader("q", "t"))
    found = select(bench.root, [second, "*", first])
    assert names(found.runs) == [first, second]
    assert found.notes == ("runs of 2 profiles: p, q",)


def test_an_interrupted_run_is_left_out_and_told(bench: Bench) -> None:
    row = ResultRow(subject=subject(), rate_pps=1e6)
    whole = bench.run(row)
    with pytest.raises(KeyboardInterrupt), RunWriter.create(bench.root, RunHeader("p", "t")) as writer:
        raise KeyboardInterrupt
    found = select(bench.root, ["*"])
    assert (names(found.runs), found.notes) == ([whole], (f"left out: {writer.run_id}, interrupted",))
    with pytest.raises(UsageError, match="no finished runs: 1 interrupted"):
        select(bench.root, [writer.run_id])


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (RunHeader("p", "t", simulated=True), "simulated and of real devices"),
        (RunHeader("p", "t", quick=True), "quick and full"),
        (RunHeader("p", "u"), "2 testbeds do not make one trend: t, u"),
    ],
)
def test_runs_of_different_kinds_are_refused(bench: Bench, other: RunHeader, told: str) -> None:
    row = ResultRow(subject=subject(), rate_pps=1e6)
    bench.run(row)
    bench.run(row, header=other)
    with pytest.raises(UsageError, match=told):
        select(bench.root, ["*"])


def test_since_leaves_out_older_runs(bench: Bench) -> None:
    row = ResultRow(subject=subject(), rate_pps=1e6)
    _, second = bench.run(row), bench.run(row)
    assert names(select(bench.root, since=datetime(2026, 1, 2, 12, tzinfo=UTC)).runs) == [second]
    with pytest.raises(UsageError, match="no finished run since 2027-01-01 00:00"):
        select(bench.root, since=datetime(2027, 1, 1, tzinfo=UTC))


def test_no_runs_are_no_trend(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no runs yet"):
        select(tmp_path)
    assert find_runs(tmp_path) == ()
