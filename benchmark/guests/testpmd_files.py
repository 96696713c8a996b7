"""dpdk-testpmd for an image: the program and what it loads, picked from the distribution's packages of DPDK.

It is linked with more drivers than are of use in a guest; those that are not needed, however, stay out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from nvbench.errors import GuestError
from nvbench.guests import initramfs
from nvbench.guests.packages import Archive, Package
from nvbench.hosts import Host
from nvbench.testpmd import PROGRAM

PACKAGE = "dpdk-dev"
"""The distribution's package that has the program."""

_DRIVERS = ("net_virtio", "mempool_ring")
"""What it is not linked with: it loads whatever is in its folder of drivers."""

_NOT_LIBRARIES = re.compile(r"(?!dpdk-dev$).*-dev|.*(perl|python).*|dpkg|passwd|tar|udev")
"""Of what the package needs, what is large and no library."""

_LISTED = re.compile(r"^\s*(\S+) => (/\S+) ", re.MULTILINE)


def packages(archive: Archive) -> list[Package]:
    """The packages of which it is made.

    Raises:
        GuestError: The archive does not have it.
    """
    if not archive.has(PACKAGE):
        raise GuestError(
            f"the archive has no {PACKAGE}, of which a guest that forwards by testpmd is made",
            remedy="leave out guests.forwarder",
        )
    return [found for found in archive.closure([PACKAGE]) if not _NOT_LIBRARIES.fullmatch(found.name)]


def entries(host: Host, root: Path) -> dict[str, initramfs.Entry]:
    """It and all that it loads, from a folder in which its packages are unpacked together.

    Raises:
        CommandError: It does not find what it needs in there.
    """
    program = root / "usr/bin" / PROGRAM
    drivers = [_driver(root, name) for name in _DRIVERS]
    found = {_place(root, path): initramfs.file(path.read_bytes(), 0o755) for path in (program, *drivers)}
    for name, path in _libraries(host, root, [program, *drivers]):
        place = _place(root, path)
        found[place] = initramfs.file(path.read_bytes(), 0o755)
        if (alias := f"usr/lib/{_triplet(root)}/{name}") != place:
            found[alias] = initramfs.symlink(f"/{place}")
    return found


def _driver(root: Path, name: str) -> Path:
    (found,) = (path for path in root.glob(f"usr/lib/*/dpdk/pmds-*/librte_{name}.so.*") if not path.is_symlink())
    return found


def _libraries(host: Host, root: Path, objects: list[Path]) -> Iterator[tuple[str, Path]]:
    """The name by which each library is asked for, and its file, as the packages' own loader finds them."""
    folders = [f"{root}{usr}/lib/{_triplet(root)}" for usr in ("/usr", "")]
    for each in objects:
        argv = [str(_loader(root)), "--library-path", ":".join(folders), "--list", str(each)]
        for name, path in _LISTED.findall(host.run(argv).stdout):
            if path.startswith(f"{root}/"):  # else the loader itself
                yield name, Path(path).resolve()


def _loader(root: Path) -> Path:
    return next(root.glob("lib/*/ld-linux-*.so.*"))


def _triplet(root: Path) -> str:
    """The architecture's name of its folders of libraries."""
    return _loader(root).parent.name


def _place(root: Path, path: Path) -> str:
    """Where a file of the packages is in an image: /lib is merged into /usr."""
    place = path.relative_to(root).as_posix()
    return place if place.startswith("usr/") else f"usr/{place}"
