"""KFP's parameter selectors, such as `parseJson(string_value)["key"]`."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

from millrace.errors import ParameterError, PipelineError

_SELECTOR = re.compile(r"""parseJson\(string_value\)((?:\[(?:"[^"]*"|'[^']*'|\d+)\])*)""")
_KEY = re.compile(r"""\[(?:"([^"]*)"|'([^']*)'|(\d+))\]""")


@dataclasses.dataclass(frozen=True)
class Selector:
    """The keys and positions that lead to a part of a JSON value."""

    text: str
    keys: tuple[str | int, ...]

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Parses a selector.

        Raises:
            PipelineError: It is not one that KFP's compiler writes.
        """
        match = _SELECTOR.fullmatch(text.strip())
        if not match:
            raise PipelineError(f"the selector {text!r} is not supported")
        keys = [
            int(number) if number else double or single
            for double, single, number in _KEY.findall(match[1])
        ]
        return cls(text, tuple(keys))

    def select(self, value: Any) -> Any:
        """Returns the selected part of a value, which may be JSON text.

        Raises:
            ParameterError: The value is not JSON or has no such part.
        """
        try:
            found = json.loads(value) if isinstance(value, str) else value
            for key in self.keys:
                found = found[key]
        except (ValueError, LookupError, TypeError):
            raise ParameterError(f"{_short(value)} has no part {self.text}.") from None
        return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
