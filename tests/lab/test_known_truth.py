"""A device of known capacity: OVS's ingress policer. What is measured has to agree with it, in true seconds.

The policer counts frames without FCS and Ethernet header, and runs on DPDK's clock, which is rounded and may be off by
0.2 %. Its bucket lets a burst pass once: 400 kbit hide 4 ms of overload, 0.13 % of a trial of 3 s, and bear a
short pause of the PMD.
"""

import pytest

import nvbench
from tests.lab.test_run import only_run, run

pytestmark = pytest.mark.usefixtures("as_found")

KBPS = 100_000
UNCOUNTED_BYTES = 14 + 4
POLICER = (
    *("-s", "datapath.queues=1", "-s", "datapath.ingress_policing_burst_kb=400"),
    *("-s", "tests.throughput.search_s=0.5", "-s", "tests.throughput.final_s=3", "-s", "tests.throughput.width=0.002"),
    *("-s", "tests.latency=null"),
)


def measured(tmp_path, *words):
    done = run(tmp_path, *POLICER, *words)
    assert done.returncode == 0, done.stderr
    results = nvbench.open_results(only_run(tmp_path))
    clock = results.runs[0].fingerprint["clock"]
    return results.results().to_pylist(), clock["tsc_hz"] / clock["dpdk_hz"]


def test_the_throughput_is_the_policed_rate(tmp_path):
    sizes = [64, 512, 1518]
    rows, clock = measured(
        tmp_path, "-s", f"datapath.ingress_policing_kbps={KBPS}", "-s", f"traffic.frame_bytes={sizes}"
    )
    assert [row["frame_bytes"] for row in rows] == sizes
    for row in rows:
        truth = KBPS * 1000 / 8 / (row["frame_bytes"] - UNCOUNTED_BYTES) * clock
        assert row["rate_pps"] == pytest.approx(truth, rel=0.005), f"{row['frame_bytes']} B"


def test_a_device_that_is_two_percent_slower_is_seen_to_be(tmp_path):
    rates = [KBPS, round(KBPS * 0.98)]
    rows, _ = measured(tmp_path, "-s", f"datapath.ingress_policing_kbps={rates}", "-s", "traffic.frame_bytes=512")
    base, slower = (row["rate_pps"] for row in rows)
    assert slower / base == pytest.approx(0.98, abs=0.004)
