"""System recovery, reset and soak: when frames were lost, from a trial's timeline."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvbench.generators.devices import Device
from nvbench.rfc2544.recovery import RecoveryTest, recovered
from nvbench.rfc2544.reset import ResetTest, outage
from nvbench.rfc2544.soak import SoakTest
from nvbench.trial import Counters, Step, Timeline, Trial, Validity
from tests.unit.test_rfc2544_scene import lossy, only, scene, scripted, sent

# -- system recovery (RFC 2544 section 26.5) ---------------------------------------------------------------------


def overload(lost: list[int]) -> Trial:
    """A second of overload, then half a second of half of it, told in tenths."""
    timeline = lossy(0.1, lost)
    counters = Counters(sent=1500, received=1500 - sum(lost))
    return Trial(1000, 1.5, 1.5, (counters,), then=Step(500, 0.5), timeline=timeline)


@pytest.mark.parametrize(
    ("lost_after", "seconds"),
    [([0, 0, 0, 0, 0], 0.0), ([9, 0, 0, 0, 0], 0.1), ([9, 9, 0, 0, 0], 0.2), ([0, 0, 1, 0, 0], 0.3), ([1] * 5, None)],
)
def test_it_lasts_from_the_end_of_the_overload_to_the_last_lost_frame(lost_after, seconds):
    found = recovered(overload([5] * 10 + lost_after))
    assert found.overloaded
    assert found.seconds == (None if seconds is None else pytest.approx(seconds))
    assert found.offered_pps == pytest.approx(1000)


def test_the_interval_in_which_the_load_changes_belongs_to_the_overload():
    trial = overload([5] * 11 + [0] * 4)
    assert recovered(replace(trial, duration_s=1.55)).seconds == 0.0


def test_an_overload_that_loses_nothing_is_none():
    assert not recovered(overload([0] * 15)).overloaded
    row = only(RecoveryTest(overload_s=1, afterwards_s=0.5).rows(scene(throughput_pps=1e6)))
    assert row.verdict == "nothing lost even at 110% of the throughput, to 1.5 ms"
    assert row.recovery_time_s == 0


@settings(max_examples=20)
@given(st.integers(10_000, 400_000))
def test_a_full_buffer_loses_nothing_once_the_overload_is_over(buffer_frames):
    device = Device(capacity_pps=2e6, buffer_frames=buffer_frames)
    row = only(RecoveryTest(overload_s=3, afterwards_s=1, repeats=2).rows(scene(device, throughput_pps=2e6)))
    assert row.rate_pps == pytest.approx(2.2e6, rel=0.01)
    assert row.load_share == pytest.approx(1.1)
    assert row.recovery_time_s == pytest.approx(0.0, abs=0.005)
    assert row.verdict.startswith("from 110% of the throughput")


def test_a_device_that_goes_on_losing_is_told():
    row = only(RecoveryTest(afterwards_s=0.5).rows(scripted(overload([5] * 15))))
    assert row.verdict == "did not recover within 0.5 s"
    assert row.recovery_time_s is None


def test_the_overload_is_no_more_than_the_link_carries():
    row = only(RecoveryTest(overload_s=1).rows(scene(Device(capacity_pps=20e6), throughput_pps=9.9e6)))
    assert row.load_share == pytest.approx(10 / 9.9)


def test_an_overload_is_what_the_generator_offered_of_it():
    trial = overload([5] * 10 + [9, 0, 0, 0, 0])
    offered = replace(trial, validity=Validity.UNDERSENT, reason="sent 1 of 1.1 kpps")
    stage = scripted(offered)
    stage.answers_pps = {0.0: 950.0}
    row = only(RecoveryTest(overload_s=1.5, afterwards_s=0.5, repeats=2).rows(stage))
    assert row.verdict == "from 105% of the throughput, to 100 ms"
    assert row.load_share == pytest.approx(1000 / 950)
    assert row.recovery_time_s == pytest.approx(0.1)


# -- reset (RFC 2544 section 26.6, RFC 6201) ---------------------------------------------------------------------


def restart(silent: int, intervals: int = 100, **more) -> Trial:
    """A trial of 10 s at 1000 frames/s whose device forwards nothing for so many tenths, a second after its begin."""
    lost = [0] * 10 + [100] * silent + [0] * (intervals - 10 - silent)
    counters = Counters(sent=100 * intervals, received=100 * intervals - sum(lost))
    return Trial(1000, 10.0, 10.0, (counters,), timeline=lossy(0.1, lost), **more)


def restartable(*trials: Trial, renewed: list[str] | None = None):
    stage = scripted(*trials)
    stage.restarting = lambda at_s, down_s: stage.measurer("reset", "restart")
    stage.renew = lambda: (renewed if renewed is not None else []).append("renewed")
    stage.answers_pps = {0.0: 1000.0}
    return stage


def test_the_outage_is_frames_lost_over_load():
    found = outage(restart(25))
    assert (found.seconds, found.silent_s, found.back) == (pytest.approx(2.5), pytest.approx(2.5), True)
    assert [event.at_s for event in found.events] == [pytest.approx(1.0)]


def test_stragglers_cost_frames_but_not_silence():
    trial = restart(20)
    trial = replace(trial, timeline=lossy(0.1, [0] * 10 + [100] * 20 + [50] * 10 + [0] * 60))
    trial = replace(trial, directions=(Counters(sent=10_000, received=7500),))
    assert (outage(trial).seconds, outage(trial).silent_s) == (pytest.approx(2.5), pytest.approx(2.0))


def test_repeats_are_averaged_and_a_stall_is_what_is_measured():
    stage = restartable(restart(10), restart(20, validity=Validity.STALLED), restart(30))
    row = only(ResetTest(repeats=3, patience_s=8).rows(stage))
    assert row.outage_s == row.value_mean == pytest.approx(2.0)
    assert (row.value_min, row.value_max, row.repeats) == (pytest.approx(1.0), pytest.approx(3.0), 3)
    assert row.verdict == "came back, silent for 3 s at most"
    assert len(row.events) == 3


def test_a_device_that_never_comes_back_is_a_result_and_the_rig_is_renewed():
    renewed: list[str] = []
    gone = restart(90, validity=Validity.GONE, reason="the switch does not start")
    row = only(ResetTest(repeats=3, patience_s=30).rows(restartable(gone, renewed=renewed)))
    assert row.verdict == "did not come back within 30 s"
    assert (row.outage_s, row.trials) == (None, 1)
    assert row.warnings == ("reset: 0 of 3 restarts measured; the switch does not start",)
    assert renewed == ["renewed"]


def test_what_cannot_be_restarted_says_so():
    row = only(ResetTest().rows(scene(throughput_pps=1e6)))
    assert row.verdict == "not possible here: nvbench cannot restart simulated"


# -- soak --------------------------------------------------------------------------------------------------------


def test_a_clean_soak_lost_nothing():
    row = only(SoakTest(duration_s=25, slice_s=10).rows(scene(throughput_pps=2e6)))
    assert (row.trials, row.loss_ratio, row.events) == (3, 0, ())
    assert row.final_duration_s == pytest.approx(30)
    assert row.rate_pps == pytest.approx(1.8e6)
    assert row.verdict == "nothing lost at 90% of the throughput"


def test_loss_events_carry_the_time_of_the_soak():
    clean = sent(1000, timeline=lossy(0.1, [0] * 10))
    bad = sent(1000, 7, timeline=lossy(0.1, [0, 0, 3, 4, 0, 0, 0, 0, 0, 0]))
    stage = scripted(clean, bad, sent(1000, 500, Validity.STALLED), clean)
    row = only(SoakTest(duration_s=3, slice_s=1).rows(stage))
    assert [(event.at_s, event.lost_frames) for event in row.events] == [(pytest.approx(1.2), 7)]
    assert row.loss_ratio == pytest.approx(7 / 3000)
    assert (row.trials, row.invalid_trials) == (4, 1)
    assert row.verdict == "7 frames lost in 1 event"


def test_background_loss_makes_more_events_than_are_told():
    timeline = Timeline(0.001, (10,) * 4000, (0,) * 4000, (9, 10) * 2000)
    row = only(SoakTest(duration_s=1, slice_s=1).rows(scripted(sent(40_000, 2000, timeline=timeline))))
    assert len(row.events) == 1000
    assert "2000 loss events" in row.warnings[0]


def test_a_soak_that_is_disturbed_too_often_ends_with_what_it_has():
    clean = sent(900_000, timeline=lossy(0.1, [0] * 10))
    row = only(SoakTest(duration_s=10, slice_s=1).rows(scripted(clean, clean, sent(1, 0, Validity.PAUSED))))
    assert (row.repeats, row.invalid_trials) == (2, 4)
    assert "2 of 10 trials undisturbed" in row.warnings[0]
