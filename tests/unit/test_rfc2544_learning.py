"""Address learning: a switch with a table of so many places, that learns so many addresses a second."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvbench.rfc2544 import Addresses
from nvbench.rfc2544.learning import LearningTest, learning
from nvbench.trial import Counters, Trial, Validity
from tests.unit.test_rfc2544_scene import LINE_PPS, only, scene


class Switch:
    """Learns up to `places` addresses, of each trial as many as `per_s` allows."""

    def __init__(self, places: int, per_s: float, ceiling_pps: float = LINE_PPS, disturbed: bool = False) -> None:
        self.places, self.per_s, self.ceiling_pps, self.disturbed = places, per_s, ceiling_pps, disturbed
        self.known = 0

    def table(self) -> Addresses:
        return Addresses(self.measure, lambda: self.known, self.forget)

    def forget(self) -> None:
        self.known = 0

    def measure(self, addresses: int):
        def measure(load_pps, duration_s, abort, *, then=None, detail=False):
            asked = round(load_pps * duration_s)
            frames = min(asked, int(self.ceiling_pps * duration_s))
            self.known = min(addresses, frames, self.places, round(self.per_s * duration_s))
            validity = Validity.VALID if frames == asked else Validity.UNDERSENT
            validity = Validity.PAUSED if self.disturbed else validity
            counters = Counters(sent=frames, late=asked - frames, received=frames)
            return Trial(load_pps, duration_s, duration_s, (counters,), validity=validity)

        return measure


@settings(max_examples=50)
@given(st.integers(100, 20_000), st.floats(6000, 5e6))
def test_size_and_speed_of_the_table_are_found(places, per_s):
    found = learning(Switch(places, per_s).table(), 16384, slow_pps=5000, fast_pps=LINE_PPS, width=0.05)
    size = min(places, 16384)
    assert found.addresses == size
    assert found.rate_pps <= per_s * (1 + 10 / size)
    assert found.rate_pps >= per_s / 1.06
    assert found.too_fast_pps > found.rate_pps


def test_a_table_larger_than_asked_and_as_fast_as_the_link_is_at_least_that():
    stage = scene(addresses=Switch(50_000, 1e9).table())
    row = only(LearningTest(addresses=4096).rows(stage))
    assert (row.addresses, row.learning_pps, row.trials) == (4096, LINE_PPS, 2)
    assert row.verdict == "at least this many addresses, as fast as frames come"


def test_a_full_table_and_a_limit_are_named():
    row = only(LearningTest(addresses=4096, width=0.05).rows(scene(addresses=Switch(2048, 50_000).table())))
    assert (row.addresses, row.verdict) == (2048, "the table is full, learning limited")
    assert row.learning_pps == pytest.approx(50_000, rel=0.06)


def test_a_generator_that_is_slower_than_the_switch_limits_what_is_known():
    row = only(LearningTest(addresses=2048).rows(scene(addresses=Switch(9000, 1e9, ceiling_pps=3e6).table())))
    assert row.learning_pps == pytest.approx(0.95 * 3e6, rel=0.01)
    assert row.verdict == "at least this many addresses, as fast as frames come"


def test_a_switch_that_learns_nothing_and_one_that_was_disturbed():
    row = only(LearningTest().rows(scene(addresses=Switch(0, 1e6).table())))
    assert (row.addresses, row.learning_pps, row.verdict) == (0, None, "learns nothing")
    row = only(LearningTest().rows(scene(addresses=Switch(9, 1e6, disturbed=True).table())))
    assert (row.addresses, row.verdict) == (None, "too disturbed for an answer")


def test_a_switch_that_is_not_asked_to_learn_says_so():
    row = only(LearningTest().rows(scene()))
    assert row.verdict == "not possible here: simulated learns no addresses"
