"""The whole report of one run or of several: what a manager reads first, and below it what an engineer checks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nvbench.attribution import Explanation
from nvbench.errors import NvbenchError
from nvbench.reading import Results
from nvbench.report.again import again_parts
from nvbench.report.changes import compared
from nvbench.report.columns import Column, Layout, Row
from nvbench.report.document import (
    Code,
    Details,
    Heading,
    Listing,
    Notice,
    Paragraph,
    Part,
    Points,
    Tone,
)
from nvbench.report.evidence import ALL, Measured, finite, gathered, trials_parts
from nvbench.report.layouts import layout
from nvbench.report.pictures import pictures
from nvbench.report.processor import processor_parts
from nvbench.report.rfc2544 import STREAMS, rfc2544_report
from nvbench.report.scaling import by_flows, by_queues
from nvbench.report.summary import findings, notices
from nvbench.report.text import rendered
from nvbench.report.why import explanation_of, why_parts

MOST_ROWS = 1000
"""Rows of a table of results that a page shows."""

MOST_LINES = 200
"""Lines of a list, likewise."""

CODE_WIDTH = 110
"""Characters in a line of what is shown as it is printed."""

PICTURED = {"26.1 Throughput": "throughput", "26.2 Latency": "latency", "26.3 Frame loss rate": "frame_loss"}
"""Chapters of the report in RFC 2544's order that have charts, and the tests that these are of."""

CONDITIONS, WARNINGS = "Conditions", "Deviations and warnings"
UNMEASURED = "Not measured."

_NO_NUMBER = re.compile(r"\b(nan|inf)( frames/s|\.$)")

Chapters = dict[str, list[Part]]


def page(results: Results) -> list[Part]:
    """The report as a page has it.

    Raises:
        StoreError: The tables cannot be read.
    """
    runs = gathered(results)
    why = {each.name: explanation_of(each.results) for each in runs}
    chapters = {each.name: _chapters(each) for each in runs}
    parts: list[Part] = [Heading(title(results), 1), *_lead(runs), *_summary(results, runs, why)]
    for heading in dict.fromkeys(heading for told in chapters.values() for heading in told):
        if heading not in (CONDITIONS, WARNINGS):
            parts += _chapter(heading, runs, [told.get(heading, []) for told in chapters.values()])
    parts += _for_each("Why paths differ", runs, lambda each: list(why_parts(why[each.name])))
    parts += _for_each("Queues and flows", runs, _scaling)
    parts += _for_each("CPU and cycles", runs, lambda each: list(processor_parts(each.results, each.rows)), NO_SAMPLES)
    parts += _for_each("Diagnosis", runs, _diagnosis)
    parts += _for_each(CONDITIONS, runs, lambda each: [*chapters[each.name][CONDITIONS], *_fingerprint(each)])
    parts += _for_each(WARNINGS, runs, lambda each: chapters[each.name][WARNINGS])
    parts += _for_each("Run this again", runs, lambda each: again_parts(each.run))
    return [*parts, *_for_each(ALL.capitalize(), runs, lambda each: list(trials_parts(each)), "No trials are stored.")]


def _summary(results: Results, runs: Sequence[Measured], why: Mapping[str, Explanation | str]) -> Iterator[Part]:
    """What each run found; of several, before that and at length, how the first compares with the others."""
    lead, comparison = compared(results) if len(runs) > 1 else ([], [])
    yield from (Heading("Summary"), *notices(runs), *lead)
    for each in runs:
        told = [*findings(each), *_sentence(why[each.name])]
        yield from told if len(runs) == 1 else [Details(f"{each.name} by itself", tuple(told))]
    if comparison:
        link = _of_change(runs)
        yield from (Heading("Comparison"), *(_within(part, link) for part in comparison))


def brief(results: Results) -> list[Part]:
    """The report for a terminal or a pull request: the summary, the comparison of several runs, and RFC 2544's order.

    Raises:
        StoreError: The tables cannot be read.
    """
    lead, comparison = compared(results) if len(results.runs) > 1 else ([], [])
    parts: list[Part] = [*lead, *comparison]
    for each in gathered(results):
        told = rfc2544_report(each.results)
        chapters = next(place for place, part in enumerate(told) if isinstance(part, Heading) and part.level == 2)
        parts += [*told[:chapters], Heading("Summary"), *findings(each), *told[chapters:]]
    return parts


NO_SAMPLES = "Nothing is known: no samples of processors were stored with the trials that carry the results."


def title(results: Results) -> str:
    """What a report of these runs is called."""
    names = list(dict.fromkeys(f"{run.profile_name} on {run.testbed_name}" for run in results.runs))
    return names[0] if len(names) == 1 else f"{len(results.runs)} runs: {', '.join(names[:3])}"


def _lead(runs: Sequence[Measured]) -> Iterator[Part]:
    for each in runs:
        run = each.run
        label = f"{each.name}: " if each.name != run.run_id else ""
        yield Paragraph(f"{label}run {run.run_id}, {run.started_at:%Y-%m-%d %H:%M} UTC")


def _named(runs: Sequence[Measured], each: Measured) -> list[Part]:
    return [Heading(each.name, 3)] if len(runs) > 1 else []


def _for_each(
    heading: str, runs: Sequence[Measured], make: Callable[[Measured], list[Part]], otherwise: str = ""
) -> list[Part]:
    """A chapter that has a part for each run; none where there is nothing to say."""
    parts: list[Part] = []
    for each in runs:
        if made := make(each):
            parts += [*_named(runs, each), *map(_capped, made)]
    if not parts and otherwise:
        parts = [Paragraph(otherwise)]
    return [Heading(heading), *parts] if parts else []


# -- the chapters of RFC 2544 --------------------------------------------------------------------------------------


def _chapters(measured: Measured) -> Chapters:
    """The report in RFC 2544's order, by heading, without the chapters that have nothing to say."""
    found: Chapters = {}
    heading = ""
    for part in rfc2544_report(measured.results):
        match part:
            case Heading(text, 2):
                heading = text
                found[heading] = []
            case Paragraph(text) if text.startswith("`at`") or _NO_NUMBER.search(text):
                continue  # what is said of steps side by side, or of a rate that is none
            case _ if heading:
                found[heading].append(_evident(part, measured))
    return {heading: parts for heading, parts in found.items() if parts != [Paragraph(UNMEASURED)]}


def _evident(part: Part, measured: Measured) -> Part:
    """A table whose numbers lead to their trials."""
    if not isinstance(part, Listing):
        return part
    if part.rows and "load_share" not in part.rows[0]:  # steps side by side: one result each leads somewhere
        rows = [row for row in measured.rows if row["test"] == "frame_loss"]
        return _capped(Listing(layout("frame_loss", rows[:MOST_ROWS]), rows, link=_anchor))
    anchors = {_identity(row): row["anchor"] for row in measured.rows}
    known = [finite(row) for row in part.rows]
    return _capped(replace(part, rows=known, link=lambda row: anchors.get(_identity(row), ALL)))


def _identity(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("case_id", "test", "goal_loss_ratio", "load_share", "block", "finished_at"))


def _anchor(row: Row) -> str:
    return str(row["anchor"])


def _capped(part: Part) -> Part:
    """A part of bounded length, which says that it is."""
    if isinstance(part, Listing) and len(part.rows) > MOST_ROWS:
        told = f"The first {MOST_ROWS:,} of {len(part.rows):,} rows; all of them: `nvbench export`."
        return replace(part, rows=part.rows[:MOST_ROWS], caption=f"{part.caption} {told}".strip())
    if isinstance(part, Points) and len(part.lines) > MOST_LINES:
        return Points((*part.lines[:MOST_LINES], f"and {len(part.lines) - MOST_LINES:,} more."))
    return part


def _chapter(heading: str, runs: Sequence[Measured], told: Sequence[list[Part]]) -> Iterator[Part]:
    """A chapter: the charts of all runs together, then what each of them says."""
    yield Heading(heading)
    test = PICTURED.get(heading, "streams" if heading == STREAMS else "")
    common = [part for part in told[0] if all(part in parts for parts in told)] if len(runs) > 1 else []
    yield from (part for part in common if isinstance(part, Paragraph))
    if test:
        yield from pictures(test, runs)
    for each, parts in zip(runs, told, strict=True):
        if own := [part for part in parts if part not in common]:
            yield from _named(runs, each)
            yield from own


def _within(part: Part, link: Callable[[Row], str]) -> Part:
    """A part of a chapter: a heading of its own is below the chapter's, and numbers lead to their trials."""
    if isinstance(part, Heading):
        return Heading(part.text, 3)
    if isinstance(part, Listing) and part.rows and ("change" in part.rows[0] or "trial" in part.rows[0]):
        return _capped(replace(part, link=link))
    return _capped(part)


def _of_change(runs: Sequence[Measured]) -> Callable[[Row], str]:
    """Where the trials of a change are, of its new side if they are shown."""
    places = {(each.run.run_id, name): anchor for each in runs for name, anchor in each.places.items()}

    def link(row: Row) -> str:
        observed = [each for side in ("new", "base") for each in getattr(row["change"], side).observations]
        names = [(each.run_id, trial) for each in observed for trial in each.trial_ids]
        return next((places[name] for name in names if name in places), ALL)

    return link


# -- chapters beyond it --------------------------------------------------------------------------------------------


def _sentence(why: Explanation | str) -> list[Part]:
    return [] if isinstance(why, str) else [Notice(why.sentence)]


def _scaling(measured: Measured) -> list[Part]:
    """What queues bring, and where packets of more flows find their action."""
    found = [made(measured.results) for made in (by_queues, by_flows)]
    return [Code(rendered(told, CODE_WIDTH).strip("\n")) for told in found if told is not None]


def _diagnosis(measured: Measured) -> list[Part]:
    from nvbench.diagnosis import diagnose  # noqa: PLC0415
    from nvbench.report.diagnosis import diagnosis_parts  # noqa: PLC0415

    def link(row: Row) -> str:
        return measured.places.get(row["trial"], ALL)

    try:
        return [_within(part, link) for part in diagnosis_parts(diagnose(measured.results))]
    except NvbenchError as error:
        return [Notice(f"No diagnosis: {error}", Tone.WARN)]


def _fingerprint(measured: Measured) -> list[Part]:
    found = fingerprint_parts(measured.run.fingerprint)
    return found or [Notice("This run stored no fingerprint of its bench.", Tone.WARN)]


def fingerprint_parts(fingerprint: Mapping[str, Any]) -> list[Part]:
    """What a bench was, fact by fact, folded away; nothing where nothing is known."""
    facts = [{"name": name, "value": value} for name, value in flattened(fingerprint)]
    listing = Listing(_FACTS, facts, "What the bench was, as it was found")
    return [Details(f"Fingerprint: {len(facts)} facts", (listing,))] if facts else []


def flattened(facts: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested facts, each under a dotted name."""
    for name, value in facts.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{above}{name}.")
        elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
            yield from flattened({str(place): item for place, item in enumerate(value)}, f"{above}{name}.")
        else:
            yield f"{above}{name}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)


_FACTS = Layout(
    [Column("Fact", lambda row: str(row["name"]), words=True)],
    [[Column("Value", lambda row: str(row["value"]), words=True)]],
    [],
)
