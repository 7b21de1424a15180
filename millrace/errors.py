"""The errors that users can cause; each message says what was wrong, where, and what to do.

MillraceError
├── DataError            rows, columns or files that cannot be used as they are
│   └── AnomaliesError   the data does not match the schema
├── ParameterError       a parameter that is unknown, missing or of the wrong type or value
├── ModuleError          a user's module that cannot be loaded, or lacks the function it must have
├── ModelError           a model that cannot be trained, loaded or converted, or lacks what it needs
├── PipelineError        a pipeline file that cannot be found, compiled or run
├── StepError            a step that ended with an error; carries the step's own message
├── PolicyError          no candidate meets the policy that picks what is pushed
├── StorageError         a place for files that cannot be reached, read or written
└── StoreError           a lineage store that cannot be opened, read or written
"""

from __future__ import annotations

from collections.abc import Iterable


class MillraceError(Exception):
    """The base of the errors that users can cause."""


class DataError(MillraceError):
    """Rows, columns or files that cannot be used as they are."""


class AnomaliesError(DataError):
    """The data does not match the schema."""


class ParameterError(MillraceError):
    """A parameter that is unknown, missing or of the wrong type or value."""


class ModuleError(MillraceError):
    """A user's module that cannot be loaded, or lacks the function it must have."""


class ModelError(MillraceError):
    """A model that cannot be trained, loaded or converted, or lacks what it needs."""


class PipelineError(MillraceError):
    """A pipeline file that cannot be found, compiled or run."""


class StepError(MillraceError):
    """A step that ended with an error; carries the step's own message."""


class PolicyError(MillraceError):
    """No candidate meets the policy that picks what is pushed."""


class StorageError(MillraceError):
    """A place for files that cannot be reached, read or written."""


class StoreError(MillraceError):
    """A lineage store that cannot be opened, read or written."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean "x"?` for the known name most like `name`, or an empty string."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f' Did you mean "{close[0]}"?' if close else ""
