"""What `nvbench show` says below the results of a sweep over queues and of one over flows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from nvbench.cli import group
from nvbench.reading import Results, open_results
from nvbench.report.after import after_results
from nvbench.report.scaling import by_flows, by_queues
from nvbench.report.text import rendered
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import LimitedBy, ResultRow, Sample, Setting, Subject
from nvbench.trial import Counters, Latency, Trial
from nvbench.trial_rows import trial_row

Told = Mapping[tuple[str, str], float]


@dataclass
class Writing:
    """A run being written: trials with what the datapath told after them, and results."""

    run: RunWriter
    made: dict[str, list[str]] = field(default_factory=dict)

    def trials(self, of: Subject, *told: Told) -> None:
        for values in told:
            trial = Trial(1e6, 1.0, 1.0, (Counters(10, received=10),), Latency(((1000, 10),)))
            name = self.run.append_trial(trial_row(of, trial, purpose="search"))
            samples = [Sample(0.0, source, metric, value, "count") for (source, metric), value in values.items()]
            self.run.append_samples(name, samples)
            self.made.setdefault(of.case_id, []).append(name)

    def result(self, of: Subject, mpps: float | None, carrier: int | None = -1, **more: Any) -> None:
        names = () if carrier is None else (self.made[of.case_id][carrier],)
        more = {"limited_by": LimitedBy.SUT, "verdict": "sut_limited", **more}
        self.run.append_result(
            ResultRow(subject=of, rate_pps=None if mpps is None else mpps * 1e6, trial_ids=names, **more)
        )


@pytest.fixture
def written(tmp_path: Path) -> Callable[[Callable[[Writing], None]], Results]:
    def write(tell: Callable[[Writing], None]) -> Results:
        with RunWriter.create(tmp_path, RunHeader("sweep", "bench")) as run:
            tell(Writing(run))
        return open_results(run.path)

    return write


# -- queues --------------------------------------------------------------------------------------------------------


def queued(queues: int, frame_bytes: int = 64, **more: Any) -> Subject:
    case = f"ovs_dpdk-{queues}q-{frame_bytes}B" + "".join(f"-{value}" for value in more.values())
    return Subject(case, "throughput", "ovs_dpdk", "nvgen", frame_bytes, queues=queues, **more)


def polled(first: list[int], second: list[int], second_takes: float = 64.0) -> list[Told]:
    """Two readings of a switch whose ports' queues are polled by these cores; frames come in at the first port."""
    placed = {
        (f"port {port} queue {queue}", "polling_core"): float(core)
        for port, cores in (("nvp0", first), ("nvp1", second))
        for queue, core in enumerate(cores)
    }
    taken = [{("port nvp0", "rx_packets"): count, ("port nvp1", "rx_packets"): second_takes} for count in (64.0, 1e6)]
    return [{**counted, **placed} for counted in taken]


def test_speed_up_and_efficiency_are_against_one_queue_of_the_same_frames(written) -> None:
    def tell(run: Writing) -> None:
        for queues, size, mpps in ((2, 64, 3.6), (1, 512, 2.0), (1, 64, 2.0), (2, 512, 2.0)):
            run.trials(queued(queues, size), *polled([*range(3, 3 + queues)], [3] * queues))
            run.result(queued(queues, size), mpps)

    text = rendered(by_queues(written(tell)))
    lines = [line.split() for line in text.splitlines() if "device limited" in line]
    assert [" ".join(line[:6]) for line in lines] == [
        "64 1 2.000 1.00 100 %",
        "64 2 3.600 1.80 90 %",
        "512 1 2.000 1.00 100 %",
        "512 2 2.000 1.00 50 %",
    ]
    assert "ovs_dpdk, 1 queue: core 3 polls nvp0 queue 0 and nvp1 queue 0\n" in text
    assert text.count("ovs_dpdk, 2 queues: core 3 polls nvp0 queue 0 and nvp1 queue 0, 1; core 4 polls nvp0 queue") == 1
    assert "says nothing" not in text


@pytest.mark.parametrize(
    ("one", "two", "told"),
    [
        (polled([1], [1]), polled([1, 1], [1, 1]), "2 queues on 1 polling core, 1 queue on 1: efficiency says nothing"),
        # Core 5 has nothing to do: no frames come in at the port that it polls.
        (polled([3], [5]), polled([3, 3], [5, 5]), "2 queues on 1 polling core, 1 queue on 1: efficiency says nothing"),
        (polled([3], [5], 1e6), polled([3, 5], [3, 5], 1e6), ""),
        (polled([3], [5]), polled([3, 5], [5, 3]), ""),
        ([{}], [{}], ""),
    ],
)
def test_efficiency_says_nothing_where_no_core_came_with_the_queue(written, one, two, told) -> None:
    def tell(run: Writing) -> None:
        for queues, readings, mpps in ((1, one, 2.0), (2, two, 1.9)):
            run.trials(queued(queues), *readings)
            run.result(queued(queues), mpps)

    text = rendered(by_queues(written(tell)))
    assert told in text
    assert ("warning" in text) is bool(told)
    assert "48 %" in text


def test_a_rate_that_was_not_found_leaves_the_others(written) -> None:
    def tell(run: Writing) -> None:
        run.result(queued(1), None, None, verdict="too disturbed for an answer")
        run.result(queued(2), 2.0, None)
        run.result(queued(4), None, None, verdict="not possible here: 2 queues at most")

    text = rendered(by_queues(written(tell)))
    assert "too disturbed for an answer" in text
    assert "2.000       -           -" in text
    assert "not possible" not in text


def test_a_rate_that_is_not_the_devices_own_limit_tells_no_more_than_it_can(written) -> None:
    def tell(run: Writing) -> None:
        for queues, size, mpps, limited_by in (
            (1, 64, 2.0, LimitedBy.SUT),
            (2, 64, 3.0, LimitedBy.GENERATOR),
            (1, 1518, 0.81, LimitedBy.LINE_RATE),
            (2, 1518, 0.81, LimitedBy.LINE_RATE),
        ):
            run.result(queued(queues, size), mpps, None, limited_by=limited_by, verdict=limited_by)

    text = rendered(by_queues(written(tell)))
    cells = {tuple(line.split()[:2]): line for line in text.splitlines()}
    assert ">= 1.50     >= 75 %" in cells["64", "2"]
    assert cells["1518", "2"].split()[2:5] == ["0.8100", "-", "-"]


def test_queues_may_be_placed_by_hand(written) -> None:
    def tell(run: Writing) -> None:
        for queues, affinity, mpps in ((1, "0:3", 2.0), (2, "0:3,1:5", 4.0)):
            of = queued(queues, settings=(Setting("emc", "on"), Setting("rxq_affinity", affinity)))
            run.result(of, mpps, None)

    assert "100 %" in rendered(by_queues(written(tell)))


def test_other_options_are_not_compared(written) -> None:
    def tell(run: Writing) -> None:
        run.result(queued(1, settings=(Setting("emc", "on"),)), 2.0, None)
        run.result(queued(2, settings=(Setting("emc", "off"),)), 2.0, None)

    assert by_queues(written(tell)) is None


# -- flows ---------------------------------------------------------------------------------------------------------


def flowing(flows: int) -> Subject:
    return Subject(f"ovs_dpdk-1q-64B-flows{flows}", "throughput", "ovs_dpdk", "nvgen", 64, flows=flows)


def counted(core: int = 3, lost: float = 0.0, **hits: float) -> Told:
    """What a switch with one PMD told."""
    names = ("simple_match_hits", "emc_hits", "smc_hits", "megaflow_hits", "miss_with_success_upcall")
    pmd = {(f"pmd core {core}", name): hits.get(name, 0.0) for name in names}
    return {**pmd, ("datapath", "lookups_lost"): lost, ("pmd core 3", "idle_cycles"): 1e9}


def shares(results: Results) -> dict[str, list[str]]:
    """Number of flows -> the cells behind the rate."""
    text = rendered(by_flows(results)).replace(" %", "%")
    lines = [line.split() for line in text.splitlines()]
    return {line[0]: line[4:] for line in lines if len(line) > 4 and line[0].isdigit()}


def test_the_shares_are_those_of_the_trial_that_carries_the_rate(written) -> None:
    def tell(run: Writing) -> None:
        run.trials(flowing(1), counted(emc_hits=100), counted(emc_hits=1100), counted(emc_hits=1100, megaflow_hits=9e9))
        run.result(flowing(1), 3.0, carrier=1)
        # Counters run on from case to case; the first trial of a case is that of the upcalls.
        before = counted(emc_hits=5000, miss_with_success_upcall=70_000)
        after = counted(lost=3.0, emc_hits=5100, smc_hits=200, megaflow_hits=600, miss_with_success_upcall=70_100)
        run.trials(flowing(10_000), before, after)
        run.result(flowing(10_000), 1.0)

    assert shares(written(tell)) == {
        "1": ["100%", "0", "0", "0", "0"],
        "10000": ["10.0%", "20.0%", "60.0%", "10.0%", "3"],
    }


def test_all_polling_threads_count_and_a_switch_that_was_restarted_counts_anew(written) -> None:
    def tell(run: Writing) -> None:
        run.trials(flowing(1), counted(emc_hits=900), {**counted(emc_hits=100), **counted(core=5, megaflow_hits=300)})
        run.result(flowing(1), 3.0)
        run.result(flowing(2), 3.0, None)  # nothing is known of it

    assert shares(written(tell)) == {"1": ["25.0%", "0", "75.0%", "0", "0"], "2": ["-", "-", "-", "-", "-"]}


def test_flows_that_need_no_cache_are_explained(written) -> None:
    def tell(run: Writing) -> None:
        for flows in (1, 1000):
            run.trials(flowing(flows), counted(), counted(simple_match_hits=10))
            run.result(flowing(flows), 3.0)

    results = written(tell)
    assert shares(results)["1000"] == ["100%", "0", "0", "0", "0", "0"]
    assert "flow_set normal goes through them" in rendered(by_flows(results))


def test_where_no_rate_was_found_all_of_its_trials_tell(written) -> None:
    def tell(run: Writing) -> None:
        run.trials(flowing(1), counted(emc_hits=10), counted(emc_hits=20), counted(emc_hits=30, megaflow_hits=20))
        run.result(flowing(1), None, None, verdict="too disturbed for an answer")
        run.result(flowing(2), 1.0, None)

    assert shares(written(tell))["1"] == ["50.0%", "0", "50.0%", "0", "0"]


def test_the_kernels_datapath_has_megaflows_and_upcalls(written) -> None:
    def tell(run: Writing) -> None:
        for flows in (1, 1000):
            after = {("datapath", f"lookups_{name}"): count for name, count in (("hit", 3.0), ("missed", 1.0))}
            run.trials(flowing(flows), dict.fromkeys(after, 0.0), after)
            run.result(flowing(flows), 0.5)

    assert shares(written(tell))["1"] == ["75.0%", "25.0%", "0"]


# -- the command ---------------------------------------------------------------------------------------------------


def test_show_ends_with_what_the_sweep_was_for(written) -> None:
    def tell(run: Writing) -> None:
        for queues in (1, 2):
            run.result(queued(queues), 1.0 * queues, None)

    results = written(tell)
    outcome = CliRunner().invoke(group, ["show", str(results.runs[0].path)], standalone_mode=False)
    assert "queues: what they bring, ovs_dpdk" in outcome.output
    assert "where packets found their action" not in outcome.output


def test_a_run_without_a_sweep_has_its_picture_and_nothing_more_to_say(written) -> None:
    [picture] = after_results(written(lambda run: run.result(queued(1), 1.0, None)))
    assert "throughput on the wire" in rendered(picture)
