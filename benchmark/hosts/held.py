"""What only one nvbench may use at a time, such as a port, held on the host that has it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nvbench.errors import CommandError, LostConnectionError, NotReadyError
from nvbench.hosts.base import Host, Process

FOLDER = "/run/nvbench"
CONFLICT = 75
PATIENCE_S = 10.0


@contextmanager
def hold(host: Host, name: str) -> Iterator[None]:
    """Hold a name on a host, for as long as this process lives and the connection stands.

    A program on the host has the lock and ends with its standard input: nothing stays behind, also after kill -9.

    Args:
        host: The machine.
        name: A port or device as the host calls it.

    Raises:
        NotReadyError: Another nvbench has it.
        CommandError: It cannot be locked.
    """
    path = f"{FOLDER}/{name.replace('/', '-')}.lock"
    host.make_folder(FOLDER)
    conflict = ["--nonblock", "--conflict-exit-code", str(CONFLICT)]
    holder = host.spawn(["flock", "--no-fork", *conflict, path, "cat"])
    try:
        if not _answers(holder):
            status, told = holder.close(), holder.complaints()
            if status == CONFLICT:
                raise NotReadyError(
                    f"{name} is used by another nvbench",
                    place=f"host {host.name}",
                    remedy=f"wait for it to end; `fuser {path}` there tells its holder",
                )
            raise CommandError(f"cannot lock {path}: {(told or ['no reason told'])[-1]}", place=f"host {host.name}")
        yield
    finally:
        holder.close()


def _answers(holder: Process) -> bool:
    """Whether `cat` has been started, which echoes: only the holder of the lock starts it."""
    try:
        holder.send("held?")
        return holder.receive(PATIENCE_S) is not None
    except LostConnectionError:
        raise
    except (CommandError, TimeoutError):
        return False
