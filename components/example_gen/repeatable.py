"""Rejects queries whose result differs from run to run, according to DuckDB's own parser."""

from __future__ import annotations

import json
import re
from typing import Any, TypeAlias

import duckdb

from millrace.components.example_gen.engine import identifier
from millrace.errors import ParameterError

_Node: TypeAlias = dict[str, Any]

# These return the time, although DuckDB lists them as constant. Most need no parentheses.
_CLOCKS = {
    "ago", "current_date", "current_localtime", "current_localtimestamp", "current_time",
    "current_timestamp", "localtime", "localtimestamp",
}  # fmt: skip
_NO_SEED = -1
_JSON_PART = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]|[^\s,:{}\[\]"]+')
_HARMLESS = {
    "error",  # ends the step with a message
    "current_database", "current_schema", "current_schemas", "current_setting", "in_search_path",
}  # fmt: skip
_INSTEAD = (
    "Select rows by their values, such as WHERE hash(id) % 100 < 30 for 30 % of the values of a "
    "column id"
)


def check(connection: duckdb.DuckDBPyConnection, table: str, query: str) -> None:
    """Raises ParameterError if a query uses random numbers or the time.

    Args:
        connection: DuckDB.
        table: The table that the query reads.
        query: One SELECT.
    """
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [query]).fetchall()
    nodes = _nodes(text)
    samples = [node["sample"] for node in nodes if node.get("sample")]
    if any(sample["seed"] == _NO_SEED for sample in samples):
        raise ParameterError(
            '"query" takes a sample without a seed, which differs on every run. '
            f"{_INSTEAD}, or give a seed: USING SAMPLE 30% (bernoulli, 1)."
        )
    if changing := sorted(_changing(connection, nodes) | _clocks(connection, table, nodes)):
        raise ParameterError(
            f'"query" calls {", ".join(changing)}, which differs on every run. {_INSTEAD}, and '
            "write a day as it is: DATE '2026-01-31'."
        )


def _nodes(text: str) -> list[_Node]:
    """Returns the objects of a JSON text, which may be nested too deeply for Python's parser."""
    nodes: list[_Node] = []
    outer: list[list[Any]] = [[]]
    for part in _JSON_PART.findall(text):
        if part in "{[":
            outer.append([])
        elif part in "}]":
            value: Any = outer.pop()
            if part == "}":
                value = dict(zip(value[0::2], value[1::2], strict=True))
                nodes.append(value)
            outer[-1].append(value)
        else:
            outer[-1].append(json.loads(part))
    return nodes


def _changing(connection: duckdb.DuckDBPyConnection, nodes: list[_Node]) -> set[str]:
    """Returns the called functions whose value differs from run to run."""
    calls = [node for node in nodes if node.get("class") == "FUNCTION" and not node["is_operator"]]
    names = {node["function_name"].lower() for node in calls}
    # age(x) is the time from x until today.
    ages = {"age" for node in calls if node["function_name"] == "age" and len(_arguments(node)) < 2}
    if not names:
        return ages
    listed = connection.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() "
        "WHERE stability <> 'CONSISTENT' AND list_contains(?, function_name)",
        [sorted(names)],
    ).fetchall()
    return (ages | names & _CLOCKS | {name for (name,) in listed}) - _HARMLESS


def _arguments(call: _Node) -> list[_Node]:
    found: list[_Node] = call["arguments" if "arguments" in call else "children"]  # DuckDB 2, and 1
    return found


def _clocks(connection: duckdb.DuckDBPyConnection, table: str, nodes: list[_Node]) -> set[str]:
    """Returns the keywords for the time that are not the name of a column."""
    words = {_clock(node) for node in nodes} - {""}
    if not words:
        return words
    columns = connection.execute(f"DESCRIBE {identifier(table)}").fetchall()
    named = [name for name, *_ in columns]
    for node in nodes:
        named += node.get("column_name_alias", []) + node.get("aliases", [])
        if node.get("alias") and not _clock(node):
            named.append(node["alias"])
    return words - {name.lower() for name in named}


def _clock(node: _Node) -> str:
    """Returns the keyword for the time that a node consists of, if it does."""
    names = node["column_names"] if node.get("class") == "COLUMN_REF" else []
    return names[0].lower() if len(names) == 1 and names[0].lower() in _CLOCKS else ""
