"""A set of runs by any name that a person may use, and labels with any characters in them."""

import json
from pathlib import Path

import pytest

from nvbench.errors import StoreError, UsageError
from nvbench.runs import Run, find_runs, resolve_run, resolve_runs, set_label
from nvbench.store import RunHeader, RunWriter, durable_file

ODD = [
    "ovs 3.2",
    "feature/tx-path",
    "🚀 new build",
    "a*b?[c]",
    "50 %, old",
    "ünïcödé 日本",
    "--strict",
    "~1",
    'l\'été "x"',
    "👩‍🔬",
]


def made(root: Path, *names: str) -> list[Path]:
    """Runs with these names, the oldest first."""
    paths = []
    for place, name in enumerate(names):
        path = root / name
        path.mkdir(parents=True)
        record = {"schema_version": 1, "run_id": name, "state": "finished", "label": ""}
        record |= {"started_at": f"2026-01-{place + 1:02d}T00:00:00+00:00", "seed": 5}
        (path / "run.json").write_text(json.dumps(record))
        paths.append(path)
    return paths


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with four runs."""
    made(tmp_path, "0101-ovs", "0102-ovs", "0203-bridge", "0204-bridge-2")
    return tmp_path


def names(root: Path, spec: str) -> list[str]:
    return [path.name for path in resolve_runs(root, spec)]


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("latest", ["0204-bridge-2"]),
        ("latest~0", ["0204-bridge-2"]),
        ("latest~3", ["0101-ovs"]),
        ("0101", ["0101-ovs"]),
        ("0203-bridge", ["0203-bridge"]),
        ("*-ovs", ["0101-ovs", "0102-ovs"]),
        ("02??-bridge*", ["0203-bridge", "0204-bridge-2"]),
        ("latest, 0101,latest~1", ["0204-bridge-2", "0101-ovs", "0203-bridge"]),
        ("0101,*-ovs", ["0101-ovs", "0102-ovs"]),
    ],
)
def test_runs_are_meant_by_name_start_place_glob_or_list(root: Path, spec: str, found: list[str]) -> None:
    assert names(root, spec) == found


def test_a_folder_is_a_run_wherever_it_is(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    [other] = made(elsewhere, "other")
    assert resolve_runs(root, other) == (other,)
    assert resolve_runs(root, f"0101,{other}") == (root / "0101-ovs", other)


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ("01", r"several runs start with '01' \(0101-ovs, 0102-ovs\)"),
        ("0301", "no run is called '0301'"),
        ("latest~4", r"no run is 'latest~4' \(there are 4\)"),
        ("latest,nothing", "no run is called 'nothing'"),
        ("x*", "no run is called"),
        ("", "no run is called ''"),
        (",", "no run is called ''"),
        ("no/such/folder", "no such folder"),
        ("a" * 5000, "no run is called"),
        ("a" * 300 + "," + "b" * 300, "no run is called"),
    ],
)
def test_what_means_no_run_is_said_in_a_line(root: Path, spec: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault) as told:
        resolve_runs(root, spec)
    assert "\n" not in str(told.value)


def test_no_runs_at_all(tmp_path: Path) -> None:
    for spec in ("latest", "latest~1", "*", "a,b"):
        with pytest.raises(UsageError, match="no runs yet"):
            resolve_runs(tmp_path, spec)


@pytest.mark.parametrize("label", ODD)
def test_a_label_finds_its_runs_whatever_it_is_made_of(root: Path, label: str) -> None:
    set_label(root / "0101-ovs", label)
    set_label(root / "0203-bridge", label)
    assert names(root, label) == ["0101-ovs", "0203-bridge"]
    assert Run.open(root / "0101-ovs").label == label
    assert Run.open(root / "0101-ovs").record["seed"] == 5


def test_globs_go_over_labels(root: Path) -> None:
    for name, label in (("0101-ovs", "main 1"), ("0204-bridge-2", "main 2"), ("0102-ovs", "mine")):
        set_label(root / name, label)
    assert names(root, "main*") == ["0101-ovs", "0204-bridge-2"]
    assert names(root, "mine,main 2") == ["0102-ovs", "0204-bridge-2"]


def test_a_name_goes_before_a_label_and_a_label_before_the_start_of_a_name(root: Path) -> None:
    set_label(root / "0204-bridge-2", "0101")
    assert names(root, "0101") == ["0204-bridge-2"]
    assert names(root, "0101-ovs") == ["0101-ovs"]


def test_one_run_is_asked_for_and_several_are_meant(root: Path) -> None:
    set_label(root / "0101-ovs", "base")
    assert resolve_run(root, "base") == root / "0101-ovs"
    set_label(root / "0102-ovs", "base")
    with pytest.raises(UsageError, match=r"'base' means 2 runs, where one is needed \(0101-ovs, 0102-ovs\)"):
        resolve_run(root, "base")


def test_a_label_can_be_changed_and_taken_away(root: Path) -> None:
    for label in ("one", "two", ""):
        set_label(root / "0101-ovs", label)
        assert Run.open(root / "0101-ovs").label == label
    assert [run.label for run in find_runs(root)] == [""] * 4


@pytest.mark.parametrize(
    ("label", "fault"),
    [
        (" a", "blank"),
        ("a\n", "blank"),
        ("a\x1b[31m", "cannot be printed"),
        ("a\tb", "cannot be printed"),
        ("x" * 121, "longer than 120"),
        ("latest", "by its place"),
        ("latest~2", "by its place"),
        ("0102-ovs", "is the name of a run"),
        ("..", "is the name of a run"),
    ],
)
def test_labels_that_would_mean_something_else_are_refused(root: Path, label: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        set_label(root / "0101-ovs", label)
    assert Run.open(root / "0101-ovs").label == ""


def test_a_run_that_goes_on_is_not_labelled_and_one_that_was_killed_is(tmp_path: Path) -> None:
    writer = RunWriter.create(tmp_path, RunHeader("p", "t", label="from the start"))
    assert Run.open(writer.path).label == "from the start"
    with pytest.raises(UsageError, match="still goes on"):
        set_label(writer.path, "x")
    writer.finish()
    set_label(writer.path, "x")
    assert (Run.open(writer.path).label, Run.open(writer.path).state) == ("x", "finished")
    record = json.loads((writer.path / "run.json").read_text())
    (writer.path / "run.json").write_text(json.dumps(record | {"state": "running"}))
    set_label(writer.path, "killed")
    assert Run.open(writer.path).label == "killed"


def test_a_disk_that_is_full_leaves_the_record_as_it_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> object:
        raise StoreError("the disk is full", place=str(path))

    monkeypatch.setattr("nvbench.runs.durable_file", full)
    with pytest.raises(StoreError, match="disk is full"):
        set_label(root / "0101-ovs", "x")
    assert Run.open(root / "0101-ovs").label == ""
    assert durable_file is not full


def test_a_run_that_cannot_be_read_is_never_silently_left_out(root: Path) -> None:
    (root / "0102-ovs" / "run.json").write_text("{ half")
    assert {*names(root, "*-ovs")} == {"0101-ovs", "0102-ovs"}
    with pytest.raises(StoreError, match="cannot be read"):
        set_label(root / "0102-ovs", "x")


def test_what_runs_made_in_turn_know_of_each_other(tmp_path: Path) -> None:
    told = {"side": "base", "partner": "b", "change": "same"}
    path = RunWriter.create(tmp_path, RunHeader("p", "t", versus=told)).path
    assert Run.open(path).versus == told
    assert Run(path, {}).versus == {}


def test_a_time_that_was_edited_by_hand_makes_a_run_unreadable_and_no_more(tmp_path):
    for name in ("good", "bad"):
        RunWriter.create(tmp_path, RunHeader(name, "local")).finish()
    (bad,) = tmp_path.glob("*-bad")
    record = json.loads((bad / "run.json").read_text())
    (bad / "run.json").write_text(json.dumps(record | {"started_at": "yesterday"}))
    assert sorted(run.state for run in find_runs(tmp_path)) == ["finished", "unreadable"]
    with pytest.raises(StoreError, match="cannot be read: Invalid isoformat string: 'yesterday'"):
        Run.open(bad)
