"""A TRex server of our own on this host; for `trex_driver.py`, which is copied to hosts together with it.

For any Python since 3.6, without anything of nvbench.
"""
# ruff: noqa: UP006, UP032, UP035 - notations that Python 3.6 does not know

import ctypes
import os
import re
import signal
import socket
import subprocess
from pathlib import Path
from typing import Dict, List, Tuple

END_S = 5.0
"""A server that did not end on SIGINT in this time is killed."""

THREADS = re.compile("DP core|TRex RX")
LIBC = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, CLONE_NEWNET = 1, 0x40000000


class Fault(Exception):  # noqa: N818 - what TRex has, which is not always an error
    """What went wrong, in one line."""


def last_words(text: str) -> str:
    """The end of what a program printed, on one line."""
    lines = [line.strip() for line in text.splitlines() if re.search(r"\w", line)]
    return ": {}".format("; ".join(lines[-2:])) if lines else ""


def running() -> List[str]:
    """The processes that are TRex servers."""
    found = []
    for comm in Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().startswith("_t-rex-64"):
                found.append(comm.parent.name)
        except OSError:  # it has just ended
            continue
    return found


def free_ports() -> Tuple[int, int]:
    """Two TCP ports that nobody uses."""
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return int(first.getsockname()[1]), int(second.getsockname()[1])


def seclude(pci: List[str]) -> None:
    """Go into a network namespace of our own: TRex listens on all addresses, and does what anybody asks.

    Not where a port is the kernel's too (mlx5), whose device would be out of its sight.
    """
    if not pci or any(Path("/sys/bus/pci/devices", address, "net").is_dir() for address in pci):
        return
    if LIBC.unshare(CLONE_NEWNET):
        raise Fault("cannot make a network namespace: {}".format(os.strerror(ctypes.get_errno())))
    subprocess.check_call(["ip", "link", "set", "lo", "up"])  # noqa: S607


def mellanox(pci: List[str]) -> List[str]:
    """What TRex has to load for Mellanox's ports."""
    drivers = {Path("/sys/bus/pci/devices", address, "driver").resolve().name for address in pci}
    return ["--{}-so".format(name) for name in ("mlx4", "mlx5") if name + "_core" in drivers]


def _die_with_parent() -> None:
    """The kernel ends a server whose driver was killed and could not do it."""
    LIBC.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))


class Server:
    """A TRex server of our own, started by `argv` in TRex's `folder`; what it prints goes to `log`."""

    def __init__(self, argv: List[str], folder: str, log: Path) -> None:
        self._log = log
        with log.open("wb") as out:
            self.child = subprocess.Popen(
                argv,
                cwd=folder,
                env=dict(os.environ, LD_LIBRARY_PATH=folder),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - no lock is taken in it
            )
        self._waited_ns: Dict[str, int] = {}
        self.longest_wait_ns = 0

    def check_alive(self) -> None:
        """Does nothing where it runs."""
        if self.child.poll() is not None:
            raise Fault("TRex ended with status {}{}".format(self.child.returncode, self.last_words()))

    def last_words(self) -> str:
        """The end of what it printed, on one line."""
        return last_words(self._log.read_text(errors="replace"))

    def waited_ns(self) -> int:
        """For how long its polling threads were ready to run and no core took them, all together."""
        for thread in Path("/proc", str(self.child.pid), "task").glob("*"):
            try:
                if THREADS.search((thread / "comm").read_text()):
                    waited = int((thread / "schedstat").read_text().split()[1])
                    since = waited - self._waited_ns.get(thread.name, waited)
                    self.longest_wait_ns = max(self.longest_wait_ns, since)
                    self._waited_ns[thread.name] = waited
            except (OSError, IndexError):  # it has just ended
                continue
        return sum(self._waited_ns.values())

    def end(self) -> None:
        """It does not run any more after this."""
        for number in (signal.SIGINT, signal.SIGKILL):
            try:
                self.child.send_signal(number)
                self.child.wait(END_S)
            except subprocess.TimeoutExpired:
                continue
