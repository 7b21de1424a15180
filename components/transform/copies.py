"""Finds rows that are in two splits but for an identifier, which a model can memorize."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from millrace.data import examples
from millrace.ml.arrays import Array

_ROWS = 100_000  # rows of a split that are looked up among those that are learned from
_SHARE = 0.05  # of these rows, that are found there
_BY_CHANCE = 0.1  # of the found rows, that unrelated columns would explain
_SHOWN = 8  # columns named in a warning
_PRIME = np.uint64(0x9E3779B97F4A7C15)


def find(
    root: Path,
    learned: Sequence[str],
    identifiers: Sequence[str],
    others: Sequence[str],
    label: str,
) -> str:
    """Returns a warning if rows of other splits are learned under another identifier.

    Copies have the same label, too, and are more than columns with few values would have by chance.

    Args:
        root: The folder of the raw examples.
        learned: The splits to learn from.
        identifiers: The columns in which nearly every row has a value of its own.
        others: The other columns, without the label.
        label: The label.
    """
    if not identifiers or not others:
        return ""
    for split in examples.splits(root):
        if split in learned:
            continue
        copied = _copied(root, learned, split, [*others, label])
        if copied:
            return _warning(copied, split, learned, identifiers, others)
    return ""


def _copied(root: Path, learned: Sequence[str], split: str, names: Sequence[str]) -> float:
    """Returns the share of a split's rows that are copies; 0 if they may be equal by chance."""
    looked = np.concatenate(list(_hashes(root, split, names, _ROWS)), axis=1)
    if not looked.shape[1]:
        return 0.0
    keys, place = np.unique(_rows(looked[:-1]), return_inverse=True)
    labels = np.zeros(len(keys), np.uint64)  # of one learned row each
    found = np.zeros(len(keys), bool)
    learned_rows = 0
    for each in learned:
        for hashes in _hashes(root, each, names):
            rows = _rows(hashes[:-1])
            at = np.minimum(np.searchsorted(keys, rows), len(keys) - 1)
            equal = keys[at] == rows
            labels[at[equal]] = hashes[-1][equal]
            found[at[equal]] = True
            learned_rows += len(rows)
    matched = found[place]
    share = float(matched.mean())
    if share < _SHARE:
        return 0.0
    alike = np.array([_collision(hashes) for hashes in looked])
    agree = float((labels[place] == looked[-1])[matched].mean())
    by_chance = learned_rows * float(np.prod(alike[:-1]))
    if by_chance > _BY_CHANCE * share or agree < (1 + alike[-1]) / 2:
        return 0.0
    return share


def _hashes(
    root: Path, split: str, names: Sequence[str], most: int | None = None
) -> Iterator[Array]:
    """Yields the hash of each column of each row, in an array of shape [columns, rows]."""
    rows = 0
    for batch in examples.read(root, split, list(names)):
        rows += batch.num_rows
        columns = [batch.column(batch.schema.get_field_index(name)) for name in names]
        yield np.stack([_hash(column) for column in columns])
        if most is not None and rows >= most:
            return


def _hash(values: pa.Array) -> Array:
    encoded = values.dictionary_encode()
    hashes = pd.util.hash_array(encoded.dictionary.to_numpy(zero_copy_only=False), categorize=False)
    index = pc.fill_null(encoded.indices, len(hashes)).to_numpy()
    found: Array = np.append(hashes, np.uint64(0))[index]
    return found


def _rows(hashes: Array) -> Array:
    whole: Array = np.zeros(hashes.shape[1], np.uint64)
    for each in hashes:
        whole = whole * _PRIME + each
    return whole


def _collision(hashes: Array) -> float:
    """Returns how probable it is that two rows have the same value."""
    counts = np.unique(hashes, return_counts=True)[1]
    return float(np.square(counts / len(hashes)).sum())


def _warning(
    share: float,
    split: str,
    learned: Sequence[str],
    identifiers: Sequence[str],
    others: Sequence[str],
) -> str:
    shown = ", ".join(f'"{name}"' for name in identifiers[:_SHOWN])
    excluded = ", ".join('"' + name.replace('"', '""') + '"' for name in identifiers)
    keys = f"key_columns={json.dumps(list(others), ensure_ascii=False)} of ExampleGen, or "
    return (
        f"{share:.0%} of the rows of {split} are in {', '.join(learned)} too, but for {shown}: a"
        f" model that memorizes rows looks better than it is. Keep copies in one split, with"
        f" {keys if len(others) <= _SHOWN else ''}a query without the identifier:"
        f" SELECT * EXCLUDE ({excluded}) FROM data"
    )
