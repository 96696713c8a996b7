"""Rigs: a datapath that is up with its guests, and a generator or two endpoints at its ends.

Whatever is changed on a host is in the journal first; all of a rig goes down at the end of its context.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from nvbench.bench import Bench, generator_memory_mb
from nvbench.collectors import PollerWatch
from nvbench.datapaths.base import Datapath, dpdk_files
from nvbench.datapaths.simulated import Simulated, SimulatedParameters
from nvbench.errors import DatapathError, RunBrokeError
from nvbench.generators import nvgen
from nvbench.generators.base import Generator, Layout
from nvbench.generators.devices import Device, LoadedDevice
from nvbench.generators.simulated import SimulatedGenerator
from nvbench.guests import Guest
from nvbench.hosts import Host, LocalHost
from nvbench.plan import Setup
from nvbench.rising import CLIENT, SERVER, Rising

READY_PATIENCE_S = 30.0


@dataclass
class Rig:
    """A datapath that is up, with a generator connected to it."""

    datapath: Datapath
    generator: Generator
    make_watch: Callable[[], PollerWatch]
    guests: tuple[Guest, ...] = ()
    watch: PollerWatch = field(init=False)

    def __post_init__(self) -> None:
        self.watch_anew()

    def watch_anew(self) -> None:
        """Watch the polling threads that there are now: those of another program after a restart."""
        self.watch = self.make_watch()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a stream begins or ends.

    Attributes:
        guest: Where it lives.
        device: Its network device there.
        address: Its IP address.
    """

    guest: Guest
    device: str
    address: str


@dataclass(frozen=True)
class StreamRig:
    """A datapath that is up, with an endpoint at each end.

    Attributes:
        datapath: What joins them.
        client: Where streams begin.
        server: Where they end.
        guests: All guests.
        switch_host: Where the datapath is.
    """

    datapath: Datapath
    client: Endpoint
    server: Endpoint
    guests: tuple[Guest, ...]
    switch_host: Host

    def check_alive(self) -> None:
        """Does nothing while datapath and guests live.

        Raises:
            DatapathError: The datapath has gone; quotes its log.
            GuestError: A guest has.
        """
        if crash := self.datapath.crashed():
            raise DatapathError(crash)
        for guest in self.guests:
            guest.check_alive()


@contextmanager
def frame_rig(bench: Bench, setup: Setup, *, drain_s: float, seed: int = 1) -> Iterator[Rig]:
    """Bring a datapath up with a generator connected.

    Raises:
        NvbenchError: It did not come up; the host is as before.
    """
    if isinstance(setup.parameters, SimulatedParameters):
        yield _simulated_rig(setup.parameters, seed)
        return
    with _taken_down(bench) as stack:
        rising = Rising(bench, setup, stack)
        ports, inside = rising.generator_ports()
        layout = Layout(
            ports=ports,
            cores=bench.placement.generator_cores,
            queues=setup.parameters.queues,
            descriptors=setup.parameters.descriptors,
            max_frame_bytes=setup.max_frame_bytes,
            memory_mb=generator_memory_mb(setup.parameters, setup.max_frame_bytes),
        )
        prefix = f"{rising.name}-gen"
        bench.journal.record(bench.generator_host, dpdk_files(prefix))
        generator = nvgen.Nvgen.start(
            inside,
            layout,
            binary=bench.nvgen,
            housekeeping_core=bench.placement.housekeeping_core,
            file_prefix=prefix,
            drain_s=drain_s,
        )
        stack.callback(generator.close)
        try:
            rising.finish()
        except DatapathError:
            generator.check_alive()  # its end is then the fault to tell
            raise
        generator.ready(READY_PATIENCE_S)
        datapath = rising.datapath
        yield Rig(
            datapath,
            generator,
            lambda: PollerWatch(bench.switch_host, datapath.poller(), bench.placement.pmd_cores),
            rising.guests,
        )


@contextmanager
def stream_rig(bench: Bench, setup: Setup) -> Iterator[StreamRig]:
    """Bring a datapath up with two endpoints.

    Raises:
        NvbenchError: It did not come up; the host is as before.
    """
    with _taken_down(bench) as stack:
        rising = Rising(bench, setup, stack)
        rising.outer_endpoints()
        rising.finish()
        first, last = rising.ends()
        client = Endpoint(first, first.devices[0], CLIENT)
        server = Endpoint(last, last.devices[0], SERVER)
        yield StreamRig(rising.datapath, client, server, rising.guests, bench.switch_host)


@contextmanager
def _taken_down(bench: Bench) -> Iterator[ExitStack]:
    """A stack whose end leaves nothing in the journal that was written down since.

    Raises:
        RunBrokeError: Something could not be undone; it stays in the journal.
    """
    mark = bench.journal.mark()
    try:
        with ExitStack() as stack:
            yield stack
    finally:
        faults = bench.journal.undo_since(mark)
    if faults:
        raise RunBrokeError(f"not everything could be undone: {'; '.join(faults)}", remedy="nvbench clean")


def _simulated_rig(parameters: SimulatedParameters, seed: int) -> Rig:
    told = parameters.model_dump(include=set(Device.__dataclass_fields__))
    device = LoadedDevice(
        Device(capacity_pps=parameters.capacity_mpps * 1e6, **told),
        random.Random(seed),  # noqa: S311 - reproducible, not secret
    )
    generator = SimulatedGenerator(device, seed)
    return Rig(Simulated(device, parameters), generator, lambda: PollerWatch(LocalHost(), None, ()))
