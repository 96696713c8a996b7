"""The one error tree: every failure that a person meets carries its place, its remedy and its exit code."""

from __future__ import annotations


class NvbenchError(Exception):
    """A failure with an exit code; prints as one line.

    Args:
        what: What is wrong, in one clause.
        place: File and line, host, case or option that it concerns.
        remedy: What the reader can do about it.
    """

    exit_code = 4

    def __init__(self, what: str, *, place: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.place = place
        self.remedy = remedy

    def __str__(self) -> str:
        line = f"{self.place}: {self.what}" if self.place else self.what
        return f"{line} ({self.remedy})" if self.remedy else line


class UsageError(NvbenchError):
    """The command line, a profile or a testbed file asks for something that cannot be."""

    exit_code = 2


class NotReadyError(NvbenchError):
    """The testbed is not ready: privileges, packages, hugepages, ports, or somebody else is using it."""

    exit_code = 3


class RunBrokeError(NvbenchError):
    """Something failed while a run was under way; what was measured until then is kept."""

    exit_code = 4


class CommandError(RunBrokeError):
    """A command on a host failed."""


class CommandTimeoutError(CommandError):
    """A command on a host did not end in the time that it had."""


class LostConnectionError(CommandError):
    """The connection to a host broke; what ran there may have gone with it. The next command connects anew."""


class GeneratorError(RunBrokeError):
    """A generator died, hung, or answered something that is not its protocol."""


class DatapathError(RunBrokeError):
    """A datapath did not come up, did not take an option, or went away."""


class GuestError(RunBrokeError):
    """A guest does not boot, does not answer, or has gone."""


class NotPossibleError(RunBrokeError):
    """A case cannot be had on this bench; says why."""


class StoreError(RunBrokeError):
    """Results cannot be written or read."""
