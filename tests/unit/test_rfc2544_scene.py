"""What tests see of a case, on a simulated device; the other test_rfc2544 modules build on `scene`."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from nvbench.generators.devices import Device
from nvbench.generators.simulated import SimulatedGenerator
from nvbench.rfc2544 import TESTS, Scene
from nvbench.rfc2544.events import loss_events
from nvbench.rfc2544.mrr import MrrTest
from nvbench.rfc2544.scene import repeated, with_spread
from nvbench.tables import LossEvent, ResultRow, Subject
from nvbench.trial import Counters, Timeline, Trial, Validity

LINE_PPS = 10e6
SUBJECT = Subject("c", "", "simulated", "simulated", 64)


def scene(device: Device | None = None, throughput_pps: float | None = None, **known) -> Scene:
    """A case on a simulated device; its trials are named after their number."""
    generator = SimulatedGenerator(device or Device(capacity_pps=2e6), seed=1)
    made: list[Trial] = []

    def measurer(test, purpose):
        def measure(load_pps, duration_s, abort, *, then=None, detail=False):
            trial = generator.trial(load_pps, duration_s, abort, then=then, detail=detail)
            made.append(replace(trial, trial_id=f"{purpose}{len(made)}"))
            return made[-1]

        return measure

    answers = {} if throughput_pps is None else {0.0: throughput_pps}
    known = {"quick": True, **known}
    return Scene(SUBJECT, LINE_PPS, 1, measurer, answers_pps=answers, **known)


def scripted(*trials: Trial):
    """A scene whose measures answer with these trials, the last of them for ever."""
    left = list(trials)

    def measure(load_pps, duration_s, abort, *, then=None, detail=False):
        trial = left.pop(0) if len(left) > 1 else left[0]
        return replace(trial, intended_pps=load_pps, duration_s=duration_s, then=then)

    return Scene(SUBJECT, LINE_PPS, 1, lambda test, purpose: measure, quick=True, answers_pps={0.0: 1e6})


def sent(frames: int, lost: int = 0, validity: Validity = Validity.VALID, **more) -> Trial:
    """A trial of 1 s in one direction."""
    counters = Counters(sent=frames, received=frames - lost)
    return Trial(frames, 1.0, 1.0, (counters,), validity=validity, reason=validity.value, **more)


def lossy(interval_s: float, lost: Sequence[int], per_interval: int = 100) -> Timeline:
    """A timeline of intervals in which so many of the frames were lost."""
    frames = (per_interval,) * len(lost)
    return Timeline(interval_s, frames, (0,) * len(lost), tuple(per_interval - each for each in lost))


def only(rows) -> ResultRow:
    (row,) = rows
    return row


def test_every_test_has_a_name_of_its_own_and_expects_to_make_trials():
    names = [test.name for test in TESTS]
    assert len(set(names)) == len(names)
    assert all(each.trials > 0 for test in TESTS for each in test().expected())


@pytest.mark.parametrize("test", TESTS)
def test_every_test_tells_something_of_a_device_that_loses_everything(test):
    rows = list(test().rows(scene(Device(capacity_pps=1e-9))))
    assert rows
    assert all(row.subject.test == test.name and row.verdict for row in rows)


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize("validity", [Validity.FOREIGN, Validity.CLOCK, Validity.STALLED, Validity.UNDERSENT])
def test_no_test_breaks_where_no_trial_can_be_believed(test, validity):
    rows = list(test().rows(scripted(sent(1000, 10, validity, timeline=lossy(0.1, [1] * 10)))))
    assert rows
    assert all(row.verdict for row in rows)


@pytest.mark.parametrize("test", TESTS)
def test_no_test_breaks_where_nothing_is_sent(test):
    nothing = Trial(0.0, 1.0, 0.0, (Counters(),), timeline=Timeline(0.1, (), (), ()))
    assert list(test().rows(scripted(nothing)))


@pytest.mark.parametrize("test", [test for test in TESTS if test().needs_throughput and test.name != "reset"])
@pytest.mark.parametrize("throughput_pps", [None, 0.0])
def test_a_share_of_no_throughput_is_not_possible_and_that_is_said(test, throughput_pps):
    row = only(test().rows(scene(throughput_pps=throughput_pps)))
    assert row.verdict == "not possible here: no throughput to take a share of was found"
    assert row.trials == 0


def test_a_trial_that_cannot_be_believed_is_made_again_within_a_bound():
    bad, good = sent(100, 0, Validity.PAUSED), sent(100)
    answers = iter([bad, good, bad, bad, bad])
    found = repeated(lambda: next(answers), repeats=3, repeat_invalid=2)
    assert len(found.carriers) == 1
    assert len(found.trials) == 5
    assert found.warnings == ("1 of 3 trials undisturbed; the last: generator was descheduled",)


def test_a_generator_that_offers_something_else_than_asked_is_named():
    row = only(MrrTest(repeats=1).rows(scripted(sent(5_000_000))))
    assert row.warnings == (
        "the generator offered 5 Mpps where 10 Mpps were asked for, and did not say why; rates are what it offered",
    )
    assert not only(MrrTest(repeats=1).rows(scripted(sent(10_000_000)))).warnings


def test_a_short_duration_is_a_warning_unless_all_is_short_on_purpose():
    assert scene(quick=False).short("trials", 1, 60, "RFC 2544 section 24") == [
        "trials of 1 s, RFC 2544 section 24 asks for at least 60 s"
    ]
    assert scene(quick=True).short("trials", 1, 60, "RFC 2544 section 24") == []
    assert scene(quick=False).short("trials", 60, 60, "RFC 2544 section 24") == []


def test_spread_is_that_of_the_repeats():
    row = with_spread(scene().row("mrr", (), ""), [1.0, 2.0, 6.0])
    assert (row.repeats, row.value_min, row.value_mean, row.value_max) == (3, 1.0, 3.0, 6.0)
    assert row.value_stdev == pytest.approx(2.6458, abs=1e-4)
    assert with_spread(row, [1.0]).value_stdev is None
    assert with_spread(scene().row("mrr", (), ""), []).repeats == 0


def test_loss_events_are_runs_of_intervals_that_lost_frames():
    assert list(loss_events(lossy(0.1, [0, 3, 4, 0, 0, 5]), offset_s=10)) == [
        LossEvent(pytest.approx(10.1), pytest.approx(0.2), 7),
        LossEvent(pytest.approx(10.5), pytest.approx(0.1), 5),
    ]
    assert not list(loss_events(lossy(0.1, [0, 0])))


def test_what_can_be_offered_again_and_again_is_a_little_below_the_ceiling():
    assert scene().sendable_pps == LINE_PPS
    assert scene(ceiling_pps=5e6).sendable_pps == pytest.approx(4.75e6)
    assert scene(ceiling_pps=20e6).sendable_pps == LINE_PPS
