"""`nvbench watch`: follow a run from another terminal.

Only what is new is read: the parts that have come since the last look. Drawn by hand, as on a small machine this runs
on the generator's core.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from nvbench.runs import Run

WAIT_S = 10.0
"""For a run that is about to begin."""

RECENT = 5
RUNNING = "running"
BROKE, INTERRUPTED = 4, 130
STATUS = {"finished": 0, RUNNING: 0, "interrupted": INTERRUPTED}
"""Exit code by the state of a run; any other is that of one that broke."""

COLUMNS = {
    "trials": (
        *("trial_id", "case_id", "purpose", "intended_pps", "elapsed_s", "lost_frames", "refused_frames"),
        *("loss_ratio", "validity", "reason", "aborted"),
    ),
    "streams": (*("trial_id", "case_id", "tool", "repeat", "goodput_bps", "transactions_per_s", "valid", "reason"),),
    "results": (
        *("case_id", "test", "rate_pps", "value_median", "limited_by", "verdict", "emulated"),
        *("invalid_trials", "trials"),
    ),
}
"""What is read of each table."""

Row = Mapping[str, Any]


@click.command("watch")
@click.argument("run", default="latest")
@click.option("--once", is_flag=True, help="Say how far it is, and end.")
@click.option("--every", type=click.FloatRange(min=0.1), default=1.0, show_default=True, help="Seconds between looks.")
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
def command(run: str, once: bool, every: float, results: Path) -> int:
    """Follow RUN until it ends: a name, the start of one, a folder, a label, or `latest`.

    Of two runs that are made in turn, both are followed. Exit codes: 0 finished, 4 broke, 130 interrupted.
    """
    screen = _Screen()
    try:
        path = _awaited(results, run, 0.0 if once else WAIT_S, screen)
        return _follow(path, screen, None if once else every)
    except KeyboardInterrupt:
        click.echo("\rno longer watching; the run goes on", err=True)
        return INTERRUPTED
    finally:
        screen.draw(())


def _awaited(results: Path, name: str, wait_s: float, screen: _Screen) -> Path:
    """The run that is meant; of `latest`, the one that goes on, or begins soon, or else the last that there was.

    Raises:
        UsageError: There is none.
    """
    from nvbench.errors import UsageError  # noqa: PLC0415 - heavy
    from nvbench.runs import LATEST, Run, resolve_run  # noqa: PLC0415

    until, changed = time.monotonic() + wait_s, -1
    path: Path | None = None
    while True:
        left = until - time.monotonic()
        stamp = results.stat().st_mtime_ns if results.is_dir() else 0
        if stamp != changed:
            changed = stamp
            try:
                path = resolve_run(results, name)
            except UsageError:
                if name != LATEST or left <= 0:
                    raise
        if path and (name != LATEST or Run.open(path).state == RUNNING or left <= 0):
            return path
        if left <= 0:
            return resolve_run(results, name)
        screen.draw([f"no run goes on in {results}: waiting {left:.0f} s for one"])
        time.sleep(min(0.5, max(left, 0.01)))


def _follow(path: Path, screen: _Screen, every_s: float | None) -> int:
    """Tell what is new until the run has ended, and its partner, or once; the exit code."""
    followed = [_Followed(path)]
    while True:
        states = [each.look() for each in followed]
        if len(followed) == 1 and (partner := followed[0].partner()):
            followed.append(_Followed(partner))
            states.append(followed[1].look())
        over = RUNNING not in states
        for each in followed:
            screen.say(each.news(trials=not screen.draws and every_s is not None))
        status = [line for each in followed for line in each.status(recent=not over and (screen.draws or not every_s))]
        if over or every_s is None:
            screen.say(status)
            return max((STATUS.get(state, BROKE) for state in states), key=(0, INTERRUPTED, BROKE).index)
        screen.draw(status)
        time.sleep(every_s)


class _Followed:
    """A run that is followed: what is known of it already."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._run: Run | None = None
        self._seen = dict.fromkeys(("trials", "streams", "results"), 0)
        self._answers: list[str] = []
        self._trials: list[str] = []
        self._recent: deque[str] = deque(maxlen=RECENT)
        self._cases: set[str] = set()
        self._made = self._aside = 0

    def look(self) -> str:
        """Read what is new; the state of the run before that, so that nothing is missed at its end."""
        from nvbench.reading import rows_after  # noqa: PLC0415 - heavy
        from nvbench.runs import Run  # noqa: PLC0415

        self._run = Run.open(self._path)
        state = self._run.state
        new = {}
        for table, columns in COLUMNS.items():
            new[table], self._seen[table] = rows_after(self._path / table, self._seen[table], columns)
        self._trials = [*map(_trial, new["trials"]), *map(_stream, new["streams"])]
        self._recent.extend(self._trials)
        self._answers = [_answer(row) for row in new["results"]]
        self._cases |= {row["case_id"] for row in new["results"]}
        self._made += len(self._trials)
        self._aside += sum(row["validity"] != "valid" for row in new["trials"])
        self._aside += sum(not row["valid"] for row in new["streams"])
        return state

    def partner(self) -> Path | None:
        """The run that is made in turn with this one, once it is there."""
        name = self._run.versus.get("partner") if self._run else None
        path = self._path.parent / str(name)
        return path if name and (path / "run.json").is_file() else None

    def news(self, *, trials: bool) -> list[str]:
        """A line for each answer that came, and for each trial if they are asked for."""
        return [f"{self._side()}{line}" for line in [*(self._trials if trials else ()), *self._answers]]

    def status(self, *, recent: bool) -> list[str]:
        """How far it is, below the last trials if they are asked for."""
        from nvbench.units import duration  # noqa: PLC0415 - heavy

        run = self._run
        assert run is not None  # noqa: S101 - looked at before
        planned, expected_s = (run.record.get(name) or 0 for name in ("planned_cases", "expected_s"))
        running = run.state == RUNNING
        cases = f"{len(self._cases)} of {planned} cases" if planned else f"{len(self._cases)} cases"
        aside = f" ({self._aside} set aside)" if self._aside else ""
        took = "" if run.duration_s is None else f", {duration(run.duration_s)}"
        about = f" of about {duration(expected_s)}" if running and expected_s and took else ""
        line = f"{self._side()}{run.path.name}: {run.state}, {cases}, {self._made} trials{aside}{took}{about}"
        return [*(self._recent if recent else ()), line]

    def _side(self) -> str:
        side = self._run.versus.get("side") if self._run else ""
        return f"{side}: " if side else ""


class _Screen:
    """Lines that stay, and on a terminal below them a few that are drawn anew."""

    def __init__(self) -> None:
        self._out = sys.stdout
        self.draws = self._out.isatty()
        self._drawn = 0

    def say(self, lines: Iterable[str]) -> None:
        """Lines that stay."""
        self.draw(())
        self._out.writelines(f"{line}\n" for line in lines)
        self._out.flush()

    def draw(self, lines: Sequence[str]) -> None:
        """Lines in place of those that were drawn last; elsewhere than on a terminal, nothing."""
        if not self.draws:
            return
        width = shutil.get_terminal_size().columns - 1
        above = f"\x1b[{self._drawn}F\x1b[J" if self._drawn else ""
        self._out.write(above + "".join(f"{line[:width]}\n" for line in lines))
        self._out.flush()
        self._drawn = len(lines)


def _trial(row: Row) -> str:
    from nvbench.report.columns import percent  # noqa: PLC0415 - heavy
    from nvbench.units import scaled  # noqa: PLC0415

    lost = row["lost_frames"] + row["refused_frames"]
    loss = f"{percent(row['loss_ratio'])} lost" if lost else "none lost"
    aborted = ", aborted" if row["aborted"] else ""
    load = scaled(row["intended_pps"], "pps")
    judged = _judged(row["validity"] == "valid", row["validity"], row["reason"])
    made = f"{row['trial_id']} {row['case_id']} {row['purpose']} {load} {row['elapsed_s']:.3g} s"
    return f"{made}: {loss}, {judged}{aborted}"


def _stream(row: Row) -> str:
    from nvbench.units import scaled  # noqa: PLC0415 - heavy

    rates = ((row["goodput_bps"], "bit/s"), (row["transactions_per_s"], "transactions/s"))
    rate = next((scaled(value, unit) for value, unit in rates if value is not None), "nothing")
    judged = _judged(row["valid"], "", row["reason"])
    return f"{row['trial_id']} {row['case_id']} {row['tool']}, repeat {row['repeat']}: {rate}, {judged}"


def _judged(valid: bool, why: str, reason: str) -> str:
    return "valid" if valid else f"set aside: {': '.join(text for text in (why, reason) if text)}"


def _answer(row: Row) -> str:
    from nvbench.metrics import metric  # noqa: PLC0415 - heavy
    from nvbench.report.columns import OWN_METRIC, verdict  # noqa: PLC0415
    from nvbench.units import scaled  # noqa: PLC0415

    own = metric(OWN_METRIC.get(row["test"], "throughput"))
    found = []
    if row["value_median"] is not None and row["test"] in OWN_METRIC:
        found.append(f"{own.label.lower()} {own.text(row['value_median'])} {own.shown_unit}")
    elif row["rate_pps"]:
        found.append(scaled(row["rate_pps"], "pps"))
    found += [verdict(row)] if verdict(row) else []
    return f"{row['case_id']} {row['test']}: {', '.join(found) or 'done'}"
