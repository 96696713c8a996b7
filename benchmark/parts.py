"""A table on disk: a folder of Parquet parts, and how they are listed, written and merged.

A part is named after the appends that it holds, `00000001-00000100.parquet`, so a merged part says which others it
replaces. Whatever has its final name is complete: files are written under another name, synced, then renamed. After a
crash between a merge and the removal of what it merged, readers take the widest parts, not those inside them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nvbench.errors import StoreError

if TYPE_CHECKING:
    import pyarrow as pa

ROW_GROUP_BYTES = 8 << 20
_TAIL_BYTES = 64 << 10
ORDER = {"samples": ("trial_id", "source", "metric", "time")}
"""How the rows of a merged part are sorted within a row group, so that its statistics let a reader skip; the rows of
other tables stay in the order in which they were appended."""


def all_parts(folder: Path) -> list[Path]:
    """A table's parts in the order of their names, also those that a wider part replaces."""
    names = folder.iterdir() if folder.is_dir() else ()
    return sorted(path for path in names if re.fullmatch(r"\d+-\d+\.parquet", path.name))


def span(part: Path) -> tuple[int, int]:
    """The first and the last append that a part holds."""
    first, last = part.stem.split("-")
    return int(first), int(last)


def live_parts(folder: Path) -> list[Path]:
    """A table's parts in order, without those that a wider part replaces.

    Raises:
        StoreError: A part in between is missing.
    """
    for _attempt in range(10):  # a listing may miss both sides of a merge that happens meanwhile
        spans = [(first, -last, path) for path in all_parts(folder) for first, last in [span(path)]]
        parts, covered, whole = [], 0, True
        for first, minus_last, path in sorted(spans):
            if -minus_last > covered:
                whole = whole and first == covered + 1
                parts.append(path)
                covered = -minus_last
        if whole:
            return parts
    raise StoreError("a part of this table is missing", place=str(folder), remedy="restore it from a copy")


def schema_version(part: Path) -> int:
    """The version of the schema that a part was written by; 1 where it says none.

    Found among the keys and values at the end of its footer, without reading the rest of it: of a thousand parts this
    takes less than opening them. In Thrift's compact form 0x18 and a length stand before a value.

    Raises:
        FileNotFoundError: The part has gone.
        StoreError: It cannot be read.
    """
    try:
        with part.open("rb", buffering=0) as file:
            file.seek(-min(_TAIL_BYTES, file.seek(0, os.SEEK_END)), os.SEEK_END)
            told = re.search(rb"nvbench\.schema_version\x18.(\d+)", file.read(), re.DOTALL)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"cannot be read: {error.strerror}", place=str(part)) from error
    return int(told[1]) if told else 1


@contextlib.contextmanager
def durable_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that appears under its name at the end, whole and on the disk, or not at all.

    Raises:
        StoreError: The disk is full, or does not take it for another reason.
    """
    draft = path.with_name(f".{path.name}.tmp")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StoreError(
            "the disk is full" if full else f"cannot write: {error.strerror or error}",
            place=str(path.parent),
            remedy="what was written until now is kept; "
            + ("free some space and run again" if full else "see to that folder and run again"),
        ) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_part(
    folder: Path, schema: pa.Schema, tables: Iterable[pa.Table], appends: tuple[int, int], rows: int | None = None
) -> None:
    """Make rows durable as one part, which holds these appends, the first and the last; a row group a table.

    Raises:
        StoreError: The disk does not take it, or it does not have as many `rows` as it should; no part appears then.
    """
    from pyarrow import parquet  # noqa: PLC0415

    first, last = appends
    encoding = _encoding(folder.name, schema, single=first == last)
    with durable_file(folder / f"{first:08d}-{last:08d}.parquet") as file:
        with parquet.ParquetWriter(file, schema, compression="zstd", **encoding) as writer:
            for table in tables:
                writer.write_table(table)
        if rows is not None:
            file.flush()
            written = parquet.read_metadata(file.name).num_rows
            if written != rows:
                raise StoreError(f"merging made {written} rows of {rows}", place=str(folder), remedy="nothing is lost")


def _encoding(table: str, schema: pa.Schema, *, single: bool) -> dict[str, object]:
    """A single append is written as fast as can be; what is merged, so that it is small and can be skipped."""
    from pyarrow import parquet  # noqa: PLC0415

    if single:
        return {"use_dictionary": False, "write_statistics": False}
    order = [parquet.SortingColumn(schema.get_field_index(name)) for name in ORDER.get(table, ())]
    return {"sorting_columns": order or None}


def merge_parts(parts: Sequence[Path]) -> None:
    """Make one part of neighbours in a table. The old ones go when the new one is durable and has all their rows.

    What the parts are is kept: columns that only some have, and the version of their schema.

    Raises:
        StoreError: A part cannot be read, they do not fit together, or the disk does not take the new one. The old
            ones stay.
    """
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    folder = parts[0].parent
    try:
        schema, rows = None, 0
        for part in parts:
            header = parquet.read_metadata(part)
            rows += header.num_rows
            own = header.schema.to_arrow_schema()
            schema = pa.unify_schemas([schema or own, own]).with_metadata(own.metadata)
        write_part(folder, schema, _row_groups(parts, schema), (span(parts[0])[0], span(parts[-1])[1]), rows)
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"these parts cannot be merged: {_line(error)}", place=str(folder)) from error
    for part in parts:  # in this order, so that a reader whose listing saw the first of them never lacks the others
        part.unlink(missing_ok=True)


def _row_groups(parts: Sequence[Path], schema: pa.Schema) -> Iterator[pa.Table]:
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import dataset  # noqa: PLC0415

    keys = [(name, "ascending") for name in ORDER.get(parts[0].parent.name, ())]
    group: list[pa.RecordBatch] = []
    size = 0

    def sealed() -> pa.Table:
        made = pa.Table.from_batches(group)
        return made.sort_by(keys) if keys else made

    source = dataset.dataset([str(part) for part in parts], schema)
    for batch in source.to_batches(batch_readahead=2, fragment_readahead=1):
        group.append(batch)
        size += batch.nbytes
        if size > ROW_GROUP_BYTES:
            yield sealed()
            group, size = [], 0
    if group:
        yield sealed()


def _line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
