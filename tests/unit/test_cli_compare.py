"""`nvbench compare` and `nvbench label`, as typed."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as Xml

import pytest
from click.testing import CliRunner, Result

from nvbench.cli import group, main
from nvbench.errors import UsageError
from tests.unit.made_runs import HEADER, SUBJECT, result, run

QUIET = (100.0, 100.1, 99.9, 100.2, 99.8, 100.05)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six runs called `old` and six called `new`: one case of four is slower, one faster."""
    root = tmp_path_factory.mktemp("results")
    factors = {("ovs_dpdk", 64): 0.95, ("ovs_dpdk", 1518): 1.0, ("linux_bridge", 64): 1.2, ("linux_bridge", 1518): 1.0}
    for label in ("old", "new"):
        for value in QUIET:
            rows = []
            for (datapath, size), factor in factors.items():
                subject = replace(SUBJECT, test="mrr", datapath=datapath, frame_bytes=size, settings=())
                rate = 1e4 * value * (factor if label == "new" else 1.0)
                rows.append(result(rate, replace(subject, case_id=f"{datapath}-1q-{size}B"), loss_ratio=0.1))
            run(root, rows, replace(HEADER, label=label))
    return root


@pytest.fixture
def root(measured: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of these runs, in which nvbench looks for runs."""
    monkeypatch.setenv("NVBENCH_RESULTS", str(tmp_path / "results"))
    return Path(shutil.copytree(measured, tmp_path / "results"))


def compared(*argv: str, status: int = 0) -> Result:
    outcome = CliRunner().invoke(group, ["compare", *argv], standalone_mode=False)
    if outcome.exception:
        raise outcome.exception
    assert outcome.return_value == status
    return outcome


def test_the_table_says_median_interval_change_p_n_and_verdict(root: Path) -> None:
    text = compared("old", "new").output
    assert "Nothing is known to differ but the results." in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "ovs_dpdk 64 1.000 ± 0.22 % 0.9502 ± 0.22 % -5.00 % -5.19 to -4.81 % 0.009 6+6 regressed" in lines
    assert "linux_bridge 64 1.000 ± 0.22 % 1.200 ± 0.22 % +20.0 % +19.8 to +20.2 % 0.009 6+6 improved" in lines
    assert "ovs_dpdk 1518 1.000 ± 0.22 % 1.000 ± 0.22 % 0 % -0.20 to +0.20 % 1.000 6+6 no change: within noise" in lines
    assert "nvgen generator, queues: 1, flows: 1" in lines
    assert "geometric mean of 4 changes: +3.33 %" in lines
    assert "- 1 improved, 1 regressed, 2 no change" in lines


@pytest.mark.parametrize("width", ["60", "80", "100", "200"])
def test_no_width_cuts_a_number_off(root: Path, width: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nvbench.report.text.PIPED_WIDTH", int(width))
    text = compared("old", "new").output
    assert "…" not in text
    for told in ("0.9502 ± 0.22 %", "-5.19 to -4.81 %", "regressed", "6+6"):
        assert told in text


def test_what_else_differs_stands_above_the_numbers_and_in_the_verdict(root: Path) -> None:
    rows = [result(1e6, replace(SUBJECT, test="mrr", settings=()), loss_ratio=0.1)]
    facts = {"hosts": {"a": {"kernel": "6.1"}}, "ovs_dpdk": "OVS 3.2.0"}
    path = run(root, rows, replace(HEADER, fingerprint=facts, label="odd"))
    text = compared("old", path.name, "--strict", status=1).output
    above, below = text.index("hosts.a.kernel"), text.index("mrr: rate")
    assert text.index("Compared") < text.index("OVS 3.2.0") < text.index("Environments differ") < above < below
    assert "4 not enough samples" not in text
    assert "1 not enough samples, environments differ" in text
    compared("old", "odd", "--strict", "--expect", "hosts.*", "--expect", "ovs_dpdk")


def test_exit_codes_are_for_a_continuous_integration(root: Path) -> None:
    compared("old", "new", "--fail-on", "regression", status=1)
    compared("old", "new", "--fail-on", "change", status=1)
    compared("old", "new", "--fail-on", "regression", "--filter", "datapath:linux*")
    compared("old", "new", "--fail-on", "change", "--filter", "datapath:linux*", status=1)
    compared("old", "new", "--fail-on", "change", "--filter", "frame_bytes:1518")
    compared("old", "new", "--fail-on", "regression", "--min-change", "0.06")
    compared("old", "new", "--strict")


def test_rows_and_columns_regroup(root: Path) -> None:
    lines = [" ".join(line.split()) for line in compared("old", "new", "--row", "datapath").output.splitlines()]
    assert "ovs_dpdk 2 -2.53 % 0 1 1 0" in lines
    assert "linux_bridge 2 +9.54 % 1 0 1 0" in lines
    lines = [
        " ".join(line.split())
        for line in compared("old", "new", "--row", "frame_bytes", "--col", "datapath").output.splitlines()
    ]
    assert "64 +20.0 % ▲ -5.00 % ▼" in lines
    assert "1518 0 % ~ 0 % ~" in lines
    with pytest.raises(UsageError, match=r"--row: no case has a 'colour' \(there are test, datapath"):
        compared("old", "new", "--row", "colour")


def test_power_says_what_could_have_been_seen(root: Path) -> None:
    lines = [" ".join(line.split()) for line in compared("old", "new", "--power").output.splitlines()]
    assert any(line.startswith("ovs_dpdk 64 throughput 0.14 % 6 0.36 % 5") for line in lines)


def test_json_has_all_of_it(root: Path) -> None:
    told = json.loads(compared("old", "new", "--format", "json").output)
    assert told["verdicts"] == {"improved": 1, "regressed": 1, "no change": 2, "not enough samples": 0}
    assert told["environments_differ"] is False
    slower = next(each for each in told["changes"] if each["verdict"] == "regressed")
    assert (slower["case"], slower["metric"], slower["unit"]) == ("ovs_dpdk-1q-64B", "throughput", "pps")
    assert slower["change"] == pytest.approx(-0.05)
    assert slower["identity"]["frame_bytes"] == "64"
    assert [each["value"] for each in slower["base"]["observations"]] == [1e4 * value for value in QUIET]
    assert len(told["base"]) == 6


def test_csv_has_a_line_a_change(root: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(compared("old", "new", "--format", "csv").output)))
    assert [row["case.datapath"] for row in rows] == ["linux_bridge", "linux_bridge", "ovs_dpdk", "ovs_dpdk"]
    assert {row["base_n"] for row in rows} == {"6"}
    assert float(rows[2]["change"]) == pytest.approx(-0.05)


def test_junit_fails_what_regressed_and_skips_what_has_too_few_samples(root: Path) -> None:
    suites = Xml.fromstring(compared("old", "new", "--format", "junit").output)  # noqa: S314 - our own
    assert (suites.get("tests"), suites.get("failures"), suites.get("skipped")) == ("4", "1", "0")
    [failed] = [case for case in suites.iter("testcase") if case.find("failure") is not None]
    assert (failed.get("classname"), failed.get("name")) == ("mrr.throughput", "ovs_dpdk-1q-64B")
    assert "1.000 to 0.9502 Mpps, -5.00 %" in failed.find("failure").get("message")
    few = Xml.fromstring(compared("latest~11", "latest", "--format", "junit").output)  # noqa: S314
    assert (few.get("failures"), few.get("skipped")) == ("0", "4")


def test_small_rates_have_a_unit_that_shows_their_digits(root: Path) -> None:
    for label, rate in (("slow", 711.1), ("slower", 697.6)):
        run(root, [result(rate, replace(SUBJECT, test="mrr"), loss_ratio=0.1)], replace(HEADER, label=label))
    text = compared("slow", "slower").output
    assert "mrr: rate, pps, more is better" in text
    assert "711.1  697.6  -1.90 %" in text


def test_markdown_is_a_table(root: Path) -> None:
    text = compared("old", "new", "--format", "markdown").output
    assert "| Datapath | Frame B | Base | New | Change | 95 % interval | p adjusted | n | Verdict |" in text
    assert "| -5.00 % |" in text


@pytest.mark.parametrize("form", ["text", "markdown", "json", "csv", "junit", "html"])
def test_every_form_can_go_to_a_file(root: Path, form: str, tmp_path: Path) -> None:
    file = tmp_path / "out"
    assert compared("old", "new", "--format", form, "-o", str(file)).output == ""
    assert "regressed" in file.read_text()
    with pytest.raises(UsageError, match="cannot be written"):
        compared("old", "new", "--format", form, "-o", str(tmp_path / "no" / "folder"))


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["old", "old"], "nothing differs from itself"),
        (["old", "nothing"], "no run is called 'nothing'"),
        (["old", "new", "--metric", "speed"], "unknown metric 'speed'"),
        (["old", "new", "--alpha", "5"], "--alpha 5: not between 0 and 1"),
        (["old", "new", "--filter", "frames:64"], "no case has a 'frames'"),
    ],
)
def test_a_mistake_is_a_line_and_exit_2(
    root: Path, argv: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["compare", *argv])
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert line in told
    assert told.count("\n") == 1


def test_labels_are_given_shared_and_taken_away(root: Path) -> None:
    def label(*argv: str) -> str:
        outcome = CliRunner().invoke(group, ["label", *argv], catch_exceptions=False, standalone_mode=False)
        if outcome.exception:
            raise outcome.exception
        return outcome.output

    assert "called 'v3.2 / 🚀'" in label("latest", "v3.2 / 🚀")
    assert label("old", "base").count("called 'base'") == 6
    compared("base", "v3.2 / 🚀")
    assert "has no label" in label("v3.2 / 🚀", "--remove")
    for argv in (["latest"], ["latest", "x", "--remove"]):
        with pytest.raises(UsageError, match="needs a name, or --remove, and not both"):
            label(*argv)
