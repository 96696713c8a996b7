"""Where a command's text goes."""

from __future__ import annotations

from pathlib import Path

import click

from nvbench.errors import UsageError


def write(text: str, output: Path | None) -> None:
    """Write text to a file, or to standard output; what no file can hold is replaced.

    Raises:
        UsageError: The file cannot be written.
    """
    data = text.encode(errors="replace")
    if output is None:
        click.echo(data, nl=False)
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot be written: {error.strerror}", place=str(output)) from None
