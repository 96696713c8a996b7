"""What a profile sweeps: each key of its traffic and its datapath may list several values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    PlainSerializer,
    PlainValidator,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError, core_schema

from nvbench.errors import UsageError
from nvbench.faults import shown
from nvbench.generators.capture import read_capture
from nvbench.offloads import Offloads
from nvbench.topology import Topology, guests
from nvbench.traffic import Direction, FlowField, Pcap, Traffic, genome_sizes

IMIX = "imix:"


class Model(BaseModel):
    """Frozen, strict, and knows no keys but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


def _swept(value: object) -> object:
    """A scalar is a sweep of one."""
    return tuple(value) if isinstance(value, list) else (value,)


def _swept_lists(value: object) -> object:
    """A list of words is a sweep of one list; a list that holds lists sweeps them."""
    if not (isinstance(value, list) and any(isinstance(below, list) for below in value)):
        value = [value]
    return tuple(tuple(below) if isinstance(below, list) else (below,) for below in value)


def _different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for index, value in enumerate(values):
        if any(value == other and type(value) is type(other) for other in values[:index]):
            raise ValueError(f"lists {_word(value)} twice")
    return values


def _word(value: object) -> str:
    return "+".join(str(below) for below in value) if isinstance(value, tuple) else str(value)


def _in_header_order(fields: tuple[FlowField, ...]) -> tuple[FlowField, ...]:
    return tuple(sorted(_different(fields), key=list(FlowField).index))


def _size_or_genome(value: object, size: Callable[[object], int]) -> int | str:
    if not (isinstance(value, str) and value.startswith(IMIX)):
        return size(value)
    try:
        genome_sizes(value.removeprefix(IMIX))
    except UsageError as error:
        raise ValueError(error.what, error.remedy) from error
    return value


def _frames_schema(_source: object, _handler: object) -> core_schema.CoreSchema:
    return core_schema.no_info_wrap_validator_function(
        _size_or_genome,
        core_schema.int_schema(ge=64, le=16000, strict=True),
        serialization=core_schema.simple_ser_schema("any"),
    )


FrameBytes = Annotated[int | str, GetPydanticSchema(_frames_schema)]
"""A size with FCS, or `imix:` and a genome of sizes that follow each other (RFC 6985)."""


def _file(value: object) -> Pcap:
    if not isinstance(value, str):
        raise ValueError(f"must be the path of a file, not {shown(value)}")
    try:
        return read_capture(value)[0]
    except UsageError as error:
        raise ValueError(str(error)) from error


PcapFile = Annotated[Pcap, PlainValidator(_file), PlainSerializer(lambda pcap: pcap.path, str)]
"""The path of a capture file, which is read at once."""

Flows = Annotated[int, Field(ge=1, le=1_000_000)]
VlanId = Annotated[int, Field(ge=1, le=4094)]
Vary = Annotated[
    tuple[Annotated[FlowField, Field(strict=False)], ...],
    Field(min_length=1),
    AfterValidator(_in_header_order),
]
_SWEEP = (BeforeValidator(_swept), Field(min_length=1), AfterValidator(_different))


MADE = ("frame_bytes", "flows", "vary", "vlan")
"""What describes frames that are made; those of a file are as they are."""


class TrafficAxes(Model):
    """The frames: made, or those of files; each key may list several values, which are then swept."""

    pcap: Annotated[tuple[PcapFile, ...], *_SWEEP] = ()
    frame_bytes: Annotated[tuple[FrameBytes, ...], *_SWEEP] = Field(default=(), validate_default=True)
    flows: Annotated[tuple[Flows, ...], *_SWEEP] = (1,)
    vary: Annotated[
        tuple[Vary, ...], BeforeValidator(_swept_lists), Field(min_length=1), AfterValidator(_different)
    ] = ((FlowField.UDP_SRC,),)
    vlan: Annotated[tuple[VlanId | None, ...], *_SWEEP] = (None,)
    direction: Annotated[tuple[Annotated[Direction, Field(strict=False)], ...], *_SWEEP] = (Direction.UNIDIRECTIONAL,)

    @field_validator("frame_bytes", mode="wrap")
    @classmethod
    def _size_or_file(cls, value: object, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> object:
        if value != ():
            return handler(value)
        if info.data.get("pcap") == ():  # it has faults where it is not there
            raise PydanticKnownError("missing")
        return value

    def each(self) -> Iterator[Traffic]:
        """Every combination; frame sizes and files change fastest."""
        for direction, pcap in itertools.product(self.direction, self.pcap):
            yield replace(Traffic.captured(pcap), direction=direction)
        axes = (self.direction, self.vlan, self.vary, self.flows, self.frame_bytes)
        for direction, vlan, vary, flows, frames in itertools.product(*axes):
            yield replace(sized(frames), flows=flows, vary=vary, vlan=vlan, direction=direction)

    def __len__(self) -> int:
        made = math.prod(len(axis) for axis in (self.direction, self.vlan, self.vary, self.flows, self.frame_bytes))
        return made + len(self.direction) * len(self.pcap)

    def resolved(self) -> dict[str, Any]:
        """As a profile says it, in plain JSON values."""
        return self.model_dump(mode="json", exclude=set(MADE) if self.pcap else {"pcap"})


def sized(frames: int | str) -> Traffic:
    """Frames of a size, or of an RFC 6985 genome."""
    return Traffic(frames) if isinstance(frames, int) else Traffic.mixed(frames.removeprefix(IMIX))


@dataclass(frozen=True, slots=True)
class Path:
    """A path through the system under test.

    Attributes:
        kind: Kind of the datapath.
        topology: How ends and guests stand around it.
        guest: Kind of its guests.
        options: The datapath's.
    """

    kind: str
    topology: Topology
    guest: str
    options: dict[str, Any]


class DatapathAxes(Model):
    """The datapath: its kind, its topology, its guests and the options of that kind; each may list several values."""

    kind: Annotated[tuple[str, ...], *_SWEEP]
    topology: Annotated[tuple[Annotated[Topology, Field(strict=False)], ...], *_SWEEP] = (Topology.P2P,)
    guest: Annotated[tuple[str, ...], *_SWEEP] = ("namespace",)
    options: dict[str, Annotated[tuple[Any, ...], *_SWEEP]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        own = {key: value[key] for key in ("kind", "topology", "guest") if key in value}
        return {**own, "options": {key: below for key, below in value.items() if key not in own}}

    def each(self) -> Iterator[Path]:
        """Every combination of a kind, a topology, guests and options; where there are no guests, none is named."""
        for topology in self.topology:
            kinds = self.guest if guests(topology) else ("",)
            for guest, kind, *values in itertools.product(kinds, self.kind, *self.options.values()):
                yield Path(kind, topology, guest, dict(zip(self.options, values, strict=True)))

    def __len__(self) -> int:
        sizes = [len(self.kind), len(self.topology), len(self.guest)]
        return math.prod([*sizes, *(len(values) for values in self.options.values())])

    def resolved(self) -> dict[str, Any]:
        """As a profile says it, in plain JSON values."""
        plain = self.model_dump(mode="json")
        return {**{key: plain[key] for key in ("kind", "topology", "guest")}, **plain["options"]}


class OffloadAxes(Model):
    """Offloads of the endpoints, switched by ethtool; null leaves one as it is found. Each may list both."""

    tx_checksum: Annotated[tuple[bool | None, ...], *_SWEEP] = (None,)
    sg: Annotated[tuple[bool | None, ...], *_SWEEP] = (None,)
    tso: Annotated[tuple[bool | None, ...], *_SWEEP] = (None,)
    gso: Annotated[tuple[bool | None, ...], *_SWEEP] = (None,)
    gro: Annotated[tuple[bool | None, ...], *_SWEEP] = (None,)

    def each(self) -> Iterator[Offloads]:
        """Every combination that a kernel can have, once."""
        axes = itertools.product(self.tx_checksum, self.sg, self.tso, self.gso, self.gro)
        yield from dict.fromkeys(Offloads(*values).settled() for values in axes)


Datapaths = Annotated[tuple[DatapathAxes, ...], BeforeValidator(_swept), Field(min_length=1)]
"""One sweep, or a list of them for paths that do not share their options."""
