from __future__ import annotations

from pathlib import Path

import pytest

from millrace.cli import new
from millrace.errors import ParameterError


@pytest.mark.slow
def test_a_new_pipeline_runs_as_created(tmp_path: Path, millrace: object) -> None:
    millrace("new", "customer-churn", cwd=tmp_path)  # type: ignore[operator]
    done = millrace("run", "customer-churn", cwd=tmp_path)  # type: ignore[operator]
    assert "complete" in done.stdout
    assert list(tmp_path.glob(".millrace/customer-churn/*/pusher/pushed_model/model.tflite"))


def test_it_makes_valid_python(tmp_path: Path) -> None:
    new.create("two_words", tmp_path)
    made = sorted(path.name for path in (tmp_path / "two_words").iterdir())
    assert made == ["data.csv", "model.py", "pipeline.py", "preprocessing.py"]
    for name in ("model.py", "pipeline.py", "preprocessing.py"):
        compile((tmp_path / "two_words" / name).read_text(), name, "exec")
    assert "def two_words(" in (tmp_path / "two_words/pipeline.py").read_text()


@pytest.mark.parametrize(
    "name", ["", "Churn", "1st", "a b", "../up", "/tmp/x", "größe", "a-", "a--b"]
)
def test_a_name_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError, match="cannot name a pipeline"):
        new.create(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "churn").mkdir()
    (tmp_path / "churn/mine.py").write_text("mine")
    with pytest.raises(ParameterError, match=r"There is a .*churn already"):
        new.create("churn", tmp_path)
    assert [path.name for path in (tmp_path / "churn").iterdir()] == ["mine.py"]
