"""What is acknowledged stays: after kill -9, after a crash amid a merge, on a full disk, over many trials."""

import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nvbench.errors import StoreError
from nvbench.reading import open_results
from nvbench.store import MERGE_EVERY, RunHeader, RunWriter, live_parts
from nvbench.tables import Sample, Subject
from nvbench.trial import Counters, Latency, Trial
from nvbench.trial_rows import trial_row

ROW = trial_row(
    Subject("c", "throughput", "direct", "simulated", 64),
    Trial(1e6, 1.0, 1.0, (Counters(10, received=10),), Latency(tuple((1000 + 50 * n, 20) for n in range(400)))),
    purpose="search",
)
WRITES_FOR_EVER = """
import sys
from pathlib import Path
from nvbench import store
from tests_row import ROW
store.MERGE_EVERY = 10
run = store.RunWriter.create(Path(sys.argv[1]), store.RunHeader("killed", "bench"))
while True:
    print(run.append_trial(ROW), flush=True)
"""


@pytest.mark.parametrize("after", [1, 9, 10, 33])
def test_a_killed_run_has_every_acknowledged_trial(tmp_path: Path, after: int) -> None:
    row = Path(__file__).read_text().split("ROW = ")[1].split("WRITES_FOR_EVER")[0]
    imports = "from nvbench.tables import Subject\nfrom nvbench.trial_rows import trial_row\n"
    imports += "from nvbench.trial import Counters, Latency, Trial\n"
    (tmp_path / "tests_row.py").write_text(f"{imports}ROW = {row}")
    with subprocess.Popen(
        [sys.executable, "-c", WRITES_FOR_EVER, str(tmp_path / "results")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    ) as child:
        assert child.stdout
        acknowledged = [child.stdout.readline().strip() for _ in range(after)]
        child.send_signal(signal.SIGKILL)
        acknowledged += child.stdout.read().split()

    [path] = (tmp_path / "results").iterdir()
    opened = open_results(path)
    found = opened.trials(columns=["trial_id"])["trial_id"].to_pylist()

    assert len(found) == len(set(found))
    assert found[: len(acknowledged)] == acknowledged
    assert len(found) <= len(acknowledged) + 1  # one may have been durable and not yet said
    assert (opened.runs[0].state, opened.runs[0].duration_s) == ("interrupted", None)


def test_a_crash_between_a_merge_and_its_removals_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunWriter.create(tmp_path, RunHeader("merged", "bench"))
    for number in range(7):
        run.append_trial(ROW)
        run.append_samples(f"t{number}", [Sample(1.0, "cpu", "busy", 1.0, "1")])
    monkeypatch.setattr(Path, "unlink", lambda *_args, **_options: None)
    run.finish()
    monkeypatch.undo()

    assert len(list((run.path / "trials").glob("*.parquet"))) == 8
    assert open_results(run.path).trials().num_rows == 7
    assert open_results(run.path).samples().num_rows == 7
    run.finish()  # once more changes nothing
    assert open_results(run.path).trials().num_rows == 7


def test_a_merge_without_space_leaves_the_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunWriter.create(tmp_path, RunHeader("tight", "bench"))
    for _ in range(3):
        run.append_trial(ROW)

    def no_space(*_args: object) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr("nvbench.parts.write_part", no_space)
    run.finish()
    assert open_results(run.path).trials().num_rows == 3
    assert open_results(run.path).runs[0].state == "finished"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    mount = shutil.which("mount")
    place = tmp_path / "disk"
    place.mkdir()
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("a small file system needs root")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)  # whoever else looks into it does not hold us up


def test_a_disk_that_really_fills_up(small_disk: Path) -> None:
    acknowledged = 0
    with (
        pytest.raises(StoreError, match="the disk is full") as stopped,
        RunWriter.create(small_disk, RunHeader("full", "bench")) as run,
    ):
        while True:
            run.append_trial(ROW)
            acknowledged += 1

    assert stopped.value.exit_code == 4
    assert acknowledged > 3
    assert open_results(run.path).trials().num_rows == acknowledged


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_hundreds_of_trials_take_the_same_time_and_memory_as_the_first(tmp_path: Path) -> None:
    run = RunWriter.create(tmp_path, RunHeader("long", "bench"))
    seconds, resident = [], []
    for _ in range(6 * MERGE_EVERY):
        begun = time.thread_time()  # of a core: how long a disk takes is the disk's
        run.append_trial(ROW)
        seconds.append(time.thread_time() - begun)
        resident.append(_resident_bytes())

    early, late = seconds[MERGE_EVERY : 3 * MERGE_EVERY], seconds[-2 * MERGE_EVERY :]
    assert statistics.median(late) < 3 * statistics.median(early)
    assert resident[-1] - resident[3 * MERGE_EVERY] < 16e6
    assert len(live_parts(run.path / "trials")) <= 2 * MERGE_EVERY
    run.finish()
    assert open_results(run.path).trials(columns=["trial_id"]).num_rows == 6 * MERGE_EVERY
