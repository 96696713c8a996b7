"""The archive that Linux unpacks as its first file system: cpio in the newc format, written without cpio(1).

Described in the kernel's Documentation/driver-api/early-userspace/buffer-format.rst. Owner, times and inode numbers
are always the same, so the same entries give the same bytes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

_TRAILER = "TRAILER!!!"


@dataclass(frozen=True, slots=True)
class Entry:
    """A file, folder, symbolic link or device.

    Attributes:
        mode: Type and permission bits, as in stat(2).
        data: Contents of a file, target of a symbolic link.
        device: Major and minor number of a device.
    """

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def file(data: bytes | str, mode: int = 0o644) -> Entry:
    """A plain file."""
    return Entry(stat.S_IFREG | mode, data.encode() if isinstance(data, str) else data)


def folder(mode: int = 0o755) -> Entry:
    """A folder."""
    return Entry(stat.S_IFDIR | mode)


def symlink(target: str) -> Entry:
    """A symbolic link."""
    return Entry(stat.S_IFLNK | 0o777, target.encode())


def tree(root: Path) -> Iterator[tuple[str, Entry]]:
    """What lies under a folder, by relative path; devices and sockets are left out."""
    for place, folders, files in os.walk(root):
        for name in sorted((*folders, *files)):
            path = Path(place, name)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                data = path.readlink().as_posix().encode()
            elif stat.S_ISREG(mode):
                data = path.read_bytes()
            elif stat.S_ISDIR(mode):
                data = b""
            else:
                continue
            yield path.relative_to(root).as_posix(), Entry(mode, data)


def write(entries: Mapping[str, Entry], out: IO[bytes]) -> None:
    """Write an archive; folders that are only implied by a path are made on the way, which Linux does not do itself."""
    whole = dict(entries)
    for path in entries:
        for parent in Path(path).parents:
            if parent != Path() and parent.as_posix() not in whole:
                whole[parent.as_posix()] = folder()
    for inode, path in enumerate(sorted(whole), start=1):  # a folder sorts before what is in it
        _write_one(out, path, whole[path], inode)
    _write_one(out, _TRAILER, Entry(0), 0)


def _write_one(out: IO[bytes], path: str, entry: Entry, inode: int) -> None:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    size = len(entry.data)
    fields = (inode, entry.mode, 0, 0, links, 0, size, 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    out.write(header + name + _padding(len(header) + len(name)))
    out.write(entry.data + _padding(size))


def _padding(size: int) -> bytes:
    return b"\0" * (-size % 4)
