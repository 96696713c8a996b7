"""What a person sees: whole numbers at any width, and each label that a number needs."""

from pathlib import Path

import pytest

from nvbench.reading import Results, open_results
from nvbench.report.text import rendered, results_table, trials_table
from nvbench.runs import Run
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import LatencySummary, LimitedBy, ResultRow, Subject
from nvbench.trial import Counters, Trial, Validity
from nvbench.trial_rows import trial_row

LATENCY = LatencySummary(4.1, 12.34, 20.5, 45.2, 120.7, 1234.5)


def _subject(frame_bytes: int, test: str = "throughput", queues: int = 1) -> Subject:
    return Subject(f"c{frame_bytes}", test, "ovs_dpdk", "nvgen", frame_bytes, 1000, queues, "bidirectional")


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """A quick, simulated run with an answer at the generator's ceiling and one with a short latency sample."""
    with RunWriter.create(tmp_path, RunHeader("rfc2544", "bench", quick=True, simulated=True)) as run:
        run.warn("cores 2,3 [not isolated] are shared")
        run.append_result(
            ResultRow(
                subject=_subject(64),
                rate_pps=14.88e6,
                ceiling_pps=15.2e6,
                loss_ratio=0.0,
                latency=LATENCY,
                limited_by=LimitedBy.GENERATOR,
                trials=20,
            )
        )
        run.append_result(
            ResultRow(
                subject=_subject(1518, queues=2),
                rate_pps=812_743,
                loss_ratio=0.0000123,
                latency=LatencySummary(4.1, 12.34, 20.5, None, None, 99.9),
                limited_by=LimitedBy.SUT,
                trials=20,
                invalid_trials=3,
                warnings=("cores 2,3 [not isolated] are shared", "the link flapped"),
            )
        )
    return _named(run.path)


def _named(path: Path) -> Results:
    """The results in `path` under a name that does not change with the day."""
    [run] = open_results(path).runs

    class Named(Run):
        run_id = run.run_id

    return Results((Named(path, run.record),))


def _text(results: Results, width: int) -> str:
    [run] = results.runs
    return rendered(results_table(results, width), width).replace(str(run.path), "PATH").replace(run.run_id, "RUN")


WIDE = """\
rfc2544 on bench, run RUN
quick: short trials, not RFC 2544 durations
simulated: no device was measured

throughput: ovs_dpdk, nvgen generator, flows: 1000, bidirectional, NDR, rates per direction

Frame             NDR      L1      L2       Of               p50    p99  p99.9    max
    B  Queues    Mpps  Gbit/s  Gbit/s  ceiling       Loss     us     us     us     us  Verdict
─────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────────
   64       1   14.88   9.999   7.619     98 %          0  12.34  45.20  120.7   1234  generator limited
 1518       2  0.8127   10.00   9.870        -  0.00123 %  12.34      -      -  99.90  device limited, 3 of 20 trials invalid

warning: cores 2,3 [not isolated] are shared
warning: c1518: the link flapped
results: PATH
"""  # noqa: E501 - as printed

NARROW = """\
throughput: ovs_dpdk, nvgen generator, flows: 1000, bidirectional, NDR, rates
per direction

Frame             NDR      L1      L2       Of
    B  Queues    Mpps  Gbit/s  Gbit/s  ceiling       Loss  Verdict
────────────────────────────────────────────────────────────────────────────────
   64       1   14.88   9.999   7.619     98 %          0  generator limited
 1518       2  0.8127   10.00   9.870        -  0.00123 %  device limited, 3 of
                                                           20 trials invalid

Frame            p50    p99  p99.9    max
    B  Queues     us     us     us     us
─────────────────────────────────────────
   64       1  12.34  45.20  120.7   1234
 1518       2  12.34      -      -  99.90
"""


def test_a_wide_table_has_everything_in_a_line(results: Results) -> None:
    assert _text(results, 140) == WIDE


def test_a_narrow_table_puts_latency_below(results: Results) -> None:
    assert NARROW in _text(results, 80)


@pytest.mark.parametrize("width", [10, 20, 33, 60, 100])
def test_no_width_cuts_a_number_off(results: Results, width: int) -> None:
    text = rendered(results_table(results, width), width)
    assert "…" not in text
    for number in ("14.88", "0.8127", "9.999", "9.870", "98 %", "0.00123 %", "45.20", "120.7", "99.90"):
        assert number in text


def test_only_what_differs_has_a_column(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as run:
        for datapath, goal in (("ovs_dpdk", 0.0), ("sriov", 0.005)):
            subject = Subject("c", "throughput", datapath, "nvgen", 64)
            run.append_result(ResultRow(subject=subject, rate_pps=1e6, goal_loss_ratio=goal, loss_ratio=goal))
    text = rendered(results_table(open_results(run.path)))

    assert "nvgen generator, flows: 1, unidirectional\n" in text
    assert "Datapath" in text
    assert "PDR 0.5000 %" in text
    assert "per direction" not in text
    assert "quick" not in text


def test_each_test_has_its_table_and_a_load_is_no_throughput(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as run:
        run.append_result(ResultRow(subject=_subject(64), rate_pps=2e6))
        run.append_result(ResultRow(subject=_subject(64, "latency"), rate_pps=1e6, verdict="at 50% of the throughput"))
    _, throughput, latency = rendered(results_table(open_results(run.path))).partition("throughput: ")
    throughput, _, latency = latency.partition("latency: ")

    assert "NDR" in throughput
    assert "NDR" not in latency
    assert "Load" in latency
    assert "at 50% of the throughput" in latency


def test_a_run_without_results_says_so(tmp_path: Path) -> None:
    run = RunWriter.create(tmp_path, RunHeader("p", "t"))
    text = rendered(results_table(open_results(run.path)))
    assert "running: what was measured until then" in text
    assert "no results" in text


def test_trials_say_whether_they_count(tmp_path: Path) -> None:
    trial = Trial(
        1e6,
        60.0,
        60.01,
        (Counters(892_857_142, 3, 2, 892_857_000),),
        aborted=True,
        validity=Validity.CLOCK,
        reason="1 s",
    )
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as run:
        run.append_trial(trial_row(_subject(64), trial, purpose="final"))
    rows = open_results(run.path).trials().to_pylist()

    for width in (80, 140):
        text = rendered(trials_table(rows, width), width)
        for part in ("t00001", "final", "892857142", "142", "0.0000161 %", "clock: 1 s, aborted"):
            assert part in text
