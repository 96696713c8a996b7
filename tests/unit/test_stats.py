"""Rank tests, intervals and power agree with scipy, and raise false alarms no more often than they say."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy

from nvbench import stats
from nvbench.stats import exactly, mann_whitney, paired, rank_sum, ratio_interval

SIMULATIONS = 1000
SLACK = 3 * math.sqrt(0.05 * 0.95 / SIMULATIONS)
"""Three standard errors of a rate of 5 % that was counted so often."""

WHOLE = st.lists(st.integers(1, 6), min_size=2, max_size=5)
VALUES = st.lists(st.floats(1, 1e9), min_size=1, max_size=8)


def noisy(kind: str, dice: np.random.Generator, count: int) -> list[float]:
    """Values around 100, of one of the shapes that measurements have."""
    drawn = {
        "normal": lambda: 100 + dice.normal(size=count),
        "skewed": lambda: 100 * dice.lognormal(0, 0.7, count),
        "ties": lambda: 100 + dice.integers(0, 3, count),
        "mostly the same": lambda: 100 + 5 * (dice.random(count) < 0.15),
        "two modes": lambda: 100 + 40 * (dice.random(count) < 0.3) + dice.normal(size=count),
    }
    return [float(value) for value in drawn[kind]()]


# -- against scipy -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("base", "new"), [(2, 3), (4, 4), (5, 9), (12, 6), (20, 20), (1, 40)])
def test_without_ties_it_is_mann_whitneys_exact_test(base: int, new: int) -> None:
    dice = np.random.default_rng(base * 100 + new)
    before, after = dice.normal(size=base).tolist(), dice.normal(0.7, size=new).tolist()
    expected = scipy.mannwhitneyu(before, after, method="exact").pvalue
    assert mann_whitney(before, after).p == pytest.approx(expected, rel=1e-9)


@given(WHOLE, WHOLE)
@settings(max_examples=30)
def test_with_ties_it_is_the_permutation_test_of_ranks(base: list[int], new: list[int]) -> None:
    def statistic(one: np.ndarray, other: np.ndarray) -> float:
        return float(scipy.rankdata([*one, *other])[: len(one)].sum())

    expected = scipy.permutation_test((new, base), statistic, n_resamples=np.inf, vectorized=False)
    assert mann_whitney(base, new).p == pytest.approx(expected.pvalue, abs=1e-9)


def test_large_samples_are_taken_as_normal() -> None:
    dice = np.random.default_rng(1)
    before, after = dice.normal(size=400).round(1).tolist(), dice.normal(0.1, size=300).round(1).tolist()
    expected = scipy.mannwhitneyu(before, after, method="asymptotic").pvalue
    assert mann_whitney(before, after).p == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("count", [3, 6, 11])
def test_pairs_are_wilcoxons_signed_ranks_of_log_ratios(count: int) -> None:
    dice = np.random.default_rng(count)
    before = dice.lognormal(size=count)
    after = before * dice.lognormal(0.3, 0.5, count)
    expected = scipy.wilcoxon(np.log(after / before), method="exact").pvalue
    assert paired(exactly(before.tolist()), exactly(after.tolist())).p == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_hochberg_is_scipys(ps: list[float]) -> None:
    assert stats.benjamini_hochberg(ps) == pytest.approx(list(scipy.false_discovery_control(ps)))


def test_holm_is_the_textbooks() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_a_correction_only_ever_raises_p_and_keeps_the_order(ps: list[float]) -> None:
    for adjusted in (stats.holm(ps), stats.benjamini_hochberg(ps)):
        assert all(raw <= found <= 1 for raw, found in zip(ps, adjusted, strict=True))
        ordered = [found for _, found in sorted(zip(ps, adjusted, strict=True))]
        assert all(one <= other for one, other in pairwise(ordered))
    pairs = zip(stats.benjamini_hochberg(ps), stats.holm(ps), strict=True)
    assert all(bh <= holm + 1e-12 for bh, holm in pairs)


@pytest.mark.parametrize("count", [6, 7, 9, 15, 40])
def test_a_medians_interval_is_the_one_of_the_sign_test(count: int) -> None:
    values = np.random.default_rng(count).normal(size=count).tolist()
    low, high = stats.median_interval(values) or (math.nan, math.nan)
    expected = scipy.quantile_test(values, p=0.5).confidence_interval(0.95)
    assert (low, high) == (expected.low, expected.high)


def test_fewer_than_six_values_have_no_interval_at_95_percent() -> None:
    assert stats.median_interval([1, 2, 3, 4, 5]) is None
    assert stats.median_interval([6, 1, 5, 2, 4, 3]) == (1, 6)
    assert stats.median_interval([1, 2, 3, 4, 5], level=0.9) == (1, 5)


# -- properties ----------------------------------------------------------------------------------------------------


@given(VALUES, VALUES)
def test_sides_are_alike_and_scale_does_not_matter(base: list[float], new: list[float]) -> None:
    there, back = mann_whitney(base, new), mann_whitney(new, base)
    assert (there.p, there.least_p) == pytest.approx((back.p, back.least_p))
    assert there.sign == -back.sign
    assert there.least_p <= there.p + 1e-12
    doubled = mann_whitney([2 * value for value in base], [2 * value for value in new])
    assert doubled.p == pytest.approx(there.p)


@pytest.mark.parametrize(("base", "new"), [(1, 1), (3, 3), (4, 4), (6, 6), (10, 5)])
def test_the_least_p_is_reached_where_the_samples_lie_apart(base: int, new: int) -> None:
    apart = mann_whitney(list(range(base)), list(range(100, 100 + new)))
    assert apart.p == pytest.approx(stats.least_p(base, new))
    assert apart.least_p == pytest.approx(stats.least_p(base, new))


def test_how_few_repeats_are_too_few() -> None:
    assert stats.least_p(3, 3) > 0.05 >= stats.least_p(4, 4)
    assert stats.least_paired_p(5) > 0.05 >= stats.least_paired_p(6)
    assert stats.least_p(0, 5) == 1


def test_what_is_all_the_same_can_show_nothing() -> None:
    assert mann_whitney([5, 5, 5], [5, 5, 5, 5]) == stats.Tested(1.0, 1.0, 0)
    assert paired(exactly([0, 0]), exactly([0, 0])) == stats.Tested(1.0, 1.0, 0)
    assert rank_sum([], exactly([1])) == stats.Tested(1.0, 1.0, 0)


def test_rates_whose_search_intervals_overlap_are_not_told_apart() -> None:
    base = [(10.0 + i / 10, 12.0) for i in range(8)]
    new = [(11.0 + i / 10, 13.0) for i in range(8)]
    assert mann_whitney([low for low, _ in base], [low for low, _ in new]).p < 0.001
    assert rank_sum(base, new) == stats.Tested(1.0, 1.0, 0)
    assert rank_sum(base, [(12.0, 13.0)] * 8).p == pytest.approx(stats.least_p(8, 8))


def test_a_rate_that_more_could_have_followed_is_not_less_than_a_greater_one() -> None:
    at_least = [(9.0, math.inf)] * 6
    greater = [(10.0, 10.1)] * 6
    assert rank_sum(greater, at_least).sign == 0
    assert rank_sum(at_least, [(8.0, 8.1)] * 6).sign == -1


def test_pairs_see_through_a_drift_that_hides_a_change_from_two_samples() -> None:
    drift = [100.0 * 1.1**block for block in range(10)]
    after = [value * 0.98 * (1 + 0.001 * (block % 3)) for block, value in enumerate(drift)]
    assert mann_whitney(drift, after).p > 0.5
    assert paired(exactly(drift), exactly(after)).p < 0.01
    low, high = stats.paired_ratio_interval(exactly(drift), exactly(after)) or (0, 0)
    assert 0.979 < low < high < 0.983


# -- intervals of ratios -------------------------------------------------------------------------------------------


@given(st.lists(st.floats(1, 100), min_size=4, max_size=8, unique=True), st.floats(0.3, 3))
def test_a_ratios_interval_moves_with_the_ratio(base: list[float], factor: float) -> None:
    new = [value * 1.01 for value in base]
    low, high = ratio_interval(exactly(base), exactly(new)) or (0, 0)
    moved = ratio_interval(exactly(base), exactly([value * factor for value in new]))
    assert low <= high
    assert moved == pytest.approx((low * factor, high * factor))


@given(st.lists(st.integers(1, 1000), min_size=8, max_size=16, unique=True), st.integers(0, 100))
def test_an_interval_holds_no_change_where_the_test_finds_none(values: list[int], seed: int) -> None:
    np.random.default_rng(seed).shuffle(values)
    base, new = values[: len(values) // 2], values[len(values) // 2 :]
    low, high = ratio_interval(exactly(base), exactly(new)) or (0, math.inf)
    assert (low <= 1 <= high) == (mann_whitney(base, new).p > 0.05)


def test_too_few_have_no_interval_and_zeros_have_one_without_end() -> None:
    assert ratio_interval(exactly([1, 2, 3]), exactly([1, 2, 3])) is None
    assert ratio_interval([], exactly([1])) is None
    assert ratio_interval(exactly([0] * 6), exactly([0] * 6)) == (0, math.inf)
    assert ratio_interval(exactly([1] * 6), exactly([0] * 6)) == (0, 0)
    assert stats.paired_ratio_interval(exactly([0, 1] * 4), exactly([1, 0] * 4)) == (0, math.inf)


def test_an_interval_is_as_wide_as_searches_leave_it() -> None:
    plain = ratio_interval(exactly([10.0] * 6), exactly([11.0] * 6))
    searched = ratio_interval([(10.0, 10.1)] * 6, [(11.0, 11.2)] * 6)
    endless = ratio_interval([(10.0, 10.1)] * 6, [(11.0, math.inf)] * 6)
    assert plain == pytest.approx((1.1, 1.1))
    assert searched == pytest.approx((11 / 10.1, 1.12))
    assert endless == (pytest.approx(11 / 10.1), math.inf)


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    dice = np.random.default_rng(7)
    held = held_pairs = 0
    for _ in range(SIMULATIONS):
        base, new = dice.lognormal(0, 0.1, (2, 7))
        low, high = ratio_interval(exactly(base.tolist()), exactly((0.9 * new).tolist())) or (0, 0)
        held += low <= 0.9 <= high
        low, high = stats.paired_ratio_interval(exactly(base.tolist()), exactly((0.9 * new).tolist())) or (0, 0)
        held_pairs += low <= 0.9 <= high
    assert held / SIMULATIONS >= 0.95 - SLACK
    assert held_pairs / SIMULATIONS >= 0.95 - SLACK


# -- false alarms and power ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["normal", "skewed", "ties", "mostly the same", "two modes"])
@pytest.mark.parametrize(("base", "new"), [(4, 4), (6, 6), (5, 12)])
def test_two_samples_of_the_same_raise_no_more_false_alarms_than_told(kind: str, base: int, new: int) -> None:
    dice = np.random.default_rng(11)
    alarms = sum(mann_whitney(noisy(kind, dice, base), noisy(kind, dice, new)).p <= 0.05 for _ in range(SIMULATIONS))
    assert alarms / SIMULATIONS <= 0.05 + SLACK


@pytest.mark.parametrize("drift", [0.0, 0.05])
def test_sides_that_were_measured_in_turn_raise_no_more_false_alarms_however_the_bench_drifts(drift: float) -> None:
    dice = np.random.default_rng(12)
    alarms = {paired: 0, rank_sum: 0}
    for _ in range(SIMULATIONS):
        bench = np.exp(np.cumsum(dice.normal(0, drift, 16)) + dice.normal(0, 0.01, 16))  # A B, B A, A B, ...
        firsts, seconds = bench[::2], bench[1::2]
        turns = np.arange(8) % 2 == 0
        base, new = np.where(turns, firsts, seconds).tolist(), np.where(turns, seconds, firsts).tolist()
        for test in alarms:
            alarms[test] += test(exactly(base), exactly(new)).p <= 0.05
    assert all(count / SIMULATIONS <= 0.05 + SLACK for count in alarms.values())


def test_holm_keeps_the_chance_of_any_false_alarm_among_many_cases() -> None:
    dice = np.random.default_rng(13)
    runs = 300
    alarms = 0
    for _ in range(runs):
        ps = [mann_whitney(*dice.normal(size=(2, 8)).tolist()).p for _ in range(20)]
        alarms += min(stats.holm(ps)) <= 0.05
    assert alarms / runs <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)


@pytest.mark.parametrize("count", [5, 8, 15])
def test_the_smallest_change_is_found_four_times_in_five(count: int) -> None:
    smallest = stats.smallest_change(0.02, count)
    assert smallest is not None
    dice = np.random.default_rng(count)
    found = sum(
        mann_whitney(*(np.exp(dice.normal(shift, 0.02, count)).tolist() for shift in (0, math.log1p(smallest)))).p
        <= 0.05
        for _ in range(SIMULATIONS)
    )
    assert found / SIMULATIONS == pytest.approx(0.8, abs=3 * math.sqrt(0.8 * 0.2 / SIMULATIONS) + 0.01)


def test_more_repeats_less_noise_and_a_laxer_alpha_see_less() -> None:
    by_count = [stats.smallest_change(0.02, count) for count in range(4, 60)]
    assert all(one > other * 0.98 for one, other in pairwise(by_count) if one and other)
    assert by_count[0] > 2 * by_count[-1]
    assert stats.smallest_change(0.04, 10) > stats.smallest_change(0.02, 10)
    assert stats.smallest_change(0.02, 10, alpha=0.001) > stats.smallest_change(0.02, 10)
    assert stats.smallest_change(0.02, 10, power=0.95) > stats.smallest_change(0.02, 10)
    assert stats.smallest_change(0.02, 3) is None


@pytest.mark.parametrize(("noise", "change"), [(0.005, 0.01), (0.01, 0.01), (0.02, 0.01), (0.001, 0.05)])
def test_the_repeats_needed_are_those_that_see_the_change(noise: float, change: float) -> None:
    needed = stats.repeats_needed(noise, change)
    assert stats.smallest_change(noise, needed) <= change * 1.001
    fewer = stats.smallest_change(noise, needed - 1)
    assert fewer is None or fewer > change


def test_no_noise_needs_as_many_repeats_as_the_test_itself() -> None:
    assert stats.repeats_needed(0.0, 0.01) == 4
    assert stats.repeats_needed(0.0, 0.01, alpha=0.001) == 7


def test_noise_is_relative_and_pooled_over_the_sides() -> None:
    dice = np.random.default_rng(3)
    base, new = 100 * dice.lognormal(0, 0.03, 400), 500 * dice.lognormal(0, 0.03, 400)
    assert stats.noise(base.tolist(), new.tolist()) == pytest.approx(0.03, rel=0.1)
    assert stats.noise([1.0], [2.0]) is None
    assert stats.noise([0.0, 0.0], []) is None
