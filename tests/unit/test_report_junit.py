"""JUnit: what failed, what was skipped, and a run that did not end."""

# ruff: noqa: S314 - what is parsed is our own

from pathlib import Path
from xml.etree import ElementTree as Xml

from nvbench.reading import open_results
from nvbench.report.junit import as_junit
from nvbench.store import RunHeader, RunWriter
from tests.unit.report_runs import result, subject, write_run


def suite(path: Path) -> Xml.Element:
    [found] = Xml.fromstring(as_junit(open_results(path)))
    return found


def outcome(case: Xml.Element) -> str:
    return next((child.tag for child in case if child.tag != "system-out"), "passed")


def test_a_test_a_case_and_test_of_the_run(tmp_path: Path) -> None:
    found = suite(write_run(tmp_path, label="ovs-3.2"))
    cases = found.findall("testcase")
    assert found.get("name") == "ovs-3.2"
    assert len(cases) == 12
    assert {case.get("classname") for case in cases} == {
        *("mine.throughput", "mine.latency", "mine.frame_loss", "mine.reset"),
    }
    assert {outcome(case) for case in cases} == {"passed"}
    assert {name: found.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "12",
        "failures": "0",
        "errors": "0",
        "skipped": "0",
    }
    told = {(case.get("name"), case.get("classname")): case.findtext("system-out") for case in cases}
    assert told["ovs_dpdk-64B", "mine.throughput"] == "NDR: rate 2.817 Mpps, device limited"
    assert told["ovs_dpdk-64B", "mine.frame_loss"].splitlines()[0] == "at 100 %: loss 70.00 %"
    properties = {each.get("name"): each.get("value") for each in found.iter("property")}
    assert properties["seed"] == "7"
    assert properties["warning"] == "the generator shares its core"


def test_no_answer_fails_and_what_cannot_be_had_is_skipped(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as run:
        run.append_result(result(subject(frame_bytes=64), verdict="too disturbed for an answer"))
        run.append_result(result(subject(frame_bytes=128), rate_pps=0.0, verdict="not one load passed"))
        run.append_result(result(subject(frame_bytes=256), rate_pps=float("nan")))
        run.append_result(result(subject(frame_bytes=512), verdict="not possible here: no such module"))
        run.append_result(result(subject(frame_bytes=1518), rate_pps=1e6))
    found = {case.get("name"): case for case in suite(run.path).findall("testcase")}
    assert {name: outcome(case) for name, case in found.items()} == {
        "ovs_dpdk-64B": "failure",
        "ovs_dpdk-128B": "failure",
        "ovs_dpdk-256B": "failure",
        "ovs_dpdk-512B": "skipped",
        "ovs_dpdk-1518B": "passed",
    }
    assert "too disturbed" in found["ovs_dpdk-64B"].find("failure").get("message")
    assert found["ovs_dpdk-512B"].find("skipped").get("message") == "not possible here: no such module"


def test_a_run_that_did_not_end_is_an_error(tmp_path: Path) -> None:
    run = RunWriter.create(tmp_path, RunHeader("p", "t"))
    run.append_result(result(subject(), rate_pps=1e6))
    assert suite(run.path).get("errors") == "1"
    assert suite(run.path).find("testcase/error").get("type") == "running"


def test_a_run_without_results_is_an_error(tmp_path: Path) -> None:
    with RunWriter.create(tmp_path, RunHeader("p", "t")) as run:
        pass
    assert suite(run.path).find("testcase/error").get("message") == "the run has no results"


def test_what_xml_cannot_hold_is_replaced(tmp_path: Path) -> None:
    path = write_run(tmp_path, label="a\x00b<&\"'\ud800", warnings=["\x1b[31mred"])
    assert suite(path).get("name") == "a\N{REPLACEMENT CHARACTER}b<&\"'\N{REPLACEMENT CHARACTER}"


def test_each_run_is_a_suite(tmp_path: Path) -> None:
    paths = [write_run(tmp_path), write_run(tmp_path)]
    assert len(Xml.fromstring(as_junit(open_results(paths)))) == 2
