"""Tables made ready for pandas: settings as columns, histograms as distributions."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nvbench.analysis import BEYOND, distribution, wide
from nvbench.errors import UsageError
from nvbench.reading import open_results
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import ResultRow, Setting, StreamRow, Subject
from nvbench.trial import Latency


def encoded(*bins: tuple[int, int]) -> bytes:
    """The histogram of so many frames at each latency in nanoseconds, as a trial stores it."""
    data: bytes = Latency(bins).histogram.encode()
    return data


def test_every_option_gets_a_column_and_rows_without_it_nothing(tmp_path: Path) -> None:
    options = {"ovs_dpdk": (Setting("emc", "on"), Setting("endpoints.tso", "off")), "linux_bridge": ()}
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as run:
        for datapath, own in options.items():
            subject = Subject(datapath, "tcp_stream", datapath, "iperf3", 0, settings=own)
            run.append_result(ResultRow(subject=subject, rate_pps=None, goodput_bps=1e9))

    frame = wide(open_results(run.path).to_pandas())

    assert "settings" not in frame
    assert list(frame["emc"]) == ["on", None]
    assert list(frame["endpoints.tso"]) == ["off", None]
    assert list(frame["goodput_bps"]) == [1e9, 1e9]


def test_the_flags_of_an_end_begin_with_the_name_of_the_end(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as run:
        run.append_stream(
            StreamRow(
                subject=Subject("case", "tcp_stream", "ovs_dpdk", "iperf3", 0, settings=(Setting("emc", "off"),)),
                repeat=1,
                tool="iperf3 3.12",
                parallel=1,
                started_at=datetime(2026, 1, 1, tzinfo=UTC),
                duration_s=1.0,
                client_offloads=(Setting("scatter-gather", "on"),),
                server_offloads=(Setting("scatter-gather", "off [fixed]"),),
            )
        )

    [row] = wide(open_results(run.path).to_pandas("streams")).to_dict("records")

    assert (row["emc"], row["client.scatter-gather"], row["server.scatter-gather"]) == ("off", "on", "off [fixed]")


def test_a_table_without_rows_or_options_stays_as_it_is(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as run:
        pass
    results = open_results(run.path)
    assert wide(results.to_pandas()).empty
    assert list(wide(results.to_pandas("samples"))) == list(results.to_pandas("samples"))


def test_a_distribution_is_of_all_trials_together() -> None:
    frame = distribution([encoded((4_000, 900), (8_000, 50)), None, encoded((4_000, 30), (16_000, 20))])

    assert list(frame["latency_us"]) == pytest.approx([4.0, 8.0], rel=1e-3)
    assert list(frame["frames"]) == [930, 50]
    assert list(frame["percentile"]) == pytest.approx([93.0, 98.0])


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1_000, 10**8), st.integers(1, 500)), min_size=1, max_size=20))
def test_a_distribution_agrees_with_counting_one_by_one(bins: list[tuple[int, int]]) -> None:
    frame = distribution([encoded(*bins)])

    latencies = np.sort(np.repeat([ns / 1000 for ns, _ in bins], [count for _, count in bins]))
    for row in frame.itertuples():
        slower = int((latencies > row.latency_us * 1.001).sum())
        at_least_as_slow = int((latencies >= row.latency_us * 0.999).sum())
        beyond = len(latencies) * (1 - row.percentile / 100)
        assert slower - 1e-6 <= beyond <= at_least_as_slow + 1e-6
        assert beyond >= BEYOND - 1e-6


@pytest.mark.parametrize("nothing", [[], [None], [encoded((4_000, BEYOND))]])
def test_too_few_frames_make_no_distribution(nothing: list[bytes | None]) -> None:
    frame = distribution(nothing)
    assert (len(frame), list(frame)) == (0, ["latency_us", "frames", "percentile"])


@pytest.mark.parametrize("broken", [b"x", b"AAAA", b"no base64!", encoded((4_000, 9))[:40]])
def test_what_is_no_histogram_is_said_in_a_line(broken: bytes) -> None:
    with pytest.raises(UsageError, match=r"no latency histogram: .*\(take the column latency_histogram\)"):
        distribution([encoded((4_000, 9)), broken])
