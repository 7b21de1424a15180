"""Declarations of external data that a step reads and writes.

`millrace.dsl.step` writes the declaration after the container's other arguments, so a compiled
pipeline has it without the source:

    --executor_input {{$}} --reads data_uri --modules module_file --writes push_destination

The entrypoint ignores these arguments.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from millrace.images import COMMAND

READS, MODULES, WRITES, CACHE = "--reads", "--modules", "--writes", "--cache"
CONTENT = "content"


@dataclasses.dataclass(frozen=True)
class Declared:
    """The declarations of a container; empty if it does not run our entrypoint.

    Attributes:
        reads: Parameters that name data to read: a file, a folder, a pattern or an address.
        modules: Parameters that name code to run: a Python file or a module's dotted name.
        writes: Parameters that name where to write.
        cache_by_content: Whether a runner that knows the content of what is read may reuse results
            though the task has no `enableCache`. KFP knows the text of a parameter only, so
            `millrace compile` switches its cache off where that is not enough.
    """

    reads: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    cache_by_content: bool = False

    def arguments(self) -> list[str]:
        """Returns the container arguments for these declarations."""
        named = ((READS, self.reads), (MODULES, self.modules), (WRITES, self.writes))
        found = [item for flag, names in named if names for item in (flag, *names)]
        return [*found, CACHE, CONTENT] if self.cache_by_content else found


def declared(command_and_args: Sequence[str]) -> Declared:
    """Returns the declarations in a container's command and arguments.

    Args:
        command_and_args: The container's `command`, then its `args`.
    """
    size = len(COMMAND)
    line = [item for item in command_and_args if isinstance(item, str)]
    if tuple(line[1:size]) != COMMAND[1:] or not Path(line[0]).name.startswith("python"):
        return Declared()
    found: dict[str, list[str]] = {READS: [], MODULES: [], WRITES: [], CACHE: []}
    flag = ""
    for item in line[size:]:
        if item.startswith("--"):
            flag = item
        elif flag in found:
            found[flag].append(item)
    return Declared(
        tuple(found[READS]), tuple(found[MODULES]), tuple(found[WRITES]), CONTENT in found[CACHE]
    )
