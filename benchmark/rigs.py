"""Rigs: a datapath that is up with its guests, and a generator or two endpoints at its ends.

Whatever is changed on a host is in the journal first; all of a rig goes down at the end of its context.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from nvbench.abilities import Ability
from nvbench.bench import BUILD_FOLDER, Bench, generator_memory_mb
from nvbench.collectors import Collector, DpdkTelemetry, Inside, PollerWatch, Recorder, find_process, machine, tasks_of
from nvbench.datapaths.base import Datapath, dpdk_files
from nvbench.datapaths.simulated import Simulated, SimulatedParameters
from nvbench.datapaths.testpmd import Testpmd
from nvbench.errors import DatapathError, RunBrokeError
from nvbench.generators import Kind
from nvbench.generators.base import Generator, Layout, Seat
from nvbench.generators.devices import Device, LoadedDevice
from nvbench.generators.simulated import SimulatedGenerator
from nvbench.guests import Guest
from nvbench.guests.namespace import Namespace
from nvbench.guests.testpmd import Testpmd as ReflectingGuest
from nvbench.hosts import RUN_FOLDER, Host, LocalHost
from nvbench.journal import EndPrograms, Remove
from nvbench.plan import Setup
from nvbench.rising import CLIENT, SERVER, Rising
from nvbench.tables import Reading
from nvbench.testpmd import PROGRAM


@dataclass
class Rig:
    """A datapath that is up, with a generator connected to it.

    Attributes:
        datapath: What forwards.
        generator: What sends.
        make_watch: Makes who watches the threads that forward.
        guests: What stands behind the datapath.
        make_recorder: Makes who has all of it looked at.
        abilities: What the generator can do here.
        clock_ahead_s: How far the clock of the generator's host is ahead of this machine's.
        watch: Who watches now.
        recorder: Who has it looked at now.
    """

    datapath: Datapath
    generator: Generator
    make_watch: Callable[[], PollerWatch]
    guests: tuple[Guest, ...] = ()
    make_recorder: Callable[[], Recorder] | None = None
    abilities: frozenset[Ability] = frozenset(Ability)
    clock_ahead_s: float = 0.0
    watch: PollerWatch = field(init=False)
    recorder: Recorder = field(init=False)

    def __post_init__(self) -> None:
        self.watch_anew()

    def watch_anew(self) -> None:
        """Watch the threads that there are now: those of another program after a restart."""
        self.watch = self.make_watch()
        self.recorder = self.make_recorder() if self.make_recorder else Recorder((self.datapath,))


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
        recorder: Has them looked at around a run and during it.
    """

    datapath: Datapath
    client: Endpoint
    server: Endpoint
    guests: tuple[Guest, ...]
    switch_host: Host
    recorder: Recorder = field(default_factory=Recorder)

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
def frame_rig(bench: Bench, setup: Setup, generator: Kind | None, *, drain_s: float, seed: int = 1) -> Iterator[Rig]:
    """Bring a datapath up with a generator connected.

    Args:
        bench: On what.
        setup: What to bring up.
        generator: What sends; None where nothing is real.
        drain_s: Wait for stragglers after the last frame of a trial.
        seed: For what is simulated.

    Raises:
        NvbenchError: It did not come up; the host is as before.
    """
    if isinstance(setup.parameters, SimulatedParameters):
        yield _simulated_rig(setup.parameters, seed)
        return
    assert generator is not None  # noqa: S101 - a plan of real frames has one
    with taken_down(bench) as stack:
        rising = Rising(bench, setup, stack, generator)
        seat = _seat(bench, rising, setup, generator, drain_s)
        sender = generator.start(seat)
        stack.callback(sender.close)
        try:
            rising.finish()
        except DatapathError:
            sender.check_alive()  # its end is then the fault to tell
            raise
        sender.ready()
        datapath = rising.datapath
        yield Rig(
            datapath,
            sender,
            lambda: PollerWatch(bench.switch_host, datapath.poller(), bench.placement.pmd_cores),
            rising.guests,
            lambda: _recorder(bench, rising, rising.guests, (generator.process, seat.file_prefix)),
            abilities=generator.abilities(rising.generator_links),
            clock_ahead_s=bench.clocks[bench.testbed.generator.host].offset_s,
        )
        bench.take_commands()  # what trials ask again and again is no part of how the bench was set up


def _seat(bench: Bench, rising: Rising, setup: Setup, generator: Kind, drain_s: float) -> Seat:
    """Where the generator sits; all that it leaves there is in the journal."""
    ports, inside = rising.generator_ports()
    layout = Layout(
        ports=ports,
        cores=bench.placement.generator_cores,
        queues=setup.parameters.queues,
        descriptors=setup.parameters.descriptors,
        max_frame_bytes=setup.max_frame_bytes,
        memory_mb=generator.memory_mb(generator_memory_mb(setup.parameters, setup.max_frame_bytes)),
    )
    host, prefix = bench.generator_host, f"{rising.name}-gen"
    folder = f"{RUN_FOLDER}/{prefix}"
    for undo in (dpdk_files(prefix), Remove(folder), EndPrograms(prefix)):
        bench.journal.record(host, undo)
    host.make_folder(folder)
    return Seat(
        host=inside,
        layout=layout,
        housekeeping_core=bench.placement.housekeeping_core,
        file_prefix=prefix,
        folder=folder,
        cache=BUILD_FOLDER,
        program=bench.testbed.generator.programs.get(generator.name, ""),
        drain_s=drain_s,
    )


@contextmanager
def stream_rig(bench: Bench, setup: Setup) -> Iterator[StreamRig]:
    """Bring a datapath up with two endpoints.

    Raises:
        NvbenchError: It did not come up; the host is as before.
    """
    with taken_down(bench) as stack:
        rising = Rising(bench, setup, stack)
        rising.outer_endpoints()
        rising.finish()
        first, last = rising.ends()
        client = Endpoint(first, first.devices[0], CLIENT)
        server = Endpoint(last, last.devices[0], SERVER)
        everyone = {guest.name: guest for guest in (first, last, *rising.guests)}
        recorder = _recorder(bench, rising, tuple(everyone.values()))
        yield StreamRig(rising.datapath, client, server, rising.guests, bench.switch_host, recorder)
        bench.take_commands()  # as above


def _recorder(
    bench: Bench, rising: Rising, guests: tuple[Guest, ...], sender: tuple[str, str] | None = None
) -> Recorder:
    """Who looks at a rig: at its machines, its datapath and the insides of its guests, in this order after a trial.

    Args:
        bench: Where it is.
        rising: What came up.
        guests: Its guests, and the endpoints that are none.
        sender: The generator's process by name and file prefix, where there is one.
    """
    switch, placement, testbed = bench.switch_host, bench.placement, bench.testbed
    tasks = tasks_of(switch, "switch", rising.datapath.poller())
    for guest in guests:
        program = PROGRAM if guest.kind == ReflectingGuest.kind else "qemu-system"
        tasks += tasks_of(switch, f"guest {guest.name}", find_process(switch, program, f"{rising.name}-{guest.name}"))
    sending = tasks_of(
        bench.generator_host, "generator", find_process(bench.generator_host, *sender) if sender else None
    )
    cores = {*placement.pmd_cores, placement.switch_housekeeping_core, *(testbed.guests.cores or ())}
    senders = {*placement.generator_cores, placement.housekeeping_core}
    machines = []
    if switch is bench.generator_host:
        tasks, cores = [*tasks, *sending], cores | senders
    else:
        local = testbed.generator_host.local
        apart = machine(bench.generator_host, local=local, cores=frozenset(senders), tasks=sending, prefix="generator ")
        machines.append(apart)
    machines.append(machine(switch, local=testbed.switch_host.local, cores=frozenset(cores), tasks=tasks))
    insides: list[Collector] = [
        Inside(guest.name, guest.host, guest.devices, own_cores=guest.kind != Namespace.kind)
        for guest in guests
        if guest.devices
    ]
    around: list[Collector] = [around for around, _ in machines]
    if isinstance(rising.datapath, Testpmd) and testbed.switch_host.local:
        around.append(DpdkTelemetry(*rising.datapath.telemetry))
    around += [_Life(guest) for guest in guests if not guest.devices]
    return Recorder((*around, rising.datapath), [during for _, during in machines], insides)


@dataclass(frozen=True, slots=True)
class _Life:
    """See `Collector`: that of a guest which has no devices to tell of, and of which nobody else would miss a thing."""

    guest: Guest

    def readings(self) -> tuple[Reading, ...]:
        """See `Collector.readings`."""
        self.guest.check_alive()
        return ()


@contextmanager
def taken_down(bench: Bench) -> Iterator[ExitStack]:
    """A stack whose end leaves nothing in the journal that was written down since.

    Raises:
        NotReadyError: A connection broke, and another nvbench has a port by now that was held over it.
        RunBrokeError: Something could not be undone; it stays in the journal.
    """
    bench.keep_ports()
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
