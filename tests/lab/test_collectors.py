"""Collectors on the real switch: every source is there, counters agree with the generator's, and looking is cheap."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import nvbench
from nvbench.collectors import Inside
from nvbench.hosts import LocalHost, NamespaceHost
from nvbench.measurer import Measurer, StandingRig
from nvbench.rigs import Rig
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import Subject
from nvbench.traffic import Traffic
from nvbench.trial import Trial
from tests.lab.conftest import leaves_no_trace
from tests.lab.test_ovs import NO_ABORT, lossless, rig
from tests.lab.waiting import until

pytestmark = pytest.mark.usefixtures("as_found")

LONG_S = 4.0
Samples = dict[tuple[str, str], list[float]]


class Silent:
    """Watches, and says nothing."""

    def stage(self, text): ...

    def live(self, where, load_pps, duration_s, live): ...

    def trial(self, where, trial): ...

    def result(self, row): ...


def measured(folder: Path, duration_s: float, **options: object) -> tuple[Trial, Samples]:
    """A lossless trial at 10 000 frames a second over a datapath with these options, and its samples as stored."""

    @contextmanager
    def bring_up() -> Iterator[Rig]:
        with rig(**options) as made:
            yield made

    subject = Subject("c", "t", str(options.get("kind", "ovs_dpdk")), "nvgen", 1518)
    with RunWriter.create(folder, RunHeader("p", "t")) as store, StandingRig(bring_up) as standing:
        measure = Measurer(standing, store, Silent(), subject, "lab", Traffic(1518, flows=16))
        trial = until(lossless, lambda: measure(10_000, duration_s, NO_ABORT))
    samples: Samples = {}
    for row in nvbench.open_results(store.path).table("samples").to_pylist():
        if row["trial_id"] == trial.trial_id:
            samples.setdefault((row["source"], row["metric"]), []).append(row["value"])
    return trial, samples


def delta(samples: Samples, source: str, metric: str) -> float:
    values = samples[source, metric]
    return values[-1] - values[0]


@pytest.fixture(scope="module")
def long(tmp_path_factory) -> tuple[Trial, Samples]:
    """A trial that is long enough to be looked at while it runs."""
    with leaves_no_trace():
        return measured(tmp_path_factory.mktemp("long"), LONG_S, queues=2)


def test_every_source_is_there_and_adds_up_with_what_the_generator_counted(long):
    trial, samples = long
    sent, received = trial.total.sent, trial.total.received
    (core,) = {source for source, metric in samples if metric == "processing_cycles"}
    assert delta(samples, "port nvp0", "rx_packets") == sent
    assert delta(samples, "port nvp1", "tx_packets") == received
    assert sum(delta(samples, f"port nvp0 queue {queue}", "rx_packets") for queue in (0, 1)) == sent
    assert sum(delta(samples, f"port nvp1 queue {queue}", "tx_packets") for queue in (0, 1)) == received
    assert delta(samples, core, "packets_received") == delta(samples, core, "tx_packets") == sent
    assert delta(samples, "coverage", "netdev_sent") > 0  # PMDs add theirs about once a second
    assert delta(samples, "datapath", "lookups_lost") == 0
    assert delta(samples, core, "busy_iterations") + delta(samples, core, "idle_iterations") == pytest.approx(
        delta(samples, core, "iterations"), rel=0.01
    )
    assert 0 < delta(samples, core, "processing_cycles") < delta(samples, core, "used_cycles")
    assert samples["port nvp1 queue 0", "tx_vring_size"] == [4096, 4096]
    assert [cause for source, cause in samples if source == "port nvp1" and cause.endswith("drops")]
    number = core.removeprefix("pmd ")
    for source, metric in [
        (f"cpu {number}", "user_s"),
        (f"softnet {number}", "processed"),
        (f"interrupts {number}", "timer"),
        (f"frequency {number}", "hertz"),
        ("host", "context_switches"),
        ("memory", "hugepages_free"),
        ("datapath", "flow_limit"),
    ]:
        assert len(samples[source, metric]) >= 2, (source, metric)
    ran = {source: delta(samples, source, metric) for source, metric in samples if metric == "cpu_s"}
    assert [source for source in ran if source.startswith("task switch pmd") and ran[source] > 0]
    assert [source for source in ran if source.startswith("task generator nvgen") and ran[source] > 0]


def test_looking_takes_less_than_a_hundredth_of_a_core_while_frames_flow(long):
    """The pause that follows a look is as long as the look was costly; that of the last one the trial does not see."""
    trial, samples = long
    looks, cost_s = delta(samples, "collector", "looks"), delta(samples, "collector", "cpu_s")
    assert looks >= 1
    assert 0 < cost_s < 0.01 * trial.elapsed_s + cost_s / looks


def test_the_ports_of_testpmd_are_had_by_telemetry(tmp_path):
    trial, samples = measured(tmp_path, 0.5, kind="testpmd")
    assert delta(samples, "port nvp0", "rx_packets") == trial.total.sent
    assert delta(samples, "port nvp1", "tx_packets") == trial.total.received
    assert delta(samples, "port nvp0 queue 0", "rx_packets") == trial.total.sent


def test_a_namespace_tells_of_its_own_devices_alone():
    host = LocalHost()
    host.run(["ip", "netns", "add", "nvcol"])
    try:
        inside = NamespaceHost(host, "nvcol")
        told = Inside("vm1", inside, ["lo"], own_cores=False).readings()
    finally:
        host.run(["ip", "netns", "delete", "nvcol"])
    assert ("guest vm1 port lo", "rx_packets", 0.0) in {(each.source, each.metric, each.value) for each in told}
    assert ("guest vm1 sockets", "tcp_retransmitted", 0.0) in {(each.source, each.metric, each.value) for each in told}
