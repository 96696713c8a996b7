"""Campaigns on the command line: which word means one, how two compare, and that runs stay what they were."""

# ruff: noqa: S314 - what is parsed is our own

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from click.testing import CliRunner, Result

from nvbench.campaign import CAMPAIGN_FILE
from nvbench.checking import all_cases
from nvbench.cli import group
from nvbench.cli.check import command as check_command
from nvbench.cli.check_progress import CheckProgress
from nvbench.comparison.campaigns import Turn, compare_campaigns
from nvbench.errors import NvbenchError, UsageError
from tests.unit.campaigns import BLOCKED, ERROR, FAIL, MADE, PASS, made
from tests.unit.report_runs import write_run

FIRST, SECOND = "20250131T120000Z-check-lab", "20250201T120000Z-check-lab"


def nvbench(root: Path, *words: str) -> Result:
    return CliRunner().invoke(group, [*words, "--results", str(root)], standalone_mode=False)


def refused(root: Path, *words: str) -> str:
    error = nvbench(root, *words).exception
    assert isinstance(error, NvbenchError)
    assert "\n" not in str(error)
    return str(error)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run, which takes a while to be written."""
    return write_run(tmp_path_factory.mktemp("run"), label="golden")


@pytest.fixture
def root(tmp_path, run) -> Path:
    """Two campaigns, of which the second is worse, and a run."""
    made(tmp_path, name=FIRST)
    worse = (
        replace(MADE[0], outcome=FAIL, told="the kernel is unknown"),
        replace(MADE[1], outcome=BLOCKED, told="no namespaces"),
        *MADE[2:3],
        replace(MADE[3], outcome=PASS, told="4000 bytes pass"),
        replace(MADE[4], outcome=ERROR, told="took too long"),
        *MADE[6:],
        replace(MADE[0], check="noise", case="noise@bench"),
    )
    made(tmp_path, worse, SECOND, fingerprint={"hosts": {"b": {"kernel": "6.2", "versions": {"ovs": "3.2"}}}})
    shutil.copytree(run, tmp_path / run.name)
    return tmp_path


# -- what a word means -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", ["latest-check~1", FIRST, "20250131", f"{{root}}/{FIRST}"])
def test_a_campaign_is_reported_on_by_what_people_call_it(root, spec):
    told = nvbench(root, "report", spec.format(root=root)).output
    assert told.startswith("Functional checks on lab\n")
    assert FIRST in told


def test_a_campaign_is_shown_as_it_is_reported_on(root):
    assert nvbench(root, "show", "latest-check").output == nvbench(root, "report", "latest-check").output
    assert "a campaign of checks has no trials" in refused(root, "show", "latest-check", "--trials")


def test_latest_stays_the_latest_run(root):
    assert nvbench(root, "report").output == nvbench(root, "report", "latest").output
    assert "Functional checks" not in nvbench(root, "report").output
    assert "Functional checks" not in nvbench(root, "report", "golden").output


def test_a_start_that_runs_have_too_is_refused(root):
    assert "runs and campaigns start with '20'" in refused(root, "report", "20")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["report", "latest-check~2"], "of 2 campaigns latest-check~2 is none"),
        (["report", FIRST, SECOND], "a campaign of checks is reported on by itself"),
        (["report", FIRST, "golden"], "a campaign of checks is reported on by itself"),
        (["report", FIRST, "-o", "x.png"], "a campaign of checks has nothing to draw"),
        (["report", "nonsense"], "no run is called 'nonsense'"),
        (["compare", FIRST, "golden"], "golden: a campaign of checks is compared with another one, and this is none"),
        (["compare", "golden", FIRST], "golden: a campaign of checks is compared with another one, and this is none"),
        (["compare", FIRST, SECOND, "--metric", "throughput"], "--metric: is for runs"),
        (["compare", FIRST, SECOND, "--format", "csv"], "campaigns of checks have no such form"),
    ],
)
def test_what_cannot_be_is_told_in_a_line(root, words, told):
    assert told in refused(root, *words)


def test_a_campaign_that_cannot_be_read_is_told_and_listed(root):
    (root / FIRST / CAMPAIGN_FILE).write_text("{")
    assert "campaign.json: is no campaign" in refused(root, "report", FIRST)
    assert f"{FIRST}  -        unreadable" in nvbench(root, "list").output


def test_campaigns_are_listed_below_the_runs(root):
    told = nvbench(root, "list").output
    assert told.index("golden") < told.index("Campaign ") < told.index(FIRST) < told.index(SECOND)
    line = next(line for line in told.splitlines() if line.startswith(FIRST))
    assert line.split() == [FIRST, "lab", "finished", "3", "2", "2", "1", "3", "1", "min", "05", "s"]
    assert FIRST not in nvbench(root, "list", "--limit", "1").output
    assert "Campaign" not in nvbench(root, "list", "--filter", "label:golden").output


@pytest.mark.parametrize("suffix", ["html", "md", "xml", "json", "txt"])
def test_a_report_is_written_in_the_form_of_its_suffix(root, suffix):
    file = root / f"report.{suffix}"
    assert nvbench(root, "report", FIRST, "-o", str(file)).output == ""
    told = file.read_text()
    assert "4001 bytes pass, where none should" in told
    start = {"html": "<!DOCTYPE html>", "md": "# Functional", "xml": "<?xml", "json": "{", "txt": "Functional"}
    assert told.lstrip().startswith(start[suffix])


# -- two campaigns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "new", "turn"),
    [
        (PASS, PASS, Turn.SAME),
        (FAIL, FAIL, Turn.SAME),
        (PASS, FAIL, Turn.REGRESSED),
        (PASS, ERROR, Turn.REGRESSED),
        (PASS, BLOCKED, Turn.BLOCKED),
        (FAIL, PASS, Turn.FIXED),
        (ERROR, PASS, Turn.FIXED),
        (FAIL, ERROR, Turn.OTHERWISE),
        (BLOCKED, PASS, Turn.POSSIBLE),
        (BLOCKED, FAIL, Turn.POSSIBLE),
        (None, PASS, Turn.NEW),
        (PASS, None, Turn.GONE),
    ],
)
def test_how_a_case_changes(tmp_path, base, new, turn):
    sides = [() if outcome is None else (replace(MADE[0], outcome=outcome),) for outcome in (base, new)]
    before, after = (made(tmp_path, side, name) for side, name in zip(sides, "ab", strict=True))
    [case] = compare_campaigns(before, after).cases
    assert case.turn is turn


def test_what_the_testbed_expects_is_no_regression(tmp_path):
    before = made(tmp_path, MADE[:1], "a")
    after = made(tmp_path, (replace(MADE[0], outcome=FAIL, expected=FAIL),), "b")
    comparison = compare_campaigns(before, after)
    assert comparison.count(Turn.REGRESSED) == 1
    assert comparison.regressions == ()


def test_what_changed_stands_above_what_did_not(root):
    told = nvbench(root, "compare", FIRST, SECOND).output
    lines = [line.split() for line in told.splitlines()]
    assert ["hosts.b.kernel", "6.1", "6.2"] in lines
    assert [line[1] for line in lines if line[0:1] == ["1.1"]] == ["regressed"]
    words = ["regressed", "blocked", "otherwise", "fixed", "new", "gone"]
    places = [next(place for place, line in enumerate(lines) if word in line[1:2]) for word in words]
    assert places == sorted(places)
    assert "was: 4001 bytes pass, where none should" in told
    verdict = "1 regressed, 1 blocked now, 1 otherwise, 1 fixed, 1 new, 1 gone, 3 unchanged, environments differ"
    assert verdict in told


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([], 0),
        (["--fail-on", "regression"], 1),
        (["--fail-on", "change"], 1),
        (["--strict"], 1),
        (["--strict", "--expect", "hosts.*"], 0),
    ],
)
def test_gates(root, words, status):
    assert nvbench(root, "compare", FIRST, SECOND, *words).return_value == status
    assert nvbench(root, "compare", FIRST, FIRST, *words).return_value == 0


def test_a_comparison_for_programs(root):
    told = json.loads(nvbench(root, "compare", FIRST, SECOND, "--format", "json").output)
    assert told["turns"]["fixed"] == 1
    assert told["regressions"] == ["description@bench"]
    [suite] = Xml.fromstring(nvbench(root, "compare", FIRST, SECOND, "--format", "junit").output.encode())
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("9", "1", "2")
    page = nvbench(root, "compare", FIRST, SECOND, "--format", "html").output
    assert '<td class="bad">regressed</td>' in page
    assert nvbench(root, "compare", FIRST, SECOND, "--format", "markdown").output.startswith("# 2025")


# -- check -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["conectivity"], "no case, check or tag is called 'conectivity' (did you mean `connectivity`?)"),
        (["-t", "simulated"], "simulated: a simulated testbed has nothing to check"),
        (["-o", "report.pdf"], "report.pdf: no form goes with '.pdf'"),
    ],
)
def test_what_cannot_be_checked_is_told_before_anything_starts(tmp_path, words, told):
    with pytest.raises(UsageError) as caught:
        CliRunner().invoke(
            check_command, [*words, "--results", str(tmp_path)], standalone_mode=False, catch_exceptions=False
        )
    assert told in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_goes_on_is_told_in_lines(capsys):
    with CheckProgress(12) as progress:
        progress.stage("bringing up sriov")
        progress.begins(all_cases()[0])
        progress.verdict(replace(MADE[3], told="a\x1b[2J guest"))
        progress.verdict(MADE[1])
    assert capsys.readouterr().err.splitlines() == [
        "bringing up sriov",
        "[ 1/12]    ! FAIL  5.4.6.2 mtu@sriov, 1.2 s: a\N{REPLACEMENT CHARACTER}[2J guest",
        "[ 2/12]      PASS  mtu@linux_bridge, 0.0 s: 4000 bytes pass",
    ]


def test_a_terminal_has_a_line_a_verdict_that_fits(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    with CheckProgress(1) as progress:
        progress.stage("bringing up sriov " * 10)
        progress.verdict(replace(MADE[3], told="x" * 100))
    drawn = re.sub(r"\x1b\[[0-9;]*[mK]", "", capsys.readouterr().err)
    assert "\x1b" not in drawn
    assert {len(line) <= 60 for line in re.split(r"[\r\n]", drawn)} == {True}
    assert drawn.rstrip().endswith("xxx...")


def test_what_there_is_to_check_is_listed(tmp_path):
    told = nvbench(tmp_path, "check", "connectivity", "--list").output.splitlines()
    assert [line.split()[:2] for line in told] == [
        ["connectivity@linux_bridge", "linux_bridge"],
        ["5.4.1.1", "ovs_dpdk"],
        ["5.4.3", "sriov"],
    ]
