"""Checks the user's SQL before it runs over the view `data`."""

from __future__ import annotations

import json
import re
from typing import Any

import duckdb

from millrace.components.example_gen import engine, repeatable
from millrace.errors import DataError, ParameterError

TABLE = "data"
_TOO_LARGE = re.compile(r"destination type INT64 when casting from source column (.+?)\.?$")
# Operators that keep the order of the source, whatever the number of threads.
_STREAMING = {
    "PROJECTION",
    "FILTER",
    "READ_CSV",
    "READ_JSON",
    "READ_PARQUET",
    "PARQUET_SCAN",
    "UNNEST",
    "EMPTY_RESULT",
}
# Operators whose result does not depend on the order of their input.
_INDIFFERENT = {"HASH_JOIN", "NESTED_LOOP_JOIN", "CROSS_PRODUCT", "UNION", "ORDER_BY"}


def checked(connection: duckdb.DuckDBPyConnection, query: str) -> str:
    """Returns a valid query without its final semicolon; an empty one selects everything.

    Raises:
        ParameterError: It is not exactly one SELECT that DuckDB understands, or its result varies
            from run to run.
    """
    if not query.strip():
        return f"FROM {TABLE}"
    try:
        statements = connection.extract_statements(query)
    except duckdb.Error as error:
        raise _unusable(error) from error
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        kinds = ", ".join(statement.type.name for statement in statements) or "nothing"
        raise ParameterError(
            f'"query" must be one SELECT over the table "{TABLE}", and is {kinds}: {_short(query)}'
        )
    repeatable.check(connection, TABLE, query)
    return str(statements[0].query).strip().rstrip(";")


def types(connection: duckdb.DuckDBPyConnection, query: str) -> dict[str, str]:
    """Returns the DuckDB type of each column of a query.

    Raises:
        ParameterError: DuckDB cannot run the query, or two of its columns share a name.
    """
    try:
        described = connection.execute(f"DESCRIBE {query}").fetchall()
    except duckdb.PermissionException as error:
        raise ParameterError(
            f'"query" may read the table "{TABLE}" and nothing else: {engine.message(error)}'
        ) from error
    except duckdb.CatalogException as error:
        if "Table with name" not in str(error):
            raise _unusable(error) from error
        name = str(error).split("Table with name ")[1].split(" does not exist")[0]
        raise ParameterError(
            f'"query" cannot be run: there is no table "{name}"; the rows are in "{TABLE}".'
        ) from error
    except duckdb.Error as error:
        raise _unusable(error) from error
    seen: set[str] = set()
    for name, *_ in described:
        if name.lower() in seen:
            raise ParameterError(
                f'"query" returns more than one column "{name}" (SQL ignores case): '
                "rename one of them with AS."
            )
        seen.add(name.lower())
    return {name: kind for name, kind, *_ in described}


def keeps_order(connection: duckdb.DuckDBPyConnection, query: str) -> bool:
    """Returns whether a query keeps the rows in the order of the source."""
    return _operators(connection, query) <= _STREAMING


def depends_on_order(connection: duckdb.DuckDBPyConnection, query: str) -> bool:
    """Returns whether the result of a query may depend on the order of the source's rows.

    Examples are first(), list(), the last digits of a sum of decimals, and row_number() among
    equals.
    """
    return not _operators(connection, query) <= _STREAMING | _INDIFFERENT


def failure(error: Exception) -> DataError:
    """Returns the user's error for an error while reading the rows."""
    message = f"The rows cannot be read: {engine.message(error)}"
    if large := _TOO_LARGE.search(message):
        column = engine.identifier(large[1])
        message += (
            " Take such numbers as text, in place of the column:"
            f" SELECT * REPLACE (CAST({column} AS VARCHAR) AS {column}) FROM data"
        )
    return DataError(message)


def _operators(connection: duckdb.DuckDBPyConnection, query: str) -> set[str]:
    """Returns the names of the operators in DuckDB's plan of a query."""
    (_, plan), *_ = connection.execute(f"EXPLAIN (FORMAT json) {query}").fetchall()
    nodes: list[dict[str, Any]] = json.loads(plan)
    for node in nodes:
        nodes.extend(node.get("children", []))
    return {node["name"].strip() for node in nodes}


def _unusable(error: Exception) -> ParameterError:
    return ParameterError(f'"query" cannot be run: {engine.message(error)}')


def _short(query: str) -> str:
    text = " ".join(query.split())
    return text if len(text) <= 80 else f"{text[:79]}…"
