"""`nvbench compact`: small parts become one, whoever is killed, reading or writing meanwhile."""

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from pyarrow import parquet

from nvbench.cli import group
from nvbench.compact import compact
from nvbench.errors import NotReadyError, StoreError, UsageError
from nvbench.parts import live_parts
from nvbench.reading import open_results
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import ResultRow, Sample, Subject
from nvbench.trial import Counters, Latency, Trial
from nvbench.trial_rows import trial_row

SUBJECT = Subject("p2p-64", "throughput", "direct", "simulated", 64)
ROW = trial_row(SUBJECT, Trial(1e6, 1.0, 1.0, (Counters(10, received=10),), Latency(((1000, 9),))), purpose="search")
TRIALS = 3


def killed(root: Path, name: str = "killed") -> Path:
    """A run whose writer died: single parts, and a draft that never got its name."""
    run = RunWriter.create(root, RunHeader(name, "bench"))
    for number in range(TRIALS):
        trial_id = run.append_trial(ROW)
        readings = [("port b", 2.0), ("port a", 2.0), ("port b", 1.0), ("port a", 1.0)]
        run.append_samples(trial_id, [Sample(time, source, "rx", number, "frames") for source, time in readings])
    run.append_result(ResultRow(subject=SUBJECT, rate_pps=float("nan")))
    (run.path / "trials" / ".00000099-00000099.parquet.tmp").write_bytes(b"PAR1 half")
    os.close(run._lock)
    return run.path


def contents(run: Path) -> dict[str, list[str]]:
    """Every row of every table, in an order of its own."""
    opened = open_results(run)
    return {name: sorted(map(str, opened.table(name).to_pylist())) for name in ("trials", "results", "samples")}


def files(run: Path) -> dict[str, int]:
    return {name: len(list((run / name).iterdir())) for name in ("trials", "results", "samples", "streams")}


def test_a_killed_run_becomes_one_part_a_table(tmp_path: Path) -> None:
    run = killed(tmp_path)
    before = contents(run)

    tidied = compact(run)

    assert (tidied.merged, tidied.made, tidied.leftovers) == (2 * TRIALS, 2, 1)
    assert tidied.bytes_after < tidied.bytes_before
    assert files(run) == {"trials": 1, "results": 1, "samples": 1, "streams": 0}
    assert contents(run) == before
    assert compact(run).tidy


def test_samples_are_sorted_by_what_a_reader_looks_for_and_say_so(tmp_path: Path) -> None:
    run = killed(tmp_path)
    compact(run)

    [part] = live_parts(run / "samples")
    rows = parquet.read_table(part).to_pylist()
    keys = [(row["trial_id"], row["source"], row["metric"], row["time"]) for row in rows]
    group = parquet.read_metadata(part).row_group(0)
    first = group.column(1)
    assert keys == sorted(keys)
    assert len(group.sorting_columns) == 4
    least, greatest = first.statistics.min, first.statistics.max
    assert (first.path_in_schema, least, greatest) == ("trial_id", "t00001", f"t0000{TRIALS}")
    assert first.compression == "ZSTD"


def test_a_dry_run_touches_nothing(tmp_path: Path) -> None:
    run = killed(tmp_path)
    before = sorted(run.rglob("*"))
    tidied = compact(run, dry_run=True)
    assert (tidied.merged, tidied.made, tidied.leftovers) == (2 * TRIALS, 2, 1)
    assert sorted(run.rglob("*")) == before


def test_a_run_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, RunHeader("going", "bench")) as run:
        run.append_trial(ROW)
        with pytest.raises(NotReadyError, match="still being written"):
            compact(run.path)
        run.append_trial(ROW)
    assert compact(run.path).tidy


def test_columns_that_only_some_parts_have_are_kept(tmp_path: Path) -> None:
    """Parts of an older nvbench lack some; a part that somebody extended has one more."""
    run = killed(tmp_path)
    first, second, *_ = live_parts(run / "trials")
    parquet.write_table(parquet.read_table(first).drop_columns(["reason"]), first)
    more = parquet.read_table(second)
    parquet.write_table(more.append_column("note", [["by hand"]]), second)

    compact(run)

    merged = parquet.read_table(live_parts(run / "trials")[0])
    assert merged["note"].to_pylist() == [None, "by hand", *[None] * (TRIALS - 2)]
    assert merged["reason"].to_pylist() == [None, *[""] * (TRIALS - 1)]
    assert open_results(run).trials().num_rows == TRIALS


def test_parts_that_do_not_fit_together_stay(tmp_path: Path) -> None:
    run = killed(tmp_path)
    part = live_parts(run / "trials")[2]
    held = parquet.read_table(part)
    parquet.write_table(held.set_column(0, "run_id", [[1]]), part)
    with pytest.raises(StoreError, match="cannot be merged"):
        compact(run)
    part.write_bytes(b"no parquet")
    with pytest.raises(StoreError, match="cannot be merged"):
        compact(run)
    assert len(live_parts(run / "trials")) == TRIALS


def test_parts_of_a_newer_nvbench_stay(tmp_path: Path) -> None:
    run = killed(tmp_path)
    part = live_parts(run / "trials")[2]
    held = parquet.read_table(part)
    parquet.write_table(held.replace_schema_metadata({"nvbench.schema_version": "9"}), part)
    with pytest.raises(UsageError, match="newer nvbench"):
        compact(run)
    assert len(live_parts(run / "trials")) == TRIALS


def test_a_merge_that_loses_rows_is_noticed_before_the_old_ones_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = killed(tmp_path)
    whole = contents(run)
    monkeypatch.setattr("nvbench.parts._row_groups", lambda parts, schema: iter([schema.empty_table()]))
    with pytest.raises(StoreError, match=f"merging made 0 rows of {TRIALS}"):
        compact(run)
    monkeypatch.undo()
    assert contents(run) == whole


def test_what_a_crash_left_of_a_merge_goes_if_the_merged_part_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = killed(tmp_path)
    whole = contents(run)
    kept = shutil.copytree(run / "trials", tmp_path / "kept")
    compact(run)
    shutil.copytree(kept, run / "trials", dirs_exist_ok=True)
    [merged] = live_parts(run / "trials")
    damaged = merged.read_bytes()

    merged.write_bytes(b"no parquet")
    with pytest.raises(StoreError, match="the parts that it was made of are there"):
        compact(run)
    merged.write_bytes(damaged)
    assert compact(run).leftovers == TRIALS + 1
    assert contents(run) == whole


KILLED_AT_EACH_STEP = """
import os, shutil, signal, sys
from pathlib import Path
import pyarrow.dataset
from pyarrow import parquet
from nvbench.compact import compact

run, root = Path(sys.argv[1]), Path(sys.argv[2])
for step in range(1000):
    copy = shutil.copytree(run, root / f"step-{step:03d}")
    child = os.fork()
    if not child:
        left = step
        def deadly(call):
            def wrapped(*args, **options):
                global left
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                return call(*args, **options)
            return wrapped
        os.fsync, Path.replace, Path.unlink = deadly(os.fsync), deadly(Path.replace), deadly(Path.unlink)
        parquet.ParquetWriter.write_table = deadly(parquet.ParquetWriter.write_table)
        compact(copy)
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


def test_killed_at_each_step_it_loses_nothing_and_the_next_one_tidies_up(tmp_path: Path) -> None:
    run = killed(tmp_path / "results")
    whole = contents(run)
    subprocess.run([sys.executable, "-c", KILLED_AT_EACH_STEP, str(run), str(tmp_path / "steps")], check=True)

    steps = sorted((tmp_path / "steps").iterdir())
    assert len(steps) > 2 * TRIALS + 8
    for step in steps:
        assert contents(step) == whole, step
    for step in steps[:: len(steps) // 6]:
        compact(step)
        assert files(step) == {"trials": 1, "results": 1, "samples": 1, "streams": 0}
        assert contents(step) == whole


@pytest.mark.parametrize(
    "read",
    [
        lambda results: results.samples(columns=["trial_id"]).num_rows,
        lambda results: results.query("SELECT count(*) AS n FROM samples")["n"][0].as_py(),
    ],
    ids=["pyarrow", "duckdb"],
)
def test_readers_see_every_row_while_parts_are_merged(tmp_path: Path, read: Callable[..., int]) -> None:
    runs = [killed(tmp_path, f"run-{number}") for number in range(4)]
    opened = open_results(runs)
    tidying = threading.Thread(target=lambda: [compact(run) for run in runs])
    tidying.start()
    seen = {read(opened)}
    while tidying.is_alive():
        seen.add(read(opened))
    tidying.join()
    seen.add(read(opened))
    assert seen == {4 * TRIALS * 4}


def test_two_at_once_do_not_meet(tmp_path: Path) -> None:
    run = killed(tmp_path)
    descriptor = os.open(run, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(NotReadyError):
            compact(run)
    finally:
        os.close(descriptor)
    assert compact(run).merged


def command(*argv: str) -> tuple[str, object]:
    outcome = CliRunner().invoke(group, ["compact", *argv], standalone_mode=False)
    assert outcome.exception is None or isinstance(outcome.exception, UsageError), outcome.exception
    return outcome.output, outcome.exception or outcome.return_value


def test_the_command_says_what_it_did(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NVBENCH_RESULTS", str(tmp_path))
    run = killed(tmp_path)
    damaged = killed(tmp_path, "damaged")
    live_parts(damaged / "trials")[0].write_bytes(b"")
    going = RunWriter.create(tmp_path, RunHeader("going", "bench"))

    text, status = command("--all", "--dry-run")
    assert f"{run.name}: 6 parts become 2, 1 leftovers of a killed writer go; " in text
    text, status = command("--all")
    assert "->" in text
    assert f"passed over {going.path}: still being written" in text
    assert f"{damaged / 'trials'}: these parts cannot be merged" in text
    assert "1 of 1 runs tidied" in text
    assert status == 4
    assert command("latest~2") == ("0 of 1 runs tidied, 0 B less on the disk\n", 0)
    assert "--all" in str(command()[1])
    assert "--all" in str(command("--all", "latest")[1])
