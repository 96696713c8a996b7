"""Many runs are asked as one, by SQL or by columns and filters, and nothing that is not needed is opened."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyarrow import dataset, parquet

import nvbench
from nvbench import parts, reading
from nvbench.cli import group
from nvbench.errors import StoreError, UsageError
from nvbench.parts import live_parts
from nvbench.reading import Results, open_results, throughputs
from nvbench.runs import find_runs
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import ResultRow, Sample, Subject

RUNS = 5


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five runs of one case each, faster from run to run, the later two with a label."""
    for number in range(RUNS):
        label = "ovs-3.2" if number > 2 else ""
        header = RunHeader(f"profile-{number % 2}", "bench", fingerprint={"ovs": f"3.{number}"}, label=label)
        with RunWriter.create(tmp_path / "results", header) as run:
            subject = Subject("p2p-64", "throughput", "direct", "simulated", 64)
            run.append_result(ResultRow(subject=subject, rate_pps=1e6 * (number + 1)))
            run.append_samples(
                "t00001", [Sample(float(time), "port a", "rx", time * 10.0, "frames") for time in (1, 2)]
            )
        run.path.rename(run.path.with_name(f"run-{number}"))
    return tmp_path / "results"


@pytest.fixture
def results(root: Path) -> Results:
    return Results(find_runs(root))


def part(root: Path, table: str = "results", run: int = 2) -> Path:
    [found] = live_parts(root / f"run-{run}" / table)
    return found


def test_a_question_is_about_all_tables_of_all_these_runs(root: Path, results: Results) -> None:
    rates = results.query("SELECT count(*) AS n, max(rate_pps) AS fastest FROM results").to_pylist()
    assert rates == [{"n": RUNS, "fastest": 5e6}]
    joined = """
        SELECT results.run_id, max(value) - min(value) AS received FROM samples JOIN results USING (run_id)
        WHERE rate_pps < $limit GROUP BY ALL ORDER BY ALL
    """
    assert results.query(joined, {"limit": 2.5e6})["received"].to_pylist() == [10.0, 10.0]
    assert results.query("SELECT * FROM streams").schema.names == results.streams().schema.names
    two = open_results([root / "run-0", root / "run-3"])
    assert two.query("SELECT rate_pps FROM Results ORDER BY 1")["rate_pps"].to_pylist() == [1e6, 4e6]


def test_the_answer_is_what_the_table_says(results: Results) -> None:
    asked = results.query("SELECT * FROM results")
    assert asked.to_pylist() == results.results().to_pylist()
    assert str(asked.schema.field("finished_at").type) == "timestamp[us, tz=UTC]"
    assert results.to_pandas(asked)["rate_pps"].sum() == 15e6


def test_a_table_of_many_parts_is_the_same_as_one_of_few(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = ("trials", "results", "streams", "samples")
    few = [results.table(name) for name in tables]
    one_column = results.results(["block"])
    monkeypatch.setattr(reading, "MANY_PARTS", 2)
    assert [results.table(name) for name in tables] == few
    assert [table.schema for table in map(results.table, tables)] == [table.schema for table in few]
    assert results.results(["block"]) == one_column


def test_columns_that_an_older_nvbench_did_not_write_are_null(root: Path, results: Results) -> None:
    for run in (0, 2):
        old = parquet.read_table(part(root, run=run)).drop_columns(["block", "verdict"])
        parquet.write_table(old, part(root, run=run))
    assert results.query("SELECT run_id, block FROM results")["block"].to_pylist() == [None, 0, None, 0, 0]
    assert results.query("SELECT count(verdict) AS told FROM results")["told"].to_pylist() == [3]
    assert results.results(["block"])["block"].null_count == 2


def test_parts_that_a_wider_one_replaces_are_not_asked(root: Path, results: Results) -> None:
    wide = part(root)
    parquet.write_table(parquet.read_table(wide), wide.with_name("00000001-00000009.parquet"))
    assert results.query("SELECT count(*) AS n FROM results")["n"].to_pylist() == [RUNS]


@pytest.mark.parametrize(
    ("sql", "complaint"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT nothing FROM results", 'Referenced column "nothing" not found'),
        ("SELECT * FROM elsewhere", "elsewhere does not exist"),
        ("SELECT 1; SELECT 2", "not one SELECT"),
        ("", "not one SELECT"),
        ("COPY results TO '/tmp/stolen'", "not one SELECT"),
        ("CREATE TABLE more AS SELECT 1", "not one SELECT"),
        ("SET memory_limit = '1TB'", "not one SELECT"),
        ("INSTALL httpfs", "not one SELECT"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled by configuration"),
        ("SELECT * FROM 'https://example.org/a.parquet'", ""),
        ("SELECT $missing FROM results", "missing"),
    ],
)
def test_what_is_no_question_about_results_is_refused_in_one_line(results: Results, sql: str, complaint: str) -> None:
    with pytest.raises(UsageError) as refused:
        results.query(sql)
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_question_that_needs_too_much_memory_says_so(results: Results, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nvbench.sql.MEMORY", "20MB")
    with pytest.raises(UsageError, match="more memory than 20MB"):
        results.query("SELECT list(range) AS everything FROM range(20000000)")


def _newer(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata({**table.schema.metadata, b"nvbench.schema_version": b"2"})


def _words_for_rates(table: pa.Table) -> pa.Table:
    return table.set_column(table.schema.get_field_index("rate_pps"), "rate_pps", pa.array(["fast"] * len(table)))


READ = {
    "sql": lambda results: results.query("SELECT sum(rate_pps) FROM results"),
    "table": lambda results: results.results(["rate_pps"]),
}


@pytest.mark.parametrize("read", READ.values(), ids=READ)
@pytest.mark.parametrize(
    ("spoil", "error", "complaint"),
    [
        (_newer, UsageError, r"written by a newer nvbench \(schema 2, this one reads up to 1\)"),
        (_words_for_rates, StoreError, "cannot be read: .*fast"),
        (b"", StoreError, "cannot be read: "),
        (b"PAR1 by hand PAR1", StoreError, "cannot be read: "),
    ],
    ids=["newer", "other types", "empty", "no parquet"],
)
def test_a_part_that_cannot_be_read_is_named(
    root: Path, results: Results, read: Any, spoil: Any, error: type[Exception], complaint: str
) -> None:
    bad = part(root)
    if isinstance(spoil, bytes):
        bad.write_bytes(spoil)
    else:
        parquet.write_table(spoil(parquet.read_table(bad)), bad)
    with pytest.raises(error, match=complaint) as refused:
        read(results)
    assert str(bad) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("read", READ.values(), ids=READ)
def test_pages_that_were_damaged_are_noticed(root: Path, results: Results, read: Any) -> None:
    bad = part(root)
    content = bytearray(bad.read_bytes())
    for column in range(parquet.read_metadata(bad).num_columns):
        at = parquet.read_metadata(part(root, run=1)).row_group(0).column(column).data_page_offset
        content[at : at + 12] = b"\xff" * 12
    bad.write_bytes(content)
    with pytest.raises(StoreError, match="cannot be read") as refused:
        read(results)
    assert str(bad) in str(refused.value)


@pytest.mark.parametrize("read", READ.values(), ids=READ)
def test_a_name_that_leads_nowhere_does_not_hang(root: Path, results: Results, read: Any) -> None:
    (root / "run-2" / "results" / "00000002-00000002.parquet").symlink_to("/nowhere")
    with pytest.raises(StoreError, match="parts are listed that are not there"):
        read(results)


def test_a_column_that_is_not_there_is_refused_with_one_that_is(results: Results) -> None:
    with pytest.raises(UsageError, match=r"unknown column 'rate_bps'.*rate_pps"):
        results.results(["rate_bps"])
    with pytest.raises(UsageError, match="no such column"):
        results.results(filter=dataset.field("nothing") == 1)
    with pytest.raises(UsageError, match=r"unknown table 'result'.*results"):
        results.table("result")


def test_a_rate_that_is_no_number_is_no_prior(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as run:
        for case, rate in (("a", math.nan), ("b", 1e6), ("c", None)):
            run.append_result(ResultRow(subject=Subject(case, "throughput", "direct", "simulated", 64), rate_pps=rate))
    assert throughputs(open_results(run.path)) == {"b": {0.0: 1e6}}


def listed(*argv: str) -> list[str]:
    outcome = CliRunner().invoke(group, ["list", *argv], catch_exceptions=False, standalone_mode=False)
    assert outcome.exception is None
    return outcome.output.splitlines()[2:]


def test_a_list_of_runs_opens_none_of_their_tables(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "live_parts", None)
    monkeypatch.setattr("nvbench.reading.live_parts", None)
    lines = listed("--results", str(root))
    assert [line.split()[0] for line in lines] == [f"run-{number}" for number in range(RUNS)]
    assert ["ovs-3.2" in line for line in lines] == [False] * 3 + [True] * 2
    code = f"from nvbench.cli import group; group.main(['list', '--results', {str(root)!r}], standalone_mode=False)"
    code += "; import sys; assert not {'pyarrow', 'duckdb', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_runs_of_an_older_nvbench_are_counted_in_their_tables(root: Path) -> None:
    file = root / "run-1" / "run.json"
    record = json.loads(file.read_text())
    assert record.pop("cases") == 1
    file.write_text(json.dumps(record))
    [line] = listed("--results", str(root), "--filter", "run:run-1")
    assert " 1 " in line
    part(root, run=1).write_bytes(b"")
    [line] = listed("--results", str(root), "--filter", "run:run-1")
    assert " - " in line


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--limit", "2"], [3, 4]),
        (["--label"], [3, 4]),
        (["--filter", "label:ovs-*", "--limit", "1"], [4]),
        (["--filter", "label:"], [0, 1, 2]),
        (["--filter", "profile:profile-0"], [0, 2, 4]),
        (["--filter", "profile:profile-0", "--filter", "label:ovs-3.2"], [4]),
        (["--filter", "fingerprint.ovs:3.1,3.3"], [1, 3]),
        (["--filter", "state:finished", "--filter", "quick:false", "--filter", "run:run-[12]"], [1, 2]),
    ],
)
def test_runs_are_filtered_by_what_their_records_say(root: Path, options: list[str], expected: list[int]) -> None:
    lines = listed("--results", str(root), *options)
    assert [line.split()[0] for line in lines] == [f"run-{number}" for number in expected]


def test_a_filter_that_cannot_be_is_refused(root: Path) -> None:
    for text, complaint in (("label", "not KEY:VALUE"), (":x", "not KEY:VALUE"), ("colour:red", "no run has 'colour'")):
        outcome = CliRunner().invoke(group, ["list", "--results", str(root), "--filter", text], standalone_mode=False)
        assert isinstance(outcome.exception, UsageError)
        assert complaint in str(outcome.exception)
    none = CliRunner().invoke(group, ["list", "--results", str(root), "--filter", "state:broke"], standalone_mode=False)
    assert f"none of the {RUNS} runs" in none.output


def test_a_long_label_wraps_and_moves_no_other_column(root: Path) -> None:
    file = root / "run-1" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"label": "before the update " * 6}))
    lines = listed("--results", str(root))
    starts = {line.index("finished") for line in lines if "finished" in line}
    assert len(lines) > RUNS
    assert len(starts) == 1
    assert max(map(len, lines)) <= 140


def test_nothing_of_this_is_loaded_before_it_is_asked_for() -> None:
    code = "import nvbench.reading, sys; assert not {'pyarrow', 'duckdb', 'pandas'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert nvbench.open_results is open_results
