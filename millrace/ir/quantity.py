"""Parses Kubernetes quantities and protobuf durations."""

from __future__ import annotations

import re
from typing import Any

from millrace.errors import PipelineError

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?(?:[eE]\d+)?)(m|[kMGTPE]i?|Ki)?")
_UNITS: dict[str, float] = {
    "m": 0.001,
    **{unit: float(1000**power) for power, unit in enumerate(["", "k", "M", "G", "T", "P", "E"])},
    **{
        unit + "i": float(1024**power)
        for power, unit in enumerate(["", "K", "M", "G", "T", "P", "E"])
    },
}


def cpus(value: Any) -> float:
    """Returns a number of cores: 2, "2" or "500m"."""
    return _number(value)


def memory(value: Any) -> int:
    """Returns a number of bytes: "2Gi" or "500M"; a bare number counts gigabytes, as in KFP."""
    return int(value * 1e9) if isinstance(value, (int, float)) else int(_number(value))


def duration(text: str) -> float:
    """Returns the seconds of a duration such as "10s" or "1.5s"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)s", str(text))
    if not match:
        raise PipelineError(f"{text!r} is not a duration such as 10s")
    return float(match[1])


def _number(value: Any) -> float:
    match = _QUANTITY.fullmatch(str(value))
    if not match:
        raise PipelineError(f"{value!r} is not a quantity such as 500m, 2 or 4Gi")
    return float(match[1]) * _UNITS[match[2] or ""]
