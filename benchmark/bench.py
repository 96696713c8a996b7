"""A bench made ready: hosts reached, its lock taken, memory reserved, the generator built."""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass

from nvbench import doctor, fingerprint
from nvbench.clock_offset import clock_offset
from nvbench.datapaths.base import Parameters
from nvbench.datapaths.testpmd import WIRE_MEMORY_MB
from nvbench.errors import NotReadyError
from nvbench.generators import AUTO, KINDS, Kind
from nvbench.guests import GuestSide, testpmd
from nvbench.hosts import Host, LocalHost
from nvbench.hosts.held import Hold
from nvbench.hosts.recording import RecordingHost
from nvbench.journal import Journal, Restore, locked, state_folder
from nvbench.placement import Placement, place_cores
from nvbench.plan import Plan, Setup
from nvbench.ports import make_ports_ready, port_names
from nvbench.testbed import Testbed
from nvbench.topology import guests

BUILD_FOLDER = "/var/cache/nvbench"
DPDK_KINDS = frozenset({"ovs_dpdk", "testpmd"})
"""Datapaths that are DPDK programs."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The generator that sends the frames of a plan.

    Attributes:
        kind: Which.
        why: Which and why, in a clause.
    """

    kind: Kind
    why: str


class Bench:
    """A testbed that this process holds."""

    def __init__(
        self,
        testbed: Testbed,
        hosts: Mapping[str, RecordingHost],
        journal: Journal,
        placement: Placement,
        holds: Sequence[Hold] = (),
    ) -> None:
        self.testbed = testbed
        self.placement = placement
        self.journal = journal
        self.holds = holds
        self.clocks = {name: clock_offset(host) for name, host in hosts.items()}
        self._hosts = hosts
        self._word = f"nv{secrets.token_hex(4)}"  # process ids do not tell runs apart that are in containers
        self._names = 0

    @property
    def hosts(self) -> Mapping[str, RecordingHost]:
        """All hosts by name."""
        return self._hosts

    @property
    def generator_host(self) -> RecordingHost:
        """The generator's host."""
        return self._hosts[self.testbed.generator.host]

    @property
    def switch_host(self) -> RecordingHost:
        """The switch's host."""
        return self._hosts[self.testbed.switch.host]

    @property
    def guest_side(self) -> GuestSide:
        """What stands behind each kind of guest."""
        return GuestSide(self.testbed.guests, self._hosts)

    def new_name(self) -> str:
        """A name for what is brought up next; no other run and no earlier bring-up has it."""
        self._names += 1
        return f"{self._word}-{self._names}"

    def fingerprint(self) -> fingerprint.Fingerprint:
        """What each host is, and where things run on it."""
        found = {name: fingerprint.fingerprint(host) for name, host in self._hosts.items()}
        clocks = {name: asdict(clock) for name, clock in self.clocks.items() if not self.testbed.hosts[name].local}
        return {"hosts": found, "placement": self.placement.describe(), **({"clocks": clocks} if clocks else {})}

    def check_hosts(self) -> None:
        """Does nothing where all hosts can be reached.

        Raises:
            LostConnectionError: One cannot any more.
        """
        for host in self._hosts.values():
            host.run(["true"])

    def keep_ports(self) -> None:
        """Hold those ports again that were held over a connection which has broken.

        Raises:
            NotReadyError: Another nvbench has one by now.
            CommandError: One cannot be locked.
        """
        for hold in self.holds:
            hold.keep()

    def take_commands(self) -> list[list[str]]:
        """The commands run on the hosts since the last call, each behind its host's name."""
        return [[name, *argv] for name, host in self._hosts.items() for argv in host.take_commands()]

    def make_ready(self, plan: Plan) -> Chosen | None:
        """See that what a plan needs is there: programs, the generator, and hugepages for switch and generator.

        Hugepages that the host has are kept, what lacks is added.

        Returns:
            The generator that sends the plan's frames; None where it has none.

        Raises:
            NotReadyError: Something is missing, or the host has not enough memory.
        """
        chosen = self._choose(plan)
        uses = plan_uses(plan, chosen.kind if chosen else None)
        for name, host in self._hosts.items():
            if lacking := doctor.missing(doctor.examine(host, uses[name])):
                told = "; ".join(f"{check.name}: {check.found}" for check in lacking)
                remedy = "nvbench doctor --fix" if any(check.packages for check in lacking) else lacking[0].remedy
                raise NotReadyError(told, place=f"host {name}", remedy=remedy)
        setups = list(plan.setups)
        frames = [setup for setup in setups if not setup.streams]
        needs: dict[RecordingHost, list[int]] = {}
        if chosen:
            chosen.kind.prepare(self.generator_host, BUILD_FOLDER)
            buffers_mb = max(generator_memory_mb(setup.parameters, setup.max_frame_bytes) for setup in frames)
            needs.setdefault(self.generator_host, []).append(chosen.kind.memory_mb(buffers_mb))
        if switch_mb := max((self._switch_memory_mb(setup) for setup in setups), default=0):
            needs.setdefault(self._sharing(self.switch_host, needs), []).append(switch_mb)
        make_ports_ready(self.testbed, self._hosts, self.journal)
        for host, sizes_mb in needs.items():
            if any(sizes_mb):
                self.reserve(host, [size for size in sizes_mb if size])
        return chosen

    def _sharing(self, host: RecordingHost, others: Iterable[RecordingHost]) -> RecordingHost:
        """One of the others that is the same machine; else the host itself."""
        machine = fingerprint.machine(host)
        return next((other for other in others if fingerprint.machine(other) == machine), host)

    def _choose(self, plan: Plan) -> Chosen | None:
        """The best generator that can send a plan's frames and that the host has.

        Where it has none, the first one that was asked for is chosen, and the doctor tells what it lacks.
        """
        if all(setup.streams for setup in plan.setups) or not plan.generators:
            return None
        passed_over: list[str] = []
        for kind in plan.generators:
            lacking = kind.missing(self.generator_host, self.testbed.generator.programs.get(kind.name, ""))
            if not lacking:
                return Chosen(kind, self._why(plan, kind, passed_over))
            passed_over.append(f"{kind.name}: {lacking}")
        if len(plan.generators) == 1 and plan.generators[0] is not KINDS[0]:
            raise NotReadyError(passed_over[0], place=f"host {self.generator_host.name}")
        return Chosen(plan.generators[0], "")

    def _why(self, plan: Plan, kind: Kind, passed_over: Sequence[str]) -> str:
        if plan.profile.generator != AUTO:
            return f"{kind.name}, as the profile asks"
        unable = [each.name for each in KINDS[: KINDS.index(kind)] if each not in plan.generators]
        told = [*(f"{name} cannot do all that is asked" for name in unable), *passed_over]
        return f"{kind.name}, the best that host {self.generator_host.name} has" + (
            f" ({'; '.join(told)})" if told else ""
        )

    def guest_warnings(self, setup: Setup) -> Iterator[str]:
        """What makes numbers weaker than they look where a guest polls, too."""
        reflects = self.testbed.guests.forwarder == "testpmd" and guests(setup.path.topology)
        if setup.path.guest != testpmd.Testpmd.kind and not reflects:
            return
        placement = self.placement
        polling = {"the switch": placement.pmd_cores}
        if fingerprint.machine(self.generator_host) == fingerprint.machine(self.switch_host):
            polling["the generator"] = placement.generator_cores
        cores = self.testbed.guests.cores or (placement.switch_housekeeping_core,)
        for who, theirs in polling.items():
            if shared := sorted(set(cores) & set(theirs)):
                yield f"Guests and {who} poll on core {shared[0]} in turn: expect few valid trials (name guests.cores)"

    def _switch_memory_mb(self, setup: Setup) -> int:
        """Hugepage memory on the switch's host: of the switch, or of what stands for a wire, and of guests."""
        parameters, guest_mb = setup.parameters, 0
        if setup.path.guest == testpmd.Testpmd.kind:
            each_mb = testpmd.memory_mb(parameters.queues, parameters.descriptors, parameters.mtu)
            guest_mb = guests(setup.path.topology) * each_mb
        if setup.path.kind in DPDK_KINDS:
            return self.testbed.switch.socket_memory_mb + guest_mb
        return guest_mb if setup.streams else WIRE_MEMORY_MB + guest_mb

    def reserve(self, host: Host, sizes_mb: Sequence[int]) -> None:
        """See that a host has hugepages free for programs of these sizes; those added go again with the journal.

        Raises:
            NotReadyError: It has not the memory.
        """
        memory = fingerprint.memory(host)
        page_kb = memory.get("Hugepagesize", 0)
        if not page_kb:
            raise NotReadyError("the kernel has no hugepages", place=f"host {host.name}", remedy="nvbench doctor")
        # A few pages over: each DPDK program rounds its heaps up.
        wanted = sum(math.ceil(size * 1024 / page_kb) for size in sizes_mb) + 2 * len(sizes_mb)
        lacking = wanted - memory.get("HugePages_Free", 0)
        if lacking <= 0:
            return
        path = f"/sys/kernel/mm/hugepages/hugepages-{page_kb}kB/nr_hugepages"
        found = host.read(path) or "0\n"
        self.journal.record(host, Restore(path, found))
        host.write(path, f"{int(found) + lacking}\n")
        got = int(host.read(path) or 0) - int(found)
        if got < lacking:
            raise NotReadyError(
                f"only {got} of {lacking} more hugepages of {page_kb} kB could be had",
                place=f"host {host.name}",
                remedy="free memory, or reserve hugepages at boot: hugepages=N on the kernel command line",
            )


def generator_memory_mb(parameters: Parameters, max_frame_bytes: int) -> int:
    """Hugepage memory that buffers for every descriptor of two ports take, both ways, and room for the rest."""
    buffers = 2 * 2 * parameters.queues * (parameters.descriptors + 640)
    return 128 + buffers * (max(2048, max_frame_bytes + 64) + 384) // 2**20


def plan_uses(plan: Plan, generator: Kind | None) -> dict[str, set[str]]:
    """Host -> what a plan uses of it, in the words of `doctor.examine`."""
    testbed, setups = plan.testbed, list(plan.setups)
    uses: dict[str, set[str]] = {name: set() for name in testbed.hosts}
    on_generator, on_switch = uses[testbed.generator.host], uses[testbed.switch.host]
    for setup in setups:
        kind = setup.path.kind
        if kind.startswith("ovs_"):
            on_switch.add("ovs")
        if setup.path.guest == testpmd.Testpmd.kind:
            on_switch |= {"testpmd", "hugepages"}
        if kind in DPDK_KINDS:
            on_switch |= {"hugepages", "testpmd"} if kind == "testpmd" else {"hugepages", "ovs-dpdk"}
        if setup.streams:
            tools = {section.tool for _, section in plan.profile.tests.streams()}
            on_switch |= {"namespaces", *tools} if setup.path.guest in ("", "namespace") else {"namespaces"}
            on_generator |= tools if setup.path.topology in ("P2P", "NIC-to-VM") else set()
        else:
            on_generator |= generator.uses if generator else set()
            on_switch |= {"testpmd", "hugepages"} if testbed.virtual else set()
    return uses


def reach(testbed: Testbed) -> dict[str, RecordingHost]:
    """A connection to each host of a testbed.

    Raises:
        NotReadyError: One cannot be reached.
    """
    hosts: dict[str, RecordingHost] = {}
    for name, machine in testbed.hosts.items():
        if machine.local:
            hosts[name] = RecordingHost(LocalHost(name))
        else:
            from nvbench.hosts.ssh import connect  # noqa: PLC0415 - paramiko, needed by remote benches only

            hosts[name] = RecordingHost(connect(name, machine.address, port=machine.port, key=machine.key))
    return hosts


@contextmanager
def bench(testbed: Testbed) -> Iterator[Bench]:
    """Hold a testbed: its hosts reached, its lock taken, leftovers of a killed run undone.

    Raises:
        NotReadyError: It cannot be had, with the reason and what helps.
    """
    hosts = reach(testbed)
    with ExitStack() as stack:
        for host in hosts.values():
            stack.callback(host.close)
        placement = placed(testbed, hosts)
        if testbed.simulated:  # nothing is changed, so that nothing has to be held or undone
            yield Bench(testbed, hosts, Journal(state_folder() / f"{testbed.name}.journal", hosts), placement)
            return
        if testbed.generator_host.local:
            _stay_on(placement.housekeeping_core, stack)
        _require_root(hosts)
        holds = [stack.enter_context(Hold(hosts[name], f"port-{port}")) for name, port in port_names(testbed, hosts)]
        journal = stack.enter_context(locked(testbed.name, hosts, testbed.source))
        yield Bench(testbed, hosts, journal, placement, holds)


def placed(testbed: Testbed, hosts: Mapping[str, Host]) -> Placement:
    """Which cores poll on these hosts.

    Raises:
        NotReadyError: A named core or node is not there, or none is.
    """
    near, far = hosts[testbed.generator.host], hosts[testbed.switch.host]
    together = fingerprint.machine(near) == fingerprint.machine(far)
    return place_cores(testbed, fingerprint.cores(near), None if together else fingerprint.cores(far))


def _require_root(hosts: Mapping[str, RecordingHost]) -> None:
    for name, host in hosts.items():
        if host.run(["id", "-u"]).stdout.strip() != "0":
            raise NotReadyError(
                "needs root for hugepages and devices",
                place=f"host {name}",
                remedy="run as root, or try `--testbed simulated`",
            )


def _stay_on(core: int, stack: ExitStack) -> None:
    """Keep this process off the cores that poll, and free it at the end."""
    found = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    stack.callback(os.sched_setaffinity, 0, found)
