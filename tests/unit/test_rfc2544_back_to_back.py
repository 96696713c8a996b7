"""Back-to-back frames: the longest burst without loss is B x / (x - C), found in few trials."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvbench.generators.devices import Device
from nvbench.generators.simulated import SimulatedGenerator
from nvbench.rfc2544.back_to_back import (
    BackToBackTest,
    back_to_back,
    buffer_time_us,
    corrected_buffer_time_us,
)
from nvbench.trial import Validity
from tests.unit.test_rfc2544_scene import LINE_PPS, only, scene, scripted, sent


def bursts(device: Device, repeats: int = 3, width: float = 0.01, rate_pps: float = LINE_PPS):
    return back_to_back(scene(device).measurer("back_to_back", ""), rate_pps, 2.0, width, repeats)


@settings(max_examples=60)
@given(st.integers(1, 1_000_000), st.floats(0.05, 0.95))
def test_the_longest_burst_is_found_whatever_buffer_and_capacity(buffer_frames, share):
    truth = buffer_frames / (1 - share)
    found = bursts(Device(capacity_pps=share * LINE_PPS, buffer_frames=buffer_frames))
    if truth > 2 * LINE_PPS:
        assert found.at_least
    else:
        frame = 2 / (1 - share)  # the simulated device counts no parts of frames: so many more cost one
        assert found.longest == pytest.approx([truth] * 3, rel=0.011, abs=frame)
        assert all(trial.loss_ratio == 0 for trial in found.carriers)
        assert len(found.trials) <= 24


def test_few_trials_are_needed_once_the_length_is_known():
    device = Device(capacity_pps=7e6, buffer_frames=4096)
    assert len(bursts(device, repeats=50).trials) - len(bursts(device, repeats=1).trials) <= 2.2 * 49


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_a_device_that_varies_has_a_spread(seed):
    device = Device(capacity_pps=7e6, capacity_noise=0.01, buffer_frames=4096)
    row = only(BackToBackTest(repeats=10).rows(scene(device, throughput_pps=6.9e6)))
    assert row.burst_frames == pytest.approx(4096 / 0.3, rel=0.05)
    assert row.value_min < row.value_mean < row.value_max
    assert row.value_stdev > 0


def test_a_device_that_never_loses_is_told_as_at_least():
    row = only(BackToBackTest().rows(scene(Device(capacity_pps=20e6), throughput_pps=LINE_PPS)))
    assert row.verdict == "at least this: nothing lost in 2 s"
    assert (row.burst_frames, row.trials, row.buffer_time_us) == (2 * LINE_PPS, 1, 2e6)
    assert row.corrected_buffer_time_us is None


def test_a_device_that_passes_nothing_has_a_burst_of_nothing():
    row = only(BackToBackTest(repeats=2).rows(scene(Device(capacity_pps=1e-9))))
    assert (row.burst_frames, row.verdict) == (0, "not one frame passes")


def test_buffer_times_are_those_of_rfc_9004():
    # RFC 9004 section 6.4: 26000 frames at 14.88 Mpps, of which the device forwards 12 Mpps
    assert buffer_time_us(26_000, 14.88e6) == pytest.approx(1747.3, abs=0.1)
    assert corrected_buffer_time_us(26_000, 14.88e6, 12e6) == pytest.approx(1747.3 * 0.19355, abs=0.1)
    row = only(BackToBackTest(repeats=2).rows(scene(Device(capacity_pps=5e6, buffer_frames=1000), throughput_pps=5e6)))
    assert row.corrected_buffer_time_us == pytest.approx(1000 / LINE_PPS * 1e6, rel=0.01)  # 1000 frames of line rate


def test_a_burst_below_line_rate_is_sent_at_what_the_generator_holds_and_that_is_said():
    device = Device(capacity_pps=2e6, buffer_frames=500, ceiling_pps=5e6)
    for known in ({}, {"ceiling_pps": 5e6}):
        row = only(BackToBackTest(repeats=1).rows(scene(device, **known)))
        assert row.rate_pps == pytest.approx(4.75e6, rel=0.01)
        assert row.burst_frames == pytest.approx(500 / (1 - 2 / 4.75), rel=0.02)
        assert "bursts were sent at 4.75 Mpps, which the generator holds, not at 10 Mpps" in row.warnings[0]


def test_the_rate_comes_down_until_the_generator_holds_it():
    undersent = [sent(frames, 9, Validity.UNDERSENT) for frames in (8_000_000, 7_000_000)]
    row = only(BackToBackTest(repeats=1).rows(scripted(*undersent, sent(6_650_000))))
    assert row.load_share == pytest.approx(0.95 * 0.7)
    assert row.verdict == "at least this: nothing lost in 2 s"
    assert "bursts were sent at 6.65 Mpps, which the generator holds" in row.warnings[0]


def disturbing(device: Device, longest_s: float, times: int = 10**9):
    """A scene in which so many of the bursts that last longer are disturbed."""
    stage = scene(device, throughput_pps=device.capacity_pps)
    measure, left = stage.measurer("back_to_back", "burst"), [times]

    def disturbed(load_pps, duration_s, abort, *, then=None, detail=False):
        trial = measure(load_pps, duration_s, abort, then=then, detail=detail)
        if duration_s <= longest_s or not left[0]:
            return trial
        left[0] -= 1
        return replace(trial, validity=Validity.PAUSED, reason="generator was not there")

    stage.measurer = lambda test, purpose: disturbed
    return stage


def test_where_long_bursts_are_disturbed_a_shorter_one_tells_as_much():
    row = only(BackToBackTest(repeats=3).rows(disturbing(Device(capacity_pps=7e6, buffer_frames=4096), 0.2)))
    assert row.burst_frames == pytest.approx(4096 / 0.3, rel=0.011)
    assert row.verdict == "device limited"
    assert row.warnings == ("back-to-back: bursts longer than 0.125 s were disturbed again and again",)


def test_what_a_shorter_burst_did_not_lose_says_how_long_it_was():
    row = only(BackToBackTest().rows(disturbing(Device(capacity_pps=20e6), 0.01)))
    assert row.verdict == "at least this: nothing lost in 0.00781 s"
    assert row.buffer_time_us == pytest.approx(7812.5)


def test_short_bursts_are_repeated_more_often_than_long_ones():
    device = Device(capacity_pps=7e6, buffer_frames=4096)
    assert only(BackToBackTest(most_s=0.1, repeats=1).rows(disturbing(device, 0.0, times=15))).burst_frames
    assert "were disturbed" not in str(only(BackToBackTest(most_s=0.1).rows(disturbing(device, 0.0, 15))).warnings)
    assert "were disturbed" in str(only(BackToBackTest(most_s=1.0).rows(disturbing(device, 0.0, 15))).warnings)


def test_disturbed_bursts_are_no_loss():
    row = only(BackToBackTest(repeats=5).rows(scripted(sent(100, 50, Validity.STALLED))))
    assert row.verdict == "too disturbed for an answer"
    assert row.burst_frames is None
    assert row.trials == row.invalid_trials == 4 + 16 + 16  # of 2 s, then of a sixteenth each
    assert "0 of 5 repeats undisturbed" in row.warnings[0]


def unpaced(device: Device, memory_pps: float, file_pps: float, counted_s: float = 0.1):
    """A scene whose generator counts out short bursts, at another speed than that at which it sends for a time."""
    generator = SimulatedGenerator(device, seed=1)

    def measure(load_pps, duration_s, abort, *, then=None, detail=False):
        asked = load_pps * duration_s
        pps = file_pps if duration_s <= counted_s else memory_pps
        seconds = asked / pps if duration_s <= counted_s else duration_s
        trial = generator.trial(pps, seconds, abort, then=then, detail=detail)
        late = max(0, round(load_pps * trial.elapsed_s) - trial.total.offered)
        slow = {"validity": Validity.UNDERSENT, "reason": "slow"} if late > 0.001 * trial.total.offered else {}
        counted = (replace(trial.directions[0], late=late),)
        return replace(trial, intended_pps=load_pps, duration_s=duration_s, directions=counted, **slow)

    stage = scene(device, ceiling_pps=memory_pps, paced=False)
    stage.measurer = lambda test, purpose: measure
    return stage


def test_a_generator_that_cannot_be_paced_sends_bursts_as_fast_as_it_holds_them():
    row = only(BackToBackTest(repeats=3).rows(unpaced(Device(capacity_pps=1e6, buffer_frames=2000), 9e6, 2e6)))
    assert row.verdict == "device limited"
    assert row.rate_pps == pytest.approx(2e6)
    assert row.burst_frames == pytest.approx(2000 / (1 - 1 / 2), rel=0.011)


def test_repeats_that_end_at_the_longest_burst_of_all_are_told():
    stage = scene(Device(capacity_pps=20e6))
    measure, trials = stage.measurer("back_to_back", "burst"), []

    def loses_once(load_pps, duration_s, abort, *, then=None, detail=False):
        trials.append(measure(load_pps, duration_s, abort))
        return sent(20_000_000, 9) if len(trials) == 1 else trials[-1]

    stage.measurer = lambda test, purpose: loses_once
    row = only(BackToBackTest(repeats=2).rows(stage))
    assert row.verdict == "device limited"
    assert row.warnings == ("back-to-back: 2 of 2 repeats passed at the longest burst that was tried",)


def test_bursts_that_are_not_counted_out_are_no_limit_of_the_device():
    # It forwards all that is sent in short bursts, and loses half of what is sent for a time.
    row = only(BackToBackTest(repeats=3).rows(unpaced(Device(capacity_pps=4e6, buffer_frames=2000), 9e6, 2e6)))
    assert row.verdict == "at least this: nothing lost in 0.0625 s"
    assert row.burst_frames == pytest.approx(0.95 * 2e6 * 0.0625)
    assert "bursts longer than 0.0625 s were disturbed, or are of more frames than asked for" in row.warnings[1]
