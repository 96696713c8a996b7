"""A build is judged: good, bad, or not known; and `git bisect run` finds the change that made it slower."""

import os
import random
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from unittest.mock import Mock

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from nvbench.bisect import Answer, Place, judge, line
from nvbench.cli import group, main
from nvbench.errors import DatapathError, NotReadyError, RunBrokeError, StoreError, UsageError
from nvbench.metrics import metric
from nvbench.reading import Results, open_results
from nvbench.session import Session
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import ResultRow, Setting, Subject

THROUGHPUT = metric("throughput")


def run(
    root: Path, rates: Mapping[int, float | None], *, width: float = 0.0, build: str = "1", simulated: bool = False
) -> Results:
    """A run that found these rates, by frame size; each is known but for a share of `width`."""
    with RunWriter.create(root, RunHeader("p", "t", simulated=simulated)) as writer:
        for size, rate in rates.items():
            subject = Subject(f"c{size}", "throughput", "ovs_dpdk", "nvgen", size, settings=(Setting("prefix", build),))
            upper = None if rate is None else rate * (1 + width)
            writer.append_result(ResultRow(subject=subject, rate_pps=rate, lower_pps=rate, upper_pps=upper))
    return open_results(writer.path)


# -- the line from good to bad -------------------------------------------------------------------------------------


def test_a_run_lies_between_good_and_bad(tmp_path: Path) -> None:
    way = line(run(tmp_path, {64: 2e6}), run(tmp_path, {64: 1e6}, build="2"), THROUGHPUT, 0.01)
    for rate, position in ((2e6, 0.0), (1e6, 1.0), (1.5e6, 0.5), (2.5e6, -0.5), (0.0, 2.0)):
        assert way.place(run(tmp_path, {64: rate}, build="3")).position == pytest.approx(position)
    assert str(way) == "throughput of c64: good 2.000, bad 1.000 Mpps"


def test_cases_count_by_how_much_they_differ(tmp_path: Path) -> None:
    good, bad = {64: 2e6, 512: 2e6, 1518: 1e6}, {64: 1e6, 512: 1.96e6, 1518: 1e6}
    way = line(run(tmp_path, good), run(tmp_path, bad), THROUGHPUT, 0.01)

    assert [ends.case.case_id for ends in way.ends] == ["c64", "c512"]
    assert way.place(run(tmp_path, {**good, 512: 1.96e6, 1518: 0.5e6})).position == pytest.approx(0, abs=0.001)
    assert way.place(run(tmp_path, {**bad, 512: 2e6})).position == pytest.approx(1, abs=0.001)


def test_what_the_search_left_open_goes_with_a_place(tmp_path: Path) -> None:
    way = line(run(tmp_path, {64: 2e6}), run(tmp_path, {64: 1.9e6}), THROUGHPUT, 0.01)
    assert way.place(run(tmp_path, {64: 2e6}, width=0.01)).open == pytest.approx(0.1)


def test_a_run_without_the_case_cannot_be_placed(tmp_path: Path) -> None:
    way = line(run(tmp_path, {64: 2e6}), run(tmp_path, {64: 1e6}), THROUGHPUT, 0.01)
    for rates in ({128: 1e6}, {64: None}):
        with pytest.raises(RunBrokeError, match="c64: no throughput was found"):
            way.place(run(tmp_path, rates))


@pytest.mark.parametrize(
    ("good", "bad", "name", "told"),
    [
        ({64: 2e6}, {64: 1.99e6}, "throughput", r"do not differ: throughput by 0.50 % at most"),
        ({64: 0.0}, {64: 0.0}, "throughput", "do not differ"),
        ({64: 2e6}, {128: 1e6}, "throughput", "no case of both"),
        ({64: 2e6}, {64: None}, "throughput", "no case of both has a value"),
        ({64: float("nan")}, {64: 1e6}, "throughput", "no case of both has a value"),
        ({64: 2e6}, {64: 1e6}, "goodput", "no case of both is judged by goodput"),
    ],
)
def test_runs_that_tell_nothing_apart_are_refused(
    tmp_path: Path, good: Mapping[int, float | None], bad: Mapping[int, float | None], name: str, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        line(run(tmp_path, good), run(tmp_path, bad), metric(name), 0.01)


# -- the judgement -------------------------------------------------------------------------------------------------


def judged(positions: Sequence[float], open_: float = 0.0) -> Answer:
    return judge([Place(position, open_) for position in positions], 0.05, 8).answer


def test_one_repeat_never_is_enough() -> None:
    assert judged([0.0]) is Answer.UNDECIDED
    assert judged([0.0, 0.0]) is Answer.GOOD
    assert judged([1.0, 1.0]) is Answer.BAD


def test_noise_takes_repeats_and_the_middle_takes_them_all() -> None:
    noisy = [0.9, 1.1, 0.95, 1.05, 1.0]
    assert [judged(noisy[:count]) for count in (2, 3, 4, 5)] == [
        Answer.UNDECIDED,
        Answer.UNDECIDED,
        Answer.BAD,
        Answer.BAD,
    ]
    assert judged([0.5, 0.5, 0.5]) is Answer.UNDECIDED


def test_no_answer_within_what_the_search_leaves_open() -> None:
    assert judged([1.0, 1.0, 1.0], open_=0.6) is Answer.UNDECIDED
    assert judged([1.0, 1.0, 1.0], open_=0.4) is Answer.BAD


@given(st.lists(st.floats(-2, 3), min_size=1, max_size=8))
def test_good_and_bad_are_mirrors(positions: list[float]) -> None:
    mirror = {Answer.GOOD: Answer.BAD, Answer.BAD: Answer.GOOD, Answer.UNDECIDED: Answer.UNDECIDED}
    assert judged([1 - position for position in positions]) is mirror[judged(positions)]


def answers(position: float, noise: float, times: int = 1000) -> list[tuple[Answer, int]]:
    """What simulated builds are told to be, and after how many repeats."""
    draw, found = random.Random(1), []  # noqa: S311 - reproducible, not secret
    for _ in range(times):
        places: list[Place] = []
        answer = Answer.UNDECIDED
        while answer is Answer.UNDECIDED and len(places) < 8:
            places.append(Place(draw.gauss(position, noise)))
            answer = judge(places, 0.05, 8).answer
        found.append((answer, len(places)))
    return found


def test_a_build_in_the_very_middle_is_hardly_ever_judged() -> None:
    wrong = sum(answer is not Answer.UNDECIDED for answer, _ in answers(0.5, 0.3))
    assert wrong <= 0.05 * 1000 + 3 * (0.05 * 0.95 * 1000) ** 0.5


def test_a_bad_build_is_told_and_not_called_good() -> None:
    found = answers(1.0, 0.2)
    assert sum(answer is Answer.GOOD for answer, _ in found) == 0
    assert sum(answer is Answer.BAD for answer, _ in found) > 990
    assert sum(repeats for _, repeats in found) / len(found) < 5


# -- git -----------------------------------------------------------------------------------------------------------

PROFILE = """\
name: forwarding
link_gbps: 10
datapath: {{kind: simulated, capacity_mpps: {capacity}, capacity_noise: 0.003}}
traffic: {{frame_bytes: 64}}
generator: simulated
tests: {{throughput: {{search_s: 0.1, final_s: 0.2}}}}
drain_s: 0
"""
BUILD = """\
import pathlib, sys
capacity = pathlib.Path("capacity").read_text()
if capacity == "broken":
    sys.exit("does not compile")
pathlib.Path("profile.yaml").write_text(pathlib.Path("profile.in").read_text().format(capacity=capacity))
"""
COMMITS, FIRST_BAD, BROKEN = 8, 5, 3
BISECT = ["bisect", "--good", "good", "--bad", "bad", "--profile", "profile.yaml", "-t", "bench.yaml"]


@pytest.fixture(scope="module")
def switch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a switch that forwards 2.4 Mpps, with a good run of 2.5 and a bad one of its own."""
    root = tmp_path_factory.mktemp("bisect")
    path = root / "switch"
    path.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setenv("NVBENCH_RESULTS", str(root / "results"))
        Path("bench.yaml").write_text("name: of-test-bisect\nsimulated: true\n")  # locked by nobody else
        for label, capacity in (("good", 2.5), ("bad", 2.4)):
            Path("profile.yaml").write_text(PROFILE.format(capacity=capacity))
            argv = ["run", "profile.yaml", "-t", "bench.yaml", "--label", label]
            outcome = CliRunner().invoke(group, argv, standalone_mode=False)
            assert outcome.exception is None
        yield path


def git(*argv: str) -> str:
    """What git says, with no configuration of whoever runs the test."""
    nobody = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
    options = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    done = subprocess.run(
        ["git", *options, *argv], env=os.environ | nobody, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_git_finds_the_change_past_a_build_that_fails(switch: Path) -> None:
    git("init", "-q")
    Path("profile.in").write_text(PROFILE)
    Path("build.py").write_text(BUILD)
    Path(".gitignore").write_text("profile.yaml\n")
    for number in range(COMMITS):
        capacity = "broken" if number == BROKEN else "2.4" if number >= FIRST_BAD else "2.5"
        Path("capacity").write_text(capacity)
        Path("number").write_text(f"{number}")
        git("add", "-A")
        git("commit", "-q", "-m", f"change {number}")
        git("tag", f"c{number}")

    git("bisect", "start", f"c{COMMITS - 1}", "c0")
    build = ["--", sys.executable, "build.py"]
    told = git("bisect", "run", sys.executable, "-m", "nvbench", *BISECT, *build)

    first_bad = git("rev-parse", f"c{FIRST_BAD}").strip()
    assert f"{first_bad} is the first bad commit" in told
    assert "skipped: the build ended with 1" in told
    assert git("status", "--short") == ""


def code(*argv: str) -> int:
    """What a command would end with."""
    with pytest.raises(SystemExit) as ended:
        main([*argv])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_exit_codes_are_those_of_git_bisect(switch: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert code(*BISECT, "-s", "datapath.capacity_mpps=2.4") == 1
    told = capfd.readouterr().err
    assert "good 2.498, bad 2.398 Mpps" in told
    assert "repeat 1" in told
    assert ": bad: at " in told
    assert code(*BISECT, "-s", "datapath.capacity_mpps=2.5") == 0
    assert len(list(Path(os.environ["NVBENCH_RESULTS"]).iterdir())) == 3, "its own runs are kept apart"
    assert code(*BISECT, "-s", "datapath.capacity_mpps=2.45", "--max-repeats", "2") == 125
    assert code(*BISECT, "--", "false") == 125
    capfd.readouterr()
    for wrong, told in (
        (["--", "no-such-compiler"], "no-such-compiler: cannot be run: No such file or directory"),
        (["--quick"], "is not quick"),
        (["--metric", "speed"], "unknown metric 'speed'"),
        (["--metric", "goodput"], "no case of both is judged by goodput"),
        (["--good", "nothing"], "nothing"),
        (["--good", "bad"], "good and bad do not differ"),
        (["--profile", "none.yaml"], "none.yaml"),
        (["--no-such-option"], "--no-such-option"),
        (["--max-repeats", "1"], "--max-repeats"),
    ):
        assert code(*BISECT, *wrong) == 130
        assert told in capfd.readouterr().err


def test_what_breaks_is_skipped_and_what_is_no_verdict_stops(
    switch: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for error, status, told in (
        (DatapathError("the switch died"), 125, "skipped: the switch died"),
        (StoreError("the disk is full"), 132, "the disk is full"),
        (NotReadyError("in use"), 131, "in use"),
        (ZeroDivisionError("oops"), 132, "internal error: ZeroDivisionError: oops"),
        (BrokenPipeError("gone"), 132, "gone"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ):
        monkeypatch.setattr(Session, "run", Mock(side_effect=error))
        assert code(*BISECT) == status
        assert told in capfd.readouterr().err
