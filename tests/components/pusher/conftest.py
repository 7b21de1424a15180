"""The step, called as the entrypoint does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millrace.artifacts import HTML, Blessing, Examples, Metrics, Model, PushedModel
from millrace.ml.blessing import Decision
from millrace.ml.bounds import Bound


@dataclasses.dataclass
class Pushed:
    """The outputs of the step."""

    folder: Path
    record: dict[str, Any]
    metadata: dict[str, Any]
    metrics: dict[str, Any]
    page: str

    def candidate(self, name: str) -> dict[str, Any]:
        return next(each for each in self.record["candidates"] if each["name"] == name)


@pytest.fixture
def push(tmp_path: Path) -> Callable[..., Pushed]:
    """Runs the step; `blessed` gives it a blessing."""
    from millrace.components.pusher.executor import run

    def call(
        model: Path,
        rows: Path,
        blessed: bool | None = None,
        bounds: dict[str, Any] | None = None,
        to: str = "pushed",
        **parameters: Any,
    ) -> Pushed:
        pushed, metrics = PushedModel(str(tmp_path / to)), Metrics(str(tmp_path / "metrics"))
        blessing = None
        if blessed is not None:
            blessing = Blessing(str(tmp_path / "blessing"))
            limits = [
                Bound(metric, rule, limit)
                for metric, rules in (bounds or {}).items()
                for rule, limit in rules.items()
            ]
            reasons = ["auc is 0.4, so lower_bound 0.6 fails"]
            Decision(blessed, reasons, limits).save(blessing.path)
        page = HTML(str(tmp_path / "report.html"))
        run(Model(str(model)), Examples(str(rows)), pushed, metrics, page, blessing, **parameters)
        json.dumps([pushed.metadata, metrics.metadata], allow_nan=False)
        return Pushed(
            pushed.path,
            json.loads((pushed.path / "push.json").read_text()),
            pushed.metadata,
            metrics.metadata,
            page.path.read_text(),
        )

    return call
