"""`nvbench plan`: what a run would do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nvbench.plan import Plan
    from nvbench.versus import Versus

VERSUS_HELP = "Measure it in turn with a variant of it; also testbed.KEY=VALUE. `same`: with itself."
BLOCKS_HELP = "With --versus, how often each case is measured on each side."


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked on the command line."""

    profile: str
    testbed: str | None
    overrides: tuple[str, ...]
    quick: bool
    versus: tuple[str, ...] = ()
    blocks: int | None = None


@click.command("plan")
@click.argument("profile")
@click.option("--testbed", "-t", metavar="NAME|FILE", help="Where to run; default: local, or simulated.")
@click.option("-s", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of the profile.")
@click.option("--quick/--full", help="Lay the profile's quick section over it; default: full.")
@click.option("--versus", multiple=True, metavar="KEY=VALUE,...|same", help=VERSUS_HELP)
@click.option("--blocks", type=click.IntRange(1, 10_000), metavar="N", help=BLOCKS_HELP)
def command(
    *,
    profile: str,
    testbed: str | None,
    overrides: tuple[str, ...],
    quick: bool,
    versus: tuple[str, ...],
    blocks: int | None,
) -> None:
    """Show what a run of PROFILE would do; touches nothing."""
    from nvbench.changes import describe_changes  # noqa: PLC0415 - heavy

    request = Request(profile, testbed, overrides, quick, versus, blocks)
    plan, both = planned(request), planned_versus(request)
    if both:
        changes = dict.fromkeys(change for each in (both.base, both.new) for change in describe_changes(each))
        lines = rendered(both.base, list(changes), both)
    else:
        lines = rendered(plan, describe_changes(plan))
    for line in lines:
        click.echo(line)


def planned(request: Request) -> Plan:
    """The plan that was asked for.

    Raises:
        UsageError: The profile, the testbed or their match has faults.
    """
    from nvbench.versus import Change  # noqa: PLC0415 - heavy

    return Change().plan(request.profile, request.testbed, request.overrides, quick=request.quick)


def planned_versus(request: Request) -> Versus | None:
    """The two plans that are to be measured in turn, where that was asked for.

    Raises:
        UsageError: The change has faults, changes nothing, or leaves cases that cannot be compared.
    """
    from nvbench.errors import UsageError  # noqa: PLC0415
    from nvbench.versus import Change, make_versus  # noqa: PLC0415 - heavy

    if not request.versus:
        if request.blocks:
            raise UsageError("is of two sides measured in turn", place="--blocks", remedy="add --versus, or drop it")
        return None
    change = Change.parse(request.versus)
    new = change.plan(request.profile, request.testbed, request.overrides, quick=request.quick)
    return make_versus(planned(request), new, change, request.blocks)


def rendered(plan: Plan, changes: list[str], versus: Versus | None = None) -> list[str]:
    """A plan as lines of text; of two plans measured in turn it is the one without the change."""
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
    bring_ups = versus.bring_ups if versus else plan.bring_ups
    told = (
        "simulated trials take no time"
        if plan.simulated
        else (f"{profile.drain_s:g} s of waiting after each trial, {_count(bring_ups, 'set-up')} of {SETUP_S:g} s")
    )
    lines += _in_turn(versus) if versus else []
    lines += ["", "What it would do:", *(f"  {change}" for change in changes)]
    expected_s = versus.expected_s if versus else plan.expected_s
    lines += ["", f"Expected time: {duration(expected_s)}; {told}"]
    return lines


def _in_turn(versus: Versus) -> list[str]:
    """What it means for a plan to be measured in turn with another."""
    from nvbench.versus import SAME  # noqa: PLC0415 - heavy

    orders = " ".join("AB" if block % 2 == 0 else "BA" for block in range(min(versus.blocks, 4)))
    more = " ..." if versus.blocks > 4 else ""
    new = "the same again" if str(versus.change) == SAME else f"the same with {versus.change}"
    blocks = _count(versus.blocks, "block")
    return ["", f"Measured in turn in {blocks}, {orders}{more}; A: as above, B: {new}"]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
