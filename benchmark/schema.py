"""The Arrow schemas of a run's tables, from the fields of their rows."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from nvbench.tables import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1


@cache
def schema(table: str) -> pa.Schema:
    """The Arrow schema of a table, from its row's fields; carries the schema version."""
    import pyarrow as pa  # noqa: PLC0415 - slow to import, needed with rows only

    columns = [pa.field(*column) for column in _columns(TABLES[table])]
    if table == "samples":
        columns = [pa.field("run_id", pa.string()), pa.field("trial_id", pa.string()), *columns]
        columns[2] = pa.field("time", _arrow_type(datetime))
    return pa.schema(columns, {"nvbench.table": table, "nvbench.schema_version": str(SCHEMA_VERSION)})


def _columns(row: type) -> Iterator[tuple[str, pa.DataType]]:
    for name, hint in typing.get_type_hints(row).items():
        if is_dataclass(hint):
            yield from _columns(typing.cast(type, hint))
        else:
            yield name, _arrow_type(hint)


def _arrow_type(hint: Any) -> pa.DataType:
    import pyarrow as pa  # noqa: PLC0415

    if isinstance(hint, types.UnionType):
        return _arrow_type(hint.__args__[0])
    if typing.get_origin(hint) is tuple:
        return pa.list_(_arrow_type(hint.__args__[0]))
    if is_dataclass(hint):
        return pa.struct(list(_columns(typing.cast(type, hint))))
    if hint is datetime:
        return pa.timestamp("us", tz="UTC")
    plain = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), bytes: pa.binary()}
    return plain.get(hint, pa.string())


def flat(row: Any) -> dict[str, Any]:
    """A row's columns: the records in it spread out, those in a list kept as records."""
    columns: dict[str, Any] = {}
    for name in (column.name for column in fields(row)):
        value = getattr(row, name)
        if is_dataclass(value):
            columns |= flat(value)
        elif isinstance(value, tuple):
            columns[name] = [flat(item) if is_dataclass(item) else item for item in value]
        else:
            columns[name] = value
    return columns
