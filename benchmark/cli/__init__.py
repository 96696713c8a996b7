"""The command line: parse, call, render. Commands are loaded when they are asked for."""

from __future__ import annotations

import importlib
import io
import os
import sys
from typing import Any

import click

from nvbench import __version__
from nvbench.errors import NvbenchError, RunBrokeError

COMMANDS = {
    "run": "Run a profile on a testbed.",
    "check": "Check whether a bench does what is right, with evidence.",
    "plan": "Show what a run would do; touches nothing.",
    "list": "List runs.",
    "show": "Show a run's results.",
    "watch": "Follow a run from another terminal.",
    "report": "Report on runs: text, Markdown, HTML, JUnit, pictures.",
    "compare": "Compare runs: what improved, what regressed, what else differed.",
    "explain": "Say where frames went and what was saturated.",
    "trend": "Find the runs between which a metric changed.",
    "bisect": "Judge a build for `git bisect run`.",
    "label": "Name a run, as a baseline or for people.",
    "compact": "Merge the small files of old runs.",
    "export": "Write a run's tables as JSON, CSV or Parquet.",
    "profiles": "List the profiles and testbeds that come with nvbench.",
    "doctor": "Say whether the hosts of a testbed are ready; --fix mends.",
    "clean": "Undo what a killed run left behind.",
}
INTERRUPTED = 130


class _Commands(click.Group):
    """A group that imports a command's module when it is used, so that --help stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"nvbench.cli.{cmd_name}").command
        assert isinstance(command, click.Command)  # noqa: S101 - each module of COMMANDS has one
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="nvbench")
def group() -> None:
    """Benchmark virtual switches: is the new OVS, DPDK, kernel or NIC firmware slower, and why?"""


def main(argv: list[str] | None = None) -> None:
    """Run a command; every failure becomes one line on standard error and an exit code.

    Exit codes: 0 done, 1 a gate that was asked for failed, 2 usage or profile, 3 testbed not ready, 4 the run broke,
    130 interrupted.
    """
    for stream in (sys.stdout, sys.stderr):  # a terminal that knows no such sign shows another, and breaks nothing
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        status: Any = group.main(argv, prog_name="nvbench", standalone_mode=False)
    except click.exceptions.Abort:
        _fail("interrupted", INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except NvbenchError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; what was measured is kept, what was changed is undone", INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: nobody to tell
        sys.exit(0)
    except Exception as error:
        if os.environ.get("NVBENCH_TRACEBACK"):
            raise
        what = f"internal error: {type(error).__name__}: {error}"
        _fail(f"{what} (a bug: please report it, with what NVBENCH_TRACEBACK=1 shows)", RunBrokeError.exit_code)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(text: str, status: int) -> None:
    click.echo(f"nvbench: {text}", err=True)
    sys.exit(status)
