"""A campaign as a page: its report, and below it the evidence of each case, folded away."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from nvbench.campaign import EVIDENCE, Campaign, Verdict
from nvbench.report.campaign import anchor_of, grid_listing, outcome_text, plain, whole
from nvbench.report.columns import Column, Layout
from nvbench.report.document import Code, Details, Files, Heading, Listing, Paragraph, Part, Points, Tone
from nvbench.report.page import MOST_LINES, fingerprint_parts

SOURCE = "from the campaign's folder alone. Every outcome leads to the evidence that it rests on."
"""How the last line of the page ends."""

TEXTS = frozenset({".txt", ".log", ".json", ".csv", ".yaml", ".xml", ".md"})
"""Suffixes of what stands on the page itself."""

MOST_CHARACTERS = 16_000
"""Of a file that does: the first and the last of them."""


def page(campaign: Campaign, place: Path | None = None) -> list[Part]:
    """The report as a page has it.

    Args:
        campaign: Of what.
        place: The folder that the page will stand in: in or beside the campaign's, it links to captures.
    """
    parts = whole(campaign)
    if campaign.fingerprint:
        parts += [*([] if campaign.bench else [Heading("Set-up")]), *fingerprint_parts(campaign.fingerprint)]
    if campaign.verdicts:
        parts.append(Heading("Evidence"))
    seen_from = _way(campaign.path, place)
    for path in dict.fromkeys(verdict.path for verdict in campaign.verdicts):
        parts.append(Heading(path, 3))
        parts += [_evidence(campaign, each, seen_from) for each in campaign.verdicts if each.path == path]
    return parts


def _way(folder: Path, place: Path | None) -> PurePosixPath | None:
    """The campaign's folder as seen from the page; None where the page stands elsewhere."""
    if place is None:
        return None
    folder, place = folder.resolve(), place.resolve()
    near = place in (folder, folder.parent) or folder in place.parents
    return PurePosixPath(os.path.relpath(folder, place)) if near else None


def _evidence(campaign: Campaign, verdict: Verdict, seen_from: PurePosixPath | None) -> Details:
    told = f"{outcome_text(verdict)} {verdict.case}, {verdict.title}: {verdict.told}"
    parts: list[Part] = []
    if verdict.observations:
        parts.append(_observations(verdict))
    parts += [grid_listing(grid) for grid in verdict.grids]
    if verdict.advice:
        parts.append(Points(tuple(f"advice: {plain(text)}" for text in verdict.advice)))
    parts += _files(campaign.evidence(verdict), verdict, seen_from)
    parts.append(Paragraph(f"`nvbench check {verdict.key}` looks at this alone; it took {verdict.seconds:.1f} s."))
    return Details(plain(told), tuple(parts), anchor_of(verdict))


def _observations(verdict: Verdict) -> Listing:
    rows = [{"seen": seen} for seen in verdict.observations[:MOST_LINES]]
    left = len(verdict.observations) - len(rows)
    columns = [
        Column("What was seen", lambda row: plain(row["seen"].told), words=True),
        Column("Shown by", lambda row: plain(row["seen"].quote), words=True),
    ]
    return Listing(Layout([_SIGN], [columns], []), rows, f"{left:,} more are in campaign.json" if left else "")


_SIGN = Column(
    "",
    lambda row: "\N{CHECK MARK}" if row["seen"].holds else "\N{BALLOT X}",
    tone=lambda row: Tone.GOOD if row["seen"].holds else Tone.BAD,
)


def _files(folder: Path, verdict: Verdict, seen_from: PurePosixPath | None) -> Iterator[Part]:
    others: list[tuple[str, str]] = []
    for named in verdict.files:
        name = PurePosixPath(named).name  # whoever wrote the record, nothing outside of the folder is shown
        file = folder / name
        if file.is_symlink() or not file.is_file():
            others.append((f"{plain(name)} is not there any more", ""))
        elif file.suffix in TEXTS:
            yield Details(plain(name), (Code(_shortened(file)),))
        elif seen_from is None:
            others.append((plain(str(file)), ""))
        else:
            others.append((plain(name), quote(str(seen_from / EVIDENCE / verdict.case / name))))
    if others:
        yield Files(tuple(others))


def _shortened(file: Path) -> str:
    try:
        text = plain(file.read_text(errors="replace"))
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    head, tail = text[:half].rpartition("\n")[0] or text[:half], text[-half:].partition("\n")[2] or text[-half:]
    return f"{head}\n... {len(text) - len(head) - len(tail):,} characters are left out here ...\n{tail}"
