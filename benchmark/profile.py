"""A profile: what to measure. YAML in, frozen models out, every fault with its file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    TypeAdapter,
    ValidationError,
    create_model,
)

from nvbench.axes import MADE, DatapathAxes, Datapaths, Model, OffloadAxes, TrafficAxes, sized
from nvbench.datapaths import PARAMETERS
from nvbench.errors import UsageError
from nvbench.faults import Fault, Path, did_you_mean, faults, refuse
from nvbench.generators import AUTO, KINDS, Kind
from nvbench.generators.stream_tools import stream_tool
from nvbench.generators.streams import StreamTest
from nvbench.guests import OFFERS as GUEST_OFFERS
from nvbench.rfc2544 import TESTS, Expected, Section
from nvbench.streams import StreamSection
from nvbench.traffic import FlowField, Traffic
from nvbench.yamlfile import Document, locate, packaged, parse

PACKAGE = "nvbench.profiles"
SIMULATED = "simulated"
GENERATORS = (AUTO, *(kind.name for kind in KINDS), SIMULATED)
"""What a profile may say of the generator."""

UDP_PORTS = 1 << 16


def _file_name(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ValueError("must be made of letters, digits, `.`, `_` and `-`", "it becomes part of file names")
    return name


def _generator_name(name: str) -> str:
    if name not in GENERATORS:
        raise ValueError(f"must be one of {', '.join(GENERATORS)}; not {name!r}", did_you_mean(name, GENERATORS))
    return name


Name = Annotated[str, AfterValidator(_file_name)]
GeneratorName = Annotated[str, AfterValidator(_generator_name)]


class Tests(Model):
    """What is measured in each case: a key for each of `rfc2544.TESTS` and each `StreamTest`; null leaves one out."""

    def each(self) -> Iterator[Section]:
        """The tests of frames that are asked for, in the order in which they are made."""
        asked = (getattr(self, test.name, None) for test in TESTS)
        return (test for test in asked if test is not None)

    def streams(self) -> Iterator[tuple[StreamTest, StreamSection]]:
        """The tests of streams that are asked for."""
        asked = ((test, getattr(self, test.value, None)) for test in StreamTest)
        return ((test, section) for test, section in asked if section is not None)

    def expected(self, *, streams: bool) -> dict[str, Sequence[Expected]]:
        """What the tests of a kind of case will probably do, by name."""
        if streams:
            return {test.value: section.expected() for test, section in self.streams()}
        return {test.name: test.expected() for test in self.each()}


if not TYPE_CHECKING:  # the keys come from the tables of tests: a new one is named there, and nowhere else
    _KEYS = {test.name: (test | None, None) for test in TESTS}
    _KEYS |= {test.value: (StreamSection | None, None) for test in StreamTest}
    Tests = create_model("Tests", __base__=Tests, **_KEYS)


class Profile(Model):
    """What to measure.

    Attributes:
        link_gbps: Link speed that the profile is meant for, where the testbed names none.
        datapath: Paths to sweep.
        traffic: The generator's frames, for the tests of RFC 2544.
        endpoints: Offloads of the endpoints, for the tests of streams.
        generator: Who sends the frames: one of `generators.KINDS`, `auto` for the best that there is, or `simulated`.
        ceiling: Whether what the generator can do is measured first, with no switch in the way, on virtual links.
        repeat_invalid: How often an invalid trial is measured again.
        drain_s: Wait after the last frame before counters are read.
        quick: Whether the file's `quick` section was laid over it.
    """

    name: Name
    description: str = ""
    link_gbps: float | None = Field(default=None, gt=0, le=10_000)
    datapath: Datapaths
    traffic: TrafficAxes | None = None
    endpoints: OffloadAxes = OffloadAxes()
    generator: GeneratorName = AUTO
    tests: Tests
    ceiling: bool = True
    repeat_invalid: int = Field(default=3, ge=0, le=100)
    drain_s: float = Field(default=2.0, ge=0, le=60)
    seed: int = Field(default=1, ge=0, lt=2**63)
    quick: bool = False

    @property
    def simulated(self) -> bool:
        """Whether nothing real is measured."""
        return self.generator == SIMULATED

    @property
    def generators(self) -> tuple[Kind, ...]:
        """Kinds of generators that may send its frames, best first; none where it is simulated."""
        return tuple(kind for kind in KINDS if self.generator in (kind.name, AUTO))

    @property
    def default_testbed(self) -> str:
        """The packaged testbed that it runs on where the reader names none."""
        return "simulated" if self.simulated else "local"

    def resolved(self) -> dict[str, Any]:
        """All that was asked for, defaults filled in, as plain JSON values."""
        plain = self.model_dump(mode="json")
        plain["datapath"] = [axes.resolved() for axes in self.datapath]
        plain["traffic"] = self.traffic.resolved() if self.traffic else None
        return plain


def load_profile(name_or_path: str, overrides: Sequence[str] = (), quick: bool = False) -> Profile:
    """A packaged profile by name, or one of the reader's own by path.

    Args:
        name_or_path: `10ge-forwarding`, or a file.
        overrides: `path.to.key=value`, in order; they win over the file and its quick section.
        quick: Lay the file's `quick` section over the rest.

    Raises:
        UsageError: There is none, or it has faults; lists all of them.
    """
    return read_profile(*locate("profile", PACKAGE, name_or_path), overrides, quick)


def read_profile(name: str, data: bytes, overrides: Sequence[str] = (), quick: bool = False) -> Profile:
    """A profile from the bytes of a file of that name.

    Raises:
        UsageError: It has faults; lists all of them.
    """
    lines, chosen = _variant(name, data, overrides, quick)
    # The one that is not used is checked as well, but for what overrides that are meant for the other do to it.
    unused, _ = _variant(name, data, overrides, not quick)
    if unused and _variant(name, data, (), not quick)[0]:
        lines += [line for line in unused if line not in lines]
    if lines or chosen is None:
        refuse(lines)
    return chosen


def _variant(name: str, data: bytes, overrides: Sequence[str], quick: bool) -> tuple[list[str], Profile | None]:
    """The faults of a file with or without its quick section, and the profile that it makes."""
    lines: list[str] = []
    document = parse(data, name)
    _apply(document, overrides)
    section = document.value.get("quick", {})
    if not isinstance(section, dict):
        lines += document.lines([Fault(("quick",), "must be a mapping of the keys that --quick changes")])
    elif "quick" in section:
        lines += document.lines([Fault(("quick", "quick"), "unknown key")])
    document = document.merged("quick", use=quick)
    _apply(document, [text for text in overrides if not text.lstrip().startswith("quick")])
    profile, found = _validated(document, quick=quick)
    return [*lines, *document.lines(found)], profile


def packaged_profiles() -> dict[str, str]:
    """Names and descriptions of the profiles that come with nvbench."""
    return {name: load_profile(name).description for name in packaged(PACKAGE)}


def _apply(document: Document, overrides: Sequence[str]) -> None:
    lines = []
    for text in overrides:
        try:
            document.override(text)
        except UsageError as error:
            lines.append(str(error))
    if lines:
        refuse(lines)


def _overridden(document: Document) -> None:
    """Settle what files and overrides say of the frames in turns: those of a file, or how they are made.

    An override of one takes the place of the other, and a relative path is meant from where it is written.
    """
    traffic = document.value.get("traffic")
    if not isinstance(traffic, dict):
        return
    given = {key for key in traffic if document.place(("traffic", key)).startswith("-s ")}
    for one, others in (("pcap", MADE), ("frame_bytes", ("pcap",))):
        if one in given:
            for other in set(others) & set(traffic) - given:
                del traffic[other]
    files, path = traffic.get("pcap"), ("traffic", "pcap")
    if isinstance(files, str):
        traffic["pcap"] = _absolute(files, document.place(path))
    elif isinstance(files, list):
        told = [(file, document.place((*path, index))) for index, file in enumerate(files)]
        traffic["pcap"] = [_absolute(file, place) if isinstance(file, str) else file for file, place in told]


def _absolute(file: str, place: str) -> str:
    folder, path = FilePath() if place.startswith("-s ") else FilePath(place).parent, FilePath(file)
    with suppress(RuntimeError):  # nobody has that name: it is a folder's
        path = path.expanduser()
    return str((folder / path).absolute())


def _validated(document: Document, quick: bool) -> tuple[Profile | None, list[Fault]]:
    _overridden(document)
    try:
        profile = Profile.model_validate({**document.value, "quick": quick})
    except ValidationError as error:
        found = faults(error, Profile)
    else:
        found = [*_generator_faults(profile), *_traffic_faults(profile), *_test_faults(profile)]
        return profile, [*_datapath_faults(profile.datapath), *found]
    try:
        datapaths = TypeAdapter(Datapaths).validate_python(document.value.get("datapath"))
    except ValidationError:
        return None, found
    return None, [*_datapath_faults(datapaths), *found]


def _datapath_faults(datapaths: Sequence[DatapathAxes]) -> Iterator[Fault]:
    for number, axes in enumerate(datapaths):
        for key, values, known in (("kind", axes.kind, PARAMETERS), ("guest", axes.guest, GUEST_OFFERS)):
            for index, value in enumerate(values):
                if value not in known:
                    remedy = did_you_mean(value, known) or f"there are {', '.join(known)}"
                    what = f"no {'datapath' if key == 'kind' else key} is called {value!r}"
                    yield Fault(("datapath", number, key, index), what, remedy)
        for kind in axes.kind:
            if kind in PARAMETERS:
                yield from _option_faults(axes, kind, number)


def _generator_faults(profile: Profile) -> Iterator[Fault]:
    for number, axes in enumerate(profile.datapath):
        for index, kind in enumerate(axes.kind):
            place = ("datapath", number, "kind", index)
            if profile.simulated and kind != "simulated":
                what = f"the simulated generator cannot drive {kind}"
                yield Fault(place, what, "add -s datapath.kind=simulated")
            if kind == "simulated" and not profile.simulated:
                what = "a simulated datapath needs the simulated generator"
                yield Fault(place, what, "add -s generator=simulated")


def _option_faults(axes: DatapathAxes, kind: str, number: int) -> Iterator[Fault]:
    model = PARAMETERS[kind]
    for option, values in axes.options.items():
        if option not in model.model_fields:
            known = [name for each in axes.kind if each in PARAMETERS for name in PARAMETERS[each].model_fields]
            if option in known:
                yield Fault(
                    ("datapath", number, option),
                    f"is no option of the datapath {kind}, which is swept too",
                    "make `datapath` a list, with an entry for each",
                )
            else:
                remedy = did_you_mean(option, known) or f"known are {', '.join(dict.fromkeys(known))}"
                yield Fault(("datapath", number, option), f"unknown option of {kind}", remedy)
            continue
        for index, value in enumerate(values):
            try:
                model.model_validate({option: value})
            except ValidationError as error:
                for fault in faults(error, model):
                    if fault.path[:1] == (option,):
                        yield Fault(("datapath", number, option, index), fault.what, fault.remedy)


def _mtus(axes: DatapathAxes) -> list[int]:
    defaults = [PARAMETERS[kind]().mtu for kind in axes.kind if kind in PARAMETERS]
    return [mtu for mtu in axes.options.get("mtu", defaults) if type(mtu) is int]


def _traffic_faults(profile: Profile) -> Iterator[Fault]:
    traffic = profile.traffic
    if traffic is None:
        return
    for key in MADE if traffic.pcap else ():
        if key in traffic.model_fields_set:
            yield Fault(("traffic", key), "is of frames that are made, and `pcap` plays a file as it is", "drop one")
    if traffic.pcap and getattr(profile.tests, "learning", None):
        what = "makes frames from many addresses, and `traffic.pcap` plays a file as it is"
        yield Fault(("tests", "learning"), what, "drop one")
    mtu = max((mtu for axes in profile.datapath for mtu in _mtus(axes)), default=None)
    for index, pcap in enumerate(traffic.pcap):
        yield from _mtu_faults(("traffic", "pcap", index), Traffic.captured(pcap), mtu)
    for index, frames in enumerate(traffic.frame_bytes):
        each = [replace(sized(frames), vlan=vlan) for vlan in traffic.vlan]
        smallest = max(frame.smallest_frame_bytes for frame in each)
        if min(each[0].sizes) < smallest:
            what = f"{min(each[0].sizes)} is too small for the headers and the generator's stamp"
            yield Fault(("traffic", "frame_bytes", index), what, f"the smallest is {smallest}")
        largest = max(each, key=lambda frame: frame.largest_packet_bytes)
        yield from _mtu_faults(("traffic", "frame_bytes", index), largest, mtu)
    narrow = [vary for vary in traffic.vary if set(vary) <= {FlowField.UDP_SRC, FlowField.UDP_DST}]
    for index, flows in enumerate(traffic.flows):
        if flows > UDP_PORTS and narrow:
            what = f"{' and '.join(narrow[0])} can tell {UDP_PORTS} flows apart, not {flows}"
            yield Fault(("traffic", "flows", index), what, "add ip_src to traffic.vary")


def _mtu_faults(path: Path, frames: Traffic, mtu: int | None) -> Iterator[Fault]:
    packet = frames.largest_packet_bytes
    if mtu is not None and packet > mtu:
        what = f"a frame of {frames.largest_frame_bytes} carries an IP packet of {packet}, the MTU is {mtu}"
        yield Fault(path, what, f"raise datapath.mtu to {packet}")


def _test_faults(profile: Profile) -> Iterator[Fault]:
    asked, streams = list(profile.tests.each()), list(profile.tests.streams())
    if not asked and not streams:
        yield Fault(("tests",), "asks for nothing", "add `throughput: {}`, or `tcp_stream: {}`")
    if asked and profile.traffic is None:
        yield Fault(("tests", asked[0].name), "sends frames, and `traffic` says none", "add traffic.frame_bytes")
    if streams and profile.simulated:
        yield Fault(("tests", streams[0][0].value), "needs real endpoints, nothing here is real", "drop it")
    for test, section in streams:
        if test not in (tool := stream_tool(section.tool)).tests:
            can = ", ".join(sorted(each.value for each in tool.tests))
            yield Fault(("tests", test.value, "tool"), f"{section.tool} does not do {test.value}", f"it does {can}")
    if any(test.name == "throughput" for test in asked):
        return
    for each in asked:
        if each.needs_throughput:
            what = "its load is a share of the throughput found, which is not searched"
            yield Fault(("tests", each.name), what, "add tests.throughput")
