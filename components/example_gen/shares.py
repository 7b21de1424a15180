"""Warns about splits whose size is far from the requested share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

# By Chernoff's bound, a count deviates this far to one side by chance in less than one of 16,000
# runs, for any number of rows: exp(-9.7).
_BY_CHANCE = 9.7


def warning(
    written: Mapping[str, int], parts: Mapping[str, float], key_columns: Sequence[str]
) -> str:
    """Returns a warning if the size of a split cannot be due to chance, else an empty text.

    Args:
        written: The rows of each split.
        parts: How many parts of the rows each should get.
        key_columns: The columns that decide the split; the whole row if empty.
    """
    rows, whole = sum(written.values()), sum(parts.values())

    def deviation(name: str) -> float:
        found, expected = written[name], rows * parts[name] / whole
        return _divergence(found, expected) + _divergence(rows - found, rows - expected)

    uneven = [name for name in written if deviation(name) > _BY_CHANCE]
    if not uneven:
        return ""
    worst = max(sorted(uneven), key=deviation)
    found = (
        f'Split "{worst}" holds {written[worst] / rows:.1%} of the {rows:,} rows, where '
        f"{parts[worst] / whole:.1%} were requested: "
    )
    if key_columns:
        names = ", ".join(f'"{name}"' for name in key_columns)
        return (
            f"{found}many rows share their {names}, and such rows stay in one split. Where they "
            "need not, choose key_columns with more distinct values."
        )
    return (
        f"{found}many rows are equal, and copies of a row stay in one split, so that none is both "
        "learned and measured. Which split a whole group of rows lands in then depends on its "
        "label, too. If equal rows are different cases, number them: "
        'query="SELECT *, row_number() OVER () AS row_id FROM data", key_columns=["row_id"]. '
        "Transform leaves such a number out by itself; a preprocessing_fn of your own must."
    )


def _divergence(found: int, expected: float) -> float:
    """Returns a count's term in rows times the Kullback-Leibler divergence of the shares."""
    return found * math.log(found / expected) if found else 0.0
