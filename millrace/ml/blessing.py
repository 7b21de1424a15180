"""The Evaluator's decision on a model, in `blessing.json`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from millrace.errors import DataError
from millrace.ml.bounds import Bound, by_metric

FILE = "blessing.json"


@dataclasses.dataclass(frozen=True)
class Decision:
    """Whether a model may be pushed.

    Attributes:
        blessed: Whether it may be pushed.
        reasons: Why or why not, in sentences.
        bounds: The bounds on metrics, which a converted model must keep as well.
        warnings: Warnings that do not prevent it, in sentences.
        metrics: The metrics over all rows; None for an undefined one.
    """

    blessed: bool
    reasons: list[str]
    bounds: list[Bound]
    warnings: list[str] = dataclasses.field(default_factory=list)
    metrics: dict[str, float | None] = dataclasses.field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Returns the content of `blessing.json`."""
        return {
            "blessed": self.blessed,
            "reasons": self.reasons,
            "warnings": self.warnings,
            "bounds": by_metric(self.bounds),
            "metrics": self.metrics,
        }

    def save(self, folder: Path) -> None:
        """Writes `blessing.json` into a folder, and creates the folder if needed."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.as_json(), indent=1, ensure_ascii=False, allow_nan=False)
        (folder / FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Decision:
        """Reads `blessing.json` from a folder.

        Raises:
            DataError: The file is missing or damaged.
        """
        path = folder / FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                bool(content["blessed"]),
                [str(reason) for reason in content["reasons"]],
                [
                    Bound(metric, rule, float(limit))
                    for metric, rules in content.get("bounds", {}).items()
                    for rule, limit in rules.items()
                ],
                [str(warning) for warning in content.get("warnings", [])],
                dict(content.get("metrics", {})),
            )
        except FileNotFoundError:
            raise DataError(f"There is no {path}. Evaluator writes it.") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is damaged: {error}") from error
