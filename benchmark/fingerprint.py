"""What a bench was when it was measured: versions, kernel, processor, memory, cores, NICs.

Everything is read, nothing assumed: what cannot be read is absent.
"""

from __future__ import annotations

import json
import re
from typing import Any

from nvbench.errors import CommandError
from nvbench.hosts import Host

Fingerprint = dict[str, Any]

_VERSION_COMMANDS = {
    "ovs": ["ovs-vsctl", "--version"],
    "dpdk": ["pkg-config", "--modversion", "libdpdk"],
    "qemu": ["qemu-system-x86_64", "--version"],
    "libvirt": ["virsh", "--version"],
    "gcc": ["gcc", "-dumpfullversion"],
}


def fingerprint(host: Host) -> Fingerprint:
    """What `host` is."""
    found = {
        "kernel": host.run(["uname", "-r"]).stdout.strip(),
        "kernel_command_line": (host.read("/proc/cmdline") or "").strip(),
        "os": _os_name(host.read("/etc/os-release") or ""),
        "architecture": host.run(["uname", "-m"]).stdout.strip(),
        "sockets": _sockets(_told(host, ["lscpu"])),
        "cpu": _cpu(host.read("/proc/cpuinfo") or ""),
        "numa_nodes": len(set(cores(host).values())),
        "online_cores": len(cores(host)),
        "isolated_cores": (host.read("/sys/devices/system/cpu/isolated") or "").strip(),
        "governor": (host.read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "").strip(),
        "virtual_machine": "hypervisor" in (host.read("/proc/cpuinfo") or ""),
        "memory": memory(host),
        "versions": versions(host),
        "nics": nics(host),
    }
    return {key: value for key, value in found.items() if value not in ("", None, {}, [])}


def versions(host: Host) -> dict[str, str]:
    """Tool -> version, of the tools that are there."""
    found = {}
    for tool, argv in _VERSION_COMMANDS.items():
        if number := re.search(r"\d+(\.\d+)+", _told(host, argv)):
            found[tool] = number[0]
    return found


def cores(host: Host) -> dict[int, int]:
    """Online core -> NUMA node."""
    answer = json.loads(host.run(["lscpu", "--json", "--extended=CPU,NODE,ONLINE"]).stdout)
    found = {}
    for row in answer["cpus"]:
        if str(row.get("online", "yes")).lower() in ("yes", "true"):
            node = row.get("node")
            found[int(row["cpu"])] = int(node) if str(node).isdigit() else 0
    return found


def machine(host: Host) -> str:
    """What tells a machine from all others as long as it runs: hosts that share it share cores and memory."""
    return (host.read("/proc/sys/kernel/random/boot_id") or host.name).strip()


def memory(host: Host) -> dict[str, int]:
    """Memory and hugepages: kB as /proc/meminfo counts, pages as a number."""
    text = host.read("/proc/meminfo") or ""
    wanted = ("MemTotal", "MemAvailable", "HugePages_Total", "HugePages_Free", "Hugepagesize")
    return {name: int(value) for name, value in re.findall(r"^(\w+):\s+(\d+)", text, re.MULTILINE) if name in wanted}


def nics(host: Host) -> list[dict[str, str]]:
    """Physical network devices with driver and firmware."""
    found = []
    listing = host.run(["ls", "/sys/class/net"], check=False).stdout.split()
    for name in listing:
        if host.exists(f"/sys/class/net/{name}/device"):
            pairs = dict(re.findall(r"^([\w-]+): *(\S.*)$", _told(host, ["ethtool", "-i", name]), re.MULTILINE))
            keys = ("driver", "version", "firmware-version", "bus-info")
            found.append({"name": name} | {key: pairs[key] for key in keys if key in pairs})
    return found


def threads(host: Host, pid: int) -> dict[int, str]:
    """Thread id -> name, of a process; empty where it has gone."""
    rows = (
        line.split(maxsplit=1) for line in _told(host, ["ps", "-L", "-o", "tid=,comm=", "-p", str(pid)]).splitlines()
    )
    return {int(thread): name for thread, name in rows}


def steal_ticks(text: str) -> dict[int, int]:
    """/proc/stat -> core -> time that the hypervisor took it away, in ticks."""
    rows = re.findall(r"^cpu(\d+) (.*)$", text, re.MULTILINE)
    return {int(core): int(fields.split()[7]) for core, fields in rows}


def _told(host: Host, argv: list[str]) -> str:
    """What a tool prints; nothing where it is not there."""
    try:
        done = host.run(argv, check=False)
    except CommandError:
        return ""
    return done.stdout if done.ok else ""


def _os_name(text: str) -> str:
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', text, re.MULTILINE)
    return found[1] if found else ""


def _sockets(text: str) -> int | None:
    found = re.search(r"^Socket\(s\):\s*(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None


def _cpu(text: str) -> str:
    found = re.search(r"^(?:model name|CPU part)\s*: (.*)$", text, re.MULTILINE)
    return found[1] if found else ""
