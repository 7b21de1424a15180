"""blessing.json: what the Evaluator writes, Pusher reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from millrace.errors import DataError
from millrace.ml.blessing import Decision
from millrace.ml.bounds import Bound


def test_a_decision_comes_back(tmp_path: Path) -> None:
    bounds = [Bound("auc", "lower_bound", 0.6), Bound("auc", "upper_bound", 1.0)]
    decision = Decision(False, ["größer"], bounds, ["few rows"], {"auc": 0.5, "recall": None})
    decision.save(tmp_path / "blessing")
    assert Decision.load(tmp_path / "blessing") == decision


def test_a_blessing_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no .*blessing\.json\. Evaluator writes it\."):
        Decision.load(tmp_path)
    for content in (
        "{",
        "[]",
        '{"blessed": true}',
        '{"blessed": true, "reasons": [], "bounds": []}',
        '{"blessed": true, "reasons": [], "bounds": {"auc": {"lower_bound": "high"}}}',
    ):
        (tmp_path / "blessing.json").write_text(content)
        with pytest.raises(DataError, match="is damaged"):
            Decision.load(tmp_path)
