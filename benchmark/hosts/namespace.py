"""A network namespace of a host: the same machine and the same files, other network devices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvbench.hosts.base import Completed, Host, Process

DEVICES = "/sys/class/net/"


class NamespaceHost:
    """A host's named network namespace (ip-netns(8)), as a host; files are the machine's own."""

    def __init__(self, host: Host, namespace: str) -> None:
        self.name = host.name
        self.namespace = namespace
        self._host = host

    def _inside(self, argv: Sequence[str]) -> list[str]:
        return ["ip", "netns", "exec", self.namespace, *argv]

    @property
    def local(self) -> bool:
        """See `Host.local`."""
        return self._host.local

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "", check: bool = True) -> Completed:
        """See `Host.run`."""
        return self._host.run(self._inside(argv), timeout_s=timeout_s, stdin=stdin, check=check)

    def spawn(self, argv: Sequence[str]) -> Process:
        """See `Host.spawn`."""
        return self._host.spawn(self._inside(argv))

    def read(self, path: str) -> str | None:
        """See `Host.read`; devices are those of the namespace."""
        if not _of_namespace(path):
            return self._host.read(path)
        done = self.run(["cat", path], check=False)
        return done.stdout if done.ok else None

    def write(self, path: str, text: str) -> None:
        """See `Host.write`; devices are those of the namespace."""
        if _of_namespace(path):
            self.run(["tee", path], stdin=text)
        else:
            self._host.write(path, text)

    def exists(self, path: str) -> bool:
        """See `Host.exists`; devices are those of the namespace."""
        if _of_namespace(path):
            return self.run(["test", "-e", path], check=False).ok
        return self._host.exists(path)

    def make_folder(self, path: str) -> None:
        """See `Host.make_folder`."""
        self._host.make_folder(path)

    def remove(self, path: str) -> None:
        """See `Host.remove`."""
        self._host.remove(path)

    def upload(self, source: Path, path: str) -> None:
        """See `Host.upload`."""
        self._host.upload(source, path)

    def dial(self, port: int) -> Any:
        """See `Host.dial`; the loopback is the machine's own, as files are."""
        return self._host.dial(port)

    def close(self) -> None:
        """See `Host.close`; the machine's connection is not the namespace's to close."""


def _of_namespace(path: str) -> bool:
    return path.startswith((DEVICES, "/proc/net/", "/proc/sys/net/"))
