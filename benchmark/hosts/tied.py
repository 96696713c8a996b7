"""Programs that do not look at their standard input, and yet end with whoever started them."""

from __future__ import annotations

from collections.abc import Sequence

# Without the trap, TERM would end what waits in `read`, and leave the program behind.
_UNTIL_TOLD = '"$@" 2>&1 & pid=$!; trap "kill $pid; exit" TERM; read -r _; kill "$pid"; wait "$pid"'


def tied(argv: Sequence[str]) -> list[str]:
    """A command line for `Host.spawn`: a shell ends the program at the first line that comes, or with its input.

    What the program complains of is in its output. Nothing stays behind, also after kill -9 of nvbench.
    """
    return ["sh", "-c", _UNTIL_TOLD, "sh", *argv]
