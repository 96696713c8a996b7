"""What a person sees while a run goes on: one line that lives on a terminal, and one line an answer.

Written by hand, without a library that draws: on a small machine this runs on the generator's core.
"""

from __future__ import annotations

import shutil
import sys
import time
from types import TracebackType

from nvbench.generators.base import Live
from nvbench.plan import Plan
from nvbench.tables import ResultRow
from nvbench.trial import Trial
from nvbench.units import duration, scaled

REDRAW_S = 1.0
CLEAR = "\r\x1b[K"


class Progress:
    """The terminal's observer; writes to standard error, so that standard output is the table alone."""

    def __init__(self, plan: Plan) -> None:
        self._out = sys.stderr
        self._terminal = self._out.isatty()
        self._began = time.monotonic()
        self._numbers = {case.case_id: index for index, case in enumerate(plan.cases, 1)}
        self._expected_s = plan.expected_s
        self._set_aside = 0
        self._drawn = 0.0

    def __enter__(self) -> Progress:
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
            self._draw(text)
        else:
            self._print(text)

    def live(self, where: str, load_pps: float, duration_s: float, live: Live) -> None:
        """See `Observer.live`."""
        if not self._terminal or time.monotonic() - self._drawn < REDRAW_S:
            return
        aside = f", {self._set_aside} trials set aside" if self._set_aside else ""
        load = scaled(load_pps, "pps")
        self._draw(f"{self._place(where)} {where} at {load}, {live.elapsed_s:.1f} of {duration_s:g} s{aside}")

    def trial(self, where: str, trial: Trial) -> None:
        """See `Observer.trial`."""
        if where in self._numbers and not trial.valid:
            self._set_aside += 1

    def result(self, row: ResultRow) -> None:
        """See `Observer.result`."""
        subject = row.subject
        rate = f"{scaled(row.rate_pps, 'pps')}, " if row.rate_pps else ""
        self._print(f"{self._place(subject.case_id)} {subject.case_id} {subject.test}: {rate}{row.verdict}")
        self._set_aside = 0

    def _place(self, where: str) -> str:
        return f"[{self._numbers[where]}/{len(self._numbers)}]" if where in self._numbers else ""

    def _print(self, text: str) -> None:
        self._out.write(f"{CLEAR if self._terminal else ''}{text}\n")
        self._out.flush()

    def _draw(self, text: str) -> None:
        now = time.monotonic()
        self._drawn = now
        clock = f"  {duration(now - self._began)} of about {duration(self._expected_s)}"
        room = shutil.get_terminal_size().columns - 1 - len(clock)
        self._out.write(f"{CLEAR}{text[:room]}{clock}")
        self._out.flush()
