"""Two campaigns of checks side by side, as parts of a report, as JSON, and as JUnit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from xml.etree import ElementTree as Xml

from nvbench.campaign import Outcome, Verdict
from nvbench.comparison.campaigns import CampaignComparison, Turn, Turned
from nvbench.metrics import NOTHING
from nvbench.report.campaign import SURPRISE, broken, outcome_text, plain, tone_of, why
from nvbench.report.campaign_files import clean, written
from nvbench.report.columns import Column, Layout, Row
from nvbench.report.comparison import surroundings
from nvbench.report.document import Heading, Listing, Notice, Paragraph, Part, Tone

_TONES = {Turn.REGRESSED: Tone.BAD, Turn.BLOCKED: Tone.WARN, Turn.OTHERWISE: Tone.WARN, Turn.FIXED: Tone.GOOD}


def campaign_comparison_parts(comparison: CampaignComparison) -> list[Part]:
    """What changed between two campaigns; what did not is counted."""
    parts: list[Part] = [Heading(f"{comparison.new.name} against {comparison.base.name}", 1)]
    parts += surroundings(comparison.differences)
    order = list(Turn)
    changed = [case for case in comparison.cases if case.turn is not Turn.SAME]
    rows = [{"case": case} for case in sorted(changed, key=lambda case: order.index(case.turn))]
    if rows:
        parts += [Heading("What changed"), Listing(Layout([_CASE], [[_TURN, _BASE, _NEW]], [_WHY]), rows)]
        if any(case.new and case.new.surprising for case in changed):
            parts.append(Paragraph(f"{SURPRISE} otherwise than the testbed expects"))
    tone = Tone.BAD if comparison.regressions else Tone.GOOD
    parts += [Heading("Verdict"), Notice(verdict_line(comparison), tone)]
    parts += [
        Notice(f"{campaign.name} is unfinished: cases may be missing", Tone.WARN)
        for campaign in (comparison.base, comparison.new)
        if not campaign.finished
    ]
    return parts


def verdict_line(comparison: CampaignComparison) -> str:
    """How many cases changed in which way, and whether the environments differ."""
    counts = [f"{count} {turn}" for turn in Turn if (count := comparison.count(turn))]
    return ", ".join([*counts, *(["environments differ"] if comparison.environments_differ else [])])


def _named(row: Row) -> str:
    verdict = row["case"].verdict
    return plain(verdict.case if verdict.case == verdict.key else f"{verdict.case}\n{verdict.key}")


def _reason(case: Turned) -> str:
    """At length where it does not pass now; of what is better now, what it was."""
    now, before = case.new, case.base
    if now is None or now.outcome is not Outcome.PASS:
        return why(now) if now else ""
    return plain("\n".join([now.told, *([f"was: {before.told}"] if before else [])]))


def _side(heading: str) -> Column:
    def of(row: Row) -> Verdict | None:
        found: Verdict | None = getattr(row["case"], heading.lower())
        return found

    return Column(
        heading,
        lambda row: outcome_text(found) if (found := of(row)) else NOTHING,
        tone=lambda row: tone_of(found) if (found := of(row)) else "",
    )


_CASE = Column("Case", _named, words=True)
_TURN = Column("", lambda row: str(row["case"].turn), tone=lambda row: _TONES.get(row["case"].turn, ""))
_BASE, _NEW = _side("Base"), _side("New")
_WHY = Column("Why", lambda row: broken(_reason(row["case"])), words=True)


# -- for programs --------------------------------------------------------------------------------------------------


def as_json(comparison: CampaignComparison) -> str:
    """All of it."""
    told = {
        "base": comparison.base.name,
        "new": comparison.new.name,
        "turns": {str(turn): comparison.count(turn) for turn in Turn},
        "regressions": [case.verdict.key for case in comparison.regressions],
        "environments_differ": comparison.environments_differ,
        "differences": [
            {name: getattr(each, name) for name in ("name", "base", "new", "expected")}
            for each in comparison.differences
        ],
        "cases": [dict(_fields(case)) for case in comparison.cases],
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def _fields(case: Turned) -> Iterator[tuple[str, object]]:
    yield from {"case": case.verdict.case, "key": case.verdict.key, "turn": str(case.turn)}.items()
    for side in ("base", "new"):
        found: Verdict | None = getattr(case, side)
        yield side, found and {"outcome": str(found.outcome), "told": found.told, "quote": found.quote}
    yield "as_expected", case.accepted


def as_junit(comparison: CampaignComparison) -> str:
    """A test a case: one that regressed has failed, one that is blocked now or gone was skipped."""
    suites = Xml.Element("testsuites", name="nvbench compare")
    suite = Xml.SubElement(suites, "testsuite", name=clean(f"{comparison.new.name} against {comparison.base.name}"))
    properties = Xml.SubElement(suite, "properties")
    told = [("verdict", verdict_line(comparison))]
    told += [(f"differs: {each.name}", f"{each.base} -> {each.new}") for each in comparison.differences]
    for name, value in told:
        Xml.SubElement(properties, "property", name=clean(name), value=clean(value))
    regressed = {case.verdict.key for case in comparison.regressions}
    for each in comparison.cases:
        verdict = each.verdict
        line = f"{each.turn}: {_outcome(each.base)} to {_outcome(each.new)}: {verdict.told}"
        where = f"check.{verdict.path}.{verdict.check}"
        case = Xml.SubElement(suite, "testcase", name=clean(verdict.case), classname=clean(where))
        if verdict.key in regressed:
            Xml.SubElement(case, "failure", type="regressed", message=clean(line))
        elif each.turn in (Turn.BLOCKED, Turn.GONE):
            Xml.SubElement(case, "skipped", message=clean(line))
        else:
            Xml.SubElement(case, "system-out").text = clean(line)
    return written(suites)


def _outcome(verdict: Verdict | None) -> str:
    return str(verdict.outcome) if verdict else NOTHING
