"""What short measurements say in words, and when a gap counts as explained."""

from dataclasses import replace

from nvbench.attribution import Effect, Explanation
from nvbench.checks.netperf import answer, explained
from nvbench.checks.performance import answered, sentence
from nvbench.tables import LatencySummary, ResultRow, Subject

THROUGHPUT = ResultRow(
    subject=Subject("ovs_dpdk-64B", "throughput", "ovs_dpdk", "nvgen", 64),
    rate_pps=3.533e6,
    load_share=0.237,
    loss_ratio=0.0,
    latency=LatencySummary(latency_p50_us=3.121, latency_p99_us=114.0),
    verdict="sut_limited",
)


def test_a_throughput_in_words():
    assert sentence(THROUGHPUT) == (
        "3.533 Mpps without loss, 24% of the line rate (sut_limited); half within 3.121 us, 99 % within 114 us"
    )


def test_a_loss_in_words():
    lost = replace(THROUGHPUT, subject=replace(THROUGHPUT.subject, test="frame_loss"), loss_ratio=0.25, load_share=0.9)
    assert sentence(lost) == "25.00% lost at 90%"


def test_a_switch_that_passes_nothing_has_given_no_answer():
    assert answered(THROUGHPUT)
    assert not answered(replace(THROUGHPUT, rate_pps=0.0))
    assert not answered(replace(THROUGHPUT, rate_pps=None))


def effect(name, share, low=2.0):
    return Effect(name, 3.0, low, 5.0, share, share - 0.1, share + 0.1)


def explanation(*effects, low=9.0):
    return Explanation("fast", "slow", 13.0, low, 19.0, effects, (), (), (), "")


ROWS = [
    {"case_id": case, "datapath": path, "goodput_bps": bps}
    for case, path, bps in (("fast", "linux_bridge", 14.6e9), ("slow", "ovs_dpdk", 1.2e9))
]


def test_a_gap_that_a_flag_explains():
    found = explanation(effect("TSO", 0.6), effect("the path itself", 0.4))
    assert explained(found)
    assert answer(found, ROWS) == (
        "TCP over linux_bridge 14.6 Gbit/s, over ovs_dpdk 1.2 Gbit/s, 13x (9.0-19): 60 % of that gap is TSO, "
        "on over linux_bridge and off over ovs_dpdk"
    )


def test_a_gap_that_no_flag_explains():
    for found in (
        explanation(effect("the path itself", 0.9), effect("TSO", 0.1)),
        explanation(effect("the path itself", 0.5), effect("TSO", 0.5, low=0.9)),
    ):
        assert not explained(found)
        assert "no offload flag explains it; " in answer(found, ROWS)


def test_no_gap_needs_no_cause():
    found = explanation(effect("the path itself", 1.0), low=0.9)
    assert explained(found)
    assert answer(found, ROWS).endswith("no gap beyond noise")
