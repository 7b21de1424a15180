"""Renders a step's page from the template that lies beside its executor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from millrace.report import numbers
from millrace.report.axis import axis

_SHARED = Path(__file__).parent / "templates"


def last_name(place: str) -> str:
    """Returns the last name of a path or URI, so that a page is the same wherever its data lie."""
    return place.rstrip("/").rpartition("/")[2] or place


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
        each.__name__: each
        for each in (numbers.number, numbers.against, numbers.count, numbers.size, numbers.percent)
    }
    environment.filters["duration"] = numbers.seconds
    environment.filters["last_name"] = last_name
    environment.globals["axis"] = axis
    return environment.get_template(template.name).render(**context)
