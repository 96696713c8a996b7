"""The C source of nvgen, and how it is compiled on the host that runs it."""

from __future__ import annotations

import hashlib
import re
import shlex
import time
from importlib import resources
from pathlib import Path, PurePosixPath

from nvbench.errors import CommandError, LostConnectionError, NotReadyError
from nvbench.hosts.base import Host

COMPILER_FLAGS = ("-O3", "-Wall", "-Wextra", "-pthread", "-lm")

THIS_PROCESSOR = ("-march=native", "-mcpu=native")
"""For the processor of the host that compiles: the first that its compiler takes. Not every one for ARM takes the
first, and old ones take neither."""

PACKAGES = ("libdpdk", "jansson")
_INSTALL = "apt-get install build-essential pkg-config dpdk-dev libdpdk-dev libjansson-dev"


def build(host: Host, folder: str) -> str:
    """Compiles nvgen on the host that will run it, unless it is there already.

    Args:
        host: That host.
        folder: Where to keep the program; made if needed.

    Returns:
        Path of the program on the host.

    Raises:
        NotReadyError: Compiler or DPDK is missing, or they do not agree with the source.
    """
    binary, flags = _target(host, folder)
    if not host.exists(binary):
        _compile(host, binary, flags)
    return binary


def built(host: Host, folder: str) -> str | None:
    """Path of the program that `build` would use, if it is compiled already.

    Raises:
        NotReadyError: Compiler or DPDK is missing.
    """
    binary, _ = _target(host, folder)
    return binary if host.exists(binary) else None


def _target(host: Host, folder: str) -> tuple[str, list[str]]:
    """The program's path, which tells by a hash all that it was compiled from, and the libraries' flags."""
    try:
        version = host.run(["pkg-config", "--modversion", *PACKAGES]).stdout.split()
        flags = shlex.split(host.run(["pkg-config", "--cflags", "--libs", *PACKAGES]).stdout)
        compiler = host.run(["cc", "-dumpfullversion", "-dumpmachine"]).stdout.split()
        # After pkg-config's own, so that its cautious -march gives way to this host's.
        flags += [flag for flag in THIS_PROCESSOR if _takes(host, flag)][:1]
    except LostConnectionError:
        raise
    except CommandError as error:
        raise NotReadyError(
            f"nvgen cannot be compiled: {error.what}", place=f"host {host.name}", remedy=_INSTALL
        ) from error
    # The host is part of it: a folder shared by hosts must not hand one the other's instructions.
    key = hashlib.sha256(repr((host.name, version, flags, compiler, COMPILER_FLAGS)).encode())
    for name, text in _sources().items():
        key.update(name.encode() + b"\0" + text)
    return str(PurePosixPath(folder) / f"nvgen-{key.hexdigest()[:16]}"), flags


def _takes(host: Host, flag: str) -> bool:
    return host.run(["cc", flag, "-fsyntax-only", "-x", "c", "/dev/null"], check=False).ok


def _sources() -> dict[str, bytes]:
    folder = resources.files("nvbench.generators.native")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith((".c", ".h")))
    return {name: (folder / name).read_bytes() for name in names}


def _compile(host: Host, binary: str, flags: list[str]) -> None:
    # A name of its own for each attempt: two runs may build at once, and the last rename wins.
    work = f"{binary}.{time.time_ns():x}"
    host.make_folder(work)
    try:
        with resources.as_file(resources.files("nvbench.generators.native")) as native:
            for name in _sources():
                host.upload(Path(native) / name, f"{work}/{name}")
        objects = [f"{work}/{name}" for name in _sources() if name.endswith(".c")]
        argv = ["cc", "-o", f"{work}/nvgen", *objects, *flags, *COMPILER_FLAGS]
        done = host.run(argv, timeout_s=300, check=False)
        if not done.ok:
            faults = [line for line in done.stderr.splitlines() if re.search(r"\berror\b", line)]
            what = (faults or done.stderr.strip().splitlines() or ["no output"])[0]
            raise NotReadyError(
                f"nvgen does not compile: {what.removeprefix(work + '/')}",
                place=f"host {host.name}",
                remedy=_INSTALL,
            )
        host.run(["mv", f"{work}/nvgen", binary])
    finally:
        host.remove(work)
