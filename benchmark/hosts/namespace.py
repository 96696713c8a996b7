"""A network namespace of a host: the same machine and the same files, other network devices."""

from __future__ import annotations

from collections.abc import Sequence

from nvbench.hosts.base import Completed, Host, Process
from nvbench.hosts.passing import PassingHost

DEVICES = "/sys/class/net/"


class NamespaceHost(PassingHost):
    """A host's named network namespace (ip-netns(8)), as a host; files and the loopback of `dial` are the machine's."""

    def __init__(self, host: Host, namespace: str) -> None:
        super().__init__(host)
        self.namespace = namespace

    def _inside(self, argv: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *argv]

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "", check: bool = True) -> Completed:
        """See `Host.run`."""
        return super().run(self._inside(argv), timeout_s=timeout_s, stdin=stdin, check=check)

    def spawn(self, argv: Sequence[str]) -> Process:
        """See `Host.spawn`."""
        return super().spawn(self._inside(argv))

    def read(self, path: str) -> str | None:
        """See `Host.read`; devices are those of the namespace."""
        if not _of_namespace(path):
            return super().read(path)
        done = self.run(["cat", path], check=False)
        return done.stdout if done.ok else None

    def write(self, path: str, text: str) -> None:
        """See `Host.write`; devices are those of the namespace."""
        if _of_namespace(path):
            self.run(["tee", path], stdin=text)
        else:
            super().write(path, text)

    def exists(self, path: str) -> bool:
        """See `Host.exists`; devices are those of the namespace."""
        if _of_namespace(path):
            return self.run(["test", "-e", path], check=False).ok
        return super().exists(path)

    def close(self) -> None:
        """See `Host.close`; the machine's connection is not the namespace's to close."""


def _of_namespace(path: str) -> bool:
    return path.startswith((DEVICES, "/proc/net/", "/proc/sys/net/"))
