"""The only conductor: brings rigs up, lets tests ask for trials, keeps what they find, takes everything down."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from nvbench.bench import Bench, Chosen, placed, reach
from nvbench.datapaths import Datapath
from nvbench.errors import (
    CommandError,
    DatapathError,
    GeneratorError,
    GuestError,
    NotPossibleError,
    NvbenchError,
    RunBrokeError,
)
from nvbench.framing import OnCase, Wire, frame_subject, ring_and_frames, without_switch
from nvbench.generators import Kind
from nvbench.measurer import Observer, StandingRig
from nvbench.plan import Case, Plan, Setup, setup_key
from nvbench.rigs import Rig, StreamRig, frame_rig, stream_rig
from nvbench.store import RunState, RunWriter
from nvbench.streaming import Streaming, subject
from nvbench.tables import ResultRow
from nvbench.testbed import Testbed
from nvbench.versus import Side, Turn, Versus

BREAKS = (CommandError, DatapathError, GeneratorError, GuestError)
"""What ends a rig, and not the run."""

EMULATED = "the guests' processors are emulated: not a performance figure"

BROKE = "broke: "
"""How the verdict of a case begins in which something broke."""

DITHER = 0.02
"""Where a case is measured again, its search begins at the first answer give or take this: beginning at the very same
load every time, it could err by the same step every time, and what is no difference would look like a steady one."""


@dataclass
class Session:
    """One run of a plan on a bench, into a store.

    Attributes:
        plan: What to measure.
        bench: On what.
        store: Where it is kept.
        observer: Who watches.
        prior: Throughputs of an earlier run, by case and loss ratio; they narrow where a search begins.
    """

    plan: Plan
    bench: Bench
    store: RunWriter
    observer: Observer
    prior: Mapping[str, Mapping[float, float]] = field(default_factory=dict)
    _answers: dict[object, dict[float, float]] = field(default_factory=dict, init=False)
    _first: dict[str, dict[float, float]] = field(default_factory=dict, init=False)
    _faults: list[NvbenchError] = field(default_factory=list, init=False)
    _broken: set[str] = field(default_factory=set, init=False)
    _versions: dict[str, list[str]] = field(default_factory=dict, init=False)
    _wires: Mapping[tuple[object, ...], Wire] = field(default_factory=dict, init=False)
    _generator: Kind | None = field(default=None, init=False)
    _seed: int = field(default=0, init=False)

    def run(self) -> None:
        """Measure every case.

        Raises:
            NvbenchError: Something broke; what was measured is stored, what was changed is undone.
        """
        self.begin()
        for setup in self.plan.setups:
            self.measure(setup)
        self.check()

    def begin(self) -> None:
        """Make the bench ready, and find out what the generator can do by itself.

        Raises:
            NvbenchError: The bench is not ready, or it broke.
        """
        self._seed = self.plan.profile.seed
        self.store.note_fingerprint(self.bench.fingerprint())
        chosen: Chosen | None = None
        for impossible in self.plan.impossible:
            self._mark(impossible.case, f"not possible here: {impossible.reason}")
        if not self.plan.profile.simulated:
            if any(case.traffic for case in self.plan.cases):
                for warning in self.bench.placement.warnings:
                    self.store.warn(warning)
            self.observer.stage("making the bench ready")
            chosen = self.bench.make_ready(self.plan)
        if chosen:
            self._generator = chosen.kind
            self.store.note_fingerprint({"generator_chosen": chosen.why})
            self.observer.stage(f"frames come from {chosen.why}")
            self._wires = self._measured_wires(chosen.kind)

    def measure(self, setup: Setup, *, block: int = 0, seed: int | None = None) -> bool:
        """Bring a set-up's rig up, measure its cases, and take it down; a case that breaks is marked and passed over.

        Args:
            setup: What to bring up, with its cases in order.
            block: What its results are stamped with.
            seed: For all that is drawn by lot; None for the profile's.

        Returns:
            Whether this bench can have it.
        """
        self.store.block = block
        self._seed = self.plan.profile.seed if seed is None else seed
        self.observer.stage(f"bringing up {_described(setup)}")
        return self._run_streams(setup) if setup.streams else self._run_frames(setup)

    @property
    def state(self) -> RunState:
        """How it ends if nothing else happens."""
        return RunState.BROKE if self._faults else RunState.FINISHED

    def check(self) -> None:
        """Does nothing if no case broke.

        Raises:
            RunBrokeError: Some did; tells how many, and of the first what happened.
        """
        if not self._faults:
            return
        count = len(self._broken)
        cases = "1 case" if count == 1 else f"{count} cases"
        rest = ", the others were measured" if count < len(self.plan.cases) else ""
        raise RunBrokeError(f"{cases} broke{rest}; the first: {self._faults[0]}")

    def _run_frames(self, setup: Setup) -> bool:
        """The cases of a set-up; one that breaks it is marked, and the next gets a rig that is brought up anew."""
        left = list(setup.cases)
        while left:
            try:
                with StandingRig(partial(self._rig, setup)) as standing:
                    while left:
                        self._measure(left[0], standing)
                        del left[0]
            except NotPossibleError as error:
                self._mark_all(left, f"not possible here: {error}")
                return False
            except BREAKS as error:
                self._faults.append(error)
                self._mark(left.pop(0), f"{BROKE}{error}")
                self.bench.check_hosts()
        return True

    def _run_streams(self, setup: Setup) -> bool:
        """The cases of a set-up; those that the fault of a rig does not concern go on on another."""
        streaming, possible = Streaming(setup.cases, self.store, self.observer.stage, self._seed), True
        while not streaming.done:
            up = False
            try:
                with stream_rig(self.bench, setup) as rig:
                    up = True
                    self._note_streams(setup, rig)
                    streaming.go_on(rig)
            except NotPossibleError as error:
                streaming.give_up(f"not possible here: {error}")
                possible = False
            except BREAKS as error:
                self._faults.append(error)
                if not up:
                    streaming.give_up(f"{BROKE}{error}")
                self.bench.check_hosts()
        for row in streaming.answers():
            self._keep(row)
        return possible

    def _keep(self, row: ResultRow) -> None:
        self.store.append_result(row)
        self.observer.result(row)
        if row.verdict.startswith(BROKE):
            self._broken.add(row.subject.case_id)

    def _note_streams(self, setup: Setup, rig: StreamRig) -> None:
        ends = {"client": rig.client.guest.version, "server": rig.server.guest.version}
        self.store.note_fingerprint({**self._builds(setup, rig.datapath), "endpoints": ends})
        self.store.note_commands(*self.bench.take_commands())
        for finding in rig.datapath.findings:
            self.store.warn(f"{setup.path.kind}: {finding}")
        if any(guest.emulated for guest in rig.guests):
            self.store.warn(EMULATED)

    def _builds(self, setup: Setup, datapath: Datapath) -> dict[str, str]:
        """The versions of a kind of datapath that this run has had until now: builds stand side by side in it."""
        known = self._versions.setdefault(setup.path.kind, [])
        known += [datapath.version] if datapath.version not in known else []
        return {setup.path.kind: "; ".join(known)}

    def _mark_all(self, cases: Sequence[Case], verdict: str) -> None:
        for case in cases:
            self._mark(case, verdict)

    def _mark(self, case: Case, verdict: str) -> None:
        """A result for each test of a case that was not measured, saying why."""
        names = (
            [test.name for test in case.tests.each()] if case.traffic else [t.value for t, _ in case.tests.streams()]
        )
        for name in names:
            profile = self.plan.profile
            about = replace(frame_subject(case, self._sender) if case.traffic else subject(case), test=name)
            rate = case.line_rate_pps or None
            row = ResultRow(subject=about, rate_pps=None, line_rate_pps=rate, verdict=verdict, quick=profile.quick)
            self._keep(row)

    def _measure(self, case: Case, standing: StandingRig) -> None:
        """Make every test of a case; what the last frame size of its kind could do narrows where it is searched."""
        generator = self._generator
        wire = self._wires.get(ring_and_frames(case, generator), Wire()) if generator else Wire()
        on_case = self._on(standing, case)
        kin = (*setup_key(case), replace(case.frames, frame_bytes=0, imix=""))
        scene = on_case.scene(wire, {**self._answers.get(kin, {}), **self._expected(case.case_id)})
        for test in case.tests.each():
            for row in test.rows(scene):
                self._keep(row)
        on_case.note_kept_back()
        self._answers[kin] = scene.answers_pps
        self._first.setdefault(case.case_id, scene.answers_pps)

    def _expected(self, case_id: str) -> Mapping[float, float]:
        """Where a case's answers are expected: near those of its first time in this run, or of an earlier run."""
        if first := self._first.get(case_id):
            dice = random.Random(f"{self._seed} {case_id}")  # noqa: S311 - reproducible, not secret
            return {loss: rate * dice.uniform(1 - DITHER, 1 + DITHER) for loss, rate in first.items()}
        return self.prior.get(case_id, {})

    def _on(self, standing: StandingRig, case: Case) -> OnCase:
        return OnCase(self.plan.profile, self.store, self.observer, standing, case)

    @contextmanager
    def _rig(self, setup: Setup) -> Iterator[Rig]:
        profile, kind = self.plan.profile, setup.path.kind
        with frame_rig(self.bench, setup, self._generator, drain_s=profile.drain_s, seed=self._seed) as rig:
            generator = {"generator": rig.generator.version, "clock": rig.generator.clock}
            guests = {"guests": {guest.name: guest.version for guest in rig.guests}} if rig.guests else {}
            self.store.note_fingerprint({**self._builds(setup, rig.datapath), **generator, **guests})
            self.store.note_commands(*self.bench.take_commands())
            for finding in rig.datapath.findings:
                self.store.warn(f"{kind}: {finding}")
            for warning in self.bench.guest_warnings(setup):
                self.store.warn(warning)
            if any(guest.emulated for guest in rig.guests):
                self.store.warn(EMULATED)
            yield rig

    @property
    def _sender(self) -> str:
        return self._generator.name if self._generator else self.plan.profile.generator

    def _measured_wires(self, generator: Kind) -> dict[tuple[object, ...], Wire]:
        """What the generator can do with each kind of frame, measured where no switch is in the way.

        Only where links are virtual: a physical port takes frames at its own rate whatever happens behind it, and
        the search notices a generator that does not reach it.
        """
        found: dict[tuple[object, ...], Wire] = {}
        frames = [case for case in self.plan.cases if case.traffic is not None]
        for setup in without_switch(frames, generator) if self.plan.ceilings else ():
            self.observer.stage("measuring the generator's ceiling and floor, without a switch")
            with StandingRig(partial(self._rig, setup)) as standing:
                for case in setup.cases:
                    found[ring_and_frames(case, generator)] = self._on(standing, case).wire()
        return found


def _described(setup: Setup) -> str:
    path = setup.path
    around = f", {path.topology}" + (f" with guests of kind {path.guest}" if path.guest else "")
    return f"{path.kind}{around}, {setup.parameters.queues} queue(s) a port"


def run_in_turn(versus: Versus, sessions: Mapping[Side, Session], on_turn: Callable[[Turn], None]) -> None:
    """Measure both sides in turn; set-ups that one side turns out not to have are not brought up again.

    Args:
        versus: What to measure.
        sessions: A session a side, with its plan, its bench and its store.
        on_turn: Told whose turn it is.

    Raises:
        NvbenchError: Something broke; both runs are ended, each in its own state.
    """
    for session in sessions.values():
        _step_aside(session.bench)
        session.begin()
    given_up: set[int] = set()
    for turn in versus.turns():
        if turn.number not in given_up:
            on_turn(turn)
            session = sessions[turn.side]
            _step_aside(session.bench)
            if not session.measure(turn.setup, block=turn.block, seed=turn.seed):
                given_up.add(turn.number)
    for session in sessions.values():
        session.store.finish(session.state)
    for session in sessions.values():
        session.check()


@contextmanager
def arranged(held: Bench, testbed: Testbed) -> Iterator[Bench]:
    """A bench that is held, as another testbed of the same hosts places and equips what runs on it.

    Raises:
        NotReadyError: A host cannot be reached, or has not what the testbed names.
    """
    if testbed.resolved() == held.testbed.resolved():
        yield held
        return
    with ExitStack() as stack:
        hosts = reach(testbed)
        for host in hosts.values():
            stack.callback(host.close)
        yield Bench(testbed, hosts, held.journal, placed(testbed, hosts), held.holds)


def _step_aside(bench: Bench) -> None:
    """Keep this process off the cores that poll in this turn; what holds the bench frees it at the end."""
    if bench.testbed.generator_host.local and not bench.testbed.simulated:
        os.sched_setaffinity(0, {bench.placement.housekeeping_core})
