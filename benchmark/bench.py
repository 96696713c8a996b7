"""A bench made ready: hosts reached, memory reserved, generator built; and rigs brought up on it.

A rig is a datapath with a generator connected to it. Whatever is changed on a host is in the journal first.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from nvbench import doctor, fingerprint
from nvbench.collectors import PollerWatch
from nvbench.datapaths import make_datapath
from nvbench.datapaths.base import Datapath, Parameters, Place, dpdk_files, virtual_ports
from nvbench.datapaths.direct import WIRE_MEMORY_MB
from nvbench.datapaths.simulated import Simulated, SimulatedParameters
from nvbench.endpoint import Port
from nvbench.errors import DatapathError, NotReadyError
from nvbench.generators import nvgen
from nvbench.generators.base import Generator, Layout
from nvbench.generators.devices import Device, LoadedDevice
from nvbench.generators.simulated import SimulatedGenerator
from nvbench.hosts import Host, LocalHost
from nvbench.hosts.recording import RecordingHost
from nvbench.journal import Journal, Restore, locked, state_folder
from nvbench.placement import Placement, place_cores
from nvbench.testbed import Testbed

BUILD_FOLDER = "/var/cache/nvbench"
READY_PATIENCE_S = 30.0


@dataclass
class Rig:
    """A datapath that is up, with a generator connected to it."""

    datapath: Datapath
    generator: Generator
    make_watch: Callable[[], PollerWatch]
    watch: PollerWatch = field(init=False)

    def __post_init__(self) -> None:
        self.watch_anew()

    def watch_anew(self) -> None:
        """Watch the polling threads that there are now: those of another program after a restart."""
        self.watch = self.make_watch()


class Bench:
    """A testbed that this process holds."""

    def __init__(
        self, testbed: Testbed, hosts: Mapping[str, RecordingHost], journal: Journal, placement: Placement
    ) -> None:
        self.testbed = testbed
        self.placement = placement
        self._hosts = hosts
        self._journal = journal
        self._rigs = 0
        self._nvgen = ""

    @property
    def generator_host(self) -> RecordingHost:
        """The generator's host."""
        return self._hosts[self.testbed.generator.host]

    @property
    def switch_host(self) -> RecordingHost:
        """The switch's host."""
        return self._hosts[self.testbed.switch.host]

    def fingerprint(self) -> fingerprint.Fingerprint:
        """What each host is, and where things run on it."""
        found = {name: fingerprint.fingerprint(host) for name, host in self._hosts.items()}
        return {"hosts": found, "placement": self.placement.describe()}

    def take_commands(self) -> list[list[str]]:
        """The commands run on the hosts since the last call, each behind its host's name."""
        return [[name, *argv] for name, host in self._hosts.items() for argv in host.take_commands()]

    # -- getting ready -----------------------------------------------------------------------------------------

    def make_ready(self, setups: Iterable[tuple[Parameters, int]]) -> None:
        """See that what is needed is there: programs, the generator, and hugepages for switch and generator.

        Hugepages that the host has are kept, what lacks is added.

        Args:
            setups: Datapath options and largest frame of each set-up to come.

        Raises:
            NotReadyError: Something is missing, or the host has not enough memory.
        """
        for name, host in self._hosts.items():
            if lacking := doctor.missing(doctor.examine(host)):
                told = "; ".join(f"{check.name}: {check.found}" for check in lacking)
                raise NotReadyError(told, place=f"host {name}", remedy="nvbench doctor --fix")
        self._nvgen = nvgen.build(self.generator_host, BUILD_FOLDER)
        needs: dict[str, list[int]] = {}
        needs.setdefault(self.generator_host.name, []).append(max(_generator_memory_mb(*setup) for setup in setups))
        needs.setdefault(self.switch_host.name, []).append(max(self.testbed.switch.socket_memory_mb, WIRE_MEMORY_MB))
        for name, sizes_mb in needs.items():
            self._reserve(self._hosts[name], sizes_mb)

    def _reserve(self, host: Host, sizes_mb: list[int]) -> None:
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
        self._journal.record(host, Restore(path, found))
        host.write(path, f"{int(found) + lacking}\n")
        got = int(host.read(path) or 0) - int(found)
        if got < lacking:
            raise NotReadyError(
                f"only {got} of {lacking} more hugepages of {page_kb} kB could be had",
                place=f"host {host.name}",
                remedy="free memory, or reserve hugepages at boot: hugepages=N on the kernel command line",
            )

    # -- rigs --------------------------------------------------------------------------------------------------

    @contextmanager
    def rig(
        self, kind: str, parameters: Parameters, *, max_frame_bytes: int, drain_s: float, seed: int = 1
    ) -> Iterator[Rig]:
        """Bring a datapath up with a generator connected; all of it goes down at the end.

        Raises:
            NvbenchError: It did not come up; the host is as before.
        """
        self._rigs += 1
        if isinstance(parameters, SimulatedParameters):
            yield _simulated_rig(parameters, seed)
            return
        place = self._place()
        datapath = make_datapath(kind, place, parameters)
        layout = Layout(
            ports=self._generator_ports(place, parameters),
            cores=self.placement.generator_cores,
            queues=parameters.queues,
            descriptors=parameters.descriptors,
            max_frame_bytes=max_frame_bytes,
            memory_mb=_generator_memory_mb(parameters, max_frame_bytes),
        )
        with ExitStack() as stack:
            stack.callback(datapath.down)
            datapath.up(self._journal)
            prefix = f"{self._name()}-gen"
            self._journal.record(self.generator_host, dpdk_files(prefix))
            generator = nvgen.Nvgen.start(
                self.generator_host,
                layout,
                binary=self._nvgen,
                housekeeping_core=self.placement.housekeeping_core,
                file_prefix=prefix,
                drain_s=drain_s,
            )
            stack.callback(generator.close)
            try:
                datapath.attach()
            except DatapathError:
                generator.check_alive()  # its end is then the fault to tell
                raise
            generator.ready(READY_PATIENCE_S)
            yield Rig(
                datapath,
                generator,
                lambda: PollerWatch(self.switch_host, datapath.poller(), self.placement.pmd_cores),
            )

    def _name(self) -> str:
        return f"{self.testbed.name}-{os.getpid()}-{self._rigs}"

    def _place(self) -> Place:
        switch = self.testbed.switch
        return Place(
            host=self.switch_host,
            folder=f"{state_folder()}/{self._name()}",
            pmd_cores=self.placement.pmd_cores,
            housekeeping_core=self.placement.switch_housekeeping_core,
            memory_mb=switch.socket_memory_mb,
            ports=(switch.ports[0].device, switch.ports[1].device),
            prefix=switch.ovs,
        )

    def _generator_ports(self, place: Place, parameters: Parameters) -> tuple[Port, Port]:
        if self.testbed.virtual:
            return virtual_ports(place, parameters)
        first, second = (
            Port(("-a", port.pci), port.pci)
            if port.pci
            else Port(("--vdev", str(port.vdev)), str(port.vdev).partition(",")[0])
            for port in self.testbed.generator.ports
        )
        return first, second


def _generator_memory_mb(parameters: Parameters, max_frame_bytes: int) -> int:
    """Hugepage memory that buffers for every descriptor of two ports take, both ways, and room for the rest."""
    buffers = 2 * 2 * parameters.queues * (parameters.descriptors + 640)
    return 128 + buffers * (max(2048, max_frame_bytes + 64) + 384) // 2**20


def _simulated_rig(parameters: SimulatedParameters, seed: int) -> Rig:
    told = parameters.model_dump(include=set(Device.__dataclass_fields__))
    device = LoadedDevice(
        Device(capacity_pps=parameters.capacity_mpps * 1e6, **told),
        random.Random(seed),  # noqa: S311 - reproducible, not secret
    )
    generator = SimulatedGenerator(device, seed)
    return Rig(Simulated(device, parameters), generator, lambda: PollerWatch(LocalHost(), None, ()))


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
        placement = place_cores(
            testbed,
            fingerprint.cores(hosts[testbed.generator.host]),
            fingerprint.cores(hosts[testbed.switch.host]),
        )
        if testbed.generator_host.local and not testbed.simulated:
            _stay_on(placement.housekeeping_core, stack)
        if not testbed.simulated:
            _require_root(hosts)
        journal = stack.enter_context(locked(testbed.name, hosts))
        yield Bench(testbed, hosts, journal, placement)


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
