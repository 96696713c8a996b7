"""nvgen on ARM: its source compiles for aarch64 without a warning, and what comes out runs, under emulation."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from nvbench.bench import BUILD_FOLDER
from nvbench.endpoint import Port
from nvbench.errors import GuestError
from nvbench.generators.base import Layout
from nvbench.generators.native import COMPILER_FLAGS
from nvbench.generators.nvgen import Nvgen
from nvbench.guests.packages import Archive
from nvbench.hosts import LocalHost
from nvbench.traffic import Direction, Traffic
from nvbench.trial import AbortRule

HOST = LocalHost("local")
CACHE = Path(BUILD_FOLDER, "aarch64")
SOURCES = Path(__file__).parents[2] / "generators" / "native"
COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64-static"
ATTEMPTS = 5
NULL = (
    Port(("--vdev", "net_null0,no-rx=1"), "net_null0"),
    Port(("--vdev", "net_null1,no-rx=1"), "net_null1"),
)


@dataclass(frozen=True)
class Cross:
    """What it takes to build and to run for another machine; nothing of it is installed.

    Attributes:
        root: Where compiler and emulator are unpacked, for this machine.
        sysroot: Where libraries and headers are unpacked, for the other.
    """

    root: Path
    sysroot: Path

    def compile(self, target: Path) -> subprocess.CompletedProcess[str]:
        """Compile nvgen as on a host, every warning an error."""
        folders = (self.sysroot / "usr/lib/aarch64-linux-gnu/pkgconfig", self.sysroot / "usr/share/pkgconfig")
        libraries = {
            **os.environ,
            "PKG_CONFIG_SYSROOT_DIR": str(self.sysroot),
            "PKG_CONFIG_LIBDIR": ":".join(map(str, folders)),
        }
        asked = ["pkg-config", "--cflags", "--libs", "libdpdk", "jansson"]
        told = subprocess.run(asked, env=libraries, capture_output=True, text=True, check=True).stdout
        tools = self.root / "usr/bin"
        argv = [
            *(str(tools / COMPILER), f"--sysroot={self.sysroot}", f"-B{tools}/aarch64-linux-gnu-", "-Werror"),
            *("-o", str(target), *map(str, sorted(SOURCES.glob("*.c"))), *shlex.split(told), *COMPILER_FLAGS),
        ]
        own = {**os.environ, "LD_LIBRARY_PATH": str(self.root / "usr/lib/x86_64-linux-gnu")}
        return subprocess.run(argv, env=own, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def cross() -> Cross:
    """Unpacked once on a machine, which takes a minute; Debian's archive has it all."""
    if not (CACHE / "complete").exists():
        shutil.rmtree(CACHE, ignore_errors=True)
        try:
            _unpack()
        except GuestError as error:
            shutil.rmtree(CACHE, ignore_errors=True)
            pytest.skip(str(error))
        (CACHE / "complete").touch()
    return Cross(CACHE / "tools", CACHE / "sysroot")


def _unpack() -> None:
    other = Archive(HOST, str(CACHE / "arm64"), alone=True, architecture="arm64")
    other.refresh()
    libraries = other.closure(["libdpdk-dev", "libjansson-dev", "libc6-dev"])
    other.unpack(libraries, str(CACHE / "sysroot"), together=True)
    for archive in (CACHE / "sysroot/usr/lib/aarch64-linux-gnu").glob("librte_*.a"):
        archive.unlink()  # large, and nothing is linked with it
    own = Archive(HOST, str(CACHE / "amd64"), alone=True)
    own.refresh()
    wanted = ("aarch64", "arm64-cross", "qemu-user-static", "cross-base", "libisl", "libmpc", "libmpfr", "libgmp")
    tools = [
        package
        for package in own.closure(["gcc-aarch64-linux-gnu", "qemu-user-static"])
        if any(word in package.name for word in wanted)
    ]
    own.unpack(tools, str(CACHE / "tools"), together=True)
    for program in (CACHE / "tools/usr/bin").glob("qemu-*"):
        if program.name != EMULATOR:
            program.unlink()


@pytest.fixture(scope="module")
def binary(cross: Cross, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target: Path = tmp_path_factory.mktemp("aarch64") / "nvgen"
    done = cross.compile(target)
    assert (done.returncode, done.stderr) == (0, "")
    return target


def test_it_compiles_without_a_warning_for_the_other_machine(binary) -> None:
    header = binary.read_bytes()[:20]
    assert header[:6] == b"\x7fELF\x02\x01"  # 64 bits, little-endian
    assert int.from_bytes(header[18:20], "little") == 183  # EM_AARCH64


@pytest.fixture
def generator(cross: Cross, binary: Path) -> Iterator[Nvgen]:
    wrapper = binary.with_name("emulated")
    wrapper.write_text(f'#!/bin/sh\nexec {cross.root}/usr/bin/{EMULATOR} -L {cross.sysroot} {binary} "$@"\n')
    wrapper.chmod(0o755)
    layout = Layout(ports=NULL, cores=(0,), hugepages=False, memory_mb=128)
    started = Nvgen.start(HOST, layout, binary=str(wrapper), housekeeping_core=1, file_prefix=f"nvarm{os.getpid()}")
    yield started
    started.close()


@pytest.mark.usefixtures("as_found")
def test_it_runs_a_trial(generator) -> None:
    """An emulated processor is slow, and its clock coarse: little is asked of it, and that it counts."""
    generator.ready(60.0)
    generator.configure(Traffic(64, flows=16, direction=Direction.BIDIRECTIONAL))
    for _ in range(ATTEMPTS):
        trial = generator.trial(1000.0, 0.5, AbortRule())
        if trial.total.sent > 500:
            break
    assert [each.offered + each.late for each in trial.directions] == [500, 500]
    assert trial.total.sent > 500
    assert trial.elapsed_s == pytest.approx(0.5, rel=0.05)
    assert 1e6 < generator.clock["tsc_hz"] < 2e9
