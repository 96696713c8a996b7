"""Are the virtual machines what they were asked to be, seen from inside and from their hypervisor?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from nvbench.datapaths.ovs_output import parse_rows
from nvbench.endpoint import LinkKind
from nvbench.errors import NotPossibleError
from nvbench.guests.emulator import pidfile
from nvbench.hosts import Host
from nvbench.stands import GUESTS, OVS, Check, Member, Record, Stand
from nvbench.stands.ovs_control import control

FEATURES = {"mrg_rxbuf": 15, "mq": 22, "version_1": 32}
"""Of the virtio network device, by their bits (virtio 1.2, sections 5.1.3 and 6)."""

KEPT_BY_KERNEL = 0.25
"""Share of a small machine's memory that its kernel keeps for itself."""


def act(stand: Stand, record: Record) -> None:
    """Look at each machine from inside, at its process, and at what its port has agreed upon with it."""
    machines = [member for member in stand.members if member.link.kind is LinkKind.VHOST_USER]
    if not machines:
        raise NotPossibleError(f"the guests of this stand are of kind {stand.guest_kind}, no virtual machines")
    told = control(stand).vsctl("--format=json", "--columns=name,type,status", "list", "Interface")
    status: Mapping[str, Mapping[str, Any]] = {row["name"]: row for row in parse_rows(told)}
    rows = []
    for member in machines:
        row = _judge_inside(stand, record, member)
        _judge_sharing(stand, record, member)
        _judge_negotiation(stand, record, member, status[member.port])
        rows.append(row)
    record.draw("Virtual machines", ("guest", "memory", "vCPUs", "driver", "queues", "features"), rows)


def _judge_inside(stand: Stand, record: Record, member: Member) -> tuple[str, ...]:
    asked, name = stand.bench.testbed.guests, member.name
    total_kb = int(_found(r"MemTotal:\s+(\d+)", member.host.run(["cat", "/proc/meminfo"]).stdout) or 0)
    found_mb, least_mb = total_kb // 1024, int(asked.memory_mb * (1 - KEPT_BY_KERNEL))
    told = f"{name} was given {asked.memory_mb} MB of memory, and tells of {found_mb} MB beside its kernel"
    record.observe(least_mb <= found_mb <= asked.memory_mb, told, f"MemTotal: {total_kb} kB")

    vcpus = member.host.run(["nproc"]).stdout.strip()
    record.observe(
        vcpus == str(asked.vcpus), f"vCPUs given to {name}: {asked.vcpus}, found in it: {vcpus}", f"nproc: {vcpus}"
    )

    driver = _found(r"driver: (\S+)", member.host.run(["ethtool", "-i", member.device]).stdout)
    told = f"{member.device} of {name} is driven by {driver or 'nobody'}; by virtio_net it should be"
    record.observe(driver == "virtio_net", told, f"driver: {driver}")

    queues = parse_channels(member.host.run(["ethtool", "-l", member.device]).stdout)
    wanted = stand.parameters.queues
    told = f"{member.device} of {name} uses {queues[1]} of {queues[0]} queues; {wanted} are asked for"
    record.observe(queues == (wanted, wanted), told, f"ethtool -l: Combined: {queues[1]}")

    bits = member.host.run(["cat", f"/sys/class/net/{member.device}/device/features"]).stdout.strip()
    agreed = [each for each, bit in FEATURES.items() if bits[bit : bit + 1] == "1"]
    needed = {"mrg_rxbuf", *(("mq",) if wanted > 1 else ())}
    told = f"{member.device} of {name} has agreed upon {', '.join(agreed) or 'none of the features looked for'}"
    record.observe(needed <= {*agreed}, f"{told}; needed are {', '.join(sorted(needed))}", f"features: {bits}")
    return (name, f"{found_mb} MB", vcpus, driver, f"{queues[1]} of {queues[0]}", " ".join(agreed))


def _judge_sharing(stand: Stand, record: Record, member: Member) -> None:
    """The switch reads and writes the guest's memory: it has to be mapped as shared, all of it."""
    host = stand.hosts[stand.bench.testbed.switch.host]
    pid = process_of(stand, member)
    if pid is None:
        record.advise(f"the process of {member.name} is not known: whether its memory is shared is not either")
        return
    words = (host.read(f"/proc/{pid}/cmdline") or "").split("\0")
    backend = next((word for word in words if word.startswith("memory-backend-")), "no -object memory-backend-...")
    shared_mb = shared_bytes(host.read(f"/proc/{pid}/maps") or "") // 2**20
    asked_mb = stand.bench.testbed.guests.memory_mb
    holds = "share=on" in backend and shared_mb >= asked_mb
    told = f"the hypervisor of {member.name} shares {shared_mb} MB of its {asked_mb} MB of memory"
    record.observe(holds, told, f"-object {backend}")


def _judge_negotiation(stand: Stand, record: Record, member: Member, interface: Mapping[str, Any]) -> None:
    status, wanted = interface["status"], 2 * stand.parameters.queues
    rings, state = status.get("num_of_vrings", "0"), status.get("status", "disconnected")
    holds = state == "connected" and int(rings) == wanted
    told = f"port {member.port} is {state} with {member.name} over {rings} rings; {wanted} are asked for"
    record.observe(holds, told, f"status: mode={status.get('mode')} features={status.get('features')}")


def process_of(stand: Stand, member: Member) -> int | None:
    """The process that runs a machine on the switch's host; None where that is not known."""
    if member.name not in GUESTS:
        return None
    host: Host = stand.hosts[stand.bench.testbed.switch.host]
    told = (host.read(pidfile(f"{stand.folder}-{member.name}")) or "").strip()
    return int(told) if told.isdigit() else None


def parse_channels(text: str) -> tuple[int, int]:
    """`ethtool -l` -> how many combined queues there can be, and how many there are."""
    found = [int(number) for number in re.findall(r"^Combined:\s+(\d+)", text, re.MULTILINE)]
    return (found[0], found[1]) if len(found) == 2 else (0, 0)


def shared_bytes(maps: str) -> int:
    """/proc/PID/maps -> the largest piece that is mapped shared and writable, which is a machine's memory."""
    spans = re.findall(r"^([0-9a-f]+)-([0-9a-f]+) rw-s ", maps, re.MULTILINE)
    return max((int(end, 16) - int(start, 16) for start, end in spans), default=0)


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found[1] if found else ""


VM_SETUP = Check(
    name="vm_setup",
    title="virtual machines have the memory, vCPUs, driver, queues and features asked for",
    cases={OVS: "1.3.2"},
    act=act,
    tags=("setup", "memory", "queues"),
)
