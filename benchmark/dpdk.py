"""What DPDK's own options are called, release by release."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SINCE: dict[str, tuple[tuple[int, int], str]] = {
    "-a": ((20, 11), "-w"),
    "--no-telemetry": ((20, 5), ""),
    "--in-memory": ((18, 8), "--huge-unlink"),
    "--single-file-segments": ((18, 5), ""),
}
"""Option -> the release that brought it, and what does its work before that; empty where nothing has to."""


def release(version: str) -> tuple[int, int] | None:
    """Year and month of a release, from what a program or a package says of it; None where that does not tell."""
    found = re.search(r"(?<![\d.])(\d{2})\.(\d{2})(?!\d)", version)
    return (int(found[1]), int(found[2])) if found else None


def known(words: Iterable[str], version: str) -> list[str]:
    """EAL arguments in the words of a release; of one that does not tell its name, in today's.

    Args:
        words: The arguments as today's DPDK takes them, up to the `--` before the program's own, which may follow.
        version: What the host's DPDK is: `22.11.4`, `DPDK 17.08.2`.
    """
    of_host = release(version)
    spelled: list[str] = []
    own = False
    for word in words:
        own = own or word == "--"
        since, before = _SINCE.get(word, ((0, 0), ""))
        if own or of_host is None or of_host >= since:
            spelled.append(word)
        elif before:
            spelled.append(before)
    return spelled
