"""SQL over the parts of tables: DuckDB, in memory, shut in with just these files and nothing else to read or write."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nvbench.errors import StoreError, UsageError
from nvbench.parts import schema_version
from nvbench.runs import check_version
from nvbench.schema import schema

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

MEMORY = "2GB"
"""What a query may take; what does not fit goes to temporary files."""

Parts = Mapping[str, Sequence[Path]]
"""The parts of each table, by its name."""


def ask(parts: Parts, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
    """What a SELECT over these tables answers. A column that a part does not have is null there.

    Args:
        parts: What the tables consist of.
        sql: One SELECT in DuckDB's words; `$name` stands for a parameter.
        parameters: Their values by name.

    Raises:
        UsageError: It is no SELECT, is wrong, asks for more memory than there is, or a newer nvbench wrote a part.
        StoreError: A part cannot be read.
        FileNotFoundError: A part has gone; it may have been merged.
    """
    import duckdb  # noqa: PLC0415 - slow to import

    for part in (part for found in parts.values() for part in found):
        check_version(schema_version(part), part)
    with tempfile.TemporaryDirectory(prefix="nvbench-sql-") as scratch, duckdb.connect(":memory:") as connection:
        files = {table: [_no_rows(table, Path(scratch)), *map(str, found)] for table, found in parts.items()}
        _shut_in(connection, [file for found in files.values() for file in found], scratch)
        try:
            _only_select(connection, sql)
            try:
                return _answer(connection, files, sql, parameters)
            except (duckdb.InvalidInputException, duckdb.BinderException, duckdb.IOException) as error:
                if "schema mismatch" not in str(error):
                    raise
                return _answer(connection, files, sql, parameters, union=True)
        except duckdb.Error as error:
            for path in (path for found in parts.values() for path in found):
                path.stat()
            raise _said(connection, [file for found in files.values() for file in found], error) from None


def _no_rows(table: str, folder: Path) -> str:
    """A part without rows, which goes first: DuckDB takes the columns of a table from there."""
    from pyarrow import parquet  # noqa: PLC0415

    file = folder / f"{table}.parquet"
    parquet.write_table(schema(table).empty_table(), file)
    return str(file)


def _shut_in(connection: duckdb.DuckDBPyConnection, files: list[str], scratch: str) -> None:
    for name, value in {
        "memory_limit": MEMORY,
        "temp_directory": f"{scratch}/spilled",
        "TimeZone": "UTC",
        "autoinstall_known_extensions": False,
        "autoload_known_extensions": False,
        "allowed_paths": files,
        "enable_external_access": False,
        "lock_configuration": True,
    }.items():
        connection.execute(f"SET {name} = {_literal(value)}")


def _literal(value: object) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_literal, value))}]"
    return "'{}'".format(str(value).replace("'", "''")) if isinstance(value, str) else str(value).lower()


def _only_select(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    import duckdb  # noqa: PLC0415

    statements = connection.extract_statements(sql)
    if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
        raise UsageError("not one SELECT", place=_line(sql), remedy="results are only read, one question at a time")


def _answer(
    connection: duckdb.DuckDBPyConnection,
    files: Mapping[str, list[str]],
    sql: str,
    parameters: Mapping[str, Any] | None,
    *,
    union: bool = False,
) -> pa.Table:
    """Looking for each part's own columns takes longer, so it is done only for parts that lack some."""
    for table, found in files.items():
        columns = ", ".join(schema(table).names)
        source = f"read_parquet({_literal(found)}, union_by_name = {_literal(union)})"
        connection.execute(f"CREATE OR REPLACE VIEW {table} AS SELECT {columns} FROM {source}")  # noqa: S608 - ours
    return connection.sql(sql, params=dict(parameters or {})).to_arrow_table()


def _said(connection: duckdb.DuckDBPyConnection, files: list[str], error: duckdb.Error) -> UsageError | StoreError:
    """DuckDB's complaint in one line: of the question, or of the files."""
    import duckdb  # noqa: PLC0415

    text = _line(str(error))
    if isinstance(error, duckdb.OutOfMemoryException):
        return UsageError(f"this takes more memory than {MEMORY}", remedy="ask for fewer rows or columns")
    damaged = next((file for file in files if file in str(error)), None)
    if not damaged and not isinstance(error, duckdb.ProgrammingError | duckdb.DataError | duckdb.PermissionException):
        damaged = next((file for file in files if not _readable(connection, file)), None)
    if damaged:
        return StoreError(f"cannot be read: {text}", place=damaged, remedy="restore it from a copy")
    return UsageError(f"cannot be asked: {text}")


def _readable(connection: duckdb.DuckDBPyConnection, file: str) -> bool:
    import duckdb  # noqa: PLC0415

    try:
        connection.sql(f"SELECT * FROM read_parquet({_literal(file)})").to_arrow_table()  # noqa: S608 - ours
    except duckdb.Error:
        return False
    return True


def _line(text: str) -> str:
    return " ".join(text.strip().partition("\n\n")[0].split())
