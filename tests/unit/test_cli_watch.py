"""`nvbench watch`: a run is followed from another terminal, up to its end, whichever it is."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from nvbench import store
from nvbench.cli import group, watch
from nvbench.errors import UsageError
from nvbench.reading import rows_after
from nvbench.store import RunHeader, RunState, RunWriter
from nvbench.tables import LimitedBy, ResultRow, StreamRow, Subject
from nvbench.trial import Counters, Trial, Validity
from nvbench.trial_rows import trial_row

SUBJECT = Subject("p2p-64", "throughput", "direct", "simulated", 64)
HEADER = RunHeader("rfc2544", "bench", planned_cases=3, expected_s=240.0)
GOOD = trial_row(SUBJECT, Trial(2.5e6, 1.0, 1.0, (Counters(1000, received=1000),)), purpose="search")
DISTURBED = trial_row(
    SUBJECT,
    Trial(2e6, 1.0, 1.0, (Counters(1000, received=990),), validity=Validity.PAUSED, reason="paused for 3 ms"),
    purpose="final",
)
ANSWER = ResultRow(subject=SUBJECT, rate_pps=2.5e6, limited_by=LimitedBy.SUT, verdict="sut_limited", trials=2)


def watched(*argv: str) -> tuple[list[str], object]:
    outcome = CliRunner().invoke(group, ["watch", "--every", "0.1", *argv], standalone_mode=False)
    assert outcome.exception is None, outcome.exception
    return outcome.output.splitlines(), outcome.return_value


def clock(sleep: Callable[[float], object]) -> SimpleNamespace:
    """A module `time` for one module alone: other threads may sleep meanwhile."""
    return SimpleNamespace(monotonic=time.monotonic, sleep=sleep)


Meanwhile = Callable[..., tuple[list[str], object]]


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """What is seen where a step is taken whenever the watcher sleeps: no more often than there are steps."""

    def seen(steps: Sequence[Callable[[], None]], *argv: str) -> tuple[list[str], object]:
        left = iter(steps)
        monkeypatch.setattr(watch, "time", clock(lambda _seconds: next(left)()))
        found = watched(*argv)
        assert not list(left)
        return found

    return seen


def test_trials_and_answers_are_told_as_they_come_until_the_run_ends(tmp_path: Path, meanwhile: Meanwhile) -> None:
    run = RunWriter.create(tmp_path, HEADER)
    run.append_trial(GOOD)

    def go_on() -> None:
        run.append_trial(DISTURBED)
        run.append_result(ANSWER)

    lines, status = meanwhile([go_on, run.finish], "--results", str(tmp_path))

    assert status == 0
    assert lines == [
        "t00001 p2p-64 search 2.5 Mpps 1 s: none lost, valid",
        "t00002 p2p-64 final 2 Mpps 1 s: 1.00 % lost, set aside: paused: paused for 3 ms",
        "p2p-64 throughput: 2.5 Mpps, device limited",
        f"{run.run_id}: finished, 1 of 3 cases, 2 trials (1 set aside), {lines[-1].rpartition(', ')[2]}",
    ]


def test_once_says_how_far_it_is(tmp_path: Path) -> None:
    run = RunWriter.create(tmp_path, HEADER)
    for _ in range(watch.RECENT + 2):
        run.append_trial(GOOD)
    run.append_result(ANSWER)
    lines, status = watched("--once", "--results", str(tmp_path))
    assert status == 0
    assert lines[0] == "p2p-64 throughput: 2.5 Mpps, device limited"
    assert [line.split()[0] for line in lines[1:-1]] == [f"t0000{number}" for number in range(3, 8)]
    assert lines[-1].startswith(f"{run.run_id}: running, 1 of 3 cases, 7 trials, ")
    assert lines[-1].endswith(" of about 4 min 00 s")


def test_streams_are_told_with_what_they_carried(tmp_path: Path) -> None:
    subject = Subject("tcp", "tcp_stream", "linux_bridge", "iperf3", 0)
    began = datetime.now(UTC)
    row = StreamRow(subject=subject, repeat=2, tool="iperf3 3.12", parallel=1, started_at=began, duration_s=1.0)
    with RunWriter.create(tmp_path, HEADER) as run:
        run.append_stream(row)
        run.append_result(ResultRow(subject=subject, rate_pps=None, goodput_bps=9.4e9, value_median=9.4e9))
    lines, _ = watched("--results", str(tmp_path), run.run_id)
    assert lines[0] == "s00001 tcp iperf3 3.12, repeat 2: nothing, valid"
    assert lines[1] == "tcp tcp_stream: goodput 9.400 Gbit/s"


@pytest.mark.parametrize(
    ("state", "status"), [(RunState.FINISHED, 0), (RunState.BROKE, 4), (RunState.INTERRUPTED, 130)]
)
def test_the_exit_code_says_how_it_ended(tmp_path: Path, state: RunState, status: int) -> None:
    run = RunWriter.create(tmp_path, HEADER)
    run.finish(state)
    assert watched("--results", str(tmp_path), run.run_id)[1] == status
    assert watched("--results", str(tmp_path), "--once")[1] == status


def test_a_killed_run_was_interrupted(tmp_path: Path) -> None:
    run = RunWriter.create(tmp_path, HEADER)
    os.close(run._lock)
    lines, status = watched("--results", str(tmp_path), run.run_id)
    assert status == 130
    assert "interrupted, 0 of 3 cases, 0 trials" in lines[0]


def test_a_run_that_is_about_to_begin_is_waited_for(tmp_path: Path, meanwhile: Meanwhile) -> None:
    RunWriter.create(tmp_path, RunHeader("yesterday", "bench")).finish()
    begun: list[RunWriter] = []

    def begin() -> None:
        time.sleep(0.05)  # a folder's time is that of the kernel's last tick
        begun.append(RunWriter.create(tmp_path, RunHeader("today", "bench")))

    def end() -> None:
        begun[0].finish()

    lines, status = meanwhile([begin, end], "--results", str(tmp_path))
    assert status == 0
    assert "-today: finished" in lines[-1]


def test_where_nothing_begins_the_last_run_is_told_or_that_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "WAIT_S", 0.2)
    nothing = CliRunner().invoke(group, ["watch", "--results", str(tmp_path)], standalone_mode=False)
    assert isinstance(nothing.exception, UsageError)
    assert "no runs yet" in str(nothing.exception)
    RunWriter.create(tmp_path, RunHeader("yesterday", "bench")).finish(RunState.BROKE)
    lines, status = watched("--results", str(tmp_path))
    assert (status, len(lines)) == (4, 1)


def test_two_runs_in_turn_are_followed_together(tmp_path: Path, meanwhile: Meanwhile) -> None:
    new = RunWriter.create(tmp_path, RunHeader("versus", "bench", versus={"side": "new"}))
    versus = {"side": "base", "partner": new.run_id}
    base = RunWriter.create(tmp_path, RunHeader("versus", "bench", versus=versus))
    for run in (base, new):
        run.append_result(ANSWER)
    base.finish()

    steps = [lambda: new.finish(RunState.BROKE)]
    lines, status = meanwhile(steps, "--results", str(tmp_path), base.run_id)
    assert status == 4
    assert lines[:2] == [f"{side}: p2p-64 throughput: 2.5 Mpps, device limited" for side in ("base", "new")]
    assert [line.partition(",")[0] for line in lines[2:]] == [
        f"base: {base.run_id}: finished",
        f"new: {new.run_id}: broke",
    ]


def test_only_new_rows_are_read_also_over_merges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MERGE_EVERY", 10)
    run = RunWriter.create(tmp_path, HEADER)
    seen, appends = [], 0
    for number in range(1, 16):
        run.append_trial(GOOD)
        if number in (1, 4, 9, 10, 15):
            rows, appends = rows_after(run.path / "trials", appends, ["trial_id", "nothing of the kind"])
            seen += [row["trial_id"] for row in rows]
            assert appends == number
    run.finish()
    assert rows_after(run.path / "trials", appends, ["trial_id"]) == ([], appends)
    assert seen == [f"t{number:05d}" for number in range(1, 16)]


class Terminal:
    """Output of a terminal: what it shows after the escape codes that watch uses."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self.lines: list[str] = []

    def isatty(self) -> bool:
        return True

    def flush(self) -> None:
        """Nothing is held back."""

    def write(self, text: str) -> None:
        if text.startswith("\x1b["):
            count, _, text = text.removeprefix("\x1b[").partition("F\x1b[J")
            del self.lines[len(self.lines) - int(count) :]
        self.lines += text.splitlines()

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)


def test_on_a_terminal_the_last_trials_are_drawn_anew_below_the_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", "70")
    seen = []

    def look(seconds: float) -> None:
        seen.append(list(terminal.lines))
        if len(seen) == 1:
            run.append_trial(DISTURBED)
            run.append_result(ANSWER)
        else:
            run.finish()

    monkeypatch.setattr(watch, "time", clock(look))
    run = RunWriter.create(tmp_path, HEADER)
    run.append_trial(GOOD)
    watch.command.callback(run.run_id, once=False, every=1.0, results=tmp_path)

    assert [line[:20] for line in seen[0]] == ["t00001 p2p-64 search", run.run_id[:20]]
    answer, name = "p2p-64 throughput: 2", run.run_id[:20]
    assert [line[:20] for line in seen[1]] == [answer, "t00001 p2p-64 search", "t00002 p2p-64 final ", name]
    assert max(map(len, seen[1])) <= 69
    assert [line[:20] for line in terminal.lines] == [answer, name]


def test_ctrl_c_ends_the_watching_and_not_the_run(tmp_path: Path) -> None:
    run = RunWriter.create(tmp_path, HEADER)
    with subprocess.Popen(
        [sys.executable, "-m", "nvbench", "watch", "--results", str(tmp_path), "--every", "0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        run.append_result(ANSWER)
        assert child.stdout
        assert child.stderr
        child.stdout.readline()
        child.send_signal(signal.SIGINT)
        assert child.wait() == 130
        assert (
            child.stderr.read() == "\nno longer watching; the run goes on\n"
        )  # readers of text take \r for a line's end
    run.append_result(ANSWER)
    run.finish()
