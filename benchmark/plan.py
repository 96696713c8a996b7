"""A plan: profile x testbed -> ordered cases with stable names and expected times. Nothing is touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from zlib import crc32

from pydantic import ValidationError

from nvbench.datapaths import PARAMETERS, Parameters
from nvbench.errors import UsageError
from nvbench.faults import Fault, faults, refuse
from nvbench.profile import Profile, Tests
from nvbench.rfc2544 import Expected
from nvbench.testbed import Testbed
from nvbench.traffic import Direction, Traffic
from nvbench.units import line_rate_pps

MAX_CASES = 10_000
LONGEST_MIX = 40
SETUP_S = 5.0
"""A switch and a generator coming up and going down."""


@dataclass(frozen=True)
class Case:
    """One datapath, one kind of traffic, all tests of the profile.

    Attributes:
        case_id: Its name; depends on its own values alone, defaults left out.
        datapath_kind: Key of `PARAMETERS`.
        parameters: The datapath's options.
        traffic: The frames.
        tests: What is measured.
        line_rate_pps: Highest frame rate of the link at this frame size, in each direction.
        expected_s: Time that it is expected to take, once the datapath is up.
    """

    case_id: str
    datapath_kind: str
    parameters: Parameters
    traffic: Traffic
    tests: Tests
    line_rate_pps: float
    expected_s: float


@dataclass(frozen=True)
class Setup:
    """Cases that one bring-up of the datapath serves.

    Attributes:
        datapath_kind: Key of `PARAMETERS`.
        parameters: The datapath's options.
        cases: In order; never empty.
    """

    datapath_kind: str
    parameters: Parameters
    cases: tuple[Case, ...]

    @property
    def max_frame_bytes(self) -> int:
        """The largest frame of any of its cases, with FCS."""
        return max(case.traffic.largest_frame_bytes for case in self.cases)


@dataclass(frozen=True)
class Plan:
    """What a run will do, in order.

    Attributes:
        profile: What to measure.
        testbed: On what.
        link_bps: Speed of the links.
        cases: Ordered so that those of one set-up stand together.
    """

    profile: Profile
    testbed: Testbed
    link_bps: float
    cases: tuple[Case, ...]

    @property
    def simulated(self) -> bool:
        """Whether nothing real is measured."""
        return self.profile.simulated

    @property
    def setups(self) -> Iterator[Setup]:
        """The cases, grouped by the bring-up that they share."""
        groups = groupby(self.cases, key=lambda case: (case.datapath_kind, case.parameters))
        for (kind, parameters), cases in groups:
            yield Setup(kind, parameters, tuple(cases))

    @property
    def expected_s(self) -> float:
        """Expected time of the whole run."""
        return SETUP_S * self.bring_ups + sum(case.expected_s for case in self.cases)

    @property
    def bring_ups(self) -> int:
        """Set-ups, and on virtual links one more for each number of queues: the generator's ceiling and floor."""
        if self.simulated:
            return 0
        ceilings = {case.parameters.queues for case in self.cases} if self.testbed.virtual else ()
        return sum(1 for _ in self.setups) + len(ceilings)


def make_plan(profile: Profile, testbed: Testbed) -> Plan:
    """Put the cases of a profile in order.

    Raises:
        UsageError: The profile cannot be run on that testbed; lists every reason.
    """
    lines = [*_mismatches(profile, testbed)]
    count = len(profile.datapath) * len(profile.traffic)
    if count > MAX_CASES:
        lines.append(f"{profile.name}: asks for {count} cases, more than {MAX_CASES} (sweep fewer values)")
    link_gbps = testbed.link_gbps or profile.link_gbps
    if link_gbps is None:
        lines.append(f"{testbed.place()}: the links' speed is not known (add link_gbps, or -s link_gbps=10)")
    if lines or link_gbps is None:
        refuse(lines)
    cases = tuple(_cases(profile, link_gbps * 1e9))
    twice = [name for name, times in Counter(case.case_id for case in cases).items() if times > 1]
    if twice:
        raise UsageError(f"lists equal values, so that {twice[0]} is there twice", place=profile.name)
    return Plan(profile, testbed, link_gbps * 1e9, cases)


def case_id(kind: str, parameters: Parameters, traffic: Traffic) -> str:
    """A case's name: `ovs_dpdk-1q-64B`, or `-imix_a7b4g` for a mix of sizes, then whatever differs from its default."""
    parts = [kind, f"{parameters.queues}q", _mix(traffic.imix) if traffic.imix else f"{traffic.frame_bytes}B"]
    for name, option in type(parameters).model_fields.items():
        value = getattr(parameters, name)
        if name == "queues" or value == option.default:
            continue
        if isinstance(value, bool):
            parts.append(name if value else f"no_{name}")
        elif isinstance(value, str):
            parts.append(f"{name}_{value}")
        else:
            parts.append(f"{name}{value!r}".removesuffix(".0"))
    plain = Traffic(traffic.frame_bytes)
    if traffic.flows != plain.flows:
        parts.append(f"flows{traffic.flows}")
    if traffic.vary != plain.vary:
        parts.append(f"vary_{'+'.join(traffic.vary)}")
    if traffic.vlan is not None:
        parts.append(f"vlan{traffic.vlan}")
    if traffic.direction is Direction.BIDIRECTIONAL:
        parts.append("bidir")
    return "-".join(parts)


def _mix(genome: str) -> str:
    """A genome with its repeats counted, and short enough to be part of a file's name."""
    text = "".join(f"{letter}{count}" if (count := len(list(run))) > 1 else letter for letter, run in groupby(genome))
    return f"imix_{text}" if len(text) <= LONGEST_MIX else f"imix_{text[:LONGEST_MIX]}_{crc32(genome.encode()):08x}"


def expected_case_s(profile: Profile) -> float:
    """Expected time of a case: trials of each test, each with its wait for stragglers; 0 if simulated."""
    if profile.simulated:
        return 0.0
    trials = [each for test in profile.tests.each() for each in test.expected()]
    return sum(each.trials * (each.seconds + profile.drain_s) for each in trials)


def expectation(profile: Profile) -> dict[str, str]:
    """What each test of a case will probably do, in words, by its name."""
    return {test.name: ", ".join(_trials(each) for each in test.expected()) for test in profile.tests.each()}


def _trials(expected: Expected) -> str:
    length = f"of {expected.seconds:.3g} s" if expected.seconds else "very short ones"
    return f"{expected.trials} {length} {expected.purpose}"


def _mismatches(profile: Profile, testbed: Testbed) -> Iterator[str]:
    if testbed.simulated and not profile.simulated:
        yield (
            f"the testbed {testbed.name} runs simulated profiles only, {profile.name} asks for "
            f"{', '.join(profile.datapath.kind)} and {profile.generator} "
            "(add -s datapath.kind=simulated -s generator=simulated)"
        )
    if profile.simulated and not testbed.simulated:
        yield (
            f"a simulated run belongs on a simulated testbed, {testbed.name} is a real one (give --testbed simulated)"
        )


def _cases(profile: Profile, link_bps: float) -> Iterator[Case]:
    lines: list[str] = []
    for kind, options in profile.datapath.each():
        try:
            parameters = PARAMETERS[kind].model_validate(options)
        except ValidationError as error:
            told = [_told(fault) for fault in faults(error, PARAMETERS[kind])]
            lines += [f"{profile.name}: datapath {kind} with {options}: {text}" for text in told]
            continue
        for traffic in profile.traffic.each():
            yield Case(
                case_id=case_id(kind, parameters, traffic),
                datapath_kind=kind,
                parameters=parameters,
                traffic=traffic,
                tests=profile.tests,
                line_rate_pps=line_rate_pps(link_bps, traffic.average_frame_bytes),
                expected_s=expected_case_s(profile),
            )
    if lines:
        refuse(lines)


def _told(fault: Fault) -> str:
    return f"{fault.what} ({fault.remedy})" if fault.remedy else fault.what
