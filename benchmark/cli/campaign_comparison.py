"""`nvbench compare` of two campaigns of checks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nvbench.cli.campaigns import campaign_meant, tell_parts
from nvbench.cli.output import write
from nvbench.errors import UsageError

if TYPE_CHECKING:
    from nvbench.campaign import Campaign
    from nvbench.comparison.campaigns import CampaignComparison

OF_RUNS = {"metrics": "--metric", "rows": "--row", "columns": "--col", "kept": "--filter", "power": "--power"}
"""What is asked of runs alone, and the option that does."""


def campaigns_meant(root: Path, base: str, new: str) -> tuple[Campaign, Campaign] | None:
    """The campaigns that two words mean; None where both are the runs'.

    Raises:
        UsageError: One means a campaign, and the other does not.
    """
    from nvbench.campaign import Campaign  # noqa: PLC0415

    found = {name: campaign_meant(root, name) for name in (base, new)}
    other = next((name for name, path in found.items() if path is None), None)
    if other is None:
        before, after = (Campaign.read(path) for path in (found[base], found[new]) if path)
        return before, after
    if any(found.values()):
        remedy = "`nvbench list` shows the campaigns below the runs"
        raise UsageError(
            "a campaign of checks is compared with another one, and this is none", place=other, remedy=remedy
        )
    return None


def compare_campaigns(base: Campaign, new: Campaign, asked: dict[str, Any]) -> int:
    """Tell what changed between two campaigns; the exit code.

    Raises:
        UsageError: Something is asked that campaigns do not have.
    """
    from nvbench.comparison import campaigns  # noqa: PLC0415

    if lacking := [option for name, option in OF_RUNS.items() if asked[name]]:
        raise UsageError("is for runs, and these are campaigns of checks", place=lacking[0], remedy="leave it out")
    comparison = campaigns.compare_campaigns(base, new, asked["expect"] or None)
    _tell(comparison, asked["form"], asked["output"])
    if asked["strict"] and comparison.environments_differ:
        click.echo("nvbench: environments differ (--strict)", err=True)
        return 1
    changed = [case for case in comparison.cases if case.turn is not campaigns.Turn.SAME]
    failing = {"regression": comparison.regressions, "change": changed, None: ()}[asked["fail_on"]]
    if failing:
        told = f"{len(failing)} {'case' if len(failing) == 1 else 'cases'}"
        click.echo(f"nvbench: {told} (--fail-on {asked['fail_on']})", err=True)
    return 1 if failing else 0


def _tell(comparison: CampaignComparison, form: str, output: Path | None) -> None:
    from nvbench.report import campaign_comparison as report  # noqa: PLC0415

    if form in ("json", "junit"):
        write((report.as_json if form == "json" else report.as_junit)(comparison), output)
        return
    if form == "csv":
        raise UsageError("campaigns of checks have no such form", place="--format csv", remedy="json has all of it")
    parts = report.campaign_comparison_parts(comparison)
    if form != "html":
        tell_parts(parts, form, output)
        return
    from nvbench.report.html import as_html  # noqa: PLC0415

    write(as_html(parts, "nvbench compare", "from the folders of both campaigns alone."), output)
