"""Frames on a rig: what the tests of RFC 2544 see of a case, and what the generator can do by itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from nvbench.abilities import Ability
from nvbench.axes import Path
from nvbench.datapaths import TAKES
from nvbench.datapaths.direct import DirectParameters
from nvbench.endpoint import LinkKind
from nvbench.generators import Kind
from nvbench.measurer import Measurer, Observer, Restart, StandingRig
from nvbench.naming import case_id
from nvbench.plan import Case, Setup
from nvbench.profile import Profile
from nvbench.rfc2544 import Addresses, LatencyTest, Scene, probe_pps
from nvbench.store import RunWriter
from nvbench.tables import Subject
from nvbench.topology import Topology
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


def _ring(case: Case, generator: Kind) -> tuple[int, int, bool]:
    """Queues and descriptors of the generator's ports, and whether they are vhost-user or the kernel's."""
    parameters = case.parameters
    if isinstance(parameters, DirectParameters):
        vhost = parameters.cable == "vhost_user"
    else:
        vhost = LinkKind.VHOST_USER in TAKES.get(case.path.kind, ()) and LinkKind.VHOST_USER in generator.links
    return parameters.queues, parameters.descriptors, vhost


def ring_and_frames(case: Case, generator: Kind) -> tuple[object, ...]:
    """What the generator's own limits depend on: its ports and the frames."""
    return (*_ring(case, generator), case.frames)


def without_switch(cases: Sequence[Case], generator: Kind) -> list[Setup]:
    """The same frames through a wire: one set-up for each kind of port and ring."""
    setups = []
    for queues, descriptors, vhost in sorted({_ring(case, generator) for case in cases}):
        alike = [case for case in cases if _ring(case, generator) == (queues, descriptors, vhost)]
        mtu = max(case.parameters.mtu for case in alike)
        wire = DirectParameters(
            queues=queues, descriptors=descriptors, mtu=mtu, cable="vhost_user" if vhost else "veth"
        )
        path = Path("direct", Topology.P2P, "", {})
        frames = {case.frames: case for case in alike}
        on_wire = [
            replace(case, case_id=case_id(path, wire, traffic), path=path, parameters=wire)
            for traffic, case in frames.items()
        ]
        setups.append(Setup(path, wire, tuple(on_wire)))
    return setups


@dataclass(frozen=True)
class OnCase:
    """A case of frames on its rig.

    Attributes:
        profile: What is asked for.
        store: Where trials are kept.
        observer: Who watches.
        standing: The rig.
        case: The case.
    """

    profile: Profile
    store: RunWriter
    observer: Observer
    standing: StandingRig
    case: Case

    def scene(self, wire: Wire, expected_pps: dict[float, float]) -> Scene:
        """What its tests see."""
        self.standing.load(self.case.frames)
        profile, datapath = self.profile, self.standing.rig.datapath
        return Scene(
            subject=self._subject(),
            line_rate_pps=self.case.line_rate_pps,
            directions=self.case.frames.directions,
            measurer=lambda test, purpose: self._measurer(test, purpose, wire.ceiling_pps),
            ceiling_pps=wire.ceiling_pps,
            floor_p50_us=wire.floor_p50_us,
            repeat_invalid=profile.repeat_invalid,
            drain_s=profile.drain_s,
            quick=profile.quick,
            simulated=self.standing.rig.generator.simulated,
            paced=Ability.PACED in self.standing.rig.abilities,
            expected_pps=expected_pps,
            restarting=self._restarting if datapath.restarts else None,
            renew=self.standing.renew,
            addresses=None if datapath.learned_addresses() is None else self._addresses(),
        )

    def note_kept_back(self) -> None:
        """Warn of frames of a file that a switch keeps back, once it has learned from others of them."""
        pcap, datapath = self.case.frames.pcap, self.standing.rig.datapath
        if pcap and pcap.returning_frames and datapath.learned_addresses():
            what = f"{pcap.returning_frames} of {pcap.frames} frames go to an address that the file also sends from"
            self.store.warn(f"{pcap}: {what}: {self.case.path.kind} learned it, and keeps them back")

    def wire(self) -> Wire:
        """What the generator can do: the most that it sends in some short trials, and the latency of a few frames.

        A disturbance only ever makes it look slower.
        """
        flat_out = self._measurer("ceiling", "ceiling")
        trials = [flat_out(FLAT_OUT_PPS, CEILING_S, AbortRule()) for _ in range(CEILING_TRIALS)]
        ceiling_pps = max(trial.total.sent / trial.elapsed_s / self.case.frames.directions for trial in trials)
        if not self.standing.rig.abilities >= LatencyTest.needs:
            return Wire(ceiling_pps)
        probe = self._measurer("ceiling", "floor")(probe_pps(self.case.line_rate_pps), FLOOR_S, AbortRule())
        return Wire(ceiling_pps, probe.latency.percentile_us(50) if probe.valid else None)

    def _restarting(self, at_s: float, down_s: float) -> DetailedMeasure:
        return self._measurer("reset", "restart", restart=Restart(at_s, down_s))

    def _addresses(self) -> Addresses:
        def measure(addresses: int) -> DetailedMeasure:
            traffic = replace(
                self.case.frames, flows=addresses, vary=(FlowField.MAC_SRC,), direction=Direction.UNIDIRECTIONAL
            )
            self.standing.load(traffic)  # now: what it has the switch learn comes before all is forgotten
            return self._measurer("learning", "addresses", traffic=traffic)

        def forget() -> None:
            self.standing.rig.datapath.forget_addresses()
            self.standing.rig.generator.learn()  # frames to an address that nobody has sent from go to every port

        def learned() -> int:
            return self.standing.rig.datapath.learned_addresses() or 0

        def learning() -> AbstractContextManager[None]:
            return self.standing.rig.datapath.learning()  # of the rig that stands then: a test may have renewed it

        return Addresses(measure, learned, forget, learning)

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
            store=self.store,
            observer=self.observer,
            subject=replace(self._subject(), test=test),
            purpose=purpose,
            traffic=traffic or self.case.frames,
            ceiling_pps=ceiling_pps,
            restart=restart,
        )

    def _subject(self) -> Subject:
        return frame_subject(self.case, self.standing.rig.generator.name)


def frame_subject(case: Case, generator: str) -> Subject:
    """What stands beside each trial of a case in the store."""
    return Subject(
        case_id=case.case_id,
        test="",
        datapath=case.path.kind,
        generator=generator,
        frame_bytes=case.frames.frame_bytes,
        flows=case.frames.flows,
        queues=case.parameters.queues,
        direction=case.frames.direction,
        imix=case.frames.imix,
        topology=case.path.topology,
        guest=case.path.guest,
        mtu=case.parameters.mtu,
        settings=case.settings,
    )
