"""The only conductor: brings rigs up, lets tests ask for trials, keeps what they find, takes everything down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial

from nvbench.bench import Bench, Rig
from nvbench.datapaths.direct import DirectParameters
from nvbench.measurer import Measurer, Observer, Restart, StandingRig
from nvbench.plan import Case, Plan, Setup, case_id
from nvbench.rfc2544 import Addresses, Scene, probe_pps
from nvbench.store import RunWriter
from nvbench.tables import Subject
from nvbench.traffic import Direction, FlowField, Traffic
from nvbench.trial import AbortRule, DetailedMeasure

CEILING_S = 0.2
CEILING_TRIALS = 3
FLAT_OUT_PPS = 1e9
FLOOR_S = 0.5


@dataclass(frozen=True, slots=True)
class Wire:
    """What the generator can do with no switch in the way.

    Attributes:
        ceiling_pps: Frames per second and direction that it sends flat out.
        floor_p50_us: Median latency at a probe's load; None where its trial could not be believed.
    """

    ceiling_pps: float | None = None
    floor_p50_us: float | None = None


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

    def run(self) -> None:
        """Measure every case.

        Raises:
            NvbenchError: Something broke; what was measured is stored, what was changed is undone.
        """
        self.store.note_fingerprint(self.bench.fingerprint())
        if not self.plan.profile.simulated:
            for warning in self.bench.placement.warnings:
                self.store.warn(warning)
            self.observer.stage("making the bench ready")
            self.bench.make_ready([(setup.parameters, setup.max_frame_bytes) for setup in self.plan.setups])
        wires = self._wires()
        for setup in self.plan.setups:
            self.observer.stage(f"bringing up {setup.datapath_kind}, {setup.parameters.queues} queue(s) a port")
            with StandingRig(partial(self._rig, setup)) as standing:
                for case in setup.cases:
                    self._measure(case, standing, wires.get(_shape(case), Wire()))

    def _measure(self, case: Case, standing: StandingRig, wire: Wire) -> None:
        """Make every test of a case; what the last frame size of its kind could do narrows where it is searched."""
        on_case = _OnCase(self, standing, case)
        kin = (case.datapath_kind, case.parameters, replace(case.traffic, frame_bytes=0, imix=""))
        scene = on_case.scene(wire, {**self._answers.get(kin, {}), **self.prior.get(case.case_id, {})})
        for test in case.tests.each():
            for row in test.rows(scene):
                self.store.append_result(row)
                self.observer.result(row)
        self._answers[kin] = scene.answers_pps

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

    def _wires(self) -> dict[tuple[object, ...], Wire]:
        """What the generator can do with each kind of frame, measured where no switch is in the way.

        Only where links are virtual: a physical port takes frames at its own rate whatever happens behind it, and
        the search notices a generator that does not reach it.
        """
        found: dict[tuple[object, ...], Wire] = {}
        for setup in _without_switch(self.plan.cases) if self.bench.testbed.virtual else ():
            self.observer.stage("measuring the generator's ceiling and floor, without a switch")
            with StandingRig(partial(self._rig, setup)) as standing:
                for case in setup.cases:
                    found[_shape(case)] = _OnCase(self, standing, case).wire()
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


@dataclass(frozen=True)
class _OnCase:
    """A case on its rig."""

    session: Session
    standing: StandingRig
    case: Case

    def scene(self, wire: Wire, expected_pps: dict[float, float]) -> Scene:
        """What its tests see."""
        self.standing.load(self.case.traffic)
        profile = self.session.plan.profile
        datapath = self.standing.rig.datapath
        return Scene(
            subject=self._subject(),
            line_rate_pps=self.case.line_rate_pps,
            directions=self.case.traffic.directions,
            measurer=lambda test, purpose: self._measurer(test, purpose, wire.ceiling_pps),
            ceiling_pps=wire.ceiling_pps,
            floor_p50_us=wire.floor_p50_us,
            repeat_invalid=profile.repeat_invalid,
            drain_s=profile.drain_s,
            quick=profile.quick,
            simulated=self.standing.rig.generator.simulated,
            expected_pps=expected_pps,
            restarting=self._restarting if datapath.restarts else None,
            renew=self.standing.renew,
            addresses=None if datapath.learned_addresses() is None else self._addresses(),
        )

    def wire(self) -> Wire:
        """What the generator can do: the most that it sends in some short trials, and the latency of a few frames.

        A disturbance only ever makes it look slower.
        """
        flat_out = self._measurer("ceiling", "ceiling")
        trials = [flat_out(FLAT_OUT_PPS, CEILING_S, AbortRule()) for _ in range(CEILING_TRIALS)]
        ceiling_pps = max(trial.total.sent / trial.elapsed_s / self.case.traffic.directions for trial in trials)
        probe = self._measurer("ceiling", "floor")(probe_pps(self.case.line_rate_pps), FLOOR_S, AbortRule())
        return Wire(ceiling_pps, probe.latency.percentile_us(50) if probe.valid else None)

    def _restarting(self, at_s: float, down_s: float) -> DetailedMeasure:
        return self._measurer("reset", "restart", restart=Restart(at_s, down_s))

    def _addresses(self) -> Addresses:
        def measure(addresses: int) -> DetailedMeasure:
            traffic = replace(
                self.case.traffic, flows=addresses, vary=(FlowField.MAC_SRC,), direction=Direction.UNIDIRECTIONAL
            )
            self.standing.load(traffic)  # now: what it has the switch learn comes before all is forgotten
            return self._measurer("learning", "addresses", traffic=traffic)

        def forget() -> None:
            self.standing.rig.datapath.forget_addresses()
            self.standing.rig.generator.learn()  # frames to an address that nobody has sent from go to every port

        datapath = self.standing.rig.datapath
        return Addresses(measure, lambda: datapath.learned_addresses() or 0, forget, datapath.learning)

    def _measurer(
        self,
        test: str,
        purpose: str,
        ceiling_pps: float | None = None,
        *,
        traffic: Traffic | None = None,
        restart: Restart | None = None,
    ) -> Measurer:
        return Measurer(
            standing=self.standing,
            store=self.session.store,
            observer=self.session.observer,
            subject=replace(self._subject(), test=test),
            purpose=purpose,
            traffic=traffic or self.case.traffic,
            ceiling_pps=ceiling_pps,
            restart=restart,
        )

    def _subject(self) -> Subject:
        case = self.case
        return Subject(
            case_id=case.case_id,
            test="",
            datapath=case.datapath_kind,
            generator=self.standing.rig.generator.name,
            frame_bytes=case.traffic.frame_bytes,
            flows=case.traffic.flows,
            queues=case.parameters.queues,
            direction=case.traffic.direction,
            imix=case.traffic.imix,
        )


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
    if any(test.name == "reset" for test in plan.profile.tests.each()):
        lines.append(f"host {switch}: that switch is killed and started again in the test `reset`")
    if testbed.virtual:
        lines.append(
            f"host {switch}: dpdk-testpmd joins the ports while the generator's ceiling and floor are measured"
        )
    for port in testbed.switch.ports:
        if port.pci:
            lines.append(f"host {switch}: port {port.pci} is used as it is bound")
    return lines
