"""`nvbench list`, `show` and `export`, as typed."""

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from pyarrow import parquet

from nvbench.cli import group
from nvbench.errors import UsageError
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import ResultRow, Subject
from nvbench.trial import Counters, Latency, Trial
from nvbench.trial_rows import trial_row

SUBJECT = Subject("p2p-64", "throughput", "direct", "nvgen", 64)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder with one run."""
    monkeypatch.setenv("NVBENCH_RESULTS", str(tmp_path / "results"))
    with RunWriter.create(tmp_path / "results", RunHeader("rfc2544", "bench", quick=True)) as run:
        run.note_fingerprint({"kernel": "6.1", "versions": {"ovs": "3.1"}, "nics": [{"name": "eth0", "driver": "ice"}]})
        run.append_trial(
            trial_row(
                SUBJECT,
                Trial(1e6, 1.0, 1.0, (Counters(10, received=10),), Latency(((1000, 10),))),
                purpose="search",
            )
        )
        run.append_result(ResultRow(subject=SUBJECT, rate_pps=1e6, ceiling_pps=float("nan"), trial_ids=("t00001",)))
    return tmp_path / "results"


def run(*argv: str) -> str:
    outcome = CliRunner().invoke(group, argv, catch_exceptions=False, standalone_mode=False)
    assert outcome.exception is None, outcome.exception
    return outcome.output


def test_list_has_a_line_a_run(root: Path) -> None:
    RunWriter.create(root, RunHeader("soak", "bench", simulated=True))
    first, second = run("list").splitlines()[2:]
    for part in ("rfc2544", "bench", "finished", "quick", " 1 "):
        assert part in first
    for part in ("soak", "simulated", " 0 "):
        assert part in second


def test_list_says_when_there_is_nothing(tmp_path: Path) -> None:
    assert "no runs" in run("list", "--results", str(tmp_path))


def test_show_has_results_bench_and_trials(root: Path) -> None:
    text = run("show", "latest", "--trials")
    for part in ("rfc2544 on bench", "1.000", "kernel: 6.1", "versions.ovs: 3.1", "nics: eth0 ice", "t00001"):
        assert part in text
    assert "t00001" not in run("show")
    assert "\x1b" not in text


def test_an_unknown_run_is_a_usage_error(root: Path) -> None:
    outcome = CliRunner().invoke(group, ["show", "nothing"], standalone_mode=False)
    assert isinstance(outcome.exception, UsageError)


def test_export_json_has_the_run_and_its_rows(root: Path) -> None:
    exported = json.loads(run("export"))
    assert exported["run"]["profile_name"] == "rfc2544"
    [row] = exported["rows"]
    assert (row["rate_pps"], row["ceiling_pps"], row["trial_ids"]) == (1e6, None, ["t00001"])
    [trial] = json.loads(run("export", "latest", "--table", "trials"))["rows"]
    assert trial["latency_p50_us"] is None
    assert trial["latency_histogram"].startswith("HISTF")
    assert trial["directions"][0]["sent_frames"] == 10
    assert json.loads(run("export", "--table", "samples"))["rows"] == []


def test_export_csv_is_one_line_a_row(root: Path) -> None:
    [row] = csv.DictReader(io.StringIO(run("export", "--format", "csv", "--table", "trials")))
    assert (row["trial_id"], row["sent_frames"], row["latency_p50_us"]) == ("t00001", "10", "")
    assert json.loads(row["directions"])[0]["received_frames"] == 10


def test_export_to_a_file(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "out.parquet"
    run("export", "--format", "parquet", "--table", "trials", "-o", str(file))
    assert parquet.read_table(file)["trial_id"].to_pylist() == ["t00001"]
    run("export", "-o", str(tmp_path / "out.json"))
    assert json.loads((tmp_path / "out.json").read_text())["table"] == "results"
    run("export", "-o", "/dev/null")
    assert Path("/dev/null").is_char_device()


def test_parquet_needs_a_file(root: Path) -> None:
    outcome = CliRunner().invoke(group, ["export", "--format", "parquet"], standalone_mode=False)
    assert isinstance(outcome.exception, UsageError)
