"""`nvbench label`: what people call a run."""

from __future__ import annotations

from pathlib import Path

import click

from nvbench.errors import UsageError


@click.command("label")
@click.argument("run")
@click.argument("name", default="")
@click.option("--remove", is_flag=True, help="Take the label away.")
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(run: str, name: str, remove: bool, results: Path) -> None:
    """Call RUN by NAME: `nvbench compare NAME latest` then finds it.

    RUN may mean several, as in `nvbench compare`: they then share the label, as a baseline of several runs does.
    """
    from nvbench.runs import resolve_runs, set_label  # noqa: PLC0415 - heavy

    if remove == bool(name):
        raise UsageError("needs a name, or --remove, and not both", place="label", remedy="nvbench label RUN NAME")
    for path in resolve_runs(results, run):
        set_label(path, name)
        click.echo(f"{path.name}: {f'called {name!r}' if name else 'has no label'}")
