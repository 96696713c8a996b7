"""A plan: profile x testbed -> ordered cases with stable names and expected times. Nothing is touched."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from pydantic import ValidationError

from nvbench.axes import Path
from nvbench.datapaths import PARAMETERS, Parameters
from nvbench.endpoint import LinkKind
from nvbench.errors import NotPossibleError, UsageError
from nvbench.faults import Fault, did_you_mean, faults, refuse
from nvbench.generators import KINDS, Kind
from nvbench.naming import case_id
from nvbench.offloads import Offloads
from nvbench.profile import Profile, Tests
from nvbench.rfc2544 import Expected
from nvbench.tables import Setting
from nvbench.testbed import Testbed
from nvbench.traffic import Traffic
from nvbench.units import line_rate_pps
from nvbench.wiring import generator_links, link_kinds

if TYPE_CHECKING:
    from nvbench.store import RunHeader

MAX_CASES = 10_000
SETUP_S = 5.0
"""A switch and a generator coming up and going down."""


@dataclass(frozen=True)
class Case:
    """One path, and what is sent over it: frames of a generator, or streams between endpoints.

    Attributes:
        case_id: Its name; depends on its own values alone, defaults left out.
        path: Datapath, topology and guests.
        parameters: The datapath's options.
        traffic: The frames; None where streams are sent.
        offloads: State of the endpoints; None where frames are sent.
        tests: What is measured.
        line_rate_pps: Highest frame rate of the link at this frame size, in each direction; 0 for streams.
        expected_s: Time that it is expected to take, once the datapath is up.
    """

    case_id: str
    path: Path
    parameters: Parameters
    traffic: Traffic | None
    offloads: Offloads | None
    tests: Tests
    line_rate_pps: float
    expected_s: float

    @property
    def frames(self) -> Traffic:
        """The generator's frames, of a case that sends some."""
        assert self.traffic is not None  # noqa: S101 - asked of cases of frames alone
        return self.traffic

    @property
    def settings(self) -> tuple[Setting, ...]:
        """All options of the datapath, the file whose frames are sent, and all states that endpoints are asked for."""
        options = self.parameters.model_dump()
        own = tuple(Setting(name, _text(value)) for name, value in options.items() if name not in ("queues", "mtu"))
        file = (Setting("pcap", str(self.traffic.pcap)),) if self.traffic and self.traffic.pcap else ()
        return own + file + (self.offloads.settings() if self.offloads else ())


@dataclass(frozen=True)
class Setup:
    """Cases that one bring-up of the datapath serves.

    Attributes:
        path: Datapath, topology and guests.
        parameters: The datapath's options.
        cases: In order; never empty; all send frames, or all streams.
    """

    path: Path
    parameters: Parameters
    cases: tuple[Case, ...]

    @property
    def streams(self) -> bool:
        """Whether streams are sent."""
        return self.cases[0].traffic is None

    @property
    def max_frame_bytes(self) -> int:
        """The largest frame of any of its cases, with FCS."""
        return max(case.frames.largest_frame_bytes for case in self.cases)


@dataclass(frozen=True)
class Impossible:
    """A case that was asked for and cannot be had, and why."""

    case: Case
    reason: str


@dataclass(frozen=True)
class Plan:
    """What a run will do, in order.

    Attributes:
        profile: What to measure.
        testbed: On what.
        link_bps: Speed of the links.
        cases: Ordered so that those of one set-up stand together; shuffled otherwise, by the profile's seed.
        impossible: What was asked for and cannot be had here.
        generators: The kinds of generators that can send it, best first; none where nothing is real.
    """

    profile: Profile
    testbed: Testbed
    link_bps: float
    cases: tuple[Case, ...]
    impossible: tuple[Impossible, ...] = ()
    generators: tuple[Kind, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether nothing real is measured."""
        return self.profile.simulated

    @property
    def setups(self) -> Iterator[Setup]:
        """The cases, grouped by the bring-up that they share."""
        for _, group in groupby(self.cases, key=setup_key):
            cases = tuple(group)
            yield Setup(cases[0].path, cases[0].parameters, cases)

    @property
    def expected_s(self) -> float:
        """Expected time of the whole run."""
        return SETUP_S * self.bring_ups + sum(case.expected_s for case in self.cases)

    @property
    def bring_ups(self) -> int:
        """Set-ups, and one more for each of the `ceilings`."""
        return 0 if self.simulated else sum(1 for _ in self.setups) + self.ceilings

    @property
    def ceilings(self) -> int:
        """Kinds of ring on virtual links, each brought up once for the generator's ceiling and floor."""
        if self.simulated or not self.testbed.virtual or not self.profile.ceiling:
            return 0
        frames = [case for case in self.cases if case.traffic is not None]
        return len({(case.parameters.queues, case.parameters.descriptors) for case in frames})


def setup_key(case: Case) -> tuple[object, ...]:
    """What the cases of one bring-up share."""
    path, traffic = case.path, case.traffic
    # Frames of a file teach a switch, or a guest, addresses that mean something else in another file.
    return path.kind, path.topology, path.guest, case.parameters, traffic is None, traffic and traffic.pcap


def make_plan(profile: Profile, testbed: Testbed) -> Plan:
    """Put the cases of a profile in order; those that the testbed cannot have are set apart, with the reason.

    Raises:
        UsageError: The profile cannot be run on that testbed at all; lists every reason.
    """
    lines = [*_mismatches(profile, testbed)]
    count = sum(len(axes) for axes in profile.datapath) * (len(profile.traffic) if profile.traffic else 1)
    if count > MAX_CASES:
        lines.append(f"{profile.name}: asks for {count} cases, more than {MAX_CASES} (sweep fewer values)")
    link_gbps = testbed.link_gbps or profile.link_gbps
    if link_gbps is None and profile.traffic:
        lines.append(f"{testbed.place()}: the links' speed is not known (add link_gbps, or -s link_gbps=10)")
    if lines:
        refuse(lines)
    link_bps = (link_gbps or 0.0) * 1e9
    asked = list(_cases(profile, link_bps))
    twice = [name for name, times in Counter(case.case_id for case in asked).items() if times > 1]
    if twice:
        raise UsageError(
            f"lists values that are equal, or that names do not tell apart: {twice[0]} is there twice",
            place=profile.name,
        )
    generators, reasons = _able(asked, profile, testbed)
    possible = [case for case, reason in zip(asked, reasons, strict=True) if not reason]
    impossible = tuple(Impossible(case, why) for case, why in zip(asked, reasons, strict=True) if why)
    if not possible:
        refuse(_told_once(profile, impossible))
    return Plan(profile, testbed, link_bps, _shuffled(possible, profile.seed), impossible, generators)


def header(plan: Plan, overrides: Sequence[str], label: str = "", expected_s: float | None = None) -> RunHeader:
    """What is known of a run before it starts."""
    from nvbench.store import RunHeader  # noqa: PLC0415 - heavy

    return RunHeader(
        profile_name=plan.profile.name,
        testbed_name=plan.testbed.name,
        profile=plan.profile.resolved(),
        testbed=plan.testbed.resolved(),
        seed=plan.profile.seed,
        quick=plan.profile.quick,
        simulated=plan.simulated,
        overrides=dict(override.split("=", 1) for override in overrides),
        label=label,
        planned_cases=len(plan.cases),
        expected_s=plan.expected_s if expected_s is None else expected_s,
    )


def _told_once(profile: Profile, impossible: Sequence[Impossible]) -> list[str]:
    if len({each.reason for each in impossible}) == 1 < len(impossible):
        return [f"{profile.name}: not possible here: {impossible[0].reason}"]
    return [f"{profile.name}: {each.case.case_id}: not possible here: {each.reason}" for each in impossible]


def _able(cases: Sequence[Case], profile: Profile, testbed: Testbed) -> tuple[tuple[Kind, ...], list[str]]:
    """The generators that can do as many of the cases as the best can; and why not, case by case, empty where so."""
    if testbed.simulated:
        return (), [""] * len(cases)
    told = {kind.name: [_impossible(case, testbed, kind) for case in cases] for kind in profile.generators}
    fewest = min(sum(map(bool, reasons)) for reasons in told.values())
    able = tuple(kind for kind in profile.generators if sum(map(bool, told[kind.name])) == fewest)
    files = profile.traffic is not None and bool(profile.traffic.pcap)
    nearest = next((kind for kind in able if kind.plays_files), able[0]) if files else able[0]
    return able, told[nearest.name]


def _impossible(case: Case, testbed: Testbed, generator: Kind) -> str:
    """Why a case cannot be had with a generator, from what is written down alone; empty where it can."""
    if case.traffic is not None:
        if case.traffic.largest_packet_bytes > case.parameters.mtu:
            frame_bytes = case.traffic.largest_frame_bytes
            return f"a frame of {frame_bytes} bytes does not fit the MTU of {case.parameters.mtu}"
        if case.traffic.pcap and not generator.plays_files:
            able = ", ".join(kind.name for kind in KINDS if kind.plays_files)
            return f"{generator.name} cannot play a capture file; {able} can, over links of the kernel"
        if reason := generator.cannot_send(case.traffic):
            return f"{generator.name} cannot send these frames: it {reason}"
    try:
        kinds = link_kinds(case.path, case.parameters, testbed, generator if case.traffic else None)
    except NotPossibleError as error:
        return str(error)
    return _unable(case, generator, generator_links(testbed, kinds)) if case.traffic else ""


def _unable(case: Case, generator: Kind, links: Collection[LinkKind]) -> str:
    """What tests need of the generator and it cannot do."""
    able = generator.abilities(links)
    for test in case.tests.each():
        if lacking := sorted(test.needs - able):
            needed = f"{test.name} needs a generator that can {' and '.join(lacking)}, which {generator.name} cannot"
            return f"{needed} (-s tests.{test.name}=null leaves it out)"
    return ""


def _shuffled(cases: Sequence[Case], seed: int) -> tuple[Case, ...]:
    """Set-ups in random order, and in each its cases: what drifts over a run does not look like what is swept."""
    dice = random.Random(seed)  # noqa: S311 - reproducible, not secret
    setups: dict[tuple[object, ...], list[Case]] = {}
    for case in cases:
        setups.setdefault(setup_key(case), []).append(case)
    groups = list(setups.values())
    dice.shuffle(groups)
    for group in groups:
        dice.shuffle(group)
    return tuple(case for group in groups for case in group)


def expected_case_s(profile: Profile, *, streams: bool) -> float:
    """Expected time of a case: trials of each test, each with its wait for stragglers; 0 if simulated."""
    if profile.simulated:
        return 0.0
    drain_s = 0.0 if streams else profile.drain_s
    trials = [each for expected in profile.tests.expected(streams=streams).values() for each in expected]
    return sum(each.trials * (each.seconds + drain_s) for each in trials)


def expectation(profile: Profile) -> dict[str, str]:
    """What each test of a case will probably do, in words, by its name."""
    expected = {**profile.tests.expected(streams=False), **profile.tests.expected(streams=True)}
    return {name: ", ".join(_trials(each) for each in trials) for name, trials in expected.items()}


def _trials(expected: Expected) -> str:
    length = f"of {expected.seconds:.3g} s" if expected.seconds else "very short ones"
    return f"{expected.trials} {length} {expected.purpose}"


def _mismatches(profile: Profile, testbed: Testbed) -> Iterator[str]:
    if testbed.simulated and not profile.simulated:
        kinds = dict.fromkeys(kind for axes in profile.datapath for kind in axes.kind)
        yield (
            f"the testbed {testbed.name} runs simulated profiles only, {profile.name} asks for "
            f"{', '.join(kinds)} and {profile.generator} ({_simulated(profile)})"
        )
    if profile.simulated and not testbed.simulated:
        yield (
            f"a simulated run belongs on a simulated testbed, {testbed.name} is a real one (give --testbed simulated)"
        )
    known = [kind.name for kind in KINDS]
    for name in set(testbed.generator.programs) - set(known):
        place, guess = testbed.place("generator", "programs", name), did_you_mean(name, known)
        yield f"{place}: generator.programs: no generator is called {name!r} ({guess or f'there are {known}'})"


def _simulated(profile: Profile) -> str:
    if any(profile.tests.streams()):
        return "streams need real endpoints: give --testbed local"
    return "add -s datapath.kind=simulated -s generator=simulated"


def _cases(profile: Profile, link_bps: float) -> Iterator[Case]:
    lines: list[str] = []
    for path in (path for axes in profile.datapath for path in axes.each()):
        try:
            parameters = PARAMETERS[path.kind].model_validate(path.options)
        except ValidationError as error:
            told = [_told(fault) for fault in faults(error, PARAMETERS[path.kind])]
            lines += [f"{profile.name}: datapath {path.kind} with {path.options}: {text}" for text in told]
            continue
        yield from _cases_of(path, parameters, profile, link_bps)
    if lines:
        refuse(lines)


def _cases_of(path: Path, parameters: Parameters, profile: Profile, link_bps: float) -> Iterator[Case]:
    tests = profile.tests
    expected_s = expected_case_s(profile, streams=False)
    for traffic in profile.traffic.each() if profile.traffic and any(tests.each()) else ():
        rate = line_rate_pps(link_bps, traffic.average_frame_bytes)
        name = case_id(path, parameters, traffic)
        yield Case(name, path, parameters, traffic, None, tests, rate, expected_s)
    expected_s = expected_case_s(profile, streams=True)
    for offloads in profile.endpoints.each() if any(tests.streams()) else ():
        name = case_id(path, parameters, None, offloads)
        yield Case(name, path, parameters, None, offloads, tests, 0.0, expected_s)


def _told(fault: Fault) -> str:
    return f"{fault.what} ({fault.remedy})" if fault.remedy else fault.what


def _text(value: object) -> str:
    return ("on" if value else "off") if isinstance(value, bool) else str(value)
