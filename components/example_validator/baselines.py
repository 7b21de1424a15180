"""Finds the statistics to compare with: of an earlier span, or of serving."""

from __future__ import annotations

from pathlib import Path

from tensorflow_metadata.proto.v0 import statistics_pb2

from millrace.artifacts import Statistics
from millrace.data import examples as data
from millrace.data import statistics as stored
from millrace.errors import DataError, ParameterError
from millrace.storage import paths

_WITHIN_A_RUN = ("statistics", "statistics-gen/statistics")


def locate(name: str, artifact: Statistics | None, uri: str) -> Path | None:
    """Returns the folder of the statistics that a step was given, if any.

    Args:
        name: The name of the input; that of the parameter ends in `_uri`.
        artifact: The input.
        uri: The parameter.

    Raises:
        ParameterError: Both are given.
        DataError: The folder holds no statistics.
    """
    if artifact and uri:
        raise ParameterError(f'Give either "{name}" or "{name}_uri", not both.')
    if artifact:
        return artifact.path
    if not uri:
        return None
    root = paths.expanded(paths.local(uri))
    if _holds_statistics(root):
        return root
    below = next((root / part for part in _WITHIN_A_RUN if _holds_statistics(root / part)), None)
    what = f"did you mean {below}?" if below else "give StatisticsGen's output of an earlier run."
    raise DataError(
        f'"{name}_uri" names {root}, which holds no statistics (Split-<name>/{stored.FILE}): {what}'
    )


def load(root: Path, split: str) -> statistics_pb2.DatasetFeatureStatisticsList | None:
    """Returns the statistics of the split of that name, or of the only split there is."""
    known = data.splits(root)
    if split in known:
        return stored.load(root, split)
    return stored.load(root, known[0]) if len(known) == 1 else None


def _holds_statistics(root: Path) -> bool:
    return any((data.split_folder(root, split) / stored.FILE).is_file() for split in _splits(root))


def _splits(root: Path) -> list[str]:
    return data.splits(root) if paths.is_folder(root) else []
