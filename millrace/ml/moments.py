"""Means, variances and covariances of columns that come in batches.

Sums deviations from the mean, never squares of the values, which lose all digits of a variance that
is small compared to the mean.
"""

from __future__ import annotations

import numpy as np

from millrace.ml.arrays import Array


class Moments:
    """The moments of some columns of numbers.

    Attributes:
        number: The number of rows.
        mean: The mean of each column.
        products: For each pair of columns, the sum over rows of the product of their distances from
            their means.
    """

    def __init__(self, columns: int) -> None:
        self.number = 0
        self.mean = np.zeros(columns)
        self.products = np.zeros((columns, columns))

    @property
    def deviations(self) -> Array:
        """The standard deviation of each column."""
        deviations: Array = np.sqrt(np.diagonal(self.products) / max(self.number, 1))
        return deviations

    def add(self, *columns: Array) -> None:
        """Adds rows, given as the columns' values.

        Source: Chan et al., Updating Formulae and a Pairwise Algorithm for Computing Sample
        Variances, 1979.
        """
        rows = np.stack(columns).astype(np.float64)
        if not rows.size:
            return
        number = self.number + rows.shape[1]
        share, mean = rows.shape[1] / number, rows.mean(axis=1)
        apart, rows = mean - self.mean, rows - mean[:, np.newaxis]
        self.products += rows @ rows.T + np.outer(apart, apart) * (self.number * share)
        self.mean += apart * share
        self.number = number
