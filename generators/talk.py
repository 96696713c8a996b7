"""Talk with a program at the generator's end, in JSON lines: said, heard, and its end told in one line."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from nvbench.errors import CommandError, GeneratorError, LostConnectionError
from nvbench.hosts.base import Process


class Talk:
    """Requests to a program, and what it says.

    Args:
        process: The program.
        name: What messages call it.
        place: Where it runs, in messages.
    """

    def __init__(self, process: Process, name: str, place: str) -> None:
        self._process = process
        self._name = name
        self._place = place

    def say(self, request: Mapping[str, Any]) -> None:
        """Send a request.

        Raises:
            GeneratorError: It has ended.
            LostConnectionError: Its host cannot be heard.
        """
        try:
            self._process.send(json.dumps(request))
        except LostConnectionError:
            raise
        except CommandError as error:
            raise self.died() from error

    def hear(self, deadline: float, awaited: str = "") -> dict[str, Any]:
        """The next that it says; one that says nothing in time is killed.

        Args:
            deadline: Until when it may take, on `time.monotonic`.
            awaited: What it should say, in messages.

        Raises:
            GeneratorError: It has ended, said nothing, or what it said is no JSON object.
            LostConnectionError: Its host cannot be heard.
        """
        try:
            line = self._process.receive(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            self._process.kill()
            missed = f" (no {awaited})" if awaited else ""
            raise self._error(f"said nothing in time{missed}{self.last_words()}") from None
        if line is None:
            raise self.died()
        with suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict):
                return said
        raise self._error(f"answered {line[:80]!r}")

    def event(self, expected: str, deadline: float) -> dict[str, Any]:
        """The next event, one of those expected by the value of their key `event`, with blanks between.

        Raises:
            GeneratorError: As `hear`; or it tells of an error, or of something else.
            LostConnectionError: Its host cannot be heard.
        """
        event = self.hear(deadline, expected.replace(" ", " or "))
        name = str(event.get("event", event))
        if name == "error":
            raise GeneratorError(f"{self._name}: {event.get('what', '')}{self.last_words()}", place=self._place)
        if name not in expected.split():
            raise self._error(f"answered {name[:80]} instead of {expected}")
        return event

    def check_alive(self) -> None:
        """Does nothing while it runs and keeps silent.

        Raises:
            GeneratorError: It has ended, or said something unasked.
        """
        try:
            line = self._process.receive(0.0)
        except TimeoutError:
            return
        if line is None:
            raise self.died()
        raise GeneratorError(f"{self._name}: {line}", place=self._place)

    def died(self) -> GeneratorError:
        """The error that tells of its end, with its last words."""
        status = self._process.close(1.0)
        how = "" if status is None else f" with status {status}"
        return self._error(f"ended{how}{self.last_words()}")

    def last_words(self) -> str:
        """The end of what it complained of, on one line."""
        lines = [line.strip() for line in self._process.complaints() if line.strip()]
        return f": {'; '.join(lines[-2:])}" if lines else ""

    def _error(self, what: str) -> GeneratorError:
        return GeneratorError(f"{self._name} {what}", place=self._place)
