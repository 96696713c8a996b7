"""`nvbench plan`: what a run would do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nvbench.plan import Plan


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked on the command line."""

    profile: str
    testbed: str | None
    overrides: tuple[str, ...]
    quick: bool


@click.command("plan")
@click.argument("profile")
@click.option("--testbed", "-t", metavar="NAME|FILE", help="Where to run; default: local, or simulated.")
@click.option("-s", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of the profile.")
@click.option("--quick/--full", help="Lay the profile's quick section over it; default: full.")
def command(profile: str, testbed: str | None, overrides: tuple[str, ...], quick: bool) -> None:
    """Show what a run of PROFILE would do; touches nothing."""
    from nvbench.changes import describe_changes  # noqa: PLC0415 - heavy

    plan = planned(Request(profile, testbed, overrides, quick))
    for line in rendered(plan, describe_changes(plan)):
        click.echo(line)


def planned(request: Request) -> Plan:
    """The plan that was asked for.

    Raises:
        UsageError: The profile, the testbed or their match has faults.
    """
    from nvbench.plan import make_plan  # noqa: PLC0415 - heavy
    from nvbench.profile import load_profile  # noqa: PLC0415
    from nvbench.testbed import load_testbed  # noqa: PLC0415

    profile = load_profile(request.profile, request.overrides, request.quick)
    return make_plan(profile, load_testbed(request.testbed or profile.default_testbed))


def rendered(plan: Plan, changes: list[str]) -> list[str]:
    """A plan as lines of text."""
    from nvbench.plan import SETUP_S, expectation  # noqa: PLC0415 - heavy
    from nvbench.units import duration, scaled  # noqa: PLC0415

    profile, setups = plan.profile, list(plan.setups)
    tests = expectation(profile)
    width = max(len(case.case_id) for case in plan.cases)
    lines = [
        f"{profile.name}: {profile.description}" if profile.description else profile.name,
        f"testbed {plan.testbed.name}"
        + (f", links of {scaled(plan.link_bps, 'bit/s')}" if plan.link_bps else "")
        + (", simulated" if plan.simulated else ""),
        f"{_count(len(plan.cases), 'case')} in {_count(len(setups), 'set-up')}; in each: {', '.join(tests)}",
        "",
        f"{'case':<{width}}  {'line rate':>12}  {'expected':>12}",
    ]
    for case in plan.cases:
        rate = scaled(case.line_rate_pps, "pps") if case.line_rate_pps else "-"
        lines.append(f"{case.case_id:<{width}}  {rate:>12}  {duration(case.expected_s):>12}")
    if plan.impossible:
        lines += ["", "Not possible here:", *(f"  {each.case.case_id}: {each.reason}" for each in plan.impossible)]
    lines += ["", "Trials in each case:", *(f"  {name}: {trials}" for name, trials in tests.items())]
    told = (
        "simulated trials take no time"
        if plan.simulated
        else (f"{profile.drain_s:g} s of waiting after each trial, {_count(plan.bring_ups, 'set-up')} of {SETUP_S:g} s")
    )
    lines += ["", "What it would do:", *(f"  {change}" for change in changes)]
    lines += ["", f"Expected time: {duration(plan.expected_s)}; {told}"]
    return lines


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
