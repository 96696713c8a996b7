"""The only conductor: brings rigs up, lets tests ask for trials, keeps what they find, takes everything down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from nvbench.bench import Bench
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
from nvbench.measurer import Observer, StandingRig
from nvbench.plan import Case, Plan, Setup, setup_key
from nvbench.rigs import Rig, StreamRig, frame_rig, stream_rig
from nvbench.store import RunWriter
from nvbench.streaming import Streaming, subject
from nvbench.tables import ResultRow

BREAKS = (CommandError, DatapathError, GeneratorError, GuestError)
"""What ends a rig, and not the run."""

EMULATED = "the guests' processors are emulated: not a performance figure"


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
    _broken: list[NvbenchError] = field(default_factory=list, init=False)
    _versions: dict[str, list[str]] = field(default_factory=dict, init=False)

    def run(self) -> None:
        """Measure every case.

        Raises:
            NvbenchError: Something broke; what was measured is stored, what was changed is undone.
        """
        self.store.note_fingerprint(self.bench.fingerprint())
        for impossible in self.plan.impossible:
            self._mark(impossible.case, f"not possible here: {impossible.reason}")
        if not self.plan.profile.simulated:
            if any(case.traffic for case in self.plan.cases):
                for warning in self.bench.placement.warnings:
                    self.store.warn(warning)
            self.observer.stage("making the bench ready")
            self.bench.make_ready(self.plan)
        wires = self._wires()
        for setup in self.plan.setups:
            self.observer.stage(f"bringing up {_described(setup)}")
            if setup.streams:
                self._run_streams(setup)
            else:
                self._run_frames(setup, wires)
        if self._broken:
            cases = "1 case" if len(self._broken) == 1 else f"{len(self._broken)} cases"
            rest = ", the others were measured" if len(self._broken) < len(self.plan.cases) else ""
            raise RunBrokeError(f"{cases} broke{rest}; the first: {self._broken[0]}")

    def _run_frames(self, setup: Setup, wires: Mapping[tuple[object, ...], Wire]) -> None:
        """The cases of a set-up; one that breaks it is marked, and the next gets a rig that is brought up anew."""
        left = list(setup.cases)
        while left:
            try:
                with StandingRig(partial(self._rig, setup)) as standing:
                    while left:
                        self._measure(left[0], standing, wires.get(ring_and_frames(left[0]), Wire()))
                        del left[0]
            except NotPossibleError as error:
                self._mark_all(left, f"not possible here: {error}")
                return
            except BREAKS as error:
                self._broken.append(error)
                self._mark(left.pop(0), f"broke: {error}")

    def _run_streams(self, setup: Setup) -> None:
        """The cases of a set-up; those that the fault of a rig does not concern go on on another."""
        streaming = Streaming(setup.cases, self.store, self.observer.stage, self.plan.profile.seed)
        while not streaming.done:
            up = False
            try:
                with stream_rig(self.bench, setup) as rig:
                    up = True
                    self._note_streams(setup, rig)
                    streaming.go_on(rig)
            except NotPossibleError as error:
                streaming.give_up(f"not possible here: {error}")
            except BREAKS as error:
                self._broken.append(error)
                if not up:
                    streaming.give_up(f"broke: {error}")
        for row in streaming.answers():
            self.store.append_result(row)
            self.observer.result(row)

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
            about = replace(frame_subject(case, profile.generator) if case.traffic else subject(case), test=name)
            rate = case.line_rate_pps or None
            row = ResultRow(subject=about, rate_pps=None, line_rate_pps=rate, verdict=verdict, quick=profile.quick)
            self.store.append_result(row)
            self.observer.result(row)

    def _measure(self, case: Case, standing: StandingRig, wire: Wire) -> None:
        """Make every test of a case; what the last frame size of its kind could do narrows where it is searched."""
        on_case = self._on(standing, case)
        kin = (*setup_key(case), replace(case.frames, frame_bytes=0, imix=""))
        scene = on_case.scene(wire, {**self._answers.get(kin, {}), **self.prior.get(case.case_id, {})})
        for test in case.tests.each():
            for row in test.rows(scene):
                self.store.append_result(row)
                self.observer.result(row)
        self._answers[kin] = scene.answers_pps

    def _on(self, standing: StandingRig, case: Case) -> OnCase:
        return OnCase(self.plan.profile, self.store, self.observer, standing, case)

    @contextmanager
    def _rig(self, setup: Setup) -> Iterator[Rig]:
        profile, kind = self.plan.profile, setup.path.kind
        with frame_rig(self.bench, setup, drain_s=profile.drain_s, seed=profile.seed) as rig:
            generator = {"generator": rig.generator.version, "clock": rig.generator.clock}
            self.store.note_fingerprint(self._builds(setup, rig.datapath) | generator)
            self.store.note_commands(*self.bench.take_commands())
            for finding in rig.datapath.findings:
                self.store.warn(f"{kind}: {finding}")
            if any(guest.emulated for guest in rig.guests):
                self.store.warn(EMULATED)
            yield rig

    def _wires(self) -> dict[tuple[object, ...], Wire]:
        """What the generator can do with each kind of frame, measured where no switch is in the way.

        Only where links are virtual: a physical port takes frames at its own rate whatever happens behind it, and
        the search notices a generator that does not reach it.
        """
        found: dict[tuple[object, ...], Wire] = {}
        frames = [case for case in self.plan.cases if case.traffic is not None]
        for setup in without_switch(frames) if self.bench.testbed.virtual else ():
            self.observer.stage("measuring the generator's ceiling and floor, without a switch")
            with StandingRig(partial(self._rig, setup)) as standing:
                for case in setup.cases:
                    found[ring_and_frames(case)] = self._on(standing, case).wire()
        return found


def _described(setup: Setup) -> str:
    path = setup.path
    around = f", {path.topology}" + (f" with guests of kind {path.guest}" if path.guest else "")
    return f"{path.kind}{around}, {setup.parameters.queues} queue(s) a port"
