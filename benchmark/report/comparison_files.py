"""A comparison for programs: JSON, CSV, and JUnit for a continuous integration to show."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any
from xml.etree import ElementTree as Xml

from nvbench.comparison.base import Change, Comparison, Difference, Side, Verdict
from nvbench.report.comparison import verdict_line

_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold (section 2.2)."""

Fields = dict[str, Any]


def as_json(comparison: Comparison) -> str:
    """All of it; values in the units of the table of metrics, changes and p values as ratios."""
    told = {
        "base": comparison.base,
        "new": comparison.new,
        "alpha": comparison.alpha,
        "min_change": comparison.min_change,
        "method": comparison.method,
        "verdicts": {str(verdict): comparison.count(verdict) for verdict in Verdict},
        "environments_differ": comparison.environments_differ,
        "differences": [_difference(each) for each in comparison.differences],
        "changes": [_change(each) for each in comparison.changes],
        "only_base": comparison.only_base,
        "only_new": comparison.only_new,
        "warnings": comparison.warnings,
    }
    return json.dumps(told, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _difference(difference: Difference) -> Fields:
    return {name: getattr(difference, name) for name in ("name", "base", "new", "expected")}


def _change(change: Change) -> Fields:
    sides = {"base": _side(change.base), "new": _side(change.new)}
    return {**_told(change), "identity": dict(change.identity), **sides}


def _told(change: Change) -> Fields:
    return {
        "case": change.case_id,
        "test": change.test,
        "goal": change.goal,
        "metric": change.metric.name,
        "unit": change.metric.unit,
        "better": str(change.metric.better),
        "change": change.change,
        "low": change.low,
        "high": change.high,
        "p": change.p,
        "p_adjusted": change.p_adjusted,
        "verdict": str(change.verdict),
        "reason": change.reason,
    }


def _side(side: Side) -> Fields:
    return {
        "median": side.median,
        "low": side.low,
        "high": side.high,
        "observations": [
            {"value": each.value, "run": each.run_id, "block": each.block, "trials": each.trial_ids}
            for each in side.observations
        ],
    }


def as_csv(comparison: Comparison) -> str:
    """A line a change; what the environments differ in is not part of it."""
    rows = []
    for change in comparison.changes:
        ends = {
            f"{told}_{name}": getattr(side, name)
            for told, side in (("base", change.base), ("new", change.new))
            for name in ("median", "low", "high")
        }
        counts = {"base_n": len(change.base.observations), "new_n": len(change.new.observations)}
        own = {name: value for name, value in change.identity if name != "test"}
        rows.append({**_told(change), **ends, **counts, **{f"case.{name}": value for name, value in own.items()}})
    file = io.StringIO()
    writer = csv.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def as_junit(comparison: Comparison) -> str:
    """A test a change: one that regressed has failed, one without enough samples was skipped."""
    counts = {
        "tests": str(len(comparison.changes)),
        "failures": str(comparison.count(Verdict.REGRESSED)),
        "skipped": str(comparison.count(Verdict.NOT_ENOUGH)),
        "errors": "0",
    }
    suites = Xml.Element("testsuites", counts)
    suite = Xml.SubElement(suites, "testsuite", {"name": "nvbench compare", **counts})
    properties = Xml.SubElement(suite, "properties")
    for name, value in _properties(comparison):
        Xml.SubElement(properties, "property", {"name": _clean(name), "value": _clean(value)})
    for change in comparison.changes:
        name = f"{change.case_id} {change.goal}".strip()
        where = f"{change.test}.{change.metric.name}"
        case = Xml.SubElement(suite, "testcase", {"classname": _clean(where), "name": _clean(name)})
        line = _clean(_line(change))
        if change.verdict is Verdict.REGRESSED:
            Xml.SubElement(case, "failure", {"message": line, "type": "regressed"})
        elif change.verdict is Verdict.NOT_ENOUGH:
            Xml.SubElement(case, "skipped", {"message": line})
        else:
            Xml.SubElement(case, "system-out").text = line
    Xml.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Xml.tostring(suites, encoding="unicode")}\n'


def _properties(comparison: Comparison) -> list[tuple[str, str]]:
    told = [("base", ", ".join(comparison.base)), ("new", ", ".join(comparison.new)), ("method", comparison.method)]
    told += [("verdict", verdict_line(comparison))]
    told += [(f"differs: {each.name}", f"{each.base} -> {each.new}") for each in comparison.differences]
    return told + [("warning", text) for text in comparison.warnings]


def _line(change: Change) -> str:
    """A change in a line."""
    metric = change.metric
    values = f"{metric.text(change.base.median)} to {metric.text(change.new.median)} {metric.shown_unit}"
    by = "" if change.change is None else f", {change.change * 100:+.2f} %"
    p = "" if change.p_adjusted is None else f", p {change.p_adjusted:.2g}"
    counts = f"{len(change.base.observations)}+{len(change.new.observations)}"
    reason = f": {change.reason}" if change.reason else ""
    return f"{change.verdict}{reason} ({metric.name} {values}{by}{p}, n {counts})"


def _clean(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
