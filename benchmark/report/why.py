"""Why one path is faster than another, as a chapter of a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nvbench.attribution import Effect, Explanation, explain
from nvbench.attribution.words import percent, times
from nvbench.errors import UsageError
from nvbench.reading import Results
from nvbench.report.attribution import ENDPOINTS
from nvbench.report.bars import Bar, Bars
from nvbench.report.columns import Column, Layout
from nvbench.report.document import Listing, Notice, Paragraph, Part, Picture, Points, Tone
from nvbench.report.scales import Axis


def explanation_of(results: Results) -> Explanation | str:
    """Why the paths of a run differ, or why that is not known; empty where it switched no offloads of the endpoints."""
    rows = results.table("streams").to_pylist()
    switched = {
        (each["name"], each["value"])
        for row in rows
        for each in row["settings"] or ()
        if each["name"].startswith(ENDPOINTS)
    }
    if len(switched) == len({name for name, _ in switched}):
        return ""
    try:
        return explain(rows)
    except UsageError as error:
        return f"No explanation: {error}"


def why_parts(explanation: Explanation | str) -> Iterator[Part]:
    """The answer in words, the parts of the gap drawn and in numbers, and what to mind."""
    if isinstance(explanation, str):
        yield from [Notice(explanation, Tone.WARN)] if explanation else []
        return
    yield Paragraph(f"{explanation.fast_case} against {explanation.slow_case}.")
    yield Paragraph(explanation.sentence)
    yield _picture(explanation)
    yield _table(explanation.effects, "Parts of the gap")
    for effects, caption in (
        (explanation.regained, "What gives some of it back"),
        (explanation.interactions, "What two bring together, over each alone"),
    ):
        if effects:
            yield _table(effects, caption)
    if explanation.warnings:
        yield Points(tuple(explanation.warnings))


def _picture(explanation: Explanation) -> Picture:
    bars = tuple(
        Bar(
            effect.name,
            (effect.share * 100,),
            percent(effect.share),
            f"{effect.name}: {percent(effect.share, effect.share_low, effect.share_high)} of the gap",
            effect.share_low * 100,
            effect.share_high * 100,
            6 if effect.noise else 0,
        )
        for effect in explanation.effects
    )
    caption = "Part of the gap that each difference explains, with its 95 % interval; what is within noise is grey."
    return Picture(Bars("What makes the gap", Axis("part of the gap, %"), bars), caption)


def _table(effects: Sequence[Effect], caption: str) -> Listing:
    columns = [
        Column("Factor\n(95 %)", lambda row: times(row["effect"].factor, row["effect"].low, row["effect"].high)),
        Column("Of the gap\n(95 %)", lambda row: percent(*(getattr(row["effect"], name) for name in _SHARES))),
        Column("", lambda row: "within noise" if row["effect"].noise else "", words=True),
    ]
    name = Column("Difference", lambda row: str(row["effect"].name), words=True)
    return Listing(Layout([name], [columns], []), [{"effect": effect} for effect in effects], caption)


_SHARES = ("share", "share_low", "share_high")
