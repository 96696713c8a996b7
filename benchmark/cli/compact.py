"""`nvbench compact`: merge the small files of old runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nvbench.compact import Tidied


@click.command("compact")
@click.argument("names", metavar="[RUN]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="All runs there are.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; touch nothing.")
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(names: tuple[str, ...], every: bool, dry_run: bool, results: Path) -> int:
    """Merge the parts of each RUN into one file a table, and remove what killed runs left.

    A run that is still being written is passed over. It is safe to stop this, and to read the runs meanwhile.
    """
    from nvbench.compact import compact  # noqa: PLC0415 - heavy
    from nvbench.errors import NotReadyError, NvbenchError, UsageError  # noqa: PLC0415
    from nvbench.runs import find_runs, resolve_runs  # noqa: PLC0415
    from nvbench.units import scaled  # noqa: PLC0415

    if every == bool(names):
        raise UsageError("name the runs to tidy, or say --all", place="nvbench compact")
    paths = [run.path for run in find_runs(results)] if every else []
    paths += [path for name in names for path in resolve_runs(results, name)]
    done, status = [], 0
    for path in dict.fromkeys(paths):
        try:
            tidied = compact(path, dry_run=dry_run)
        except NotReadyError as error:
            click.echo(f"passed over {error}")
        except NvbenchError as error:
            click.echo(f"nvbench: {error}", err=True)
            status = error.exit_code
        else:
            done.append(tidied)
            if not tidied.tidy:
                click.echo(f"{path.name}: {_line(tidied, dry_run=dry_run)}")
    count = sum(not each.tidy for each in done)
    saved = sum(each.bytes_before - each.bytes_after for each in done)
    told = "would be tidied" if dry_run else f"tidied, {scaled(max(saved, 0), 'B', 3)} less on the disk"
    click.echo(f"{count} of {len(done)} runs {told}")
    return status


def _line(tidied: Tidied, *, dry_run: bool) -> str:
    from nvbench.units import scaled  # noqa: PLC0415

    steps = [f"{tidied.merged} parts become {tidied.made}"] if tidied.merged else []
    steps += [f"{tidied.leftovers} leftovers of a killed writer go"] if tidied.leftovers else []
    size = scaled(tidied.bytes_before, "B", 3)
    return f"{', '.join(steps)}; {size}" + ("" if dry_run else f" -> {scaled(tidied.bytes_after, 'B', 3)}")
