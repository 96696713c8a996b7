"""A run as JUnit XML: a test a case and test of the run, for a continuous integration to show."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as Xml

from nvbench.metrics import Metric, metric
from nvbench.reading import Results
from nvbench.report.columns import IMPOSSIBLE, OWN_METRIC, Row, goal, load, verdict
from nvbench.report.identity import in_order
from nvbench.report.summary import known
from nvbench.runs import Run
from nvbench.store import RunState

_OWN = {**OWN_METRIC, "frame_loss": "loss", "learning": "addresses"}
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold (section 2.2)."""


def as_junit(results: Results) -> str:
    """A suite a run, a test a case and test.

    What the bench cannot do was skipped; what gave no answer failed; a run that did not end as it should is an error.
    """
    suites = Xml.Element("testsuites", name="nvbench")
    for run in results.runs:
        suites.append(_suite(run, in_order(Results((run,)).results().to_pylist())))
    Xml.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Xml.tostring(suites, encoding="unicode")}\n'


def _suite(run: Run, rows: Sequence[Row]) -> Xml.Element:
    suite = Xml.Element("testsuite", name=_clean(run.label or run.run_id))
    properties = Xml.SubElement(suite, "properties")
    for name, value in _properties(run):
        Xml.SubElement(properties, "property", name=name, value=_clean(value))
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["case_id"], row["test"]), []).append(row)
    for (case_id, test), own in groups.items():
        case = Xml.SubElement(suite, "testcase", name=_clean(case_id), classname=_clean(f"{run.profile_name}.{test}"))
        case.set("time", f"{sum(row['duration_s'] or 0.0 for row in own):.3f}")
        _judge(case, own)
    if run.state != RunState.FINISHED:
        case = Xml.SubElement(suite, "testcase", name="the run", classname=_clean(f"{run.profile_name}.run"))
        Xml.SubElement(case, "error", type=run.state, message=f"the run is {run.state}: cases may be missing")
    elif not groups:
        case = Xml.SubElement(suite, "testcase", name="the run", classname=_clean(f"{run.profile_name}.run"))
        Xml.SubElement(case, "error", type="empty", message="the run has no results")
    told = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    counts = {name: len(suite.findall(f"testcase/{tag}")) for name, tag in told.items()}
    for name, count in {"tests": len(suite.findall("testcase")), **counts}.items():
        suite.set(name, str(count))
    suite.set("timestamp", f"{run.started_at:%Y-%m-%dT%H:%M:%S}")
    suite.set("time", f"{run.duration_s or 0.0:.3f}")
    return suite


def _judge(case: Xml.Element, rows: Sequence[Row]) -> None:
    impossible = [row["verdict"] for row in rows if row["verdict"].startswith(IMPOSSIBLE)]
    failed = [row for row in rows if not row["verdict"].startswith(IMPOSSIBLE) and not answered(row)]
    if failed:
        told = "; ".join(dict.fromkeys(_line(row) for row in failed))
        Xml.SubElement(case, "failure", type="no answer", message=_clean(told))
    elif impossible:
        Xml.SubElement(case, "skipped", message=_clean("; ".join(dict.fromkeys(impossible))))
    lines = [_line(row) for row in rows if answered(row)]
    lines += [f"warning: {text}" for text in dict.fromkeys(text for row in rows for text in row["warnings"] or ())]
    if lines:
        Xml.SubElement(case, "system-out").text = _clean("\n".join(lines))


def _metric(row: Row) -> Metric:
    return metric(_OWN.get(row["test"], "throughput"))


def answered(row: Row) -> bool:
    """Whether a result holds what its test asks; a throughput of zero is none, as not one load passed."""
    value = row[_metric(row).column]
    return known(value) and (row["test"] != "throughput" or value > 0)


def _line(row: Row) -> str:
    own = _metric(row)
    value = row[own.column]
    at = goal(row) or ("" if row["load_share"] is None else f"at {load(row)}")
    number = f"{own.label.lower()} {own.text(value)} {own.shown_unit}" if known(value) else "no answer"
    return ", ".join(text for text in (f"{at}: {number}" if at else number, verdict(row)) if text)


def _properties(run: Run) -> Iterator[tuple[str, str]]:
    record = run.record
    told = {"run": run.run_id, "profile": run.profile_name, "testbed": run.testbed_name, "label": run.label}
    told |= {"seed": str(record.get("seed", "")), "nvbench": str(record.get("nvbench_version", ""))}
    told |= {name: "true" for name in ("quick", "simulated") if getattr(run, name)}
    yield from ((name, value) for name, value in told.items() if value)
    yield from (("warning", text) for text in run.warnings)


def _clean(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
