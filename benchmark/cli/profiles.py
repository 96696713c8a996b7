"""`nvbench profiles`: what comes with nvbench."""

from __future__ import annotations

import click


@click.command("profiles")
def command() -> None:
    """List the profiles and testbeds that come with nvbench."""
    from nvbench.profile import packaged_profiles  # noqa: PLC0415 - heavy
    from nvbench.testbed import packaged_testbeds  # noqa: PLC0415

    sections = {"Profiles": packaged_profiles(), "Testbeds": packaged_testbeds()}
    width = max(len(name) for names in sections.values() for name in names)
    for title, names in sections.items():
        click.echo(f"{title}:")
        for name, description in names.items():
            click.echo(f"  {name:<{width}}  {description}")
