"""This machine."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from nvbench.errors import CommandError, CommandTimeoutError
from nvbench.hosts.base import Completed


def _environment() -> dict[str, str]:
    # Daemons and tools live in sbin, which a user's PATH may lack.
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return {**os.environ, "LC_ALL": "C", "PATH": path}


class LocalProcess:
    """A child process, its output read by threads so that neither pipe can fill up and block it."""

    def __init__(self, argv: Sequence[str], host: str) -> None:
        self._argv = tuple(argv)
        self._place = f"host {host}"
        try:
            self._child = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(),
                text=True,
                errors="replace",
                bufsize=1,
                start_new_session=True,  # Ctrl-C is for nvbench, which then ends its children in order
            )
        except OSError as error:
            raise CommandError(f"cannot start {argv[0]}: {error.strerror}", place=self._place) from error
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._complaints: deque[str] = deque(maxlen=50)
        self._silent = False
        self._readers = (
            threading.Thread(target=self._read_output, args=(self._child.stdout,), daemon=True),
            threading.Thread(target=self._read_complaints, args=(self._child.stderr,), daemon=True),
        )
        for reader in self._readers:
            reader.start()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    def _read_output(self, stream: IO[str]) -> None:
        for line in stream:
            self._lines.put(line.rstrip("\n"))
        self._silent = True
        self._lines.put(None)

    def _read_complaints(self, stream: IO[str]) -> None:
        for line in stream:
            self._complaints.append(line.rstrip("\n"))

    def send(self, line: str) -> None:
        """See `Process.send`."""
        assert self._child.stdin is not None  # noqa: S101 - it was opened as a pipe
        try:
            self._child.stdin.write(line + "\n")
            self._child.stdin.flush()
        except (OSError, ValueError) as error:
            raise CommandError(f"{self._argv[0]} has gone", place=self._place) from error

    def receive(self, timeout_s: float) -> str | None:
        """See `Process.receive`."""
        try:
            line = self._lines.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError from None
        if line is None:
            self._lines.put(None)  # the end stays readable
        return line

    def complaints(self) -> list[str]:
        """See `Process.complaints`."""
        if self._silent or self._child.poll() is not None:  # it has ended, and its last words are on their way
            self._readers[1].join(timeout=1)
        return list(self._complaints)

    def close(self, timeout_s: float = 5.0) -> int | None:
        """See `Process.close`."""
        if self._child.stdin is not None:
            with suppress(OSError):  # it has gone already
                self._child.stdin.close()
        for stop in (None, self._child.terminate, self._child.kill):
            if stop is not None:
                stop()
            with suppress(subprocess.TimeoutExpired):
                return self._child.wait(timeout=timeout_s)
        return None

    def kill(self) -> None:
        """See `Process.kill`."""
        self._child.kill()
        self._child.wait()


class LocalHost:
    """This machine, as a host."""

    local = True

    def __init__(self, name: str = "local") -> None:
        self.name = name

    def run(self, argv: Sequence[str], *, timeout_s: float = 30.0, stdin: str = "", check: bool = True) -> Completed:
        """See `Host.run`."""
        began = time.monotonic()
        try:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=_environment(),
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise CommandError(f"cannot start {argv[0]}: {error.strerror}", place=f"host {self.name}") from error
        try:
            stdout, stderr = child.communicate(stdin, timeout=timeout_s)
        except BaseException as error:
            with suppress(ProcessLookupError):  # it ended just now
                os.killpg(child.pid, signal.SIGKILL)
            child.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                what = f"{argv[0]} took more than {timeout_s:g} s"
                raise CommandTimeoutError(what, place=f"host {self.name}") from None
            raise
        done = Completed(tuple(argv), child.returncode, stdout, stderr, time.monotonic() - began)
        return done.checked(self.name) if check else done

    def spawn(self, argv: Sequence[str]) -> LocalProcess:
        """See `Host.spawn`."""
        return LocalProcess(argv, self.name)

    def read(self, path: str) -> str | None:
        """See `Host.read`."""
        try:
            return Path(path).read_text(errors="replace")
        except OSError:
            return None

    def write(self, path: str, text: str) -> None:
        """See `Host.write`."""
        try:
            Path(path).write_text(text)
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror}", place=f"host {self.name}") from error

    def exists(self, path: str) -> bool:
        """See `Host.exists`."""
        return os.path.lexists(path)

    def make_folder(self, path: str) -> None:
        """See `Host.make_folder`."""
        try:
            Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(f"cannot make {path}: {error.strerror}", place=f"host {self.name}") from error

    def remove(self, path: str) -> None:
        """See `Host.remove`."""
        folder = Path(path)
        if folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder, ignore_errors=True)
        else:
            folder.unlink(missing_ok=True)

    def upload(self, source: Path, path: str) -> None:
        """See `Host.upload`."""
        try:
            shutil.copyfile(source, path)
        except OSError as error:
            raise CommandError(f"cannot write {path}: {error.strerror}", place=f"host {self.name}") from error

    def dial(self, port: int) -> socket.socket:
        """See `Host.dial`."""
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=10)
        except OSError as error:
            raise CommandError(f"port {port} does not answer: {error.strerror}", place=f"host {self.name}") from error

    def close(self) -> None:
        """See `Host.close`."""
