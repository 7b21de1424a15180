"""A step for tests: it reports the content of each artifact of a list."""

import json
from typing import Any

from millrace.artifacts import Dataset, Input


def run(data: list[Input[Dataset]], numbers: list[Any]) -> dict[str, Any]:
    texts = [(one.path / "text").read_text() for one in data]
    return {"out": json.dumps({"texts": texts, "numbers": numbers})}
