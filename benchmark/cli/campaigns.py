"""Campaigns of checks on the command line: which one a word means, and how it is told."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nvbench.cli.output import write
from nvbench.errors import UsageError

if TYPE_CHECKING:
    from nvbench.campaign import Campaign
    from nvbench.report.document import Part


def campaign_meant(root: Path, spec: str) -> Path | None:
    """The folder of the campaign that a word means; None where it is the runs' to say what it means.

    A campaign is meant by its folder, its name, `latest-check`, `latest-check~1`, and by the start of its name where
    no run's name begins like that.

    Raises:
        UsageError: It means several campaigns, or campaigns and runs.
    """
    from nvbench.campaign import LATEST, find_campaigns, is_campaign, resolve_campaign  # noqa: PLC0415
    from nvbench.runs import find_runs  # noqa: PLC0415

    if is_campaign(root / spec) or is_campaign(Path(spec)) or spec.partition("~")[0] == LATEST:
        return resolve_campaign(root, spec)
    if not spec or not any(path.name.startswith(spec) for path in find_campaigns(root)):
        return None
    runs = [run for run in find_runs(root) if run.label == spec or run.path.name.startswith(spec)]
    if any(spec in (run.label, run.path.name) for run in runs):
        return None
    if runs:
        raise UsageError(f"runs and campaigns start with {spec!r}", place=str(root), remedy="give more of the name")
    return resolve_campaign(root, spec)


def tell(campaign: Campaign, form: str, output: Path | None) -> None:
    """Print a campaign, or write it to a file, in one of the forms of `nvbench report`.

    Raises:
        UsageError: The file cannot be written.
    """
    if form in ("json", "junit"):
        from nvbench.report import campaign_files  # noqa: PLC0415

        write((campaign_files.as_json if form == "json" else campaign_files.as_junit)(campaign), output)
    elif form == "html":
        from nvbench.report.campaign import title  # noqa: PLC0415
        from nvbench.report.campaign_page import SOURCE, page  # noqa: PLC0415
        from nvbench.report.html import as_html  # noqa: PLC0415

        write(as_html(page(campaign, output.parent if output else None), title(campaign), SOURCE), output)
    else:
        from nvbench.report.campaign import whole  # noqa: PLC0415

        tell_parts(whole(campaign), form, output)


def tell_parts(parts: list[Part], form: str, output: Path | None) -> None:
    """Print parts of a report as text or Markdown, or write them to a file.

    Raises:
        UsageError: The file cannot be written.
    """
    from nvbench.report.document import as_markdown, as_text  # noqa: PLC0415
    from nvbench.report.text import print_text, rendered, text_width  # noqa: PLC0415

    if form == "markdown":
        write(as_markdown(parts), output)
    elif output:
        write(rendered(as_text(parts)), output)
    else:
        print_text(as_text(parts, text_width()))
