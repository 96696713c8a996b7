"""Is a crash of OVS noticed, told with what is known of it, and over once the switch is started again?"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nvbench.checks.ovs_restart import judge_recovery, pings
from nvbench.datapaths.ovs_dpdk import OvsDpdk
from nvbench.errors import CommandError
from nvbench.hosts import Host
from nvbench.journal import Remove
from nvbench.stands import OVS, Check, Record, Stand, Wish

NOTICED_S = 10.0
"""A crash is noticed within so many seconds; the kernel writes the core file first."""

MOST_CORE_BYTES = 512_000_000
"""The most that a core file is let become; most of it is holes."""

SYSTEM_LOG = "/var/log/openvswitch/ovs-vswitchd.log"
_PROC = "/proc/sys/kernel"


@dataclass(frozen=True)
class Core:
    """Where the core file of a process will be.

    Attributes:
        file: Its path; empty where there will be none that is known.
        why: The kernel's setting that says so.
        program: The program that it will be of.
    """

    file: str
    why: str
    program: str = ""


def act(made: Stand, record: Record) -> None:
    """A segmentation fault by signal, while a guest pings; then the switch is started again."""
    switch, host = made.switch, made.place.host
    assert isinstance(switch, OvsDpdk)  # noqa: S101 - which makes it this path
    _tell_earlier_ones(host, record)
    pid = switch.poller()
    core = _core_of(made, pid)
    with pings(made, record) as running:
        killed = time.time()
        host.run(["kill", "-SEGV", str(pid)])
        told = _noticed(made)
        noticed_s = time.time() - killed
        record.keep("ovs-vswitchd.log", switch.control.log())
        switch.revive()
        judge_recovery(record, running, killed, time.time())
    keep_core(host, record, core)
    within = f"{noticed_s:.2f} s after the signal (at most {NOTICED_S:g} s)"
    what = f"the crash of process {pid} is noticed {within}" if told else f"the crash is not noticed {within}"
    record.observe(bool(told), what, told or f"process {pid}: nothing is said of its end")
    record.advise(
        "not shown here: the crash that needs a guest with a virtual function and a vhost-user port; no guest of this "
        "bench has both"
    )


def _noticed(made: Stand) -> str:
    """What the datapath says of its end, once it does."""
    deadline = time.monotonic() + NOTICED_S
    while time.monotonic() < deadline:
        if told := made.switch.crashed():
            return told
        time.sleep(0.01)
    return ""


def _tell_earlier_ones(host: Host, record: Record) -> None:
    """The crashes that the host's own switch tells of: its monitor writes them down."""
    found = host.run(["grep", "-h", "-E", "pid [0-9]+ died, killed", SYSTEM_LOG], check=False).stdout.splitlines()
    if found:
        record.advise(f"the host's own OVS has crashed {len(found)} times by {SYSTEM_LOG}, at last: {found[-1]}")


# -- the core file ---------------------------------------------------------------------------------------------


def core_path(pattern: str, uses_pid: bool, pid: int, folder: str) -> str:
    """Where core(5) says that a core file will be; empty where that cannot be known before.

    Args:
        pattern: The kernel's core_pattern.
        uses_pid: Whether core_uses_pid is set.
        pid: Of the process.
        folder: Its working directory.
    """
    if pattern.startswith("|") or re.search(r"%[^p%]", pattern):
        return ""
    name = pattern.replace("%p", str(pid)).replace("%%", "%")
    name += f".{pid}" if uses_pid and "%p" not in pattern else ""
    return str(PurePosixPath(folder) / name)


def _core_of(made: Stand, pid: int | None) -> Core:
    """Have the process leave a core file, where it overwrites nothing and the way it takes is known."""
    host = made.place.host
    pattern = (host.read(f"{_PROC}/core_pattern") or "").strip()
    uses_pid = (host.read(f"{_PROC}/core_uses_pid") or "0").strip() == "1"
    folder, program = (host.run(["readlink", f"/proc/{pid}/{name}"]).stdout.strip() for name in ("cwd", "exe"))
    file = core_path(pattern, uses_pid, pid or 0, folder)
    why = f"{_PROC}/core_pattern: {pattern}"
    if not file or host.exists(file):
        return Core("", why if not file else f"{file} is there already, and stays as it is")
    for left in (file, f"{file}.gz"):
        made.journal.record(host, Remove(left))
    limited = host.run(["prlimit", "--pid", str(pid), f"--core={MOST_CORE_BYTES}"], check=False)
    return Core(file, why, program) if limited.ok else Core("", limited.stderr.strip())


def keep_core(host: Host, record: Record, core: Core) -> None:
    """Have the core file told of, and kept if it is small; away it goes in any case, for it is of a crash made here."""
    if not core.file or not host.exists(core.file):
        record.advise(f"no core file is kept: {core.why}")
        return
    size, blocks = map(int, host.run(["stat", "-c", "%s %b", core.file]).stdout.split())
    kind = host.run(["file", "-b", core.file], check=False).stdout.strip() if _has(host, "file") else "a core file"
    cause = kind
    if _has(host, "gdb"):
        words = ["gdb", "-nx", "-q", "-batch", "-ex", "bt 12", core.program, core.file]
        told = host.run(words, check=False, timeout_s=20).stdout
        cause = next((line for line in told.splitlines() if "terminated with signal" in line), kind)
    where = "stays on its host as long as the bench is up"
    if host.local:
        host.run(["gzip", "-1", core.file])
        if name := record.take(Path(f"{core.file}.gz")):
            where = f"is kept as {name}"
    told = f"a core file of {size / 1e6:.0f} MB, {blocks * 512 / 1e6:.0f} MB without its holes, was written and {where}"
    record.observe(True, told, cause)


def _has(host: Host, program: str) -> bool:
    try:
        host.run([program, "--version"], check=False)
    except CommandError:
        return False
    return True


OVS_CRASH = Check(
    name="ovs_crash",
    title="a crash of OVS is noticed and told, and over after its restart",
    cases={OVS: "5.2"},
    act=act,
    tags=("restart", "crash"),
    wish=Wish(guest="namespace"),
)
