"""Does a network device of several queues use them all, as flows fall on them by their hash?"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from math import sqrt

from nvbench.datapaths.kernel_output import ethtool_readings
from nvbench.datapaths.ovs_output import parse_datapath_ports, parse_pmd_rxqs
from nvbench.errors import NotPossibleError
from nvbench.stands import BRIDGE, OVS, SRIOV, Check, Member, Record, Stand
from nvbench.stands.frames import Batch
from nvbench.stands.ovs_control import control
from nvbench.stands.packets import flow

LEAST_FLOWS, FLOWS_A_QUEUE = 256, 64
"""So many flows are sent at least, and for each queue: a sound hash leaves none of them empty."""

FIRST_PORT = 20_000
DEVIATIONS = 4
"""Standard deviations by which a queue's share may differ: a sound hash does so once in 16 000 times."""

COUNTED_S = 3.0
"""In this time all that was sent is counted: a busy guest takes some of it for what comes in."""

_MOST_STRAY = 16
"""Frames that are not of the flows, and may be counted with them."""

_CHANNELS = re.compile(r"^(RX|TX|Combined):\s+(\d+)$", re.MULTILINE)
_CLASS = re.compile(r"^class mq \w*:([0-9a-f]+) .*\n Sent \d+ bytes (\d+) pkt", re.MULTILINE)
_VIRTIO_QUEUE = re.compile(r"(virtio\d+)-(input|output)\.(\d+)")
_RX_QUEUE = re.compile(r"rx_queue_(\d+)_packets")
_STEERED = "Tx packet steering mode has been set to 'hash'"


def act(stand: Stand, record: Record) -> None:
    """The queues are there; flows that a guest sends use all of them, and those that the switch sends to it."""
    sender, taker = stand.member("vm1"), stand.member("vm2")
    queues = asked(stand, sender)
    if stand.path == OVS:
        _judge_switch(stand, record, (sender, taker), queues)
    for member in (sender, taker):
        _judge_channels(record, member, queues)
    idle = taken_by_queue(taker) if stand.path == OVS else []
    with spread_by_hash(sender), counted_by_queue(sender):
        before, polled, interrupts = sent_by_queue(sender), polled_by_queue(stand, sender), interrupts_of(sender)
        _send(stand, sender, taker, flows_for(queues))
        found = counted(before, lambda: sent_by_queue(sender), flows_for(queues))
        polled = counted(polled, lambda: polled_by_queue(stand, sender), flows_for(queues))
        after = interrupts_of(sender)
    _judge_share(record, f"{sender.name} sends", found, queues, f"{sender.name}: tc -s class show, packets")
    if polled:
        what = f"the switch takes from {sender.name}"
        _judge_share(record, what, polled, queues, f"{sender.port}: ovs-ofctl dump-ports, rx_qN_good_packets")
    grid = {"sent": found, **({"taken by the switch": polled} if polled else {})}
    grid |= {name: grown(interrupts[name], after[name]) for name in interrupts}
    _draw(record, f"Queues of {sender.name}", queues, grid)
    if idle:
        _judge_taken(stand, record, sender, taker, idle)


def asked(stand: Stand, member: Member) -> int:
    """How many queues there should be.

    Raises:
        NotPossibleError: Only one, so that there is nothing to spread.
    """
    if stand.path == SRIOV:
        there = _queues(member)
        driver = member.host.run(["ethtool", "-i", member.device]).stdout.splitlines()[0]
        if there < 2:
            raise NotPossibleError(f"the virtual function {member.device} has one queue ({driver})")
        return there
    wanted = stand.parameters.queues
    if wanted < 2:
        raise NotPossibleError(f"{stand.path}: the guests' devices were asked to have one queue")
    return wanted


# -- what is configured ----------------------------------------------------------------------------------------


def _judge_switch(stand: Stand, record: Record, members: Sequence[Member], queues: int) -> None:
    ovs = control(stand)
    shown, polled = ovs.ask("dpif/show"), ovs.ask("dpif-netdev/pmd-rxq-show")
    record.keep("dpif-show.txt", shown)
    record.keep("pmd-rxq-show.txt", polled)
    ports = {port.name: port for port in parse_datapath_ports(shown)}
    rows = []
    for member in members:
        found = ports[member.port].settings.get("configured_rx_queues", "one, of a kernel device")
        line = next(line for line in shown.splitlines() if line.split()[:1] == [member.port])
        told = f"port {member.port} of {member.name} should have {queues} queues, has {found}"
        record.observe(found == str(queues), told, line, file="dpif-show.txt")
        mine = [rxq for rxq in parse_pmd_rxqs(polled) if rxq.port == member.port]
        enabled = [rxq for rxq in mine if rxq.enabled]
        cores = " and ".join(f"queue {rxq.queue} by core {rxq.core}" for rxq in enabled) or "none"
        lines = [line.strip() for line in polled.splitlines() if re.search(rf"port: {member.port}\s", line)]
        told = f"of {member.port} {queues} queues should be polled by PMDs, are: {cores}"
        record.observe(len(enabled) == queues, told, " / ".join(lines), file="pmd-rxq-show.txt")
        usage = {
            int(each[1]): each[2] for line in lines if (each := re.search(r"queue-id:\s*(\d+).*usage:\s*(.*)", line))
        }
        rows += [[rxq.port, rxq.queue, rxq.core, "yes" if rxq.enabled else "NO", usage[rxq.queue]] for rxq in mine]
    record.draw("Who polls what", ["port", "queue", "core", "enabled", "of the PMD's time"], rows)


def _judge_channels(record: Record, member: Member, queues: int) -> None:
    told = member.host.run(["ethtool", "-l", member.device], check=False).stdout
    found = parse_channels(told)
    line = next((line for line in reversed(told.splitlines()) if str(found) in line), "ethtool tells of none")
    record.observe(
        found == queues, f"{member.name} should use {queues} queues of {member.device}, uses {found or 'one'}", line
    )


def parse_channels(text: str) -> int:
    """`ethtool -l`: queues of each direction that are in use; 0 where the driver tells of none."""
    now = dict(_CHANNELS.findall(text.partition("Current hardware settings:")[2]))
    return int(now.get("Combined", 0)) + min(int(now.get("RX", 0)), int(now.get("TX", 0)))


# -- how flows fall on queues ----------------------------------------------------------------------------------


def flows_for(queues: int) -> int:
    """How many flows tell whether so many queues are used alike."""
    return max(LEAST_FLOWS, FLOWS_A_QUEUE * queues)


def bounds(flows: int, queues: int) -> tuple[int, int]:
    """The fewest and the most of so many flows that a queue may get from a sound hash (binomial)."""
    mean = flows / queues
    most = DEVIATIONS * sqrt(mean * (1 - 1 / queues))
    return round(mean - most), round(mean + most)


def _send(stand: Stand, sender: Member, taker: Member, flows: int) -> None:
    """A frame of each flow; nobody captures, for that counts, too, in a small machine."""
    batch = Batch()
    for number in range(flows):
        batch.add(f"flow {number}", taker.mac, sender.mac, flow(sender, taker.address, FIRST_PORT + number))
    stand.exchange(sender.name, batch.frames, ())


def _judge_share(record: Record, what: str, found: Sequence[int], queues: int, quote: str) -> None:
    flows = flows_for(queues)
    low, high = bounds(flows, queues)
    shares = " and ".join(f"{count} ({count / max(1, sum(found)):.0%})" for count in found) or "one for all"
    told = f"{what}: of {flows} flows each of {queues} queues should get {low} to {high} ({1 / queues:.0%}), they get "
    within = len(found) == queues and all(low <= count <= high + _MOST_STRAY for count in found)
    counts = ", ".join(f"queue {number} {count}" for number, count in enumerate(found)) or "none by queue"
    record.observe(within, told + shares, f"{quote}: {counts}")


def _judge_taken(stand: Stand, record: Record, sender: Member, taker: Member, idle: Sequence[int]) -> None:
    """OVS sends by thread: each PMD has a queue of its own there. By flow it does where it is told to."""
    queues = stand.parameters.queues
    by_thread = counted(idle, lambda: taken_by_queue(taker), flows_for(queues))
    before = taken_by_queue(taker)
    try:
        with steered(stand, taker):
            interrupts = interrupts_of(taker)
            _send(stand, sender, taker, flows_for(queues))
            found = counted(before, lambda: taken_by_queue(taker), flows_for(queues))
            after = interrupts_of(taker)
    except NotPossibleError as error:
        record.advise(f"what {taker.name} receives cannot be spread by flow: {error.what}")
        return
    what = f"{taker.name} receives with tx-steering=hash"
    _judge_share(record, what, found, queues, f"{taker.name}: ethtool -S, rx_queue_N_packets")
    grid = {"received, tx-steering=thread (OVS's default)": by_thread, "received, tx-steering=hash": found}
    grid |= {name: grown(interrupts[name], after[name]) for name in interrupts}
    _draw(record, f"Queues of {taker.name}", queues, grid)


@contextmanager
def steered(stand: Stand, member: Member) -> Iterator[None]:
    """OVS chooses the queue to a member by a frame's flow.

    Raises:
        NotPossibleError: It cannot (before OVS 2.17).
    """
    ovs = control(stand)
    line = f"{member.port}: {_STEERED}"
    before = ovs.log().count(line)
    column = ["Interface", member.port, "other_config"]
    ovs.vsctl("set", *column[:2], f"{column[2]}:tx-steering=hash")
    try:
        deadline = time.monotonic() + 5
        while ovs.log().count(line) == before:
            if time.monotonic() > deadline:
                raise NotPossibleError(f"{stand.path}: it does not take tx-steering=hash (OVS has that since 2.17)")
            time.sleep(0.02)
        yield
    finally:
        ovs.vsctl("remove", *column, "tx-steering")


@contextmanager
def spread_by_hash(member: Member) -> Iterator[None]:
    """No processor of the guest has queues of its own (XPS), for the one that sends would use those alone."""
    paths = [f"/sys/class/net/{member.device}/queues/tx-{number}/xps_cpus" for number in range(_queues(member))]
    found = {path: text for path in paths if (text := member.host.read(path))}
    with ExitStack() as stack:
        for path, text in found.items() if len(set(found.values())) > 1 else ():
            stack.callback(member.host.write, path, text)
            member.host.write(path, "0\n")
        yield


@contextmanager
def counted_by_queue(member: Member) -> Iterator[None]:
    """Each queue of the device has a qdisc that counts; a device of the kernel's own has none by itself."""
    there = "class mq" in member.host.run(["tc", "class", "show", "dev", member.device]).stdout
    if there or _queues(member) == 1:
        yield
        return
    member.host.run(["tc", "qdisc", "replace", "dev", member.device, "root", "mq"])
    try:
        yield
    finally:
        member.host.run(["tc", "qdisc", "delete", "dev", member.device, "root"])


def _queues(member: Member) -> int:
    names = member.host.run(["ls", f"/sys/class/net/{member.device}/queues"]).stdout.split()
    return sum(name.startswith("tx") for name in names)


def sent_by_queue(member: Member) -> list[int]:
    """Frames that went out of each queue so far; a device may have more, that are not in use."""
    told = member.host.run(["tc", "-s", "class", "show", "dev", member.device]).stdout
    return parse_classes(told)[: _queues(member)]


def parse_classes(text: str) -> list[int]:
    """`tc -s class show` of a device with mq: packets of each queue."""
    return [int(packets) for _, packets in sorted((int(minor, 16), count) for minor, count in _CLASS.findall(text))]


def taken_by_queue(member: Member) -> list[int]:
    """Frames that came in at each queue so far, as virtio tells; nothing where the driver does not."""
    told = member.host.run(["ethtool", "-S", member.device], check=False).stdout
    readings = ethtool_readings(told, member.device)
    counts = {int(found[1]): int(each.value) for each in readings if (found := _RX_QUEUE.fullmatch(each.metric))}
    return [counts[number] for number in sorted(counts)]


def interrupts_of(member: Member) -> dict[str, list[int]]:
    """Direction -> interrupts of each virtio queue of the device so far; empty where it is no virtio device."""
    link = member.host.run(["readlink", "-f", f"/sys/class/net/{member.device}/device"], check=False).stdout
    return parse_interrupts(member.host.read("/proc/interrupts") or "", link.strip().rpartition("/")[2])


def parse_interrupts(text: str, device: str) -> dict[str, list[int]]:
    """/proc/interrupts: those of a virtio device's queues, of all processors together."""
    found: dict[str, dict[int, int]] = {}
    for line in text.splitlines():
        words = line.split()
        name = _VIRTIO_QUEUE.fullmatch(words[-1]) if words else None
        if name and name[1] == device:
            count = sum(int(word) for word in words[1:-1] if word.isdigit())
            found.setdefault(f"interrupts, {name[2]}", {})[int(name[3])] = count
    return {way: [counts[number] for number in sorted(counts)] for way, counts in found.items()}


def polled_by_queue(stand: Stand, member: Member) -> list[int]:
    """Frames that the switch took from each queue of a member so far; nothing where it does not tell."""
    start = f"port {member.port} queue "
    readings = stand.switch.readings() if stand.path == OVS else ()
    mine = [each for each in readings if each.source.startswith(start) and each.metric == "rx_packets"]
    return [int(each.value) for each in sorted(mine, key=lambda each: int(each.source.removeprefix(start)))]


def grown(before: Sequence[int], after: Sequence[int]) -> list[int]:
    """What was counted in between."""
    return [now - was for was, now in zip(before, after, strict=False)]


def counted(before: Sequence[int], read: Callable[[], Sequence[int]], flows: int) -> list[int]:
    """The same of counters that may come a little later: once they have so many flows, or do not get there."""
    deadline = time.monotonic() + COUNTED_S
    while sum(found := grown(before, read())) < flows and before and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _draw(record: Record, title: str, queues: int, columns: Mapping[str, Sequence[int]]) -> None:
    cells = zip_longest(*columns.values(), fillvalue="-")
    rows = [[f"queue {number}", f"{flows_for(queues) / queues:g}", *each] for number, each in enumerate(cells)]
    record.draw(title, ["", "expected of the flows", *columns], rows)


MULTI_QUEUE = Check(
    name="multi_queue",
    title="a network device of several queues uses all of them",
    cases={BRIDGE: "", OVS: "5.4.4", SRIOV: ""},
    act=act,
    tags=("queues",),
)
