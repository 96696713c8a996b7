"""A run is written, and read back: while it goes on, when it has ended, by any name that a person may use."""

import errno
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram
from pyarrow import dataset

import nvbench
from nvbench.errors import NotReadyError, StoreError, UsageError
from nvbench.reading import open_results
from nvbench.runs import find_runs, resolve_run
from nvbench.store import MERGE_EVERY, RunHeader, RunState, RunWriter, live_parts
from nvbench.tables import LatencySummary, LimitedBy, ResultRow, Sample, Subject
from nvbench.trial import Counters, Latency, Pauses, Trial, Validity
from nvbench.trial_rows import trial_row

SUBJECT = Subject("p2p-64", "throughput", "ovs_dpdk", "nvgen", 64, 1000, 2, "bidirectional")
HEADER = RunHeader("rfc2544", "bench", profile={"name": "rfc2544", "frames": (64, 1518)}, seed=7)
TRIAL = Trial(
    intended_pps=1e6,
    duration_s=1.0,
    elapsed_s=1.001,
    directions=(Counters(sent=1000, late=3, refused=2, received=990, reordered=1), Counters(500, received=500)),
    latency=Latency(((5_000, 900), (7_000, 100))),
    pauses=Pauses(generator_longest_us=120.0, generator_count=2),
    validity=Validity.PAUSED,
    reason="paused for 120 us",
    started_at=1_700_000_000.25,
)


def writer(root: Path, header: RunHeader = HEADER) -> RunWriter:
    return RunWriter.create(root, header)


def test_a_trial_comes_back_as_it_was_measured(tmp_path: Path) -> None:
    with writer(tmp_path) as run:
        assert run.append_trial(trial_row(SUBJECT, TRIAL, purpose="search")) == "t00001"

    [row] = nvbench.open_results(run.path).trials().to_pylist()

    assert (row["run_id"], row["trial_id"], row["case_id"]) == (run.run_id, "t00001", "p2p-64")
    assert row["started_at"] == datetime.fromtimestamp(1_700_000_000.25, UTC)
    assert row["asked_frames"] == row["sent_frames"] + row["late_frames"] + row["refused_frames"] == 1505
    assert (row["lost_frames"], row["refused_frames"]) == (10, 2)
    assert row["loss_ratio"] == pytest.approx(12 / 1502)
    assert (row["validity"], row["reason"]) == ("paused", "paused for 120 us")
    assert [counted["sent_frames"] for counted in row["directions"]] == [1000, 500]
    assert HdrHistogram.decode(row["latency_histogram"]).get_total_count() == 1000


def test_a_percentile_that_its_sample_does_not_support_is_no_number(tmp_path: Path) -> None:
    with writer(tmp_path) as run:
        run.append_trial(trial_row(SUBJECT, TRIAL, purpose="search"))
        run.append_trial(trial_row(SUBJECT, Trial(1.0, 1.0, 1.0, (Counters(),)), purpose="search"))

    supported, empty = open_results(run.path).trials().to_pylist()

    assert supported["latency_p99_us"] == pytest.approx(7.0, rel=1e-3)
    assert supported["latency_p99_9_us"] is None
    assert all(value is None for name, value in empty.items() if name.startswith("latency_"))


def test_results_and_samples_come_back(tmp_path: Path) -> None:
    row = ResultRow(
        subject=SUBJECT,
        rate_pps=1e6,
        limited_by=LimitedBy.SUT,
        latency=LatencySummary(latency_p50_us=5.0),
        trial_ids=("t00001", "t00009"),
        warnings=("a", "b"),
    )
    with writer(tmp_path) as run:
        run.append_result(row)
        run.append_samples("t00001", (Sample(1.5 + i, "cpu", "busy", i / 2, "1") for i in range(20_000)))
        run.append_samples("t00002", ())

    opened = open_results(run.path)
    [result] = opened.results().to_pylist()
    assert (result["limited_by"], result["trial_ids"], result["warnings"]) == (
        "sut_limited",
        ["t00001", "t00009"],
        ["a", "b"],
    )
    assert (result["latency_p50_us"], result["latency_p99_us"]) == (5.0, None)
    assert opened.samples().num_rows == 20_000
    assert opened.samples().slice(19_999).to_pylist()[0]["value"] == 9999.5
    assert open_results(run.path).to_pandas("samples")["time"][0].isoformat() == "1970-01-01T00:00:01.500000+00:00"


def test_columns_and_filters_are_those_of_pyarrow(tmp_path: Path) -> None:
    with writer(tmp_path) as run:
        for purpose in ("search", "final"):
            run.append_trial(trial_row(SUBJECT, TRIAL, purpose=purpose))

    final = open_results(run.path).trials(columns=["trial_id"], filter=dataset.field("purpose") == "final")
    assert final.to_pylist() == [{"trial_id": "t00002"}]


def test_a_run_is_read_while_it_goes_on(tmp_path: Path) -> None:
    with writer(tmp_path) as run:
        opened = open_results(run.path)
        assert (opened.runs[0].state, opened.trials().num_rows) == ("running", 0)
        (run.path / "trials" / ".00000009-00000009.parquet.tmp").write_bytes(b"PAR1 half")
        for count in range(1, MERGE_EVERY + 3):
            run.append_trial(trial_row(SUBJECT, TRIAL, purpose="search"))
            if count % 20 == 0 or count >= MERGE_EVERY:
                assert opened.trials(columns=["trial_id"]).num_rows == count
        assert len(live_parts(run.path / "trials")) == 3
    assert open_results(run.path).runs[0].state == "finished"
    assert len(live_parts(run.path / "trials")) == 1


def test_the_record_follows_the_run(tmp_path: Path) -> None:
    with writer(tmp_path) as run:
        for text in ("cores are shared", "cores are shared"):
            run.warn(text)
        run.note_commands(["ovs-vsctl", "show"], ("ip", "link"))
        run.note_fingerprint({"kernel": "6.1"})
        run.note_fingerprint({"nic": Path("mlx5")})

    record = json.loads((run.path / "run.json").read_text())
    assert record["warnings"] == ["cores are shared"]
    assert record["commands"] == [["ovs-vsctl", "show"], ["ip", "link"]]
    assert record["fingerprint"] == {"kernel": "6.1", "nic": "mlx5"}
    assert (record["seed"], record["profile"]["frames"], record["schema_version"]) == (7, [64, 1518], 1)


@pytest.mark.parametrize(
    ("stop", "state"), [(KeyboardInterrupt(), RunState.INTERRUPTED), (ValueError(), RunState.BROKE)]
)
def test_a_run_says_how_it_ended(tmp_path: Path, stop: BaseException, state: RunState) -> None:
    with pytest.raises(type(stop)), writer(tmp_path) as run:
        raise stop
    assert open_results(run.path).runs[0].state == state


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path: Path) -> None:
    names = [writer(tmp_path, RunHeader("a b/c", "t")).run_id for _ in range(4)]
    assert len(set(names)) == 4
    assert all("-a-b-c" in name for name in names)


def test_a_run_is_found_by_path_name_prefix_and_latest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        with writer(tmp_path, RunHeader(name, "bench")) as run:
            pass
        (tmp_path / run.run_id).rename(tmp_path / f"{name}-run")
    monkeypatch.setenv("NVBENCH_RESULTS", str(tmp_path))

    assert [run.path.name for run in find_runs(tmp_path)] == ["one-run", "two-run"]
    for name in ("latest", "two", "two-run", tmp_path / "two-run", str(tmp_path / "two-run")):
        assert resolve_run(tmp_path, name) == tmp_path / "two-run"
    assert [run.profile_name for run in open_results(["one", "latest"]).runs] == ["one", "two"]


def test_a_name_that_means_no_run_or_several_is_refused_with_names_that_do(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no runs yet"):
        resolve_run(tmp_path, "latest")
    first, second = (writer(tmp_path).run_id for _ in range(2))
    with pytest.raises(UsageError, match=f"several runs .*{first}"):
        resolve_run(tmp_path, first[:8])
    with pytest.raises(UsageError, match=f"no run is called .*{second}"):
        resolve_run(tmp_path, second.replace("rfc", "rcf"))
    with pytest.raises(UsageError, match="no run here"):
        open_results(tmp_path)
    with pytest.raises(UsageError, match="no such folder"):
        open_results(tmp_path / "nowhere")


def test_a_newer_schema_is_refused_and_does_not_hide_other_runs(tmp_path: Path) -> None:
    with writer(tmp_path) as run:
        pass
    file = run.path / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"schema_version": 2}))

    with pytest.raises(UsageError, match=r"newer nvbench \(schema 2, this one reads up to 1\)") as refused:
        open_results(run.path)
    assert refused.value.exit_code == 2
    assert [found.state for found in find_runs(tmp_path)] == ["unreadable"]


def test_a_damaged_part_and_a_missing_one_are_named(tmp_path: Path) -> None:
    with writer(tmp_path) as run:
        for _ in range(3):
            run.append_trial(trial_row(SUBJECT, TRIAL, purpose="search"))
        middle = live_parts(run.path / "trials")[1]
        middle.write_bytes(b"no parquet")
        with pytest.raises(StoreError, match="cannot be read"):
            open_results(run.path).trials()
        middle.unlink()
        with pytest.raises(StoreError, match="missing"):
            open_results(run.path).trials()


def test_a_place_that_cannot_be_written_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file")
    with pytest.raises(NotReadyError, match="cannot be written here") as refused:
        writer(tmp_path / "results")
    assert refused.value.exit_code == 3


def test_a_full_disk_stops_the_run_and_keeps_what_was_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill_up_and_append() -> None:
        monkeypatch.setattr(os, "fsync", full)
        run.append_trial(trial_row(SUBJECT, TRIAL, purpose="search"))

    with pytest.raises(StoreError, match="the disk is full") as stopped, writer(tmp_path) as run:
        run.append_trial(trial_row(SUBJECT, TRIAL, purpose="search"))
        fill_up_and_append()

    assert stopped.value.exit_code == 4
    assert "free some space" in str(stopped.value)
    assert open_results(run.path).trials().num_rows == 1
    assert not list(run.path.rglob("*.tmp"))


def test_nvbench_is_imported_without_its_heavy_parts() -> None:
    code = "import nvbench, sys; assert not {'pyarrow', 'pandas', 'nvbench.store'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
