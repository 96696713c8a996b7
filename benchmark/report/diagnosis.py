"""Diagnoses as parts of a report: the hops as a table, then causes, loads and what cannot be told as short lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nvbench.diagnosis import Contrast, Diagnosis, Finding, Hop, Load, Shift
from nvbench.metrics import NOTHING, number
from nvbench.report.columns import Column, Layout, Row
from nvbench.report.document import Code, Heading, Listing, Paragraph, Part, Points
from nvbench.units import scaled

BRIEF_FROM = 4
"""From so many cases on each gets a line, and the hops are shown for those that are asked for by name."""

QUIET_LOADS = 4
"""Parts that were not saturated and are shown nevertheless, the most loaded ones."""


def diagnosis_parts(diagnoses: Sequence[Diagnosis], *, brief: bool | None = None) -> list[Part]:
    """What there is to say of some cases.

    Args:
        diagnoses: The cases.
        brief: A line each, without hops; None: where there are many.
    """
    if any(each.simulated for each in diagnoses):
        told: list[Part] = [Paragraph("SIMULATED: no device was measured.")]
    else:
        told = []
    if len(diagnoses) >= BRIEF_FROM if brief is None else brief:
        return [*told, *_brief(diagnoses)]
    return [*told, *(part for each in diagnoses for part in _whole(each))]


def _brief(diagnoses: Sequence[Diagnosis]) -> Iterator[Part]:
    case = Column("Case", lambda row: str(row["case"]), words=True)
    others = [
        Column("Trial", lambda row: str(row["trial"])),
        Column("Lost", lambda row: str(row["lost"])),
        Column("Counted", lambda row: str(row["counted"])),
    ]
    why = Column("Why", lambda row: str(row["why"]), words=True)
    yield Listing(Layout([case], [others], [why]), [_line(each) for each in diagnoses])
    yield Paragraph("With the name of a case its frames are told hop by hop.")


def _line(each: Diagnosis) -> Row:
    causes = ", ".join(dict.fromkeys(str(found.cause) for found in each.findings))
    return {
        "case": each.case_id,
        "trial": each.trial_id,
        "lost": NOTHING if each.ledger is None else each.ledger.lost,
        "counted": NOTHING if each.ledger is None else each.ledger.told,
        "why": causes or ("-" if each.ledger and not each.ledger.lost else "not evident"),
    }


def _whole(each: Diagnosis) -> Iterator[Part]:
    yield Heading(each.case_id)
    yield Paragraph(f"{each.headline}.")
    yield Paragraph(f"Trial {each.trial_id} of {each.run_id}: {each.chosen}.")
    if each.ledger is not None:
        yield Listing(_HOPS, [_hop(hop) for hop in each.ledger.hops])
        yield from [Paragraph(each.sum)] if each.sum else []
    if each.findings:
        yield Paragraph("Why:")
        yield from (part for found in each.findings for part in _finding(found))
    if shown := _shown(each.loads):
        yield Paragraph("How loaded:")
        yield Points(tuple(map(_load, shown)))
    if each.untold:
        yield Paragraph("Cannot be told:")
        yield Points(each.untold)


_HOPS = Layout(
    [Column("Hop", lambda row: str(row["hop"]), words=True)],
    [
        [
            Column("In", lambda row: str(row["in"])),
            Column("Out", lambda row: str(row["out"])),
            Column("Dropped", lambda row: str(row["dropped"])),
            Column("Un-\naccounted", lambda row: str(row["unaccounted"])),
        ]
    ],
    [Column("Why", lambda row: str(row["why"]), words=True)],
)


def _hop(hop: Hop) -> Row:
    return {
        "hop": hop.name,
        "in": hop.entered,
        "out": hop.left,
        "dropped": sum(drop.frames for drop in hop.drops) or NOTHING,
        "unaccounted": hop.unaccounted or NOTHING,
        "why": ", ".join(f"{drop.reason} {drop.frames}" for drop in hop.drops) or NOTHING,
    }


def _finding(found: Finding) -> Iterator[Part]:
    frames = f" ({found.frames} frames)" if found.frames else ""
    yield Points((f"{found.cause}{frames}: {found.text}",))
    if quoted := dict.fromkeys(f"  {each.line}" for each in found.evidence):
        yield Code("\n".join(quoted))


def _shown(loads: Sequence[Load]) -> list[Load]:
    """The saturated ones, then the most loaded of the others."""
    quiet = sorted((load for load in loads if not load.saturated and load.share > 0), key=lambda load: -load.share)
    return [*(load for load in loads if load.saturated), *quiet[:QUIET_LOADS]]


def _load(load: Load) -> str:
    return ("SATURATED: " if load.saturated else "") + load.text


# -- two runs ------------------------------------------------------------------------------------------------------


def contrast_parts(contrasts: Sequence[Contrast]) -> list[Part]:
    """What changed between two runs, case by case."""
    parts: list[Part] = []
    if any(each.simulated for each in contrasts):
        parts.append(Paragraph("SIMULATED: no device was measured."))
    for each in contrasts:
        parts += _changed(each)
    return parts


def _changed(each: Contrast) -> Iterator[Part]:
    yield Heading(f"{each.case_id}: {each.new} against {each.base}")
    yield Paragraph(" ".join(_sentences(each)))
    if each.shifts:
        yield Listing(_SHIFTS, [_shift(shift) for shift in each.shifts])
    if each.untold:
        yield Paragraph("Cannot be told:")
        yield Points(each.untold)


def _sentences(each: Contrast) -> Iterator[str]:
    if each.rates:
        before, after = each.rates
        yield f"The rate is {scaled(after, 'pps')}, it was {scaled(before, 'pps')} ({_signed(after / before - 1)})."
    if cost := each.cost:
        difference = cost.after - cost.before
        word = "more" if difference > 0 else "less"
        yield (
            f"The PMD needs {abs(difference):.0f} cycles {word} per packet: {cost.after:.0f}, "
            f"it needed {cost.before:.0f} ({_signed(cost.after / cost.before - 1)})."
        )
    others = [shift for shift in each.shifts if shift.told and shift is not each.cost]
    if others:
        yield (
            ("Changed, too: " if each.cost else "Changed: ")
            + "; ".join(f"{shift.name} {_values(shift)}" for shift in others)
            + "."
        )
    elif not each.cost:
        yield "Nothing of what was sampled changed by more than noise."


def _values(shift: Shift) -> str:
    return f"{_value(shift.before, shift.unit)} -> {_value(shift.after, shift.unit)}"


_SHIFTS = Layout(
    [Column("Quantity", lambda row: str(row["name"]), words=True)],
    [
        [
            Column("Before", lambda row: str(row["before"])),
            Column("After", lambda row: str(row["after"])),
            Column("Change", lambda row: str(row["change"])),
            Column("n", lambda row: str(row["n"])),
            Column("p", lambda row: str(row["p"])),
        ]
    ],
    [Column("Verdict", lambda row: str(row["verdict"]), words=True)],
)


def _shift(shift: Shift) -> Mapping[str, Any]:
    return {
        "name": shift.name,
        "before": _value(shift.before, shift.unit),
        "after": _value(shift.after, shift.unit),
        "change": _signed(shift.after / shift.before - 1) if shift.before else NOTHING,
        "n": f"{len(shift.base)}+{len(shift.new)}",
        "p": "<0.001" if shift.p < 0.001 else f"{shift.p:.3f}",
        "verdict": shift.verdict,
    }


def _value(value: float, unit: str) -> str:
    if unit == "1":
        return f"{number(value * 100, 3)} %"
    return scaled(value, "Hz") if unit == "hertz" else number(value)


def _signed(ratio: float) -> str:
    return f"{ratio * 100:+.1f} %"
