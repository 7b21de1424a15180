"""Moments computed in batches equal those of all rows at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.ml.moments import Moments

batches = st.lists(st.lists(st.tuples(st.integers(-99, 99), st.integers(-99, 99)), max_size=6))


@given(batches, st.sampled_from([0, 10**6, 10**12]))
def test_batches_and_offsets_make_no_difference(rows: list, offset: int) -> None:
    moments = Moments(2)
    for batch in rows:
        values = np.array(batch, np.int64).reshape(-1, 2)
        moments.add(values[:, 0] + offset, values[:, 1])
    joined = np.array([row for batch in rows for row in batch], np.float64).reshape(-1, 2)
    assert moments.number == len(joined)
    if len(joined):
        close = pytest.approx
        assert moments.mean - [offset, 0] == close(joined.mean(axis=0), rel=1e-3, abs=1e-3)
        assert moments.deviations == close(joined.std(axis=0), rel=1e-3, abs=1e-3)
        covariance = np.cov(joined.T, bias=True)
        assert moments.products / len(joined) == close(covariance, rel=1e-3, abs=1e-3)
