"""A running QEMU, and the words spoken with it: QMP, its machine protocol, in lines of JSON."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from nvbench.errors import CommandError, GuestError
from nvbench.guests.emulator import console, pidfile
from nvbench.hosts import Host, Process
from nvbench.journal import Journal, Remove, StopDaemon

ANSWER_PATIENCE_S = 30.0
_LINES_TOLD = 3
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def last_words(log: str) -> list[str]:
    """The last lines of a console; where the kernel has panicked, what it said first and the end of that."""
    lines = [line for line in (_CONTROL.sub("", line).strip() for line in log.splitlines()) if line]
    told = lines[-_LINES_TOLD:]
    panic = next((line for line in lines if "Kernel panic" in line), None)
    return told if panic is None or panic in told else [panic, *told[1:]]


class Monitor:
    """A QEMU that this run has started.

    Args:
        host: The machine on which it runs.
        name: The guest's name.
        folder: A folder of its own, of which its command line tells.
    """

    def __init__(self, host: Host, name: str, folder: str) -> None:
        self._host = host
        self._folder = folder
        self.place = f"guest {name}"
        self._process: Process | None = None

    def start(self, journal: Journal, argv: Sequence[str]) -> None:
        """Start it.

        Raises:
            GuestError: It ends at once; carries its last complaint.
        """
        journal.record(self._host, Remove(self._folder))
        self._host.make_folder(self._folder)
        journal.record(self._host, StopDaemon(pidfile(self._folder), self._folder))
        try:
            self._process = self._host.spawn(argv)
        except CommandError as error:
            raise GuestError(str(error), place=self.place) from error
        self.ask("qmp_capabilities")

    def ask(self, command: str, **arguments: Any) -> Any:
        """What QEMU answers to a command.

        Raises:
            GuestError: It refuses, with its words, or it has gone.
        """
        if self._process is None:
            raise GuestError("is not up", place=self.place)
        try:
            self._process.send(json.dumps({"execute": command, "arguments": arguments}))
            while (line := self._process.receive(ANSWER_PATIENCE_S)) is not None:
                answer = json.loads(line)
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise GuestError(f"QEMU refuses {command}: {answer['error']['desc']}", place=self.place)
        except TimeoutError:
            raise GuestError(f"QEMU does not answer to {command}", place=self.place) from None
        except CommandError:
            pass
        raise self.gone()

    def until(self, what: str, holds: Callable[[], bool], patience_s: float) -> None:
        """Wait until something holds, as long as QEMU lives.

        Raises:
            GuestError: It does not come to hold, or QEMU has gone.
        """
        deadline = time.monotonic() + patience_s
        while not holds():
            self.check_alive()
            if time.monotonic() > deadline:
                raise self.fault(f"{what} did not come within {patience_s:g} s")
            time.sleep(0.02)

    def check_alive(self) -> None:
        """Does nothing while QEMU lives.

        Raises:
            GuestError: It has gone.
        """
        self.ask("query-status")

    def console(self) -> str:
        """What the machine has written on its console."""
        return self._host.read(console(self._folder)) or ""

    def fault(self, what: str) -> GuestError:
        """An error that carries the last lines of the console."""
        lines = last_words(self.console())
        return GuestError(f"{what}; its console ends with: {' | '.join(lines)}" if lines else what, place=self.place)

    def gone(self) -> GuestError:
        """The error of a QEMU that has ended, with its last complaint."""
        complaints = self._process.complaints() if self._process else []
        return self.fault(f"QEMU has ended: {complaints[-1]}" if complaints else "the machine has ended")

    def reap(self) -> None:
        """Let go of the process once the journal has ended it."""
        if self._process is not None:
            self._process.close()
            self._process = None
