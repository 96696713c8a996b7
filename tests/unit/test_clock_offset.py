"""How far a host's clock is away: the exchange with the smallest round trip tells, and half of that is its error."""

import time

import pytest

from nvbench.clock_offset import ClockOffset, clock_offset
from nvbench.errors import CommandError
from nvbench.hosts import LocalHost


class FarHost:
    """A host whose clock is ahead by `ahead_s`; its answers take the time that they are given."""

    name = "far"
    local = False

    def __init__(self, ahead_s, delays_s=((0.0, 0.0),), told=None, whole=False):
        self.whole = whole
        self.ahead_s, self.delays_s, self.told = ahead_s, list(delays_s), told
        self.closed = False

    def spawn(self, argv):
        assert argv == ["xargs", "-I{}", "date", "+%s%N"]
        return self

    def send(self, line):
        there_s, self.back_s = self.delays_s[0] if len(self.delays_s) == 1 else self.delays_s.pop(0)
        time.sleep(there_s)
        now_ns = time.time_ns() + round(self.ahead_s * 1e9)
        self.now = f"{now_ns // 10**9}%N" if self.whole else str(now_ns)

    def receive(self, timeout_s):
        time.sleep(self.back_s)
        return self.now if self.told is None else self.told

    def close(self):
        self.closed = True


def test_this_machine_is_its_own_clock():
    assert clock_offset(LocalHost()) == ClockOffset(0.0, 0.0)


@pytest.mark.parametrize("ahead_s", [0.0, 3.25, -86400.5])
def test_the_true_offset_is_within_the_error(ahead_s):
    host = FarHost(ahead_s, [(0.03, 0.0), (0.0, 0.01), (0.0, 0.002), (0.005, 0.005)])
    found = clock_offset(host)
    assert abs(found.offset_s - ahead_s) <= found.error_s + 1e-6
    assert 0.001 <= found.error_s < 0.01  # of the third exchange, or of one of the last ones
    assert host.closed


@pytest.mark.parametrize("told", ["", "no such program"])
def test_a_host_that_does_not_tell_its_time(told):
    with pytest.raises(CommandError, match=r"^host far: does not tell its time"):
        clock_offset(FarHost(0.0, told=told))


def test_a_host_that_tells_whole_seconds_is_known_to_half_of_one():
    found = clock_offset(FarHost(0.0, whole=True))
    assert abs(found.offset_s) <= found.error_s
    assert found.error_s == pytest.approx(0.5, abs=0.05)
