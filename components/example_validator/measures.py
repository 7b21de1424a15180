"""Measures how far two samples are apart, from their counts in the same bins.

Each is finite for any counts of which neither sum is 0.
"""

from __future__ import annotations

import numpy as np

from millrace.components.example_validator.distributions import Bins, Column, Floats

_QUANTILES = (np.arange(1_000) + 0.5) / 1_000
_SMOOTHING = 0.5

FORMULAS = {
    "jensen_shannon_divergence": "½ Σ p log2(p/m) + ½ Σ q log2(q/m), m = (p + q)/2; p and q are "
    "the shares of the bins",
    "infinity_norm": "max |p − q|; p and q are the shares of the values",
    "normalized_abs_difference": "max |a − b| / (Σ a + Σ b); a and b are the counts of the values",
    "population_stability_index": "Σ (q − p) ln(q/p); p and q are the shares of the bins, with "
    "0.5 added to each count",
    "chi_square": "Σ (observed − expected)² / expected over both rows of counts, without empty "
    "bins; approximate for numbers",
    "kolmogorov_smirnov": "max |F(x) − G(x)|, at least: from the shares up to the boundaries of "
    "the histograms' buckets, and the bounds that they give between",
    "wasserstein": "mean of |Q(u) − R(u)| over u = 0.0005, 0.0015 … 0.9995; quantiles are even "
    "between the boundaries of the histograms' buckets",
    "missing_share": "|p − q|; shares of the rows without a value (or NaN, or infinite)",
    "zero_share": "|p − q|; shares of zeros among the values",
    "mean_shift": "|mean − previous mean| / s; s² is the pooled variance",
    "spread_change": "the smaller of |ln(s/s')| for the standard deviation and for the range "
    "between the quartiles, if both go the same way",
}


def jensen_shannon(bins: Bins) -> float:
    """Returns the Jensen–Shannon divergence in bits, from 0 to 1."""
    p, q = bins.shares()
    middle = (p + q) / 2
    return min(1.0, max(0.0, (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2))


def infinity_norm(bins: Bins) -> float:
    """Returns the largest difference between the shares of a value."""
    p, q = bins.shares()
    return float(np.abs(p - q).max())


def normalized_abs_difference(bins: Bins) -> float:
    """Returns the largest difference between the counts of a value, of all counts."""
    return float(
        np.abs(bins.previous - bins.current).max() / (bins.previous.sum() + bins.current.sum())
    )


def population_stability_index(bins: Bins) -> float:
    """Returns the population stability index."""
    p, q = Bins(bins.labels, bins.previous + _SMOOTHING, bins.current + _SMOOTHING).shares()
    return float(((q - p) * np.log(q / p)).sum())


def chi_square(bins: Bins) -> float:
    """Returns the chi-square statistic of homogeneity."""
    table = np.array([bins.previous, bins.current])
    table = table[:, table.sum(0) > 0]
    expected = np.outer(table.sum(1), table.sum(0)) / table.sum()
    return float(((table - expected) ** 2 / expected).sum())


def kolmogorov_smirnov(previous: Column, current: Column) -> float:
    """Returns the least Kolmogorov–Smirnov distance that the histograms allow."""
    points = np.union1d(previous.knots[0], current.knots[0])
    least_before, most_before = previous.bounds(points)
    least_now, most_now = current.bounds(points)
    apart = np.maximum(least_before - most_now, least_now - most_before)
    return float(max(0.0, apart.max()))


def wasserstein(previous: Column, current: Column) -> float:
    """Returns the Wasserstein distance, in the column's unit."""
    apart = previous.quantiles(_QUANTILES) - current.quantiles(_QUANTILES)
    return float(np.abs(apart).mean())


def _relative_entropy(p: Floats, q: Floats) -> float:
    kept = p > 0
    return float((p[kept] * np.log2(p[kept] / q[kept])).sum())
