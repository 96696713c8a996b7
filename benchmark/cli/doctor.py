"""`nvbench doctor`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nvbench.doctor import Check
    from nvbench.hosts import Host
    from nvbench.testbed import Testbed

SIGNS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "missing": "[red]missing[/]"}


@click.command("doctor")
@click.option("--testbed", "-t", default="local", show_default=True, help="Name or file of the testbed.")
@click.option("--fix", is_flag=True, help="Install what is missing.")
@click.pass_context
def command(ctx: click.Context, testbed: str, fix: bool) -> None:
    """Say whether the hosts of a testbed are ready, and how to mend what is not.

    Exit code 3 if something is missing.
    """
    from nvbench.bench import reach  # noqa: PLC0415 - heavy
    from nvbench.doctor import examine, mend, missing, roles  # noqa: PLC0415
    from nvbench.testbed import load_testbed  # noqa: PLC0415

    bed = load_testbed(testbed)
    if bed.simulated:
        click.echo("a simulated testbed needs nothing")
        return
    ready = True
    for name, host in reach(bed).items():
        checks = examine(host, of=roles(bed)[name])
        if fix and (installed := mend(host, checks)):
            click.echo(f"host {name}: installed {' '.join(installed)}")
            checks = examine(host, of=roles(bed)[name])
        _show(name, checks)
        ready = ready and not missing(checks)
        if name == bed.generator.host:
            _show_generators(host, bed)
    if not ready:
        click.echo(f"mend it with: nvbench doctor --fix --testbed {testbed}", err=True)
        ctx.exit(3)


def _show(name: str, checks: list[Check]) -> None:
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("check", "state", "found", "to mend it", title=f"host {name}", title_justify="left", box=None)
    for check in checks:
        table.add_row(check.name, SIGNS[check.state], check.found, check.remedy)
    Console().print(table)


def _show_generators(host: Host, bed: Testbed) -> None:
    """Which generators a host has, the best first; those that are built are built now."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    from nvbench.bench import BUILD_FOLDER  # noqa: PLC0415
    from nvbench.generators import KINDS  # noqa: PLC0415

    table = Table("generator", "", "", title=f"host {host.name} can send with", title_justify="left", box=None)
    for kind in KINDS:
        lacking = kind.missing(host, bed.generator.programs.get(kind.name, ""))
        made = "" if lacking else kind.prepare(host, BUILD_FOLDER)
        table.add_row(kind.name, "[yellow]no[/]" if lacking else "[green]yes[/]", lacking or str(made or ""))
    Console().print(table)
