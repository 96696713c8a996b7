"""Tidying a run that has ended: one part a table, and nothing left over from writers that were killed."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nvbench.errors import NotReadyError, StoreError
from nvbench.parts import all_parts, live_parts, merge_parts, schema_version
from nvbench.runs import check_version
from nvbench.tables import TABLES

LOCK_TRIES = 10
LOCK_WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class Tidied:
    """What was merged and removed in a run, or would be.

    Attributes:
        run: Its folder.
        merged: Parts that became fewer ones.
        made: How many they became.
        leftovers: Files that a killed writer left.
        bytes_before: Size of its tables.
        bytes_after: Their size afterwards; as before where nothing was touched.
    """

    run: Path
    merged: int
    made: int
    leftovers: int
    bytes_before: int
    bytes_after: int

    @property
    def tidy(self) -> bool:
        """Whether there was nothing to do."""
        return not self.merged and not self.leftovers


def compact(run: Path, *, dry_run: bool = False) -> Tidied:
    """Merge the parts of each table of a run into one, and remove what writers left that were killed.

    Readers may go on meanwhile. Killed at any moment, it has lost nothing: a merged part gets its name when it is
    durable and has as many rows as those it replaces, and only then do they go.

    Raises:
        NotReadyError: Somebody writes this run.
        UsageError: A newer nvbench wrote it.
        StoreError: A table cannot be read, or the disk does not take what is merged.
    """
    try:
        with alone(run):
            return _tidy(run, dry_run=dry_run)
    except OSError as error:
        raise StoreError(f"cannot be tidied: {error.strerror or error}", place=str(run)) from error


def _tidy(run: Path, *, dry_run: bool) -> Tidied:
    many = [parts for table in TABLES if len(parts := live_parts(run / table)) > 1]
    for part in (part for parts in many for part in parts):
        check_version(schema_version(part), part)
    left = [*run.glob(".*.tmp"), *(path for table in TABLES for path in _leftovers(run / table))]
    before = _size(run)
    if not dry_run:
        for parts in many:
            merge_parts(parts)
        for path in left:
            path.unlink(missing_ok=True)
    return Tidied(run, sum(map(len, many)), len(many), len(left), before, _size(run))


@contextlib.contextmanager
def alone(run: Path) -> Iterator[None]:
    """The folder of a run while nobody else writes into it.

    Raises:
        NotReadyError: Somebody does, or this file system cannot tell.
    """
    descriptor = os.open(run, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for left in reversed(range(LOCK_TRIES)):  # a reader that asks for the run's state holds the lock for a moment
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise NotReadyError(f"cannot be locked: {error.strerror}", place=str(run)) from error
                if not left:
                    raise NotReadyError("still being written", place=str(run), remedy="wait for its end") from None
                time.sleep(LOCK_WAIT_S)
        yield
    finally:
        os.close(descriptor)


def _leftovers(folder: Path) -> list[Path]:
    """Drafts that never became parts, and parts that a wider and readable one replaces.

    Raises:
        StoreError: The wider one cannot be read: the narrow ones may be all there is.
    """
    import pyarrow as pa  # noqa: PLC0415
    from pyarrow import parquet  # noqa: PLC0415

    live = live_parts(folder)
    covered = [part for part in all_parts(folder) if part not in live]
    for part in live if covered else ():
        try:
            parquet.read_metadata(part)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(
                f"cannot be read: {error}", place=str(part), remedy="remove it: the parts that it was made of are there"
            ) from error
    return [*covered, *folder.glob(".*.parquet.tmp")]


def _size(run: Path) -> int:
    return sum(path.stat().st_size for table in TABLES for path in all_parts(run / table))
