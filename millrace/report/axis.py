"""Axes with ticks at round numbers.

Source: Heckbert, Nice Numbers for Graph Labels, in Graphics Gems, 1990.
"""

from __future__ import annotations

import dataclasses
import math

_ROUND = (1, 2, 2.5, 5, 10)
_PLAIN = range(-9, 12)  # powers of ten of a step whose ticks are written without an exponent


@dataclasses.dataclass(frozen=True)
class Axis:
    """An axis that begins and ends at a tick.

    Attributes:
        low: The first tick.
        high: The last one.
        ticks: All ticks with their labels, evenly spaced.
    """

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def at(self, value: float) -> float:
        """Returns where a value lies, from 0 at the first tick to 1 at the last."""
        return (value - self.low) / (self.high - self.low)


def axis(low: float, high: float, most: int = 5) -> Axis:
    """Returns the axis for a range of finite numbers.

    Args:
        low: The smallest value.
        high: The largest value; if both are equal, the axis is widened.
        most: The most spaces between ticks, at least 2.
    """
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        margin = 0.5 * max(abs(low), abs(high)) or 0.5
        low, high = low - margin, high + margin
    power = math.floor(math.log10((high - low) / most))
    for nice in (nice * 10.0**exponent for exponent in (power, power + 1) for nice in _ROUND):
        # A rounding error beyond a tick does not need another.
        first, last = math.floor(low / nice + 1e-6), math.ceil(high / nice - 1e-6)
        if last - first <= most:
            break
    decimals = max(0, -math.floor(math.log10(nice) + 1e-9))
    if not math.isclose(nice * 10**decimals, round(nice * 10**decimals)):
        decimals += 1  # 0.25 has a digit more than 0.2
    plain = math.floor(math.log10(nice)) in _PLAIN
    ticks = tuple(
        (number * nice, f"{number * nice:,.{decimals}f}" if plain else f"{number * nice:.4g}")
        for number in range(first, last + 1)
    )
    return Axis(ticks[0][0], ticks[-1][0], ticks)
