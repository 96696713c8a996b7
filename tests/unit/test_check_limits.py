"""What is concluded from frames of exact sizes, and from what came of a stream."""

from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from nvbench.checks.mtu import boundary
from nvbench.checks.rate_limit import (
    FRAME_BYTES,
    LIMIT_BPS,
    PAYLOAD_BYTES,
    RATE_LIMIT,
    Passage,
    burst_of,
    limit_of,
    passage_of,
)
from nvbench.errors import NotPossibleError
from nvbench.hosts import Completed
from nvbench.stands import BRIDGE, SRIOV, Record


def test_the_arithmetic_of_a_frame_is_told():
    holds, told, largest, smallest = boundary(1500, 0, {1514: True, 1515: False})
    assert (holds, largest, smallest) == (True, 1514, 1515)
    assert told == (
        "a frame of 1514 bytes without FCS (1518 bytes on the wire = 1500 MTU + 14 Ethernet + 4 FCS) arrives; "
        "1515 bytes do not"
    )


def test_a_tag_comes_on_top():
    _, told, *_ = boundary(1500, 1, {1518: True, 1519: False})
    assert "1522 bytes on the wire = 1500 MTU + 14 Ethernet + 4 tag + 4 FCS" in told


@pytest.mark.parametrize(
    ("arrived", "at_ends", "holds", "word"),
    [
        ({1514: False, 1515: False}, False, False, "does not arrive"),
        ({1514: True, 1518: True, 1519: False}, False, True, "4 bytes more, room for tags"),
        ({1514: True, 1554: True}, False, False, "nothing ends at the MTU"),
        ({1514: True, 1540: True, 1554: False}, False, False, "26 bytes larger"),
        ({1514: True, 1554: True}, True, True, "takes more than it may send"),
        ({1514: True}, False, True, "sends none larger"),
    ],
)
def test_what_is_seen_beyond_the_mtu(arrived, at_ends, holds, word):
    found, told, *_ = boundary(1500, 0, arrived, at_ends=at_ends)
    assert found is holds
    assert word in told


def of_rates(*mbps):
    return Passage(12e6, tuple(each * 1e6 / 8 * 0.1 * PAYLOAD_BYTES / FRAME_BYTES for each in mbps), 0)


def test_a_burst_is_what_comes_above_the_limit_before_it_holds():
    held = of_rates(6, *[2.0] * 19)
    assert held.settled(LIMIT_BPS) == 1
    assert held.burst_bytes(LIMIT_BPS) == pytest.approx(burst_of(LIMIT_BPS))
    assert held.bps(1) == pytest.approx(LIMIT_BPS)


def test_a_limit_that_never_holds():
    assert of_rates(*[8.0] * 20).settled(LIMIT_BPS) is None


class Bare:
    """A host on which no program is found."""

    def run(self, argv, check):
        return Completed(tuple(argv), 1, "", "", 0.0)


def on(path, pf=None):
    """A stand whose limits can be set, and whose members have no programs."""
    bench = SimpleNamespace(testbed=SimpleNamespace(switch=SimpleNamespace(sriov=pf)))
    levers = SimpleNamespace(limited=lambda *_asked: nullcontext())
    return SimpleNamespace(path=path, bench=bench, levers=levers, member=lambda _name: SimpleNamespace(host=Bare()))


def test_a_real_nic_is_given_a_limit_that_it_takes():
    assert limit_of(on(SRIOV)) == limit_of(on(BRIDGE, "eth2")) == LIMIT_BPS
    assert limit_of(on(SRIOV, "eth2")) == 200_000_000
    assert burst_of(200_000_000) == 5_000_000


def test_members_without_iperf3(tmp_path):
    with pytest.raises(NotPossibleError, match="no iperf3 at vm1"):
        RATE_LIMIT.act(on(BRIDGE), Record(tmp_path))


def test_what_iperf3_tells_at_both_ends():
    received = [{"sum": {"seconds": 0.1, "bytes": 14000, "lost_packets": 2}}] * 3
    received.append({"sum": {"seconds": 0.01, "bytes": 0, "lost_packets": 1}})
    sender = {"end": {"sum": {"bytes": 56000, "seconds": 0.4}}}
    found = passage_of(sender, {"intervals": received})
    assert found.samples == (14000, 14000, 14000)
    assert found.lost == 7
    assert found.offered_bps == pytest.approx(56000 * 8 / 0.4 * FRAME_BYTES / PAYLOAD_BYTES)
