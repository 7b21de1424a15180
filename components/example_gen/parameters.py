"""Checks the parameters that need no data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millrace.data import examples as data
from millrace.errors import DataError, ParameterError


def check(splits: Mapping[str, Any], max_rejected: int) -> None:
    """Raises ParameterError for invalid splits or a negative `max_rejected`."""
    if not splits:
        raise ParameterError(
            '"splits" is empty: name at least one, such as {"train": 2, "eval": 1}.'
        )
    for name, share in splits.items():
        try:
            data.check_name(name)
        except DataError as error:
            raise ParameterError(f'"splits": {error}') from None
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 2**53:
            raise ParameterError(
                f'"splits" gives "{name}" {share!r} parts of the rows: give a number above 0.'
            )
    if max_rejected < 0:
        raise ParameterError(f'"max_rejected" is {max_rejected}: give 0 or more.')
