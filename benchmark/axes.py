"""What a profile sweeps: each key of its traffic and its datapath may list several values."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    model_validator,
)
from pydantic_core import core_schema

from nvbench.errors import UsageError
from nvbench.traffic import Direction, FlowField, Traffic, genome_sizes

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

Flows = Annotated[int, Field(ge=1, le=1_000_000)]
VlanId = Annotated[int, Field(ge=1, le=4094)]
Vary = Annotated[
    tuple[Annotated[FlowField, Field(strict=False)], ...],
    Field(min_length=1),
    AfterValidator(_in_header_order),
]
_SWEEP = (BeforeValidator(_swept), Field(min_length=1), AfterValidator(_different))


class TrafficAxes(Model):
    """The frames; each key may list several values, which are then swept."""

    frame_bytes: Annotated[tuple[FrameBytes, ...], *_SWEEP]
    flows: Annotated[tuple[Flows, ...], *_SWEEP] = (1,)
    vary: Annotated[
        tuple[Vary, ...], BeforeValidator(_swept_lists), Field(min_length=1), AfterValidator(_different)
    ] = ((FlowField.UDP_SRC,),)
    vlan: Annotated[tuple[VlanId | None, ...], *_SWEEP] = (None,)
    direction: Annotated[tuple[Annotated[Direction, Field(strict=False)], ...], *_SWEEP] = (Direction.UNIDIRECTIONAL,)

    def each(self) -> Iterator[Traffic]:
        """Every combination; frame sizes change fastest."""
        axes = (self.direction, self.vlan, self.vary, self.flows, self.frame_bytes)
        for direction, vlan, vary, flows, frames in itertools.product(*axes):
            yield replace(sized(frames), flows=flows, vary=vary, vlan=vlan, direction=direction)

    def __len__(self) -> int:
        return math.prod(len(axis) for axis in (self.direction, self.vlan, self.vary, self.flows, self.frame_bytes))


def sized(frames: int | str) -> Traffic:
    """Frames of a size, or of an RFC 6985 genome."""
    return Traffic(frames) if isinstance(frames, int) else Traffic.mixed(frames.removeprefix(IMIX))


class DatapathAxes(Model):
    """The datapath: its kind and the options of that kind; each may list several values."""

    kind: Annotated[tuple[str, ...], *_SWEEP]
    options: dict[str, Annotated[tuple[Any, ...], *_SWEEP]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        kind = {"kind": value["kind"]} if "kind" in value else {}
        return {**kind, "options": {key: below for key, below in value.items() if key != "kind"}}

    def each(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every combination of a kind and options."""
        for kind, *values in itertools.product(self.kind, *self.options.values()):
            yield kind, dict(zip(self.options, values, strict=True))

    def __len__(self) -> int:
        return math.prod([len(self.kind), *(len(values) for values in self.options.values())])
