"""Numbers as people read them, on pages and in the terminal."""

from __future__ import annotations

import math

_EXACT = 17  # significant digits that distinguish all doubles


def count(value: float) -> str:
    """Formats a whole number with thousands separators."""
    return f"{int(value):,}"


def number(value: float | int | None, digits: int = 4) -> str:
    """Formats a number with some significant digits; None as a dash.

    Values below 1 are not rounded to 1: an AUC of 0.99996 must not be shown as 1.
    """
    if value is None:
        return "–"
    if 0 < abs(value) < 1:
        return against(value, math.copysign(1, value), digits)
    return _rounded(value, digits)


def against(value: float, limit: float, digits: int = 4) -> str:
    """Formats a number with as many significant digits as distinguish it from a limit."""
    texts = [_rounded(value, more) for more in range(digits, _EXACT + 1)]
    sides = (value < limit, value > limit)
    shown = [float(text.replace(",", "")) for text in texts]
    return next(
        (text for text, x in zip(texts, shown, strict=True) if (x < limit, x > limit) == sides),
        texts[-1],
    )


def percent(value: float, digits: int = 1) -> str:
    """Formats a share of one as a percentage."""
    return f"{100 * value:.{digits}f} %"


def size(value: float) -> str:
    """Formats bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    return f"{value:.3g} {unit}"


def seconds(value: float) -> str:
    """Formats a duration."""
    if value >= 100:
        return f"{int(value) // 60}:{int(value) % 60:02d} min"
    return f"{value:.1f} s" if value >= 0.1 else f"{value * 1000:.0f} ms"


def _rounded(value: float | int, digits: int) -> str:
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e12):
        return f"{int(value):,}"
    whole = 10**digits <= abs(float(f"{value:.{digits}g}")) < 1e15
    return f"{value:,.0f}" if whole else f"{value:,.{digits}g}"
