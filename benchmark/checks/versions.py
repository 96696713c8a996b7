"""Are kernel, QEMU, OVS and DPDK new enough?"""

from __future__ import annotations

import re
from collections.abc import Mapping

from nvbench import fingerprint
from nvbench.doctor import MINIMUM, Role, roles, version_number
from nvbench.errors import CommandError, GuestError
from nvbench.guests.base import CACHE
from nvbench.guests.emulator import find_emulator
from nvbench.hosts import Host
from nvbench.stands import BENCH, Check, Ground, Record

NAMES = {"kernel": "the kernel", "ovs": "Open vSwitch", "dpdk": "DPDK", "qemu": "QEMU"}
_USED_BY = {"kernel": set(Role), "ovs": {Role.SWITCH}, "dpdk": {Role.GENERATOR, Role.SWITCH}, "qemu": {Role.SWITCH}}


def act(ground: Ground, record: Record) -> None:
    """Each host that is there for something has what it needs for that, new enough; what is absent fails nothing."""
    rows = []
    for name, parts in roles(ground.bench.testbed).items():
        found = versions(ground.hosts[name], ground.bench.testbed.switch.ovs) if parts else {}
        for tool, minimum in MINIMUM.items():
            if not parts & _USED_BY[tool]:
                continue
            if tool not in found:
                record.advise(f"host {name} has no {NAMES[tool]}: cases that need it are BLOCKED")
                rows.append((f"{name}: {tool}", "absent", minimum))
                continue
            version, quote = found[tool]
            holds = version_number(version) >= version_number(minimum)
            told = f"{NAMES[tool]} of host {name} is {version}, {'not below' if holds else 'below'} {minimum}"
            record.observe(holds, told, quote)
            rows.append((f"{name}: {tool}", version, minimum))
            if not holds:
                record.advise(f"install {tool} {minimum} or newer on host {name}")
    record.draw("Versions", ("what", "found", "at least"), rows)


def versions(host: Host, ovs: str) -> Mapping[str, tuple[str, str]]:
    """Tool -> its version, and the words that tell it; QEMU is the one that guests run on, also where it is a copy.

    Args:
        host: The machine.
        ovs: Prefix under which OVS is installed there.
    """
    kernel = host.run(["uname", "-r"]).stdout.strip()
    found = {"kernel": (kernel, f"uname -r: {kernel}")}
    told = fingerprint.versions(host)
    if "dpdk" in told:
        found["dpdk"] = (told["dpdk"], f"pkg-config --modversion libdpdk: {told['dpdk']}")
    if line := _first_line(host, f"{ovs}/bin/ovs-vsctl"):
        found["ovs"] = (_number(line), line)
    try:
        emulator = find_emulator(host, CACHE)
        copy = "" if len(emulator.argv) == 1 else " (a copy of its own, which guests run on)"
        found["qemu"] = (emulator.version, f"QEMU emulator version {emulator.version}{copy}")
    except GuestError:
        if "qemu" in told:  # too old for guests of our own, but not for those of libvirt
            found["qemu"] = (told["qemu"], f"qemu-system-x86_64 --version: {told['qemu']}")
    return found


def _first_line(host: Host, program: str) -> str:
    try:
        done = host.run([program, "--version"], check=False)
    except CommandError:
        return ""
    return done.stdout.partition("\n")[0] if done.ok else ""


def _number(line: str) -> str:
    found = re.search(r"\d+(\.\d+)+", line)
    return found[0] if found else "0"


VERSIONS = Check(
    name="versions",
    title="kernel, QEMU, OVS and DPDK are not too old",
    cases={BENCH: "5.1.1"},
    act=act,
    tags=("setup",),
    limit_s=240.0,  # QEMU is fetched where guests have none yet
)
