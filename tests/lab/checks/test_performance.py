"""Short measurements: their answers are told, a run that can be opened is kept, and no answer is no PASS."""

import pytest

from nvbench.checks import netperf, performance
from nvbench.checks.netperf import NETPERF
from nvbench.checks.performance import FORWARDING, QUALITY
from nvbench.reading import open_results
from nvbench.stands import OVS, Ground
from tests.lab.checks.conftest import Outcome, evidence

ATTEMPTS = 2
BRIEF = ("datapath.queues=1", "traffic.frame_bytes=1518", *performance.SHORT)


@pytest.fixture
def ground(held, stands) -> Ground:
    """Nothing else is up."""
    stands.close()
    return Ground(held, OVS)


def undisturbed(look):
    """The verdict of a measurement that the host let be made."""
    for _ in range(ATTEMPTS):
        verdict = look()
        if not any("no valid answer" in seen.told for seen in verdict.observations):
            return verdict
    return pytest.skip(f"the host disturbed {ATTEMPTS} measurements: {verdict.told}")


def run_of(tmp_path, verdict):
    return open_results(max(evidence(tmp_path, verdict).glob("2*")))


def test_forwarding_tells_a_rate_and_keeps_the_run(ground, look_at, tmp_path, monkeypatch):
    monkeypatch.setattr(performance, "FRAMES", BRIEF)
    verdict = undisturbed(lambda: look_at(FORWARDING, ground))
    assert verdict.outcome is Outcome.PASS
    assert " without loss, " in verdict.observations[0].told
    rows = run_of(tmp_path, verdict).results().to_pylist()
    assert [row["test"] for row in rows] == ["throughput", "latency"]


@pytest.mark.parametrize("check", [FORWARDING, QUALITY])
def test_a_switch_that_drops_all_has_no_throughput(ground, look_at, monkeypatch, check):
    monkeypatch.setattr(performance, "FRAMES", (*BRIEF, "datapath.drop_every=1"))
    others = ("tests.latency=null", "tests.frame_loss=null", "tests.soak=null")
    monkeypatch.setattr(performance, "QUALITY_FRAMES", (*performance.FRAMES, *others))
    verdict = look_at(check, ground)
    assert verdict.outcome is Outcome.FAIL
    assert "no valid answer, nothing passes" in verdict.told


def test_quality_tells_loss_and_latency(ground, look_at, monkeypatch):
    kept = [each for each in performance.QUALITY_FRAMES if "soak" not in each]
    monkeypatch.setattr(performance, "QUALITY_FRAMES", (*kept, "tests.soak=null"))
    verdict = undisturbed(lambda: look_at(QUALITY, ground))
    assert verdict.outcome is Outcome.PASS
    assert any(seen.told.startswith("frame loss of 512-byte frames: ") for seen in verdict.observations)


def once_more(look, outcome):
    """The verdict, or that of a second look where the first was of another kind: short streams vary on a busy host."""
    verdict = look()
    return verdict if verdict.outcome is outcome else look()


def test_the_gap_is_explained_by_segmentation(ground, look_at, tmp_path):
    verdict = once_more(lambda: look_at(NETPERF, ground), Outcome.PASS)
    assert verdict.outcome is Outcome.PASS
    assert "of that gap is TSO, on over linux_bridge and off over ovs_dpdk" in verdict.told
    assert ("tcp-segmentation-offload", "on", "off") in verdict.grids[0].rows
    assert run_of(tmp_path, verdict).table("streams").num_rows == 15


def test_a_gap_without_a_flag_to_blame(ground, look_at, monkeypatch):
    monkeypatch.setattr(netperf, "SWITCHED", tuple(f"endpoints.{name}=false" for name in ("tx_checksum", "sg", "tso")))
    verdict = once_more(lambda: look_at(NETPERF, ground), Outcome.FAIL)
    assert verdict.outcome is Outcome.FAIL
    assert "no offload flag explains it" in verdict.told
