"""Why one path is faster than another, as a table below the results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from nvbench.attribution import Effect, Explanation, explain
from nvbench.attribution.words import percent, times
from nvbench.errors import UsageError
from nvbench.reading import Results
from nvbench.report.columns import Column
from nvbench.report.text import table as text_table

ENDPOINTS = "endpoints."
"""What the names of the endpoints' settings begin with."""

_NAME = Column("Difference", lambda row: str(row["name"]), words=True)
_FACTOR = Column("Factor\n(95 %)", lambda row: times(row["factor"], row["low"], row["high"]))
_SHARE = Column("Of the gap\n(95 %)", lambda row: percent(row["share"], row["share_low"], row["share_high"]))
_NOISE = Column("", lambda row: "within noise" if row["noise"] else "", words=True)


def explained(results: Results) -> Group | None:
    """Why the paths of a run differ, where it switched the endpoints' offloads to find out; None where it did not."""
    rows = results.table("streams").to_pylist()
    switched = {
        (each["name"], each["value"]) for row in rows for each in row["settings"] if each["name"].startswith(ENDPOINTS)
    }
    if len(switched) == len({name for name, _ in switched}):
        return None
    try:
        return table(explain(rows))
    except UsageError as error:
        return Group(Text(f"no explanation: {error}"))


def table(explanation: Explanation) -> Group:
    """The sentence, the parts of the gap, what acts together, what gives some of it back, and the warnings."""
    return Group(*_parts(explanation))


def _parts(explanation: Explanation) -> Iterator[RenderableType]:
    yield Text(f"{explanation.fast_case} against {explanation.slow_case}", style="bold")
    yield Text()
    yield Text(explanation.sentence)
    yield Text()
    ends = (explanation.gap_factor, explanation.low, explanation.high)
    whole = Effect("all of the gap", *ends, share=1.0, share_low=1.0, share_high=1.0)
    yield text_table([_NAME, _FACTOR, _SHARE, _NOISE], [*map(_row, (*explanation.effects, whole))])
    yield Text()
    if explanation.regained:
        yield text_table([_headed("Gives back"), _FACTOR, _SHARE, _NOISE], [*map(_row, explanation.regained)])
        yield Text()
    if explanation.interactions:
        rows = [*map(_row, explanation.interactions)]
        yield text_table([_headed("Together, over each alone"), _FACTOR], rows)
        yield Text()
    yield from (Text(f"warning: {text}", style="yellow") for text in explanation.warnings)


def _headed(heading: str) -> Column:
    return Column(heading, _NAME.cell, words=True)


def _row(effect: Effect) -> Mapping[str, Any]:
    return {**asdict(effect), "noise": effect.noise}
