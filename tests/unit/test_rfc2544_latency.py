"""Latency at shares of the throughput: repeats, percentiles, delay variation, and the floor beside them."""

import pytest

from nvbench.rfc2544.latency import LatencyTest, latency, merged, probe_pps
from nvbench.trial import Latency, Validity
from nvbench.trial_rows import latency_summary
from tests.unit.test_rfc2544_scene import LINE_PPS, only, scene, scripted, sent


def test_each_load_is_a_row_and_no_load_is_a_probe():
    rows = list(LatencyTest(loads=(0.0, 0.5, 1.0), duration_s=1, repeats=2).rows(scene(throughput_pps=1e6)))
    assert [row.load_share for row in rows] == [0.0, 0.5, 1.0]
    assert [row.rate_pps for row in rows] == pytest.approx([1000, 5e5, 1e6])
    assert [row.verdict for row in rows] == [
        "at a probe's load",
        "at 50% of the throughput",
        "at 100% of the throughput",
    ]
    assert all(row.repeats == row.trials == len(row.trial_ids) == 2 for row in rows)


def test_a_probe_is_slow_enough_for_any_link():
    assert probe_pps(14.88e6) == 1000
    assert probe_pps(100_000) == 100


def test_without_a_throughput_the_probe_is_still_measured():
    probe, share = LatencyTest(loads=(0.0, 1.0), duration_s=1).rows(scene())
    assert probe.latency.latency_p50_us
    assert share.verdict.startswith("not possible here")


def test_the_average_of_the_repeats_is_that_of_their_medians():
    trials = [sent(100, latency=Latency(((microseconds * 1000, 100),))) for microseconds in (10, 20, 60)]
    row = only(LatencyTest(repeats=3).rows(scripted(*trials)))
    assert (row.value_min, row.value_mean, row.value_max) == pytest.approx((10, 30, 60), rel=1e-3)
    assert row.latency.latency_max_us == pytest.approx(60, rel=1e-3)


def test_distributions_of_several_trials_are_one():
    assert merged([Latency(((1, 2), (5, 1))), Latency(((5, 4),))]) == Latency(((1, 2), (5, 5)))


def test_delay_variation_is_told_as_far_as_the_sample_supports_it():
    many = latency_summary(Latency(((1000, 99_000), (9000, 1000))), Latency(((100, 3), (500, 1))))
    assert many.pdv_us == pytest.approx(8.0, rel=1e-3)  # RFC 8219 7.3.1: the 99.9th percentile less the minimum
    assert many.ipdv_mean_us == pytest.approx(0.2)
    assert many.ipdv_max_us == pytest.approx(0.5)
    few = latency_summary(Latency(((1000, 900),)))
    assert (few.pdv_us, few.ipdv_mean_us) == (None, None)


def test_the_floor_stands_beside_it():
    assert only(LatencyTest(duration_s=1).rows(scene(throughput_pps=1e6, floor_p50_us=1.5))).floor_p50_us == 1.5


def test_loss_during_a_latency_trial_is_a_warning():
    row = only(LatencyTest().rows(scripted(sent(1_000_000, 1000))))
    assert row.warnings == ("latency was measured with a loss ratio up to 0.001",)


def test_disturbed_trials_are_repeated_within_a_bound():
    bad, good = sent(100, 0, Validity.PAUSED), sent(100)
    found = latency(scripted(bad, good).measurer("", ""), LINE_PPS, 1.0, repeats=1, repeat_invalid=1)
    assert [trial.valid for trial in found.repeats.trials] == [False, True]
    row = only(LatencyTest().rows(scripted(bad)))
    assert (row.verdict, row.trials, row.rate_pps) == ("too disturbed for an answer", 4, None)
