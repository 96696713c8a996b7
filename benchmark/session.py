"""The only conductor: brings rigs up, lets tests ask for trials, keeps what they find, takes everything down.

A trial passes through here between the generator and whoever asked: what the host says of the switch's polling
threads is held against it, it is stored, and only then does the test see it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Protocol

from nvbench import rfc2544
from nvbench.bench import Bench, Rig
from nvbench.collectors import Absence
from nvbench.datapaths.direct import DirectParameters
from nvbench.generators.base import Live
from nvbench.plan import Case, Plan, Setup, case_id
from nvbench.profile import LatencyTest, ThroughputTest
from nvbench.search import Answer, Goal, Limits
from nvbench.store import RunWriter
from nvbench.tables import LatencySummary, ResultRow, Sample, Subject, latency_summary, trial_row
from nvbench.trial import AbortRule, Trial, Validity
from nvbench.units import scaled

CEILING_S = 0.2
CEILING_TRIALS = 3
FLAT_OUT_PPS = 1e9
FAR_BELOW = 0.7
"""Of its ceiling: a load that the generator is known to reach."""

LONG_ABSENCE_S = 0.0015
"""Shorter ones are within what queues are for."""


class Observer(Protocol):
    """Who watches a run: the terminal."""

    def stage(self, text: str) -> None:
        """What is done now, when no trial runs."""

    def live(self, where: str, load_pps: float, duration_s: float, live: Live) -> None:
        """A trial is under way."""

    def trial(self, where: str, trial: Trial) -> None:
        """A trial has ended."""

    def result(self, row: ResultRow) -> None:
        """An answer has been found."""


@dataclass
class Session:
    """One run of a plan on a bench, into a store."""

    plan: Plan
    bench: Bench
    store: RunWriter
    observer: Observer

    def run(self) -> None:
        """Measure every case.

        Raises:
            NvbenchError: Something broke; what was measured is stored, what was changed is undone.
        """
        self.store.note_fingerprint(self.bench.fingerprint())
        for warning in self.bench.placement.warnings:
            self.store.warn(warning)
        if not self.plan.profile.simulated:
            self.observer.stage("making the bench ready")
            self.bench.make_ready([(setup.parameters, setup.max_frame_bytes) for setup in self.plan.setups])
        ceilings = self._ceilings()
        for setup in self.plan.setups:
            self.observer.stage(f"bringing up {setup.datapath_kind}, {setup.parameters.queues} queue(s) a port")
            with self._rig(setup) as rig:
                for case in setup.cases:
                    _Case(self, rig, case, ceilings.get(_shape(case))).run()

    @contextmanager
    def _rig(self, setup: Setup) -> Iterator[Rig]:
        profile, kind = self.plan.profile, setup.datapath_kind
        with self.bench.rig(
            kind,
            setup.parameters,
            max_frame_bytes=setup.max_frame_bytes,
            drain_s=profile.drain_s,
            seed=profile.seed,
        ) as rig:
            versions = {kind: rig.datapath.version, "generator": rig.generator.version}
            self.store.note_fingerprint(versions | {"clock": rig.generator.clock})
            self.store.note_commands(*self.bench.take_commands())
            yield rig

    def _ceilings(self) -> dict[tuple[object, ...], float]:
        """What the generator can send of each frame, measured where no switch is in the way.

        Only where links are virtual: a physical port takes frames at its own rate whatever happens behind it, and
        the search notices a generator that does not reach it.
        """
        found: dict[tuple[object, ...], float] = {}
        for setup in _without_switch(self.plan.cases) if self.bench.testbed.virtual else ():
            self.observer.stage("measuring the generator's ceiling, without a switch")
            with self._rig(setup) as rig:
                for case in setup.cases:
                    found[_shape(case)] = _Case(self, rig, case, None).ceiling()
        return found


def _ring(case: Case) -> tuple[int, int]:
    return case.parameters.queues, case.parameters.descriptors


def _shape(case: Case) -> tuple[object, ...]:
    return (*_ring(case), case.traffic)


def _without_switch(cases: Sequence[Case]) -> list[Setup]:
    """The same frames through a wire: one set-up for each kind of ring."""
    setups = []
    for queues, descriptors in sorted({_ring(case) for case in cases}):
        alike = [case for case in cases if _ring(case) == (queues, descriptors)]
        mtu = max(case.parameters.mtu for case in alike)
        wire = DirectParameters(queues=queues, descriptors=descriptors, mtu=mtu)
        frames = {case.traffic: case for case in alike}
        on_wire = [
            replace(case, case_id=case_id("direct", wire, traffic), datapath_kind="direct", parameters=wire)
            for traffic, case in frames.items()
        ]
        setups.append(Setup("direct", wire, tuple(on_wire)))
    return setups


class _Case:
    """One case on its rig."""

    def __init__(self, session: Session, rig: Rig, case: Case, ceiling_pps: float | None) -> None:
        self._session = session
        self._rig = rig
        self._case = case
        self._ceiling_pps = ceiling_pps
        self._profile = session.plan.profile
        self._where = case.case_id
        rig.generator.configure(case.traffic)
        rig.generator.learn()

    # -- tests -------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Measure what the profile asks of this case."""
        tests = self._profile.tests
        rate = self._throughput(tests.throughput) if tests.throughput else 0.0
        if tests.latency and rate:
            self._latency(tests.latency, rate)

    def ceiling(self) -> float:
        """Frames per second and direction that the generator sends flat out: the best of some short trials.

        A disturbance only ever makes it look slower.
        """
        measure = self._measurer("ceiling", "ceiling")
        trials = [measure(FLAT_OUT_PPS, CEILING_S, AbortRule()) for _ in range(CEILING_TRIALS)]
        return max(trial.total.sent / trial.elapsed_s / self._case.traffic.directions for trial in trials)

    def _throughput(self, test: ThroughputTest) -> float:
        line_pps = self._case.line_rate_pps
        goal = Goal.rfc2544(test.goal_loss_ratio, test.final_s, test.width)
        limits = Limits(
            top_pps=line_pps,
            bottom_pps=test.min_load * line_pps,
            directions=self._case.traffic.directions,
            short_s=test.search_s,
            repeat_invalid=self._profile.repeat_invalid,
            max_trials=test.max_trials,
        )
        found = rfc2544.throughput(self._measurer("throughput", "search"), [goal], limits)
        [answer] = found.answers
        carrier = answer.carrier
        if self._ceiling_pps:
            self._ceiling_pps = max(self._ceiling_pps, answer.rate_pps)
        self._keep(
            replace(
                self._row("throughput", found.trials, answer.warnings),
                goal_loss_ratio=goal.loss_ratio,
                rate_pps=answer.rate_pps if carrier or answer.nothing_passes else None,
                lower_pps=answer.rate_pps if carrier else None,
                upper_pps=answer.upper_pps,
                limited_by=answer.limited_by,
                loss_ratio=carrier.loss_ratio if carrier else None,
                latency=latency_summary(carrier.latency) if carrier else LatencySummary(),
                final_duration_s=carrier.elapsed_s if carrier else None,
                trial_ids=(carrier.trial_id,) if carrier else (),
                verdict=_verdict(answer),
            )
        )
        return answer.rate_pps

    def _latency(self, test: LatencyTest, rate_pps: float) -> None:
        load = rate_pps * test.load
        found = rfc2544.latency(
            self._measurer("latency", "latency"),
            load,
            test.duration_s,
            repeats=test.repeats,
            repeat_invalid=self._profile.repeat_invalid,
        )
        total = sum((trial.total for trial in found.carriers[1:]), found.carriers[0].total) if found.carriers else None
        self._keep(
            replace(
                self._row("latency", found.trials, found.warnings),
                rate_pps=fmean(trial.offered_pps for trial in found.carriers) if found.carriers else None,
                loss_ratio=total.loss_ratio if total else None,
                latency=latency_summary(found.latency),
                final_duration_s=test.duration_s,
                trial_ids=tuple(trial.trial_id for trial in found.carriers),
                verdict=f"at {test.load:.0%} of the throughput" if found.carriers else "disturbed",
            )
        )

    # -- measuring ---------------------------------------------------------------------------------------------

    def _measurer(self, test: str, purpose: str) -> _Measurer:
        return _Measurer(self._session, self._rig, self._subject(test), self._where, purpose, self._ceiling_pps)

    def _subject(self, test: str) -> Subject:
        case = self._case
        return Subject(
            case_id=case.case_id,
            test=test,
            datapath=case.datapath_kind,
            generator=self._rig.generator.name,
            frame_bytes=case.traffic.frame_bytes,
            flows=case.traffic.flows,
            queues=case.parameters.queues,
            direction=case.traffic.direction,
        )

    def _row(self, test: str, trials: tuple[Trial, ...], warnings: tuple[str, ...]) -> ResultRow:
        return ResultRow(
            subject=self._subject(test),
            rate_pps=None,
            ceiling_pps=self._ceiling_pps,
            trials=len(trials),
            invalid_trials=sum(not trial.valid for trial in trials),
            duration_s=sum(trial.elapsed_s for trial in trials),
            warnings=warnings,
            quick=self._profile.quick,
            simulated=self._rig.generator.simulated,
        )

    def _keep(self, row: ResultRow) -> None:
        self._session.store.append_result(row)
        self._session.observer.result(row)


@dataclass(frozen=True)
class _Measurer:
    """`measure` on a rig: each trial is watched, judged, stored, and then told."""

    session: Session
    rig: Rig
    subject: Subject
    where: str
    purpose: str
    ceiling_pps: float | None

    def __call__(self, load_pps: float, duration_s: float, abort: AbortRule) -> Trial:
        observer = self.session.observer

        def look(live: Live) -> None:
            self.rig.watch.look()
            observer.live(self.where, load_pps, duration_s, live)

        self.rig.watch.absence()
        measured = self.rig.generator.trial(load_pps, duration_s, abort, look)
        trial = held_against(
            measured,
            self.rig.watch.absence(),
            abort,
            ceiling_pps=self.ceiling_pps,
        )
        row = trial_row(self.subject, trial, purpose=self.purpose, simulated=self.rig.generator.simulated)
        trial = replace(trial, trial_id=self.session.store.append_trial(row))
        now = time.time()
        samples = [
            Sample(now, each.source, each.metric, each.value, each.unit) for each in self.rig.datapath.readings()
        ]
        self.session.store.append_samples(trial.trial_id, samples)
        observer.trial(self.where, trial)
        return trial


def held_against(trial: Trial, absence: Absence, abort: AbortRule, *, ceiling_pps: float | None = None) -> Trial:
    """The trial, set aside where what else is known of the bench explains it better than the device does.

    Frames that come while the host keeps the switch off its core wait, then are refused or lost, and come in a lump
    after. What is lost beyond them and beyond the goal's allowance is the device's own, and so is all loss where no
    absence was long. A generator that misses a load far below its ceiling was disturbed.
    """
    if trial.validity is Validity.UNDERSENT and ceiling_pps and trial.intended_pps < FAR_BELOW * ceiling_pps:
        reason = f"{trial.reason}, though the generator can send {scaled(ceiling_pps, 'pps')}"
        return replace(trial, validity=Validity.PAUSED, reason=reason)
    lost = trial.total.lost + trial.total.refused
    allowed = abort.max_lost_frames or 0
    explained = absence.total_s * trial.intended_pps * len(trial.directions)
    if not trial.valid or lost <= allowed or absence.longest_s < LONG_ABSENCE_S or lost - explained > allowed:
        return trial
    reason = (
        f"{lost} frames lost while the switch's cores were away for {absence.waited_s * 1e3:.1f} ms (other tasks) "
        f"and {absence.stolen_s * 1e3:.0f} ms (hypervisor)"
    )
    return replace(trial, validity=Validity.STALLED, reason=reason)


def _verdict(answer: Answer) -> str:
    if answer.carrier is None:
        return "nothing passes" if answer.nothing_passes else "too disturbed for an answer"
    return "at least this, disturbed above" if answer.disturbed else answer.limited_by


def describe_changes(plan: Plan) -> list[str]:
    """What a run of this plan changes on which host, in sentences."""
    testbed = plan.testbed
    if plan.profile.simulated:
        return ["nothing: generator and device are simulated"]
    generator, switch = testbed.generator.host, testbed.switch.host
    kinds = {setup.datapath_kind for setup in plan.setups}
    lines = [
        f"host {generator}: nvgen is built if it is not, and polls on the generator's cores",
        f"host {switch}: hugepages are added where too few are free ({testbed.switch.socket_memory_mb} MB for the "
        "switch), and given back",
    ]
    if "ovs_dpdk" in kinds:
        lines.append(
            f"host {switch}: a private ovsdb-server and ovs-vswitchd run from a folder of their own and end with the "
            "run; the system's Open vSwitch is not touched"
        )
    if testbed.virtual:
        lines.append(f"host {switch}: dpdk-testpmd joins the ports while the generator's ceiling is measured")
    for port in testbed.switch.ports:
        if port.pci:
            lines.append(f"host {switch}: port {port.pci} is used as it is bound")
    return lines
