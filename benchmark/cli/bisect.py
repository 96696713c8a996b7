"""`nvbench bisect`: judge a build for `git bisect run`, by its exit code.

As git-bisect(1) has it: 0 is good, 1 is bad, 125 is cannot be tested, and from 128 on the bisection stops. Anything
that is no verdict on the build therefore ends at 128 and above, also what other commands end at 2 to 4 for.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nvbench.cli.measuring import measured, stop_by_signals
from nvbench.cli.plan import Request, planned
from nvbench.errors import NvbenchError, RunBrokeError, StoreError, UsageError

if TYPE_CHECKING:
    from nvbench.bisect import Judgement, Line
    from nvbench.plan import Plan
    from nvbench.reading import Results

GOOD, BAD, SKIP, STOP = 0, 1, 125, 128
"""Exit codes; to `STOP` is added what another command would have ended with."""

FOLDER = "bisect"
"""Where its runs are kept, in the folder of results: builds on the way are no part of a trend."""


class _Judge(click.Command):
    """A command whose failures are never taken for verdicts."""

    def make_context(self, *args: Any, **more: Any) -> click.Context:
        """See `click.Command`."""
        try:
            return super().make_context(*args, **more)
        except click.ClickException as error:
            error.show()
            raise click.exceptions.Exit(STOP + UsageError.exit_code) from None

    def invoke(self, ctx: click.Context) -> Any:
        """See `click.Command`."""
        try:
            return super().invoke(ctx)
        except NvbenchError as error:
            _say(str(error))
            raise click.exceptions.Exit(STOP + error.exit_code) from None
        except (click.exceptions.Exit, click.exceptions.Abort):
            raise
        except Exception as error:
            _say(f"internal error: {type(error).__name__}: {error} (a bug: please report it)")
            raise click.exceptions.Exit(STOP + NvbenchError.exit_code) from error


@dataclass(frozen=True, slots=True)
class _Asked:
    """How a build is to be judged."""

    request: Request
    alpha: float
    repeats: int
    results: Path


@click.command("bisect", cls=_Judge)
@click.option("--good", required=True, metavar="RUN", help="What a good build measured: a run, a label, a glob.")
@click.option("--bad", required=True, metavar="RUN", help="What a bad build measured.")
@click.option("--profile", required=True, help="What to measure; as it was for these two.")
@click.option("--testbed", "-t", metavar="NAME|FILE", help="Where to run; default: local, or simulated.")
@click.option("-s", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value of the profile.")
@click.option("--quick/--full", help="Short trials; default: full.")
@click.option("--metric", default="throughput", show_default=True, help="By what good and bad differ.")
@click.option("--filter", "filters", multiple=True, metavar="KEY:VALUE", help="Cases: `frame_bytes:64 datapath:ovs*`.")
@click.option(
    "--min-change", type=click.FloatRange(0, 1), default=0.01, show_default=True, help="Cases must differ by it."
)
@click.option(
    "--alpha",
    type=click.FloatRange(1e-6, 0.5),
    default=0.05,
    show_default=True,
    help="Chance of an answer where there is none.",
)
@click.option(
    "--max-repeats", type=click.IntRange(2, 1000), default=8, show_default=True, help="Then the build is skipped."
)
@click.option("--results", type=click.Path(path_type=Path), envvar="NVBENCH_RESULTS", default=Path("results"))
@click.argument("build", nargs=-1, type=click.UNPROCESSED)
def command(  # noqa: PLR0913 - one a command-line option
    *,
    good: str,
    bad: str,
    profile: str,
    testbed: str | None,
    overrides: tuple[str, ...],
    quick: bool,
    metric: str,
    filters: tuple[str, ...],
    min_change: float,
    alpha: float,
    max_repeats: int,
    results: Path,
    build: tuple[str, ...],
) -> int:
    """Build, measure, and say by the exit code whether the build is as good as one run or as bad as another.

    Made for `git bisect run nvbench bisect --good RUN --bad RUN --profile NAME -- make -j8`. The build command follows
    `--` and is run without a shell. The profile is measured again until the answer is significant.

    Exit codes: 0 good, 1 bad, 125 cannot be told (the build failed, the run broke, no answer in time), 130 to 132 what
    else went wrong, which ends the bisection.
    """
    from nvbench.bisect import line  # noqa: PLC0415 - heavy
    from nvbench.metrics import metric as named  # noqa: PLC0415

    ends = _opened(results, good), _opened(results, bad)
    way = line(*ends, named(metric), min_change, " ".join(filters))
    _say(str(way))
    if build and not _built(build):
        return SKIP
    stop_by_signals()
    asked = _Asked(Request(profile, testbed, overrides, quick), alpha, max_repeats, results / FOLDER)
    _check_like(planned(asked.request), ends)
    try:
        judgement = _judged(asked, way)
    except StoreError:
        raise
    except RunBrokeError as error:
        _say(f"skipped: {error}")
        return SKIP
    return {"good": GOOD, "bad": BAD}.get(judgement.answer, SKIP)


def _opened(results: Path, spec: str) -> Results:
    from nvbench.reading import open_results  # noqa: PLC0415 - heavy
    from nvbench.runs import resolve_runs  # noqa: PLC0415

    return open_results(resolve_runs(results, spec))


def _built(argv: tuple[str, ...]) -> bool:
    """Run the build command.

    Raises:
        UsageError: There is no such command.
    """
    try:
        status = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False).returncode
    except OSError as error:
        raise UsageError(f"cannot be run: {error.strerror}", place=argv[0], remedy="it follows `--`") from None
    if status:
        _say(f"skipped: the build ended with {status}: {' '.join(argv)}")
    return status == 0


def _check_like(plan: Plan, ends: Iterable[Results]) -> None:
    """Refuse to hold runs of another kind against each other.

    Raises:
        UsageError: They are.
    """
    for run in (run for end in ends for run in end.runs):
        for what, own, other in (
            ("simulated", plan.simulated, run.simulated),
            ("quick", plan.profile.quick, run.quick),
        ):
            if own != other:
                is_not = "is not" if own else "is"
                raise UsageError(
                    f"{is_not} {what}, other than the profile", place=run.run_id, remedy="measure it alike"
                )


def _judged(asked: _Asked, way: Line) -> Judgement:
    """Repeat the profile until there is an answer; each time with another seed, in another order."""
    from nvbench.bisect import Answer, judge  # noqa: PLC0415 - heavy
    from nvbench.reading import open_results  # noqa: PLC0415

    seed = planned(asked.request).profile.seed
    places = []
    for repeat in range(asked.repeats):
        request = replace(asked.request, overrides=(*asked.request.overrides, f"seed={seed + repeat}"))
        path = measured(planned(request), asked.results, request.overrides)
        places.append(way.place(open_results(path)))
        judgement = judge(places, asked.alpha, asked.repeats)
        _say(f"repeat {repeat + 1}, run {path.name}: {judgement}")
        if judgement.answer is not Answer.UNDECIDED:
            break
    return judgement


def _say(text: str) -> None:
    click.echo(f"nvbench bisect: {text}", err=True)
