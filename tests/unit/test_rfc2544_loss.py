"""Frame loss rate and the maximum receive rate: what is lost of loads that are too high."""

import pytest

from nvbench.generators.devices import Device
from nvbench.rfc2544.frame_loss import FrameLossTest
from nvbench.rfc2544.mrr import MrrTest
from nvbench.trial import Counters, Trial, Validity
from tests.unit.test_rfc2544_scene import LINE_PPS, only, scene, scripted, sent


def test_it_goes_down_from_line_rate_until_two_steps_lose_nothing():
    rows = list(FrameLossTest(duration_s=1).rows(scene(Device(capacity_pps=7.5e6))))
    assert [round(row.load_share, 3) for row in rows] == [1.0, 0.9, 0.8, 0.7, 0.6]
    assert [row.rate_pps for row in rows] == pytest.approx([10e6, 9e6, 8e6, 7e6, 6e6])
    assert [row.loss_ratio for row in rows] == pytest.approx([0.25, 1 - 7.5 / 9, 0.0625, 0, 0], abs=1e-6)
    assert rows[0].verdict == "at the line rate"
    assert rows[2].verdict == "at 0.8 of the line rate"


def test_one_lucky_step_does_not_end_it():
    lucky = [sent(100, 0), sent(100, 1), sent(100, 0), sent(100, 0), sent(100, 50)]
    assert [row.loss_ratio for row in FrameLossTest().rows(scripted(*lucky))] == [0, 0.01, 0, 0]


def test_steps_may_be_finer_and_reach_the_bottom():
    rows = list(FrameLossTest(step=0.05, duration_s=1).rows(scene(Device(capacity_pps=1))))
    assert len(rows) == 20
    assert rows[-1].load_share == pytest.approx(0.05)


def test_a_generator_that_cannot_send_the_line_rate_is_named_and_what_it_offered_counts():
    rows = list(FrameLossTest(duration_s=1).rows(scene(Device(capacity_pps=4.5e6, ceiling_pps=7.5e6))))
    first, *others = rows
    assert first.rate_pps == pytest.approx(7.5e6)
    assert first.verdict == "at the line rate: the generator offered 7.5 Mpps"
    assert "loads in between are left out" in first.warnings[0]
    assert [round(row.load_share, 3) for row in others] == [0.7, 0.6, 0.5, 0.4, 0.3]
    assert not any(row.warnings for row in others)


def test_a_disturbed_step_is_a_row_that_says_so_and_the_test_goes_on():
    foreign = sent(100, 30, Validity.FOREIGN)
    rows = list(FrameLossTest().rows(scripted(*[foreign] * 4, sent(100), sent(100))))
    assert [(row.verdict, row.loss_ratio) for row in rows] == [
        ("too disturbed for an answer", None),
        ("at 0.9 of the line rate", 0),
        ("at 0.8 of the line rate", 0),
    ]
    assert rows[0].invalid_trials == 4


def test_what_a_disturbed_load_lost_is_the_most_that_the_device_loses():
    disturbed = [sent(1000, 30, Validity.STALLED), sent(1000, 9, Validity.STALLED), sent(1000, 10, Validity.PAUSED)]
    less = Trial(1000, 1.0, 1.0, (Counters(sent=970, late=30, received=970),), validity=Validity.PAUSED)
    first, *_ = FrameLossTest().rows(scripted(*disturbed, less, sent(1000)))
    assert first.verdict == "at the line rate: at most this, disturbed"
    assert first.loss_ratio == pytest.approx(0.009)  # what was late was not offered, and bounds nothing
    assert first.warnings[0] == (
        "frame loss: trials at 1 of the line rate were disturbed: device was paused by the host"
    )


def test_a_short_trial_stays_a_warning():
    rows = list(FrameLossTest(duration_s=1).rows(scene(quick=False)))
    assert all("RFC 2544 section 24 asks for at least 60 s" in row.warnings[0] for row in rows)


def test_the_maximum_receive_rate_is_the_mean_of_what_came_back():
    device = Device(capacity_pps=2e6, capacity_noise=0.02)
    row = only(MrrTest(repeats=10, duration_s=0.5).rows(scene(device)))
    assert row.rate_pps == row.value_mean == pytest.approx(2e6, rel=0.02)
    assert row.value_stdev == pytest.approx(0.02 * 2e6, rel=0.8)
    assert row.loss_ratio == pytest.approx(0.8, abs=0.02)
    assert (row.repeats, row.load_share, row.verdict) == (10, 1.0, "of 10 Mpps offered")


def test_the_maximum_receive_rate_counts_trials_that_the_generator_could_not_fill():
    row = only(MrrTest(repeats=2).rows(scene(Device(capacity_pps=2e6, ceiling_pps=5e6))))
    assert row.rate_pps == pytest.approx(2e6)
    assert row.load_share == pytest.approx(5e6 / LINE_PPS)
    assert row.invalid_trials == 2
