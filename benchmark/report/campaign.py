"""A campaign of checks as a report: a matrix of checks by paths, why, what the bench lacks, set-up, and evidence."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import itemgetter

from nvbench.campaign import Campaign, Grid, Outcome, Verdict
from nvbench.metrics import NOTHING
from nvbench.report.columns import Column, Layout, Row
from nvbench.report.document import Heading, Listing, Notice, Paragraph, Part, Tone
from nvbench.units import duration

SURPRISE = "!"
"""Marks what is otherwise than expected."""

LONGEST_QUOTE = 400
LONGEST_WORD = 48
"""Characters of a word above which a table breaks it: a frame in hex, say."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What a terminal would act on, instead of showing it."""


def title(campaign: Campaign) -> str:
    """What a report of this campaign is called."""
    return f"Functional checks on {campaign.testbed}"


def brief(campaign: Campaign) -> list[Part]:
    """What a person has to know at the end of a campaign: what came of it, and why where it is not a plain PASS."""
    began = f"{campaign.started_at:%Y-%m-%d %H:%M} UTC"
    lead = f"{campaign.name}, {began}, took {duration(campaign.duration_s)}, nvbench {campaign.nvbench}"
    parts: list[Part] = [Heading(title(campaign), 1), Paragraph(lead)]
    if not campaign.finished:
        parts.append(Notice("Unfinished: what was looked at until then.", Tone.WARN))
    parts.append(Notice(summary(campaign), Tone.BAD if campaign.surprises else Tone.GOOD))
    return [*parts, *_matrix(campaign), *_why(campaign), *_lacking(campaign), *_advice(campaign)]


def whole(campaign: Campaign) -> list[Part]:
    """The same, and the set-up."""
    parts = brief(campaign)
    if campaign.bench:
        parts.append(Heading("Set-up"))
    for grid in campaign.bench:
        parts += [*([Heading(plain(grid.title), 3)] if len(campaign.bench) > 1 else []), grid_listing(grid)]
    return parts


def summary(campaign: Campaign) -> str:
    """How many cases came out how, in a sentence."""
    if not campaign.verdicts:
        return "No case was looked at."
    counts = ", ".join(f"{count} {outcome}" for outcome in Outcome if (count := campaign.count(outcome)))
    odd = len(campaign.surprises)
    return f"{counts}: {f'{odd} otherwise than expected ({SURPRISE})' if odd else 'all as expected'}."


def plain(text: str) -> str:
    """What others printed, without what a terminal would act on."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def outcome_text(verdict: Verdict) -> str:
    """What came of a case, marked where it is otherwise than expected."""
    return f"{SURPRISE} {verdict.outcome}" if verdict.surprising else str(verdict.outcome)


def tone_of(verdict: Verdict) -> str:
    """How what came of a case is meant, in the words of a notice's tones."""
    if verdict.outcome is Outcome.PASS:
        return Tone.WARN if verdict.surprising else Tone.GOOD
    if verdict.surprising:
        return Tone.BAD
    return Tone.NOTE if verdict.outcome is Outcome.BLOCKED else Tone.WARN


def anchor_of(verdict: Verdict) -> str:
    """What a page links to the evidence of a case by."""
    return f"case-{re.sub('[^A-Za-z0-9]+', '-', verdict.case)}"


# -- checks by paths -----------------------------------------------------------------------------------------------


def _matrix(campaign: Campaign) -> Iterator[Part]:
    checks: dict[str, dict[str, Verdict]] = {}
    for verdict in campaign.verdicts:
        checks.setdefault(verdict.check, {})[verdict.path] = verdict
    if not checks:
        return
    rows = [
        {"name": plain(name), "title": _titled(own), "own": own}
        for name, own in sorted(checks.items(), key=lambda item: _order(item[1]))
    ]
    headings = {"name": "Check", "title": "What is tested (case)"}
    identity = [Column(heading, itemgetter(name), words=True) for name, heading in headings.items()]
    paths = [path for path in campaign.paths if any(path in own for own in checks.values())]
    yield Heading("Cases by paths")
    yield Listing(Layout(identity, [[*map(_path, paths)]], []), rows)


def _titled(own: Mapping[str, Verdict]) -> str:
    told = next(iter(own.values())).title
    return plain(f"{told} ({', '.join(numbers)})" if (numbers := _numbers(own)) else told)


def _numbers(own: Mapping[str, Verdict]) -> list[str]:
    return [verdict.case for verdict in own.values() if verdict.case != verdict.key]


def _order(own: Mapping[str, Verdict]) -> tuple[int, ...]:
    """Where a check stands among the others: by its first number in the test plan; those without come last."""
    return min((tuple(map(int, re.findall(r"\d+", each))) for each in _numbers(own)), default=(10_000,))


def _path(path: str) -> Column:
    def of(told: Callable[[Verdict], str], otherwise: str) -> Callable[[Row], str]:
        return lambda row: told(row["own"][path]) if path in row["own"] else otherwise

    return Column(path, of(outcome_text, NOTHING), tone=of(tone_of, Tone.NOTE), link=of(anchor_of, ""))


# -- why -----------------------------------------------------------------------------------------------------------


def _why(campaign: Campaign) -> Iterator[Part]:
    """Everything that is not a plain PASS, what is otherwise than expected first."""
    rows = [
        {"verdict": verdict}
        for verdict in sorted(campaign.verdicts, key=lambda verdict: not verdict.surprising)
        if _explained(verdict)
    ]
    if not rows:
        return
    yield Heading("Why")
    yield Listing(Layout([_CASE], [[_OUTCOME]], [_WHY]), rows)


def _explained(verdict: Verdict) -> bool:
    return verdict.surprising or verdict.outcome in (Outcome.FAIL, Outcome.ERROR)


def _named(row: Row) -> str:
    verdict: Verdict = row["verdict"]
    return plain(verdict.case if verdict.case == verdict.key else f"{verdict.case}\n{verdict.key}")


def why(verdict: Verdict) -> str:
    """Why a case came out as it did, a line each: the reason, what shows it, what was expected, what to do."""
    lines = [verdict.told]
    if verdict.quote:
        lines.append(f"seen: {verdict.quote[:LONGEST_QUOTE]}")
    if verdict.expected is not None and verdict.surprising:
        lines.append(f"expected: {verdict.expected}")
    lines += [f"advice: {text}" for text in verdict.advice]
    return plain("\n".join(lines))


def broken(text: str) -> str:
    """A text whose longest words a table can wrap."""
    return re.sub(rf"(\S{{{LONGEST_WORD}}})(?=\S)", r"\1" + "\n", text)


_CASE = Column("Case", _named, words=True)
_OUTCOME = Column(
    "",
    lambda row: outcome_text(row["verdict"]),
    tone=lambda row: tone_of(row["verdict"]),
    link=lambda row: anchor_of(row["verdict"]),
)
_WHY = Column("Why", lambda row: broken(why(row["verdict"])), words=True)


def _lacking(campaign: Campaign) -> Iterator[Part]:
    """What those cases need that were not possible on this bench."""
    reasons: dict[str, list[str]] = {}
    for verdict in campaign.verdicts:
        if verdict.outcome is Outcome.BLOCKED:
            reasons.setdefault(verdict.told, []).append(verdict.case)
    if not reasons:
        return
    rows = [{"told": broken(plain(told)), "cases": plain(", ".join(cases))} for told, cases in reasons.items()]
    columns = [Column("What this bench lacks", itemgetter("told"), words=True)]
    yield Heading("Blocked")
    yield Listing(Layout([Column("Cases", itemgetter("cases"), words=True)], [columns], []), rows)


def _advice(campaign: Campaign) -> Iterator[Part]:
    """What could be better although nothing is wrong, or although the case is not possible here."""
    rows = [{"verdict": verdict} for verdict in campaign.verdicts if verdict.advice and not _explained(verdict)]
    if rows:
        told = Column("Advice", lambda row: broken(plain("\n".join(row["verdict"].advice))), words=True)
        yield Heading("Advice")
        yield Listing(Layout([_CASE], [[_OUTCOME]], [told]), rows)


# -- tables of a campaign's own ------------------------------------------------------------------------------------


def grid_listing(grid: Grid) -> Listing:
    """A table that a check drew."""
    rows = [{str(place): plain(cell) for place, cell in enumerate(row)} for row in grid.rows]
    columns = [_of_grid(str(place), plain(heading), rows) for place, heading in enumerate(grid.columns)]
    return Listing(Layout(columns[:1], [columns[1:]], []), rows, plain(grid.title))


def _of_grid(name: str, heading: str, rows: Sequence[Row]) -> Column:
    figures = name != "0" and all(_FIGURE.fullmatch(row.get(name, "")) for row in rows)
    return Column(heading, lambda row: str(row.get(name, "")), words=not figures)


_FIGURE = re.compile(r"[-+]?[\d.,]+ ?[%\w/]{0,8}|-?")
"""What stands flush right: a number with its unit, or nothing."""
