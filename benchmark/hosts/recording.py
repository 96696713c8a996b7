"""A host that remembers what was asked of it, so that a run can say how its bench was set up."""

from __future__ import annotations

from collections.abc import Sequence

from nvbench.hosts.base import Completed, Host, Process
from nvbench.hosts.passing import PassingHost


class RecordingHost(PassingHost):
    """Passes everything on to another host and keeps the command lines."""

    def __init__(self, host: Host) -> None:
        super().__init__(host)
        self.commands: list[tuple[str, ...]] = []

    def take_commands(self) -> list[tuple[str, ...]]:
        """The command lines since the last call."""
        taken, self.commands = self.commands, []
        return taken

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "", check: bool = True) -> Completed:
        """See `Host.run`."""
        self.commands.append(tuple(argv))
        return self._host.run(argv, timeout_s=timeout_s, stdin=stdin, check=check)

    def spawn(self, argv: Sequence[str]) -> Process:
        """See `Host.spawn`."""
        self.commands.append(tuple(argv))
        return self._host.spawn(argv)
