"""Renders a step's page from the template that lies beside its executor."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import jinja2

from millrace.report.axis import axis

_EXACT = 17  # significant digits that tell every double from the next
_SHARED = Path(__file__).parent / "templates"


def render(template: Path, **context: Any) -> str:
    """Renders a template that extends `base.html.j2` and may import `charts.html.j2`.

    Args:
        template: The template's file, such as `Path(__file__).with_name("report.html.j2")`.
        **context: What the template shows; every string in it is escaped.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, _SHARED]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "against": against,
        "count": count,
        "size": size,
        "percent": percent,
    }
    environment.globals["axis"] = axis
    return environment.get_template(template.name).render(**context)


def count(value: float) -> str:
    """Formats a whole number with thousands separators."""
    return f"{int(value):,}"


def number(value: float | int | None, digits: int = 4) -> str:
    """Formats a number with so many significant digits, or a dash for none.

    What is less than 1 does not become 1: an AUC of 0.99996 is none of 1.
    """
    if value is None:
        return "–"
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e12):
        return f"{int(value):,}"
    if abs(value) < 1:
        return against(value, math.copysign(1, value), digits)
    whole = 10**digits <= abs(float(f"{value:.{digits}g}")) < 1e15
    return f"{value:,.0f}" if whole else f"{value:,.{digits}g}"


def against(value: float, limit: float, digits: int = 4) -> str:
    """Formats a number with so many significant digits, or as many as tell it from a limit."""
    texts = [f"{value:.{more}g}" for more in range(digits, _EXACT + 1)]
    sides = (value < limit, value > limit)
    return next(
        (text for text in texts if (float(text) < limit, float(text) > limit) == sides), texts[-1]
    )


def percent(value: float, digits: int = 1) -> str:
    """Formats a share of one as a percentage."""
    return f"{100 * value:.{digits}f} %"


def size(value: float) -> str:
    """Formats bytes in decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError
