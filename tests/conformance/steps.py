"""Components that the cases share; lightweight ones, without packages of their own."""

import functools
import os
import sys
from typing import List

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

# kfp.local would install kfp anew for every task.
component = functools.partial(
    dsl.component,
    base_image=f"python:{sys.version_info.major}.{sys.version_info.minor}",
    install_kfp_package=os.environ.get("CONFORMANCE_INSTALL_KFP", "1") != "0",
)


@component
def say(text: str) -> str:
    """Returns a text."""
    return text


@component
def number(value: int) -> int:
    """Returns a whole number."""
    return value


@component
def real(value: float) -> float:
    """Returns a number."""
    return value


@component
def boolean(value: bool) -> bool:
    """Returns a truth value."""
    return value


@component
def array(value: list) -> list:
    """Returns a list."""
    return value


@component
def struct(value: dict) -> dict:
    """Returns an object."""
    return value


@component
def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b


@component
def total(values: List[int]) -> int:
    """Adds them all."""
    return int(sum(values))


@component
def join(texts: List[str]) -> str:
    """Joins texts by a comma."""
    return ",".join(texts)


@component
def dump(value: list) -> str:
    """Returns JSON, in which 2 and 2.0 differ."""
    import json

    return json.dumps(value)


@component
def write(text: str, made: Output[Dataset]):
    """Writes a text."""
    with open(made.path, "w") as file:
        file.write(text)
    made.metadata["length"] = len(text)


@component
def read(data: Input[Dataset]) -> str:
    """Reads a text."""
    with open(data.path) as file:
        return file.read()


@component
def read_all(data: Input[List[Dataset]]) -> str:
    """Reads texts, in their order."""
    return ",".join(open(one.path).read() for one in data)


@component
def read_any(data: Input[Artifact]) -> str:
    """Reads an artifact of any type."""
    with open(data.path) as file:
        return file.read()


@component
def fail(message: str) -> str:
    """Raises an error."""
    raise ValueError(message)


@component
def leave(folder: str, name: str, text: str = "here"):
    """Appends a line to a file that outlives the task."""
    with open(f"{folder}/{name}", "a") as file:
        file.write(f"{text}\n")
