"""Where frames went and why, from samples made up for each cause: what adds up, what does not, what cannot be told."""

import json
import math
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from nvbench.cli.explain import command
from nvbench.diagnosis import Cause, Diagnosis, contrast, diagnose
from nvbench.errors import UsageError
from nvbench.reading import Results, open_results
from nvbench.report.diagnosis import contrast_parts, diagnosis_parts
from nvbench.report.document import as_markdown, as_text
from nvbench.report.text import rendered
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import LimitedBy, ResultRow, Sample, Setting, StreamRow, Subject
from nvbench.trial import Counters, Pauses, Trial, Validity
from nvbench.trial_rows import trial_row

SUBJECT = Subject("p2p-64", "throughput", "ovs_dpdk", "nvgen", 64, settings=(Setting("descriptors", "4096"),))
PVP = replace(SUBJECT, case_id="pvp-64", topology="PVP", guest="qemu")
BEGAN = 1_700_000_000.0

PMD = "pmd core 1"
TASK = "task switch pmd-c01/id:8/9253"
GAUGES = {"polling_core": "core", "rx_vring_size": "state"}
UNITS = {"processing_cycles": "cycles", "idle_cycles": "cycles", "waited_s": "s"}

Changes = Mapping[tuple[str, str], float]
"""Source and metric -> by how much a counter goes on during the trial."""


def polling(packets: float, processing: float = 1e9, idle: float = 1e9) -> Changes:
    return {
        (PMD, "packets_received"): packets,
        (PMD, "processing_cycles"): processing,
        (PMD, "idle_cycles"): idle,
        (TASK, "waited_s"): 0.01,
        ("cpu core 1", "idle_s"): 1.0,
    }


def ports(received: float, sent: float, first: int = 0) -> Changes:
    """A segment: what its first port received and its second sent."""
    return {(f"port nvp{first}", "rx_packets"): received, (f"port nvp{first + 1}", "tx_packets"): sent}


def samples(changes: Changes, *, at: float = BEGAN, lasts_s: float = 1.0) -> list[Sample]:
    """Each counter before and after, on from some number; gauges as they are."""
    made = []
    for (source, metric), change in changes.items():
        unit = GAUGES.get(metric) or UNITS.get(metric, "frames")
        start = change if metric in GAUGES else 100.0
        end = change if metric in GAUGES else 100.0 + change
        made += [Sample(at, source, metric, start, unit), Sample(at + lasts_s, source, metric, end, unit)]
    return made


def trial(sent: int, received: int, *, refused: int = 0, late: int = 0, pps: float = 1e6, **more: object) -> Trial:
    counted = Counters(sent=sent, late=late, refused=refused, received=received)
    return Trial(pps, 1.0, 1.0, (counted,), started_at=BEGAN, **more)


def made(
    tmp_path: Path,
    measured: Trial,
    taken: list[Sample] | Changes = (),
    *,
    subject: Subject = SUBJECT,
    answer: ResultRow | None = None,
    simulated: bool = False,
) -> Results:
    """A run of one trial."""
    with RunWriter.create(tmp_path, RunHeader("p", "bench", simulated=simulated)) as run:
        name = run.append_trial(trial_row(subject, measured, purpose="search", simulated=simulated))
        run.append_samples(name, samples(taken) if isinstance(taken, Mapping) else taken)
        if answer:
            run.append_result(answer)
    return open_results(run.path)


def explained(*args: object, **options: object) -> Diagnosis:
    [diagnosis] = diagnose(made(*args, **options))
    return diagnosis


def hops(diagnosis: Diagnosis) -> list[tuple[str, int, int, int]]:
    assert diagnosis.ledger is not None
    return [(hop.name, hop.entered, hop.left, hop.unaccounted) for hop in diagnosis.ledger.hops]


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """These runs need not outlive a power cut."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


# -- causes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("port", "metric", "total", "cause"),
    [
        ("nvp1", "ovs_tx_qos_drops", "tx_dropped", Cause.POLICER),
        ("nvp0", "rx_dropped", "rx_dropped", Cause.POLICER),
        ("nvp1", "ovs_tx_mtu_exceeded_drops", "tx_dropped", Cause.MTU),
        ("nvp1", "ovs_tx_failure_drops", "tx_dropped", Cause.RECEIVER_RING),
        ("nvp1", "drops", "drops", Cause.QDISC),
    ],
)
def test_a_drop_that_the_switch_counts_by_its_reason_names_the_cause(tmp_path, port, metric, total, cause):
    source = f"qdisc {port}" if cause is Cause.QDISC else f"port {port}"
    taken = polling(50_000) | ports(50_000, 6_708) | {(source, metric): 43_292, (source, total): 43_292}
    found = explained(tmp_path, trial(50_000, 6_708), taken)

    assert found.cause is cause
    assert found.findings[0].frames == 43_292
    assert f"{source} {metric}: 100 -> 43392 frames (+43292)" in [each.line for each in found.findings[0].evidence]
    assert found.sum == "It adds up: each of the 43292 lost frames was counted where it ended."
    assert found.ledger.told == found.ledger.lost == 43_292


def test_flows_that_drop_are_named_by_the_datapaths_own_counter(tmp_path):
    taken = polling(1000) | ports(1000, 750) | {("coverage", "drop_action_of_pipeline"): 250}
    found = explained(tmp_path, trial(1000, 750), taken)
    assert (found.cause, found.ledger.gaps) == (Cause.FLOWS, ())


def test_a_port_towards_a_guest_that_does_not_take_frames_names_the_guests_ring(tmp_path):
    dropped = {("port nvp1", "tx_dropped"): 900, ("port nvp1", "ovs_tx_failure_drops"): 900}
    taken = polling(1000) | ports(1000, 100) | ports(100, 100, 2) | dropped | {("port nvp1", "ovs_tx_retries"): 7_000}
    found = explained(tmp_path, trial(1000, 100), taken, subject=PVP)

    assert found.cause is Cause.GUEST_RING
    assert "guest vm1 did not take 900 frames" in found.findings[0].text
    assert "port nvp1 ovs_tx_retries: 100 -> 7100 frames (+7000)" in [each.line for each in found.findings[0].evidence]
    assert [name for name, *_ in hops(found)] == [
        "generator",
        "queue of nvp0",
        "lookup",
        "nvp1, out",
        "guest vm1",
        "lookup",
        "nvp3, out",
        "back",
    ]


def test_a_guest_that_loses_frames_itself_is_told_by_its_own_counters(tmp_path):
    taken = polling(1000) | ports(1000, 1000) | ports(400, 400, 2) | {("guest vm1 port eth0", "rx_dropped"): 600}
    found = explained(tmp_path, trial(1000, 400), taken, subject=PVP)
    assert ("guest vm1", 1000, 400, 0) in hops(found)


REFUSED = {"refused_in_stall": 9_000, "device_longest_us": 3_700.0}


def refused(tmp_path: Path, taken: Changes, *, ring: int = 4096, longest_us: float = 3_700.0) -> Diagnosis:
    """A trial in which the ring at the switch's door refused frames, most of them in stalls."""
    subject = replace(SUBJECT, settings=(Setting("descriptors", str(ring)),))
    pauses = Pauses(refused_in_stall=9_000, device_longest_us=longest_us, device_total_us=2 * longest_us)
    measured = trial(90_000, 90_000, refused=10_000, pps=100_000, pauses=pauses)
    return explained(tmp_path, measured, ports(90_000, 90_000) | taken, subject=subject)


def test_a_full_ring_before_a_poller_with_time_left_is_a_tiny_queue(tmp_path):
    found = refused(tmp_path, polling(90_000, 0.3e9, 0.7e9), ring=64)
    assert found.cause is Cause.TINY_QUEUE
    assert found.findings[0].frames == 10_000
    assert "64 descriptors holds 0.64 ms of 100 kpps" in found.findings[0].text
    assert "pmd core 1 busy 30 %, 3333 cycles per packet" in found.findings[0].text


def test_the_ring_that_there_is_counts_more_than_the_one_that_was_asked_for(tmp_path):
    taken = polling(90_000, 0.3e9, 0.7e9) | {("port nvp0 queue 0", "rx_vring_size"): 128}
    assert "a queue of 128 descriptors" in refused(tmp_path, taken).findings[0].text


@pytest.mark.parametrize(
    ("ring", "longest_us", "processing"),
    [(4096, 3_700.0, 0.3e9), (64, 50_000.0, 0.3e9), (64, 3_700.0, 1e9)],
    ids=["usual ring", "a stall that no ring holds", "a poller without time left"],
)
def test_a_queue_is_not_called_tiny_where_a_larger_one_would_not_have_helped(tmp_path, ring, longest_us, processing):
    found = refused(tmp_path, polling(90_000, processing, 1e9 - processing), ring=ring, longest_us=longest_us)
    assert Cause.TINY_QUEUE not in [each.cause for each in found.findings]


def test_a_poller_that_waits_for_its_core_names_the_sharing(tmp_path):
    found = refused(tmp_path, polling(90_000, 0.5e9, 0.5e9) | {(TASK, "waited_s"): 0.72})
    assert found.cause is Cause.SHARED_CORE
    assert found.findings[0].frames == 9_000
    assert f"{TASK} waited_s: 100 -> 100.72 s (+0.72)" in [each.line for each in found.findings[0].evidence]


def test_a_poller_without_time_left_that_waits_for_its_core_is_shared_and_not_saturated(tmp_path):
    found = refused(tmp_path, polling(90_000, 1e9, 0.0) | {(TASK, "waited_s"): 0.5})
    assert [(each.cause, each.frames) for each in found.findings] == [(Cause.SHARED_CORE, 10_000)]


def test_a_core_that_the_hypervisor_keeps_is_told_of_polling_cores_alone(tmp_path):
    taken = polling(90_000, 0.5e9, 0.5e9) | {("cpu core 0", "steal_s"): 0.3, ("cpu core 0", "idle_s"): 0.7}
    assert refused(tmp_path, taken).cause is None
    found = refused(tmp_path, taken | {("cpu core 1", "steal_s"): 0.3, ("cpu core 1", "user_s"): 0.7})
    assert found.cause is Cause.STOLEN_CORE


def test_frames_that_no_cache_knows_name_the_upcalls_and_not_the_poller_that_they_keep_busy(tmp_path):
    misses = {(PMD, "miss_with_success_upcall"): 20_000, (PMD, "miss_with_failed_upcall"): 48_000}
    taken = polling(90_000, 3e9, 0.01e9) | misses | {("datapath", "lookups_lost"): 48_000}
    found = refused(tmp_path, taken)
    assert [each.cause for each in found.findings] == [Cause.UPCALLS]
    assert found.findings[0].frames == 10_000
    assert "75.6 % of the frames were in no cache" in found.findings[0].text
    assert "datapath lookups_lost: 100 -> 48100 frames (+48000)" in [each.line for each in found.findings[0].evidence]


def test_a_poller_without_time_left_is_saturated(tmp_path):
    found = refused(tmp_path, polling(90_000, 2.4e9, 0.02e9))
    assert found.cause is Cause.PMD
    assert [load.part for load in found.saturated] == [PMD]


def test_time_before_and_after_the_traffic_does_not_make_a_poller_idle(tmp_path):
    """A second of traffic within two seconds between both readings: 50 % of their cycles are all of the trial's."""
    taken = samples(polling(90_000, 1e9, 1e9) | ports(90_000, 90_000), lasts_s=2.0)
    found = explained(tmp_path, trial(90_000, 90_000, refused=10_000, pps=1e5), taken)
    assert found.cause is Cause.PMD


def test_softirq_that_takes_a_core_is_told(tmp_path):
    taken = ports(90_000, 90_000) | {("cpu core 0", "softirq_s"): 0.95, ("cpu core 0", "idle_s"): 0.05}
    assert explained(tmp_path, trial(90_000, 90_000, refused=10_000), taken).cause is Cause.SOFTIRQ


def test_limits_without_loss_are_named(tmp_path):
    answer = ResultRow(subject=SUBJECT, rate_pps=1e6, line_rate_pps=1e6, ceiling_pps=1.1e6, trial_ids=("t00001",))
    for number, (limit, cause) in enumerate(
        [(LimitedBy.LINE_RATE, Cause.LINE_RATE), (LimitedBy.GENERATOR, Cause.GENERATOR), (LimitedBy.SUT, None)]
    ):
        limited = replace(answer, limited_by=limit)
        found = explained(tmp_path / str(number), trial(1000, 1000), polling(1000) | ports(1000, 1000), answer=limited)
        assert found.cause is cause
        assert found.headline.startswith("no frame of 1000 was lost at 1 Mpps for 1 s")


def test_late_frames_are_the_generators_and_not_lost(tmp_path):
    found = explained(tmp_path, trial(900, 900, late=100), polling(900) | ports(900, 900))
    assert found.cause is Cause.GENERATOR
    assert (found.ledger.lost, found.ledger.told) == (0, 0)
    assert hops(found)[0] == ("generator", 1000, 900, 0)


# -- what adds up and what does not ------------------------------------------------------------------------------------


def test_frames_that_no_counter_knows_are_told_by_the_hop_that_had_them(tmp_path):
    found = explained(tmp_path, trial(1000, 900), polling(1000) | ports(990, 950))
    assert [gap for *_, gap in hops(found)] == [0, 10, 40, 0, 50]
    assert found.sum.startswith("It does not add up: of 100 lost frames 0 were counted; 10 went into 'queue of nvp0'")
    assert "why is not evident" in found.headline


def test_more_frames_than_went_in_do_not_add_up_either(tmp_path):
    found = explained(tmp_path, trial(1000, 990), polling(1000) | ports(1000, 1003))
    assert ("lookup", 1000, 1003, -3) in hops(found)
    assert "3 more came out of 'lookup'" in found.sum


def test_the_hops_of_any_trial_sum_up_to_its_loss(tmp_path):
    """By construction: what one hop passes on the next one has."""
    taken = ports(700, 650) | {("port nvp1", "tx_dropped"): 20, ("coverage", "datapath_drop_meter"): 90}
    found = explained(tmp_path, trial(800, 600, refused=200), taken)
    ended = sum(hop.unaccounted + sum(drop.frames for drop in hop.drops) for hop in found.ledger.hops)
    assert ended == found.ledger.lost == 400
    assert found.ledger.told == 200 + 30 + 20  # of the datapath's drops no more than are missing there


def test_both_directions_of_a_trial_are_one_ledger(tmp_path):
    counted = (Counters(100, received=90), Counters(200, received=200))
    taken = ports(100, 90) | {("port nvp1", "rx_packets"): 200, ("port nvp0", "tx_packets"): 200}
    measured = Trial(1e3, 1.0, 1.0, counted, started_at=BEGAN)
    found = explained(tmp_path, measured, taken, subject=replace(SUBJECT, direction="bidirectional"))
    assert ("queue of nvp0 and nvp1", 300, 300, 0) in hops(found)
    assert ("lookup", 300, 290, 10) in hops(found)


def test_hops_that_nobody_counted_are_told_together(tmp_path):
    found = explained(tmp_path, trial(1000, 900), {("port nvp0", "rx_packets"): 1000})
    assert [name for name, *_ in hops(found)] == ["generator", "queue of nvp0", "lookup, link 1, out, back"]
    assert any(text.startswith("what each of these hops lost by itself") for text in found.untold)


# -- what cannot be told -----------------------------------------------------------------------------------------------


def test_without_samples_nothing_is_claimed(tmp_path):
    found = explained(tmp_path, trial(900, 800, refused=100), [])
    assert (found.findings, found.loads[:-1]) == ((), ())
    assert hops(found)[1:] == [("switch, back", 1000, 800, 100)]
    assert found.untold == ("what was saturated and where within the switch frames ended: no samples of this trial",)


def test_counters_that_were_sampled_once_say_nothing(tmp_path):
    once = [each for each in samples(polling(1000) | ports(1000, 900)) if each.time == BEGAN]
    found = explained(tmp_path, trial(1000, 900), once)
    assert found.findings == ()
    assert "sampled once" in found.untold[0]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_samples_that_are_no_numbers_are_left_out_and_told(tmp_path, value):
    strange = Sample(BEGAN + 1, "port nvp1", "tx_packets", value, "frames")
    taken = samples(polling(1000) | {("port nvp0", "rx_packets"): 1000})
    found = explained(tmp_path, trial(1000, 900), [*taken, strange])
    assert "no numbers were left out: port nvp1 tx_packets" in found.untold[0]
    assert "nan" not in json.dumps([list(map(str, hop)) for hop in hops(found)])


def test_counters_that_run_backwards_are_a_restart(tmp_path):
    found = explained(tmp_path, trial(1000, 900), polling(-50) | ports(1000, 900))
    assert found.untold[0] == f"counters of {PMD} ran backwards: restarted during the trial"
    assert not [load for load in found.loads if load.part == PMD and "busy" in load.what]


def test_a_damaged_trial_is_told_and_not_summed_up(tmp_path):
    found = explained(tmp_path, trial(1000, 900, late=-5), polling(1000))
    assert found.ledger is None
    assert any("numbers of the trial's own are missing or less than 0" in text for text in found.untold)


@pytest.mark.parametrize("column", ["intended_pps", "elapsed_s", "lost_frames"])
def test_a_trial_that_was_edited_by_hand_is_no_traceback(tmp_path, column):
    results = made(tmp_path, trial(1000, 900), polling(1000) | ports(1000, 900))
    [part] = (results.runs[0].path / "trials").glob("*.parquet")
    table = parquet.read_table(part)
    nothing = pa.nulls(1, table.schema.field(column).type)
    parquet.write_table(
        table.set_column(table.schema.get_field_index(column), table.schema.field(column), nothing), part
    )
    [found] = diagnose(results)
    assert found.ledger is None
    assert any("numbers of the trial's own are missing" in text for text in found.untold)
    [compared] = contrast(results, results)
    assert compared.shifts == ()


def test_a_refusal_without_a_reason_stays_one(tmp_path):
    found = refused(tmp_path, polling(90_000, 0.3e9, 0.7e9))
    assert found.cause is None
    assert any(text.startswith("why a full ring refused 10000 frames (pmd core 1 busy 30 %") for text in found.untold)


def test_a_simulated_run_is_labelled(tmp_path):
    results = made(tmp_path, trial(1000, 900), simulated=True)
    assert rendered(as_text(diagnosis_parts(diagnose(results)))).startswith("SIMULATED: no device was measured.")


def test_a_test_between_endpoints_has_loads_and_no_ledger(tmp_path):
    subject = replace(SUBJECT, case_id="tcp", test="tcp_stream")
    with RunWriter.create(tmp_path, RunHeader("p", "bench")) as run:
        measured = trial_row(subject, trial(1, 1), purpose="").started_at
        row = StreamRow(
            subject=subject,
            repeat=1,
            tool="iperf3 3.12",
            parallel=1,
            started_at=measured,
            duration_s=1.0,
            elapsed_s=1.0,
        )
        name = run.append_stream(row)
        run.append_samples(name, samples({("cpu core 0", "softirq_s"): 0.95, ("cpu core 0", "idle_s"): 0.05}))
    [found] = diagnose(open_results(run.path))
    assert found.ledger is None
    assert found.cause is Cause.SOFTIRQ
    assert found.untold[0].startswith("where frames went: a test between two endpoints counts none")


# -- which trial -------------------------------------------------------------------------------------------------------


def searched(tmp_path: Path, *trials: Trial, rate_pps: float | None = 1e6) -> Results:
    """A run of several trials and the answer that they gave."""
    with RunWriter.create(tmp_path, RunHeader("p", "bench")) as run:
        for each in trials:
            run.append_trial(trial_row(SUBJECT, each, purpose="search"))
        run.append_result(ResultRow(subject=SUBJECT, rate_pps=rate_pps, trial_ids=("t00001",)))
    return open_results(run.path)


def test_the_trial_just_above_the_answer_that_lost_frames_tells_most(tmp_path):
    passed, above = trial(100, 100, pps=1e6), trial(100, 90, pps=1.1e6)
    disturbed = trial(100, 50, pps=1.05e6, validity=Validity.STALLED)
    [found] = diagnose(searched(tmp_path, passed, trial(100, 40, pps=2e6), disturbed, above))
    assert (found.trial_id, found.chosen) == ("t00004", "the least load above the answer that lost frames")


def test_a_trial_that_does_not_count_stands_in_and_says_so(tmp_path):
    disturbed = trial(100, 50, pps=1.05e6, validity=Validity.STALLED, reason="away for 7 ms")
    [found] = diagnose(searched(tmp_path, trial(100, 100, pps=1e6), disturbed))
    assert found.trial_id == "t00002"
    assert "does not count (stalled: away for 7 ms)" in found.headline


def test_where_nothing_was_lost_it_is_the_answers_own(tmp_path):
    [found] = diagnose(searched(tmp_path, trial(100, 100, pps=1e6), trial(100, 100, pps=0.5e6)))
    assert found.trial_id == "t00001"


def test_a_trial_can_be_asked_for(tmp_path):
    results = searched(tmp_path, trial(100, 100), trial(100, 90))
    [found] = diagnose(results, SUBJECT.case_id, "t00002")
    assert (found.trial_id, found.chosen) == ("t00002", "asked for")
    with pytest.raises(UsageError, match=r"case p2p-64 has no trial t9 \(it has t00001 to t00002"):
        diagnose(results, SUBJECT.case_id, "t9")


def test_a_case_that_is_not_there_and_a_run_without_trials_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"no case is called 'p2p' \(there are p2p-64\)"):
        diagnose(searched(tmp_path, trial(100, 90)), "p2p")
    with RunWriter.create(tmp_path, RunHeader("p", "bench")) as empty:
        pass
    with pytest.raises(UsageError, match="no trials to explain"):
        diagnose(open_results(empty.path))


# -- what a person sees ------------------------------------------------------------------------------------------------

POLICED = polling(50_000, 0.4e9, 0.6e9) | ports(50_000, 6_708)
POLICED |= {("port nvp1", "tx_dropped"): 43_292, ("port nvp1", "ovs_tx_qos_drops"): 43_036}

AT_80 = """\
p2p-64
------

43292 of 50000 frames (86.6 %) were lost at 100 kpps for 1 s: policer.

Trial t00001 of RUN: the least load that lost frames.

                                            Un-
Hop               In    Out  Dropped  accounted  Why
────────────────────────────────────────────────────────────────────────────────
generator      50000  50000        -          -  -
queue of nvp0  50000  50000        -          -  -
lookup         50000  50000        -          -  -
nvp1, out      50000   6708    43292          -  egress policer 43036, reason
                                                 not told 256
back            6708   6708        -          -  -

It adds up: each of the 43292 lost frames was counted where it ended.

Why:

- policer (43036 frames): nvp1: its egress policer dropped 43036 frames

  port nvp1 ovs_tx_qos_drops: 100 -> 43136 frames (+43036)

How loaded:

- pmd core 1 busy 40 %, 8000 cycles per packet
- pmd core 1 waited 10 ms of 1.00 s for its core, which other tasks had

Cannot be told:

- why nvp1 did not send 256 frames: no samples of its ovs_tx_*_drops tell

"""


def test_a_terminal_of_80_columns_shows_it_all(tmp_path):
    results = made(tmp_path, trial(50_000, 6_708, pps=1e5), POLICED)
    text = rendered(as_text(diagnosis_parts(diagnose(results)), 80), 80)
    assert text.replace(results.runs[0].run_id, "RUN") == AT_80


@pytest.mark.parametrize("width", [40, 60, 100, 140])
def test_no_width_cuts_a_number_off(tmp_path, width):
    text = rendered(as_text(diagnosis_parts(diagnose(made(tmp_path, trial(50_000, 6_708), POLICED))), width), width)
    assert "…" not in text
    assert text.count("43292") >= 3


def test_many_cases_get_a_line_each(tmp_path):
    with RunWriter.create(tmp_path, RunHeader("p", "bench")) as run:
        for number in range(5):
            subject = replace(SUBJECT, case_id=f"case-{number}")
            run.append_trial(trial_row(subject, trial(100, 100 - number), purpose="search"))
    diagnoses = diagnose(open_results(run.path))
    text = rendered(as_text(diagnosis_parts(diagnoses)))
    assert [line.split()[:3] for line in text.splitlines() if line.startswith("case-")] == [
        [f"case-{number}", f"t0000{number + 1}", str(number)] for number in range(5)
    ]
    assert "Hop" not in text
    assert "Hop" in rendered(as_text(diagnosis_parts(diagnoses, brief=False)))


def told(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(command, list(words), standalone_mode=False)
    if done.exception is not None:
        return getattr(done.exception, "exit_code", 4), str(done.exception)
    return 0, done.output


def test_the_command_has_three_forms(tmp_path):
    path = str(made(tmp_path, trial(50_000, 6_708), POLICED).runs[0].path)
    assert "egress policer 43036" in told(path)[1]
    assert (
        "| nvp1, out | 50000 | 6708 | 43292 | - | egress policer 43036, reason not told 256 |"
        in told(path, "--format", "markdown")[1]
    )
    [as_json] = json.loads(told(path, "p2p-64", "--trial", "t00001", "--format", "json")[1])
    assert as_json["findings"][0]["cause"] == "policer"
    assert as_json["ledger"]["hops"][3]["drops"][0]["evidence"]["metric"] == "ovs_tx_qos_drops"


def test_the_command_refuses_what_cannot_be(tmp_path):
    path = str(made(tmp_path, trial(50_000, 6_708), POLICED).runs[0].path)
    assert told(path, "--trial", "t00001") == (
        2,
        "--trial needs the CASE that the trial is of (nvbench explain RUN CASE --trial ID)",
    )
    assert told(path, "p2p-64", "--trial", "t1", "--against", path)[0] == 2
    assert told(path, "nothing")[0] == 2


# -- two runs ----------------------------------------------------------------------------------------------------------


def costing(
    tmp_path: Path, cycles: float, *, rate_pps: float, trials: int = 6, case_id: str = "p2p-64", **options: bool
) -> Results:
    """A run whose trials near the answer cost about so many cycles a packet."""
    subject = replace(SUBJECT, case_id=case_id)
    with RunWriter.create(tmp_path, RunHeader("p", "bench", **options)) as run:
        for number in range(trials):
            name = run.append_trial(trial_row(subject, trial(1000, 1000, pps=rate_pps), purpose="search"))
            cost = (cycles + number) * 1000
            run.append_samples(name, samples(polling(1000, cost, 10.0) | ports(1000, 1000)))
        run.append_result(ResultRow(subject=subject, rate_pps=rate_pps))
    return open_results(run.path)


def test_what_a_packet_costs_more_is_said_in_cycles(tmp_path):
    base = costing(tmp_path / "a", 1540, rate_pps=2e6)
    [found] = contrast(base, costing(tmp_path / "b", 1780, rate_pps=1.938e6))
    text = rendered(as_text(contrast_parts([found]), 100), 100)
    assert found.cost is not None and found.cost.verdict == "more"
    assert "The rate is 1.938 Mpps, it was 2 Mpps (-3.1 %)." in text
    assert "The PMD needs 240 cycles more per packet: 1782, it needed 1542 (+15.6 %)." in text.replace("\n", " ")


def test_a_difference_within_noise_is_called_that(tmp_path):
    [found] = contrast(costing(tmp_path / "a", 1540, rate_pps=2e6), costing(tmp_path / "b", 1541, rate_pps=2e6))
    assert found.cost is None
    assert {shift.verdict for shift in found.shifts} == {"within noise"}
    assert "Nothing of what was sampled changed by more than noise." in as_markdown(contrast_parts([found]))


def test_a_single_trial_a_side_is_not_enough(tmp_path):
    runs = [costing(tmp_path / name, cost, rate_pps=2e6, trials=1) for name, cost in (("a", 1000), ("b", 2000))]
    [found] = contrast(*runs)
    assert {shift.verdict for shift in found.shifts} == {"not enough trials"}


def test_without_a_trial_that_counts_nothing_is_compared(tmp_path):
    runs = [made(tmp_path / name, trial(10, 10, validity=Validity.PAUSED), polling(10)) for name in ("a", "b")]
    [found] = contrast(*runs)
    assert found.shifts == ()
    assert sum("no trial that counts was made near its answer" in text for text in found.untold) == 2


def test_trials_far_from_the_answer_are_left_out(tmp_path):
    far = costing(tmp_path / "a", 1540, rate_pps=2e6)
    with_flat_out = flat_out_beside(tmp_path / "b")
    [found] = contrast(far, with_flat_out)
    assert next(shift for shift in found.shifts if "cycles" in shift.name).new == (1000.0,)


def flat_out_beside(tmp_path: Path) -> Results:
    """A trial near the answer, and one far above it that costs another number of cycles."""
    with RunWriter.create(tmp_path, RunHeader("p", "bench")) as run:
        for pps, cycles in ((1e6, 1000.0), (9e6, 300.0)):
            name = run.append_trial(trial_row(SUBJECT, trial(10, 10, pps=pps), purpose="search"))
            run.append_samples(name, samples(polling(10, cycles * 10, 1.0)))
        run.append_result(ResultRow(subject=SUBJECT, rate_pps=1e6))
    return open_results(run.path)


def test_runs_that_cannot_be_held_against_each_other_are_refused(tmp_path):
    base = costing(tmp_path / "a", 1540, rate_pps=2e6)
    with pytest.raises(UsageError, match="no case in common"):
        contrast(base, costing(tmp_path / "b", 1540, rate_pps=2e6, case_id="other"))
    with pytest.raises(UsageError, match="one of the two runs is simulated"):
        contrast(base, costing(tmp_path / "c", 1540, rate_pps=2e6, simulated=True))
