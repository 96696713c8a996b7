"""A host that passes everything on to another, for those that look at some of it on the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nvbench.hosts.base import Completed, Host, Process


class PassingHost:
    """See `Host`: whatever is asked of it is asked of another host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.name = host.name

    @property
    def local(self) -> bool:
        """See `Host.local`."""
        return self._host.local

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "", check: bool = True) -> Completed:
        """See `Host.run`."""
        return self._host.run(argv, timeout_s=timeout_s, stdin=stdin, check=check)

    def spawn(self, argv: Sequence[str]) -> Process:
        """See `Host.spawn`."""
        return self._host.spawn(argv)

    def read(self, path: str) -> str | None:
        """See `Host.read`."""
        return self._host.read(path)

    def write(self, path: str, text: str) -> None:
        """See `Host.write`."""
        self._host.write(path, text)

    def exists(self, path: str) -> bool:
        """See `Host.exists`."""
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
        """See `Host.dial`."""
        return self._host.dial(port)

    def close(self) -> None:
        """See `Host.close`."""
        self._host.close()
