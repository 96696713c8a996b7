"""What a failed tool said, in one line, with what helps."""

from __future__ import annotations

import re
from collections.abc import Mapping

from nvbench.errors import GeneratorError
from nvbench.generators.streams import Ask
from nvbench.hosts import Completed

_ABSENT = "no server listens there: was it started, and did it stay up?"
_SILENT = "no server answers: was it started, did it stay up, and do the endpoints reach each other?"
_APART = "the endpoints do not reach each other: check addresses, links and what joins them"
_ENDED = "the server ended during the test: its own output says why"
_TAKEN = "another program has this port: use another"
_BOUNDS = "ask for message_bytes within these bounds"

HELP: Mapping[str, str] = {
    "connection refused": _ABSENT,
    "sure there is a netserver": _SILENT,
    "is the server down": _SILENT,
    "no route to host": _APART,
    "unreachable": _APART,
    "timed out": _APART,
    "busy running a test": "another client has this server: wait for its end, or use another port",
    "address already in use": _TAKEN,
    "unable to start netserver": _TAKEN,
    "has terminated": _ENDED,
    "reset by peer": _ENDED,
    "broken pipe": _ENDED,
    "closed by a peer": _ENDED,
    "closed unexpectedly": _ENDED,
    "partial response": _ENDED,
    "invalid message size": _BOUNDS,
    "block size invalid": _BOUNDS,
    "message too long": "a datagram's payload is at most 65507 bytes",
}
"""Remedies by words that the tools use, in lower case."""

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_BEFORE = re.compile(r".*\bERROR: ")
_LONGEST = 160


def failed(tool: str, ask: Ask, done: Completed, said: str = "") -> GeneratorError:
    """The error of a tool that failed.

    Args:
        tool: Its name.
        ask: What it was asked.
        done: How it ended.
        said: What is wrong; else the line of its output that has a remedy, or the last one.
    """
    lines = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines() if line.strip()]
    if not said:
        helpful = [line for line in lines if remedy(line)]
        said = (helpful or lines[-1:] or [f"printed nothing, status {done.returncode}"])[0]
    said = _BEFORE.sub("", _COLOURS.sub("", said)).removeprefix(f"{tool}: ")
    said = " ".join(said.split())[:_LONGEST]
    return GeneratorError(said, place=f"{tool} to {ask.address} port {ask.port}", remedy=remedy(said))


def remedy(line: str) -> str:
    """What helps where a client or a server said this; nothing where that is not known."""
    return next((helps for words, helps in HELP.items() if words in line.lower()), "")


def too_short(ask: Ask, elapsed_s: float) -> bool:
    """Whether a tool that exits with 0 whatever happens gave up before its time."""
    return elapsed_s < 0.9 * ask.duration_s


def one_stream(tool: str, ask: Ask) -> None:
    """Hold a tool that cannot do parallel streams to that.

    Raises:
        GeneratorError: More than one is asked for.
    """
    if ask.parallel > 1:
        raise GeneratorError(
            f"{tool} makes one stream, not {ask.parallel}", remedy="use iperf3 or iperf2 for parallel streams"
        )
