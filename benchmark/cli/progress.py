"""What a person sees while a run goes on: one line that lives on a terminal, one line an answer elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.live import Live as LiveDisplay
from rich.text import Text

from nvbench.generators.base import Live
from nvbench.plan import Plan
from nvbench.tables import ResultRow
from nvbench.trial import Trial
from nvbench.units import duration, scaled


class Progress:
    """The terminal's observer; writes to standard error, so that standard output is the table alone."""

    def __init__(self, plan: Plan) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._display = LiveDisplay(console=self._console, transient=True, auto_refresh=False)
        self._began = time.monotonic()
        self._numbers = {case.case_id: index for index, case in enumerate(plan.cases, 1)}
        self._expected_s = plan.expected_s
        self._drawn = 0.0

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.stop()

    def stage(self, text: str) -> None:
        """See `Observer.stage`."""
        self._draw(text, always=True)
        if not self._console.is_terminal:
            self._console.print(text, soft_wrap=True)

    def live(self, where: str, load_pps: float, duration_s: float, live: Live) -> None:
        """See `Observer.live`."""
        lost = live.total.refused
        self._draw(
            f"{self._place(where)} {where} at {scaled(load_pps, 'pps')}, "
            f"{live.elapsed_s:.1f} of {duration_s:g} s" + (f", {lost} refused" if lost else "")
        )

    def trial(self, where: str, trial: Trial) -> None:
        """See `Observer.trial`."""
        if not trial.valid and self._console.is_terminal and where in self._numbers:
            self._console.print(Text(f"{where}: trial set aside: {trial.reason}", style="yellow"))

    def result(self, row: ResultRow) -> None:
        """See `Observer.result`."""
        subject = row.subject
        rate = "nothing" if not row.rate_pps else scaled(row.rate_pps, "pps")
        text = f"{self._place(subject.case_id)} {subject.case_id} {subject.test}: {rate}, {row.verdict}"
        self._console.print(text, soft_wrap=True)

    def _place(self, where: str) -> str:
        return f"[{self._numbers[where]}/{len(self._numbers)}]" if where in self._numbers else ""

    def _draw(self, text: str, *, always: bool = False) -> None:
        now = time.monotonic()
        if not self._console.is_terminal or (now - self._drawn < 0.2 and not always):
            return  # drawing more often would only take time from the generator
        self._drawn = now
        clock = f"{duration(now - self._began)} of about {duration(self._expected_s)}"
        line = Text(f"{text}  {clock}", no_wrap=True, overflow="ellipsis")
        self._display.update(line, refresh=True)
