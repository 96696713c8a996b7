"""Saved machines: one is booted once, its state is kept, and each guest goes on from there within a second.

What is saved is a machine before any network device was plugged in, so one state serves every shape of guest.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nvbench.errors import GuestError
from nvbench.guests.emulator import Machine
from nvbench.guests.kept import digest, keep, making
from nvbench.guests.monitor import Monitor
from nvbench.hosts import Host
from nvbench.journal import Journal

BOOT_PATIENCE_S = 60.0
KVM_PATIENCE_S = 10.0
READY = "nvbench: ready"
_WORKS = "works\n"


def boot(monitor: Monitor, journal: Journal, argv: list[str], patience_s: float = BOOT_PATIENCE_S) -> None:
    """Start a machine and wait until its first process says that it is ready.

    Raises:
        GuestError: It does not boot; carries the last lines of its console.
    """
    monitor.start(journal, argv)
    monitor.until("the end of its boot", lambda: READY in monitor.console(), patience_s)


def kvm_works(host: Host, cache: str, machine: Machine, journal: Journal, folder: str) -> bool:
    """Whether KVM runs guests here, proved by booting one; kept until the host boots again.

    That its device opens, and that QEMU starts with it, tell nothing where the host is itself a virtual machine.
    """
    if not host.exists("/dev/kvm"):
        return False
    boot_id = (host.read("/proc/sys/kernel/random/boot_id") or "").strip()
    verdict = f"{cache}/guests/kvm-{boot_id}"
    told = host.read(verdict)
    if not told:
        with making(host, cache) as kept:
            told = host.read(verdict)
            if not told:
                told = _probe(host, replace(machine, kvm=True), journal, folder) or _WORKS
                host.run(["find", kept, "-maxdepth", "1", "-name", "kvm-*", "-delete"])
                host.write(verdict, told)
    return told == _WORKS


def _probe(host: Host, machine: Machine, journal: Journal, folder: str) -> str:
    """Why a machine does not boot; empty if it does."""
    mark, monitor = journal.mark(), Monitor(host, "kvm", folder)
    try:
        boot(monitor, journal, machine.argv(folder), KVM_PATIENCE_S)
    except GuestError as error:
        return f"{error}\n"
    finally:
        journal.undo_since(mark)
        monitor.reap()
    return ""


def saved_state(host: Host, cache: str, machine: Machine, journal: Journal, folder: str) -> str:
    """Where the saved state of a machine is; where there is none yet, it is booted for that.

    Raises:
        GuestError: It does not boot, or cannot be saved.
    """
    state = _state_file(host, machine)
    if host.exists(state):
        return state
    with making(host, cache):
        if not host.exists(state):
            mark, monitor = journal.mark(), Monitor(host, "saved", folder)
            draft = f"{state}.draft"
            try:
                boot(monitor, journal, machine.argv(folder))
                _save(monitor, draft)
                keep(host, draft, state)
            finally:
                journal.undo_since(mark)
                monitor.reap()
                host.remove(draft)
    return state


def _state_file(host: Host, machine: Machine) -> str:
    """One that was saved by another code, QEMU, or, with KVM, kernel or processor is none of this machine's."""
    cpuinfo = (host.read("/proc/cpuinfo") or "").splitlines()
    model = [line for line in cpuinfo if line.startswith(("model name", "flags"))][:2]
    below = [host.read("/proc/sys/kernel/osrelease") or "", *model] if machine.kvm else []
    shape = digest(Path(__file__).read_bytes(), machine.emulator.version, *below, *machine.argv(""))
    return f"{machine.image.folder}/state-{shape}"


def _save(monitor: Monitor, draft: str) -> None:
    monitor.ask("stop")
    _map_memory(monitor)
    monitor.ask("migrate", uri=f"file:{draft}")

    def saved() -> bool:
        told = monitor.ask("query-migrate")
        if told.get("status") == "failed":
            raise GuestError(f"cannot be saved: {told.get('error-desc', 'no reason told')}", place=monitor.place)
        return bool(told.get("status") == "completed")

    monitor.until("the end of its saving", saved, BOOT_PATIENCE_S)


def restore(monitor: Monitor, host: Host, state: str) -> None:
    """Have a machine that waits for it go on from a saved state.

    Raises:
        GuestError: It does not take it; the state is removed, so that the next machine is booted and saved anew.
    """
    try:
        _map_memory(monitor)
        monitor.ask("migrate-incoming", uri=f"file:{state}")
        monitor.until("its saved state", lambda: monitor.ask("query-status")["status"] != "inmigrate", BOOT_PATIENCE_S)
        monitor.ask("cont")
    except GuestError:
        host.remove(state)
        raise


def _map_memory(monitor: Monitor) -> None:
    """Memory is kept page by page at its place in the file: that is read at twice the speed of a stream."""
    monitor.ask("migrate-set-capabilities", capabilities=[{"capability": "mapped-ram", "state": True}])
