"""QEMU: the host's own if it is new enough, else a copy of our own from the release's backports, never installed."""

from __future__ import annotations

import re
from dataclasses import dataclass

from nvbench.errors import CommandError, GuestError
from nvbench.guests.image import Image
from nvbench.guests.kept import digest, keep, making, target
from nvbench.guests.packages import Archive
from nvbench.hosts import Host

OLDEST = (9, 0)
"""7.2 dies where a vhost-user device has message-signalled interrupts and no KVM; `mapped-ram` came with 9.0."""

SLOTS = 8
"""How many network devices a machine takes."""

PROGRAM = "qemu-system-x86_64"
PACKAGE = "qemu-system-x86"
CONTROL_MAC = "52:54:00:6e:76:00"
_SRIOV_MAC = "52:54:00:6e:77:"


@dataclass(frozen=True, slots=True)
class Emulator:
    """A QEMU that runs.

    Attributes:
        argv: How it is started.
        version: Its version.
    """

    argv: tuple[str, ...]
    version: str


def private_copy(root: str) -> tuple[str, ...]:
    """How a QEMU is started that was unpacked under a folder."""
    libraries = [f"{root}{usr}/lib/x86_64-linux-gnu" for usr in ("/usr", "")]
    return (
        "env",
        f"LD_LIBRARY_PATH={':'.join(libraries)}",
        f"QEMU_MODULE_DIR={libraries[0]}/qemu",
        f"{root}/usr/bin/{PROGRAM}",
        *(word for name in ("qemu", "seabios", "ipxe") for word in ("-L", f"{root}/usr/share/{name}")),
    )


def find_emulator(host: Host, cache: str) -> Emulator:
    """The host's QEMU, else the one in the cache, which is fetched where it is not there or does not start.

    Raises:
        GuestError: There is none, and none to be had.
    """
    wish = f"{cache}/guests/qemu"
    found = _try(host, (PROGRAM,)) or _kept(host, wish)
    if found is not None:
        return found
    with making(host, cache) as folder:
        fetched = _kept(host, wish)
        if fetched is None:
            _fetch(host, folder, wish)
            fetched = _kept(host, wish)
    if fetched is None:
        raise GuestError(
            f"no QEMU from {'.'.join(map(str, OLDEST))} on, neither installed nor in its release's backports",
            place=f"host {host.name}",
            remedy=f"install a newer {PACKAGE}",
        )
    return fetched


def _try(host: Host, argv: tuple[str, ...]) -> Emulator | None:
    try:
        told = host.run([*argv, "--version"]).stdout
    except CommandError:
        return None
    found = re.search(r"version (\d+)\.(\d+)\S*", told)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        return None
    return Emulator(argv, found[0].removeprefix("version "))


def _kept(host: Host, wish: str) -> Emulator | None:
    root = target(host, wish)
    return _try(host, private_copy(root)) if root else None


def _fetch(host: Host, folder: str, wish: str) -> None:
    archive = Archive(host, f"{folder}/apt", alone=False)
    archive.refresh()
    try:
        packages = archive.closure([PACKAGE], release=archive.backports())
    except GuestError:  # a release without backports
        packages = archive.closure([PACKAGE])
    name = f"qemu-{digest(*map(str, packages))}"
    draft, made = f"{folder}/draft-{name}", f"{folder}/{name}"
    archive.unpack(packages, draft, together=True)
    host.remove(made)  # if it is there it does not start: what it needs beside it has changed
    keep(host, draft, made, wish)


@dataclass(frozen=True, slots=True)
class Machine:
    """A virtual machine as QEMU is told of it: without network devices but the one for SSH; others are plugged in.

    Attributes:
        emulator: The QEMU.
        image: What it boots.
        memory_mb: Its memory, shared with whoever serves its devices.
        vcpus: Its processors.
        kvm: Whether the host's processor runs it; else it is emulated.
        sriov_nics: Its emulated NICs with virtual functions, all at one hub.
    """

    emulator: Emulator
    image: Image
    memory_mb: int
    vcpus: int
    kvm: bool
    sriov_nics: int = 0

    def argv(self, folder: str, *, restored: bool = False) -> list[str]:
        """The command line; it is spoken to by QMP on standard input and output.

        Args:
            folder: A folder for its console's log and its process id.
            restored: Whether it waits for a saved state; else it boots.
        """
        network = "user,id=control,restrict=on,hostfwd=tcp:127.0.0.1:0-:22"  # port 0: any that is free
        return [
            *self.emulator.argv,
            *("-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-machine", "q35"),
            *("-accel", "kvm" if self.kvm else "tcg,tb-size=128", "-cpu", "host" if self.kvm else "max"),
            *("-smp", str(self.vcpus), "-m", str(self.memory_mb)),
            *("-object", f"memory-backend-memfd,id=memory,size={self.memory_mb}M,share=on"),
            *("-numa", "node,memdev=memory"),
            *("-kernel", self.image.kernel, "-initrd", self.image.root),
            *("-append", "console=ttyS0 quiet panic=-1"),
            *("-netdev", network, "-device", f"virtio-net-pci,netdev=control,mac={CONTROL_MAC},romfile="),
            *(word for slot in range(SLOTS) for word in ("-device", _port(slot))),
            *(word for index in range(self.sriov_nics) for word in _sriov_nic(index)),
            *("-chardev", f"file,id=console,path={console(folder)}", "-serial", "chardev:console"),
            *("-chardev", "stdio,id=qmp,signal=off", "-mon", "chardev=qmp,mode=control"),
            *("-pidfile", pidfile(folder)),
            *(("-incoming", "defer") if restored else ()),
        ]


def _port(slot: int) -> str:
    return f"pcie-root-port,id=slot{slot},chassis={slot + 1},slot={slot + 1}"


def _sriov_nic(index: int) -> list[str]:
    name = f"sriov{index}"
    cable = f"hubport,id={name},hubid=1"
    port = f"pcie-root-port,id=port-{name},chassis={SLOTS + index + 1},slot={SLOTS + index + 1}"
    return [
        "-netdev",
        cable,
        "-device",
        port,
        "-device",
        f"igb,bus=port-{name},netdev={name},mac={_SRIOV_MAC}{index:02x}",
    ]


def console(folder: str) -> str:
    """Where a machine's console is logged."""
    return f"{folder}/console.log"


def pidfile(folder: str) -> str:
    """Where a machine's process id is."""
    return f"{folder}/qemu.pid"
