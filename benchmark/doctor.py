"""Is a host ready? Each check says what it found and the command that mends it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum

from nvbench import fingerprint
from nvbench.generators.nvgen import OLDEST_DPDK
from nvbench.generators.stream_tools import STREAM_TOOLS
from nvbench.hosts import Host
from nvbench.testbed import Testbed

MINIMUM = {"kernel": "3.10", "ovs": "2.5", "dpdk": "16.11", "qemu": "2.3"}
"""Oldest versions that virtual networking of this kind works with."""


class Role(StrEnum):
    """What a host of a testbed is there for."""

    GENERATOR = "generator"
    SWITCH = "switch"
    GUEST = "guest"


class State(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        name: What was looked at.
        state: Whether it is fit.
        found: What was found.
        remedy: A command or a sentence that mends it.
        packages: Debian packages that mend it.
    """

    name: str
    state: State
    found: str
    remedy: str = ""
    packages: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Program:
    """A program, and what it is there for.

    Attributes:
        name: What a person calls it.
        program: Its file.
        packages: Debian packages that bring it.
        use: What uses it; empty: everything.
        remedy: How to get it where apt's ordinary sources lack it.
        needed_for: Where only some runs need it, what they do with it.
    """

    name: str
    program: str
    packages: tuple[str, ...]
    use: str = ""
    remedy: str = ""
    needed_for: str = ""


_PROGRAMS = (
    _Program("C compiler", "gcc", ("build-essential",), "nvgen"),
    _Program("pkg-config", "pkg-config", ("pkg-config",), "nvgen"),
    _Program("DPDK headers", "dpdk-testpmd", ("dpdk-dev", "libdpdk-dev"), "nvgen"),
    _Program("testpmd", "dpdk-testpmd", ("dpdk-dev",), "testpmd"),
    _Program("Python", "python3", ("python3",), "python3", needed_for="generators other than nvgen, and exact frames"),
    _Program("tcpreplay", "tcpreplay", ("tcpreplay",), "tcpreplay", needed_for="sending by tcpreplay"),
    _Program("ping", "ping", ("iputils-ping",), "ping", needed_for="functional checks"),
    _Program("Open vSwitch", "ovs-vsctl", ("openvswitch-switch-dpdk",), "ovs"),
    _Program("taskset, unshare", "taskset", ("util-linux",)),
    _Program("iproute2", "ip", ("iproute2",)),
    _Program("ethtool", "ethtool", ("ethtool",)),
    _Program("sysctl", "sysctl", ("procps",)),
    *(
        _Program(
            tool.name,
            program,
            tool.packages,
            tool.name,
            "" if tool.packages else tool.remedy,
            f"streams by {tool.name}",
        )
        for tool in STREAM_TOOLS
        for program in dict.fromkeys((tool.client, tool.server))
    ),
)
_OVS_DPDK = ("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk",)
_STREAMS = frozenset(tool.name for tool in STREAM_TOOLS)
_USES = {
    Role.GENERATOR: frozenset({"nvgen", "python3", "tcpreplay", "hugepages", "ping"}) | _STREAMS,
    Role.SWITCH: frozenset({"testpmd", "ovs", "ovs-dpdk", "hugepages", "qemu", "ping"}) | _STREAMS,
    Role.GUEST: _STREAMS,
}
"""What each role uses of its host, if nothing is said of what a run does."""


def roles(testbed: Testbed) -> dict[str, frozenset[Role]]:
    """Host -> what it is there for; a machine has several roles, or none."""
    found = {name: set[Role]() for name in testbed.hosts}
    found[testbed.generator.host].add(Role.GENERATOR)
    found[testbed.switch.host].add(Role.SWITCH)
    for machine in testbed.guests.machines:
        found[machine.host].add(Role.GUEST)
    return {name: frozenset(each) for name, each in found.items()}


def examine(host: Host, uses: Collection[str] | None = None, *, of: Collection[Role] = tuple(Role)) -> list[Check]:
    """The checks of a host, in the order in which they matter; nothing is changed.

    Args:
        host: The machine.
        uses: What is used of it: `nvgen`, `testpmd`, `ovs`, `ovs-dpdk`, `hugepages`, `python3`, or a tool; what lacks
            for any other use is not looked for. None: all that its roles use, and what some runs alone need is a
            warning.
        of: Its roles.
    """
    looked = frozenset(uses) if uses is not None else frozenset().union(*(_USES[role] for role in of))
    found = [*_root(host), *_programs(host, looked, uses is not None), *_versions(host, looked, uses is not None)]
    if "hugepages" in looked:
        found += _memory(host)
    return [*found, *_cores(host), *_quiet(host)]


def mend(host: Host, checks: list[Check]) -> list[str]:
    """Install what the checks found missing.

    Returns:
        The packages installed.

    Raises:
        CommandError: apt-get is not there or failed.
    """
    packages = sorted({name for check in checks if check.state is not State.OK for name in check.packages})
    if packages:
        apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
        host.run([*apt, "update", "-qq"], timeout_s=300)
        host.run([*apt, "install", "-y", "-qq", "--no-install-recommends", *packages], timeout_s=1200)
    return packages


def _root(host: Host) -> Iterator[Check]:
    user = host.run(["id", "-u"]).stdout.strip()
    if user == "0":
        yield Check("root", State.OK, "yes")
    else:
        yield Check("root", State.MISSING, f"user id {user}", "run nvbench as root (hugepages, devices, namespaces)")


def _programs(host: Host, uses: Collection[str], asked: bool) -> Iterator[Check]:
    for each in _PROGRAMS:
        if each.use and each.use not in uses:
            continue
        path = host.run(["which", each.program], check=False).stdout.strip()
        if path:
            yield Check(each.name, State.OK, path)
        elif asked or not each.needed_for:
            yield Check(each.name, State.MISSING, f"no {each.program}", _remedy(each), each.packages)
        else:
            found = f"no {each.program}; needed for {each.needed_for} only"
            yield Check(each.name, State.WARNING, found, _remedy(each), each.packages)
    if "ovs-dpdk" not in uses:
        return
    if any(host.exists(path) for path in _OVS_DPDK):
        yield Check("OVS with DPDK", State.OK, _OVS_DPDK[0])
    else:
        packages = ("openvswitch-switch-dpdk",)
        yield Check("OVS with DPDK", State.MISSING, "no ovs-vswitchd-dpdk", _apt(packages), packages)


def _remedy(program: _Program) -> str:
    return program.remedy or _apt(program.packages)


def _versions(host: Host, uses: Collection[str], asked: bool) -> Iterator[Check]:
    found = fingerprint.versions(host) | {"kernel": host.run(["uname", "-r"]).stdout.strip()}
    packages = {"ovs": ("openvswitch-switch-dpdk",), "dpdk": ("libdpdk-dev",), "qemu": ("qemu-system-x86",)}
    needed = {"kernel": "", "ovs": "ovs", "dpdk": "nvgen", "qemu": "qemu"}
    for tool, minimum in MINIMUM.items():
        if needed[tool] and needed[tool] not in uses:
            continue
        version, wanted = found.get(tool), packages.get(tool, ())
        name = f"{tool} version"
        if version is None and tool == "qemu":
            yield Check(name, State.WARNING, "absent; needed for virtual machines only", _apt(wanted))
        elif version is None:
            yield Check(name, State.MISSING, "absent", _apt(wanted), wanted)
        elif version_number(version) < version_number(minimum):
            yield Check(name, State.MISSING, f"{version}, below {minimum}", f"install {tool} {minimum} or newer")
        elif tool == "dpdk" and version_number(version) < version_number(OLDEST_DPDK):
            state = State.MISSING if asked else State.WARNING
            remedy = f"install dpdk {OLDEST_DPDK} or newer, or send with another generator"
            yield Check(name, state, f"{version}, below {OLDEST_DPDK}, which nvgen needs", remedy)
        else:
            yield Check(name, State.OK, f"{version} (at least {minimum})")


def _memory(host: Host) -> Iterator[Check]:
    found = fingerprint.memory(host)
    free, size_kb = found.get("HugePages_Free", 0), found.get("Hugepagesize", 0)
    if not size_kb:
        yield Check("hugepages", State.MISSING, "the kernel has none", "boot a kernel with CONFIG_HUGETLBFS")
        return
    free_mb, available_mb = free * size_kb // 1024, found.get("MemAvailable", 0) // 1024
    text = f"{free_mb} MB free in pages of {size_kb} kB, {available_mb} MB of other memory; a run reserves its own"
    if free_mb + available_mb < 2048:
        yield Check("hugepages", State.MISSING, text, "free some memory: 2 GB are needed")
    else:
        yield Check("hugepages", State.OK, text)


def _cores(host: Host) -> Iterator[Check]:
    count = len(fingerprint.cores(host))
    enough = State.OK if count >= 4 else State.WARNING
    yield Check("cores", enough, f"{count}", "" if count >= 4 else "4 or more keep generator and switch undisturbed")
    isolated = (host.read("/sys/devices/system/cpu/isolated") or "").strip()
    if isolated:
        yield Check("isolated cores", State.OK, isolated)
    else:
        remedy = "add isolcpus=LIST nohz_full=LIST to the kernel command line and reboot"
        yield Check("isolated cores", State.WARNING, "none", remedy)


def _quiet(host: Host) -> Iterator[Check]:
    governor = (host.read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "").strip()
    if governor in ("", "performance"):
        yield Check("governor", State.OK, governor or "not under this kernel's control")
    else:
        yield Check("governor", State.WARNING, governor, "cpupower frequency-set -g performance")
    stolen = sum(fingerprint.steal_ticks(host.read("/proc/stat") or "").values())
    share = stolen / 100 / max(1.0, float((host.read("/proc/uptime") or "1").split()[0]))
    state = State.OK if share < 0.001 else State.WARNING
    yield Check(
        "stolen time",
        state,
        f"{share:.2%} of a core since boot",
        "" if state is State.OK else "a quieter host",
    )


def _apt(packages: tuple[str, ...]) -> str:
    return f"apt-get install {' '.join(packages)}" if packages else ""


def version_number(version: str) -> tuple[int, ...]:
    """A version as something that can be compared."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def missing(checks: list[Check]) -> list[Check]:
    """The checks that stop a run."""
    return [check for check in checks if check.state is State.MISSING]
