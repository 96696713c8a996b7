"""`nvbench clean`."""

from __future__ import annotations

import click


@click.command("clean")
@click.argument("testbed", required=False)
def command(testbed: str | None) -> None:
    """Undo what a killed run left behind on TESTBED (default: on every testbed that this machine remembers)."""
    from nvbench.bench import reach  # noqa: PLC0415 - heavy
    from nvbench.journal import left_behind, locked  # noqa: PLC0415
    from nvbench.testbed import load_testbed  # noqa: PLC0415

    remembered = left_behind()
    if testbed is None and not remembered:
        click.echo("nothing was left behind")
        return
    for name in [testbed] if testbed else remembered:
        bed = load_testbed(name)
        with locked(bed.name, reach(bed), bed.source):
            pass  # holding the lock undoes what is in the journal
        click.echo(f"{bed.name}: as it was found")
