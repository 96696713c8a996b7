"""`nvbench trend`, as typed: what a terminal, a pull request, a script and a picture get."""

import csv
import io
import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nvbench.cli import group
from nvbench.errors import UsageError
from nvbench.metrics import metric
from nvbench.report.trend import BARS, as_lines, sparkline
from nvbench.store import RunHeader, RunWriter
from nvbench.tables import LatencySummary, ResultRow, Setting, Subject
from nvbench.trend.selection import select
from nvbench.trend.series import trend

FASTER = [2.500e6, 2.510e6, 2.490e6, 2.505e6, 2.495e6]
SLOWER = [2.400e6, 2.410e6, 2.390e6, 2.405e6, 2.395e6]
STEADY = [0.810e6, 0.812e6, 0.811e6, 0.809e6, 0.810e6] * 2


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten nightly runs; with the sixth OVS is updated, and small frames are slower from then on."""
    root = tmp_path_factory.mktemp("trend") / "results"
    for night, rates in enumerate(zip([*FASTER, *SLOWER], STEADY, strict=True)):
        ovs = "3.1.0" if night < 5 else "3.2.0"
        header = RunHeader("nightly", "lab", fingerprint={"hosts": {"switch": {"versions": {"ovs": ovs}}}})
        with RunWriter.create(root, header) as run:
            run._record["run_id"] = f"night-{night + 1}"
            for frame_bytes, rate in zip((64, 1518), rates, strict=True):
                subject = Subject(f"c{frame_bytes}", "throughput", "ovs_dpdk", "nvgen", frame_bytes)
                latency = LatencySummary(latency_p99_us=45.0)
                run.append_result(ResultRow(subject=subject, rate_pps=rate, latency=latency))
            run._record["started_at"] = (datetime(2026, 1, 1, 2, tzinfo=UTC) + timedelta(days=night)).isoformat()
        run.path.rename(root / f"night-{night + 1}")
    return root


def invoke(root: Path, *argv: str) -> Result:
    return CliRunner().invoke(group, ["trend", *argv, "--results", str(root)], standalone_mode=False)


def output(root: Path, *argv: str) -> str:
    outcome = invoke(root, *argv)
    assert outcome.exception is None, outcome.exception
    return outcome.output


WIDE = """\
throughput of nightly on lab, 10 runs from 2026-01-01 to 2026-01-10
throughput, ovs_dpdk, nvgen generator, P2P, MTU 1500, 1 queue, 1 flow, unidirectional, NDR

64 B    ▇█▇█▇▂▂▁▂▁  2.500 -> 2.400 Mpps  regressed
  regressed by -4.00 % (-4.58 % to -3.41 %), p 0.017: between night-5 and night-6
      hosts.switch.versions.ovs: 3.1.0 -> 3.2.0
1518 B  ▄▅▅▄▄▄▅▅▄▄          0.8100 Mpps  no change in 10 runs

Changes of at least 1 % that have lasted for 3 runs, held against shuffles of the runs; of the cases said to have changed, at most 5 % are
false alarms.
"""  # noqa: E501 - as printed


def test_a_line_a_case_and_below_it_each_change(root: Path) -> None:
    assert output(root, "throughput") == WIDE


@pytest.mark.parametrize("width", [40, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(root: Path, width: int) -> None:
    lines = as_lines(trend(select(root).runs, metric("throughput")), width)
    assert max(map(len, lines)) <= width
    assert any("2.500 -> 2.400 Mpps" in line for line in lines)


def test_markdown_is_a_table_and_a_section_a_case_that_changed(root: Path) -> None:
    told = output(root, "throughput", "--format", "markdown")
    assert "| 64 B | 10 | ▇█▇█▇▂▂▁▂▁ | 2.500 -> 2.400 Mpps | regressed |" in told
    assert "## 64 B\n\nregressed by -4.00 %" in told
    assert "- hosts.switch.versions.ovs: 3.1.0 -> 3.2.0" in told
    assert "## 1518 B" not in told


def test_json_has_all_of_it_in_base_units(root: Path) -> None:
    told = json.loads(output(root, "throughput", "--format", "json"))
    assert (told["metric"], told["unit"], told["better"], len(told["runs"])) == ("throughput", "pps", "higher", 10)
    changed, steady = told["series"]
    assert [point["value"] for point in changed["points"]] == [*FASTER, *SLOWER]
    [change] = changed["changes"]
    assert (change["before"], change["after"], change["verdict"]) == ("night-5", "night-6", "regressed")
    assert change["change"] == pytest.approx(-0.04)
    assert change["low"] < -0.04 < change["high"]
    assert change["differences"][0]["new"] == "3.2.0"
    assert (steady["verdict"], steady["changes"]) == ("no change", [])


def test_csv_is_a_line_a_case_and_run(root: Path) -> None:
    rows = [*csv.DictReader(io.StringIO(output(root, "throughput", "--format", "csv")))]
    assert len(rows) == 20
    marked = [row for row in rows if row["change"]]
    assert [(row["run_id"], row["frame_bytes"], row["verdict"]) for row in marked] == [("night-6", "64", "regressed")]
    assert {row["level"] for row in rows if row["frame_bytes"] == "64"} == {"2500000.0", "2400000.0"}


def test_a_gate_fails_on_a_regression(root: Path) -> None:
    assert invoke(root, "throughput", "--fail-on", "regression").return_value == 1
    assert invoke(root, "throughput").return_value == 0
    assert invoke(root, "throughput", "--fail-on", "regression", "--filter", "frame_bytes:1518").return_value == 0


def test_runs_are_named_by_globs_and_dates(root: Path) -> None:
    assert "9 runs from 2026-01-01 to 2026-01-09" in output(root, "throughput", "night-?")
    told = output(root, "throughput", "--since", "2026-01-06")
    assert "5 runs from 2026-01-06" in told
    assert "not enough runs: 5, a change takes 8" in told
    assert "1 run from 2026-01-10\n" in output(root, "latency_p99", "latest")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["speed"], "unknown metric 'speed'"),
        (["latency_p9"], "latency_p90"),
        (["throughput", "nothing"], "nothing"),
        (["throughput", "--since", "yesterday"], "no date"),
        (["throughput", "--since", "30d"], "no finished run since"),
        (["throughput", "--filter", "64"], "needs a name and a value"),
        (["throughput", "--filter", "size:64"], "no case has a 'size'"),
        (["throughput", "--alpha", "2"], "not between"),
        (["goodput"], "no case has a value of goodput"),
        (["throughput", "--plot", "/no/such/folder/x.png"], "cannot be written"),
        (["throughput", "--plot", "trend.docx"], "end it with .png or .svg"),
    ],
)
def test_what_cannot_be_is_one_clear_line(root: Path, argv: list[str], told: str) -> None:
    outcome = invoke(root, *argv)
    assert isinstance(outcome.exception, UsageError)
    assert told in str(outcome.exception)
    assert "\n" not in str(outcome.exception)


def test_a_picture_marks_the_change(root: Path, tmp_path: Path) -> None:
    for name, magic in (("trend.png", b"\x89PNG"), ("trend.svg", b"<?xml")):
        assert output(root, "throughput", "--plot", str(tmp_path / name)) == WIDE
        assert (tmp_path / name).read_bytes().startswith(magic)
    drawn = (tmp_path / "trend.svg").read_text()
    assert ET.fromstring(drawn).tag.endswith("svg")  # noqa: S314 - our own
    for part in ("-4.0 %", "64 B", "10 runs from"):
        assert f"<!-- {part}" in drawn or part in drawn


def test_many_cases_are_drawn_as_far_as_they_can_be_read(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as run:
        for queues in range(1, 27):
            subject = Subject(f"q{queues}", "throughput", "ovs_dpdk", "nvgen", 64, queues=queues)
            run.append_result(ResultRow(subject=subject, rate_pps=1e6))
    output(tmp_path, "throughput", "--plot", str(tmp_path / "trend.svg"))
    assert "2 more cases not drawn" in (tmp_path / "trend.svg").read_text()


def test_options_are_named_as_they_are_switched(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, RunHeader("p", "t", simulated=True)) as run:
        for state in ("on", "off"):
            subject = Subject(
                f"c-{state}", "tcp_stream", "ovs_dpdk", "", 0, settings=(Setting("endpoints.tso", state),)
            )
            run.append_result(ResultRow(subject=subject, rate_pps=None, goodput_bps=5e9))
    told = output(tmp_path, "goodput")
    for part in (
        "\nendpoints.tso ",
        "\nno endpoints.tso ",
        "5.000 Gbit/s",
        "1 run from",
        ", simulated\n",
        "tcp stream",
    ):
        assert part in told


def test_a_sparkline_is_no_higher_than_the_change() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8], 8, 0) == BARS
    assert sparkline([100.0, 101.0], 2, 100) == "▄▅"
    assert sparkline([5, 5, 5], 3, 0) == "▄▄▄"
    assert sparkline([0, 0, 0, 0, 7, 7, 7, 7, 7], 3, 0) == "▁██"
