"""What a person sees while a campaign goes on: one line that lives on a terminal, and one line a verdict."""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

import click

from nvbench.cli.progress import CLEAR
from nvbench.report.campaign import outcome_text, plain, tone_of
from nvbench.units import duration

if TYPE_CHECKING:
    from nvbench.campaign import Verdict
    from nvbench.checking import Case

COLOURS = {"good": "green", "warn": "yellow", "bad": "red", "note": "bright_black"}
"""How an outcome is meant -> its colour on a terminal."""


class CheckProgress:
    """The terminal's observer of a campaign; writes to standard error, so that standard output is the report alone."""

    def __init__(self, count: int) -> None:
        self._out = sys.stderr
        self._terminal = self._out.isatty()
        self._began = time.monotonic()
        self._count, self._done = count, 0

    def __enter__(self) -> CheckProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal:
            self._out.write(CLEAR)
            self._out.flush()

    def stage(self, text: str) -> None:
        """See `Observer.stage`."""
        if self._terminal:
            self._draw(plain(text))
        else:
            self._print(plain(text))

    def begins(self, case: Case) -> None:
        """See `Observer.begins`."""
        if self._terminal:
            where = "" if case.name.endswith(f"@{case.path}") else f" on {case.path}"
            self._draw(f"{self._place(self._done + 1)} {case.name}{where}: {case.check.title}")

    def verdict(self, verdict: Verdict) -> None:
        """See `Observer.verdict`."""
        self._done += 1
        where = verdict.key if verdict.case == verdict.key else f"{verdict.case} {verdict.key}"
        said, rest = f"{outcome_text(verdict):>9}", f"  {where}, {verdict.seconds:.1f} s: {plain(verdict.told)}"
        place = self._place(self._done)
        if not self._terminal:
            self._print(f"{place} {said}{rest}")
            return
        room = shutil.get_terminal_size().columns - len(place) - len(said) - 2
        line = rest if len(rest) <= room else f"{rest[: room - 3]}..."
        self._print(f"{place} {click.style(said, fg=COLOURS[tone_of(verdict)])}{line}")

    def _place(self, number: int) -> str:
        return f"[{number:{len(str(self._count))}}/{self._count}]"

    def _print(self, text: str) -> None:
        self._out.write(f"{CLEAR if self._terminal else ''}{text}\n")
        self._out.flush()

    def _draw(self, text: str) -> None:
        clock = f"  {duration(time.monotonic() - self._began)}"
        room = shutil.get_terminal_size().columns - 1 - len(clock)
        self._out.write(f"{CLEAR}{text[:room]}{clock}")
        self._out.flush()
