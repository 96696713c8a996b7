"""What only one nvbench may use at a time, such as a port, held on the host that has it."""

from __future__ import annotations

from typing import Self

from nvbench.errors import CommandError, LostConnectionError, NotReadyError
from nvbench.hosts.base import RUN_FOLDER, Host, Process

CONFLICT = 75
PATIENCE_S = 10.0


class Hold:
    """A name on a host, held within its context: as long as this process lives and the connection stands.

    A program on the host has the lock and ends with its standard input: nothing stays behind, also after kill -9.

    Args:
        host: The machine.
        name: A port or device as the host calls it.
    """

    def __init__(self, host: Host, name: str) -> None:
        self._host = host
        self._name = name
        self._holder: Process | None = None

    def __enter__(self) -> Self:
        """Take it.

        Raises:
            NotReadyError: Another nvbench has it.
            CommandError: It cannot be locked.
        """
        self._take()
        return self

    def __exit__(self, *exception: object) -> None:
        self._let_go()

    def keep(self) -> None:
        """Take it anew where the connection over which it was held has broken.

        Raises:
            NotReadyError: Another nvbench has it now.
            CommandError: It cannot be locked.
        """
        if self._holder is None or not _stands(self._holder):
            self._let_go()  # on a host that has not noticed, our own program would still have it
            self._take()

    def _take(self) -> None:
        path = f"{RUN_FOLDER}/{self._name.replace('/', '-')}.lock"
        place = f"host {self._host.name}"
        self._host.make_folder(RUN_FOLDER)
        conflict = ["--nonblock", "--conflict-exit-code", str(CONFLICT)]
        holder = self._holder = self._host.spawn(["flock", "--no-fork", *conflict, path, "cat"])
        try:
            held = _answers(holder)
        except BaseException:
            self._let_go()
            raise
        if held:
            return
        status, told = self._let_go(), holder.complaints()
        if status == CONFLICT:
            remedy = f"wait for it to end; `fuser {path}` there tells its holder"
            raise NotReadyError(f"{self._name} is used by another nvbench", place=place, remedy=remedy)
        raise CommandError(f"cannot lock {path}: {(told or ['no reason told'])[-1]}", place=place)

    def _let_go(self) -> int | None:
        holder, self._holder = self._holder, None
        return holder.close() if holder is not None else None


def _answers(holder: Process) -> bool:
    """Whether `cat` has been started, which echoes: only the holder of the lock starts it."""
    try:
        holder.send("held?")
        return holder.receive(PATIENCE_S) is not None
    except LostConnectionError:
        raise
    except (CommandError, TimeoutError):
        return False


def _stands(holder: Process) -> bool:
    try:
        return _answers(holder)
    except LostConnectionError:
        return False
