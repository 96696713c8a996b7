"""What guests are made of, kept on a host from one run to the next: made once, by one process at a time."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from nvbench.errors import GuestError
from nvbench.hosts import Host

_PATIENCE_S = 900.0
"""Whoever holds a cache may be fetching packages, or booting."""


@contextmanager
def making(host: Host, cache: str) -> Iterator[str]:
    """The folder of guests in a host's cache, held by this process alone; what a killed one was making goes.

    A program on the host holds the lock as long as its standard input is open: so it goes with this process, too.

    Raises:
        CommandError: There can be no such folder.
        GuestError: Somebody else holds it.
    """
    folder = f"{cache}/guests"
    host.make_folder(folder)
    lock = host.spawn(["flock", f"{folder}/lock", "cat"])
    try:
        lock.send("held")
        try:
            held = lock.receive(_PATIENCE_S) is not None
        except TimeoutError:
            raise GuestError("another run holds it", place=f"host {host.name}: {folder}") from None
        if not held:
            complaint = " ".join(lock.complaints()) or "flock has ended"
            raise GuestError(f"cannot be held: {complaint}", place=f"host {host.name}: {folder}")
        host.run(["find", folder, "-maxdepth", "1", "-name", "draft-*", "-exec", "rm", "-rf", "{}", "+"])
        yield folder
    finally:
        lock.close()


def target(host: Host, link: str) -> str:
    """Where a symbolic link leads; empty where there is none, or nothing at its end."""
    return host.run(["readlink", "-e", link], check=False).stdout.strip()


def keep(host: Host, draft: str, made: str, link: str = "") -> None:
    """Give a draft that is whole its name, and have a symbolic link beside it lead there."""
    host.run(["mv", "-T", draft, made])
    if link:
        host.run(["ln", "-sfn", made.rpartition("/")[2], link])


def digest(*parts: str | bytes) -> str:
    """A short name for something made of these parts."""
    whole = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        whole.update(struct.pack(">Q", len(data)) + data)
    return whole.hexdigest()[:16]
