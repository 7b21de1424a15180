"""Warns of classes of the label that should not be learned as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from millrace.data import examples
from millrace.ml import spellings
from millrace.ml.labels import Labels, count
from millrace.ml.problem import Kind, Problem

_FEWEST = 10  # rows of a class in a split; Evaluator's `min_class_rows` by default
_SHOWN = 5


def find(root: Path, posed: Problem) -> list[str]:
    """Returns warnings of classes that differ only in their spelling, and of those too rare.

    Args:
        root: The folder of the raw examples.
        posed: The problem.
    """
    if posed.kind is Kind.REGRESSION:
        return []
    labels = {split: count(root, split, posed.label) for split in examples.splits(root)}
    same = spellings.advice(posed.label, Labels.merge(labels.values()).counts)
    rare = _rare(posed, labels)
    return [text for text in (same, rare) if text]


def _rare(posed: Problem, labels: Mapping[str, Labels]) -> str:
    rare = [
        value
        for value in posed.classes
        if min(found.counts[value] for found in labels.values()) < _FEWEST
    ]
    if not rare:
        return ""
    rows = sum(found.rows for found in labels.values())
    shown = "; ".join(f"{value!r} in {_where(value, labels)}" for value in rare[:_SHOWN])
    more = f"; and {len(rare) - _SHOWN} more" if len(rare) > _SHOWN else ""
    return (
        f'"{posed.label}" has classes with fewer than {_FEWEST} rows in a split, of {rows:,} rows'
        f" in all: {shown}{more}. So few can hardly be learned, and their metrics are chance. Get"
        " more rows of such a class, or leave it out with a query"
    )


def _where(value: int | str, labels: Mapping[str, Labels]) -> str:
    return ", ".join(f"{found.counts[value]:,} of {split}" for split, found in labels.items())
