"""What a step of ours declares that it reads and writes outside of the pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

CONTENT_CACHED = "millrace:content"


@dataclasses.dataclass(frozen=True)
class Declared:
    """The parameters of a step that name something outside of the pipeline.

    Attributes:
        reads: They name data that it reads.
        modules: They name Python modules that it imports.
        writes: They name where it writes to.
    """

    reads: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


def declared(command: Sequence[str]) -> Declared:
    """Return what the command of a container declares."""
    if "millrace.entrypoint" not in command:
        return Declared()
    return Declared(("data_uri", "schema_uri"), ("module_file",), ("push_destination",))
