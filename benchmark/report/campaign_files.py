"""A campaign for programs: JSON, and JUnit for a continuous integration to show."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from xml.etree import ElementTree as Xml

from nvbench.campaign import EVIDENCE, Campaign, Outcome, Verdict
from nvbench.report.campaign import why

_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold (section 2.2)."""


def as_json(campaign: Campaign) -> str:
    """All of it; files of evidence by their paths below the campaign's folder."""
    told = {
        "campaign": campaign.name,
        "state": campaign.state,
        **{name: value for name, value in asdict(campaign).items() if name not in ("path", "verdicts", "finished")},
        "started_at": campaign.started_at.isoformat(),
        "counts": {str(outcome): campaign.count(outcome) for outcome in Outcome},
        "surprises": [verdict.key for verdict in campaign.surprises],
        "verdicts": [_verdict(verdict) for verdict in campaign.verdicts],
    }
    return json.dumps(told, indent=2, ensure_ascii=False, default=str) + "\n"


def _verdict(verdict: Verdict) -> dict[str, object]:
    files = [f"{EVIDENCE}/{verdict.case}/{name}" for name in verdict.files]
    return {**asdict(verdict), "surprising": verdict.surprising, "files": files}


def as_junit(campaign: Campaign) -> str:
    """A test a case.

    One that is otherwise than expected has failed, or is an error where the check broke; so is one that fails where
    nothing is expected. What the bench cannot do was skipped.
    """
    suites = Xml.Element("testsuites", name="nvbench check")
    suite = Xml.SubElement(suites, "testsuite", name=clean(campaign.name))
    properties = Xml.SubElement(suite, "properties")
    for name, value in {"testbed": campaign.testbed, "nvbench": campaign.nvbench, "state": campaign.state}.items():
        Xml.SubElement(properties, "property", name=name, value=clean(value))
    for verdict in campaign.verdicts:
        _judge(suite, verdict)
    if not (campaign.finished and campaign.verdicts):
        case = Xml.SubElement(suite, "testcase", name="the campaign", classname="check")
        told = "no case was looked at" if campaign.finished else "the campaign is unfinished: cases may be missing"
        Xml.SubElement(case, "error", type=campaign.state, message=told)
    suite.set("timestamp", f"{campaign.started_at:%Y-%m-%dT%H:%M:%S}")
    suite.set("time", f"{campaign.duration_s:.3f}")
    return written(suites)


def written(suites: Xml.Element) -> str:
    """Suites as a file, each with the counts of what is in it."""
    words = {"failures": "failure", "errors": "error", "skipped": "skipped"}
    for suite in suites:
        counts = {name: len(suite.findall(f"testcase/{tag}")) for name, tag in words.items()}
        for name, count in {"tests": len(suite.findall("testcase")), **counts}.items():
            suite.set(name, str(count))
    Xml.indent(suites)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{Xml.tostring(suites, encoding="unicode")}\n'


def _judge(suite: Xml.Element, verdict: Verdict) -> None:
    name = verdict.title if verdict.case == verdict.key else f"{verdict.case} {verdict.title}"
    case = Xml.SubElement(suite, "testcase", name=clean(name), classname=clean(f"check.{verdict.path}.{verdict.check}"))
    case.set("time", f"{verdict.seconds:.3f}")
    if verdict.outcome is Outcome.ERROR:
        Xml.SubElement(case, "error", type="ERROR", message=clean(verdict.told)).text = clean(why(verdict))
    elif verdict.surprising:
        expected = f"{verdict.outcome} where {verdict.expected} is expected: " if verdict.expected else ""
        failure = Xml.SubElement(case, "failure", type=str(verdict.outcome), message=clean(expected + verdict.told))
        failure.text = clean(why(verdict))
    elif verdict.outcome is Outcome.BLOCKED:
        Xml.SubElement(case, "skipped", message=clean(verdict.told))
    lines = [f"{'ok' if seen.holds else 'not ok'}: {seen.told}{_quoted(seen.quote)}" for seen in verdict.observations]
    if verdict.outcome is Outcome.FAIL and not verdict.surprising:
        lines.insert(0, f"FAIL, as expected: {verdict.told}")
    if lines:
        Xml.SubElement(case, "system-out").text = clean("\n".join(lines))


def _quoted(quote: str) -> str:
    return f" | {quote}" if quote else ""


def clean(text: str) -> str:
    """A text without what XML cannot hold."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
