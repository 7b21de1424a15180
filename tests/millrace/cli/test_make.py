"""New pipelines, and their compiled files."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from millrace import images
from millrace.authoring.compiler import compile_file
from millrace.cli import make
from millrace.errors import ParameterError, PipelineError
from millrace.ir.reader import read
from millrace.version import __version__


@pytest.mark.slow
def test_a_new_pipeline_runs_as_created(tmp_path: Path, millrace: object) -> None:
    millrace("new", "customer-churn", cwd=tmp_path)  # type: ignore[operator]
    done = millrace("run", "customer-churn", cwd=tmp_path)  # type: ignore[operator]
    assert "complete" in done.stdout
    assert list(tmp_path.glob(".millrace/customer-churn/*/pusher/pushed_model/model.tflite"))


def test_it_makes_valid_python(tmp_path: Path) -> None:
    make.new("two_words", tmp_path, as_json=False)
    made = sorted(path.name for path in (tmp_path / "two_words").iterdir())
    assert made == ["data.csv", "model.py", "pipeline.py", "preprocessing.py"]
    for name in ("model.py", "pipeline.py", "preprocessing.py"):
        compile((tmp_path / "two_words" / name).read_text(), name, "exec")
    assert '@dsl.pipeline(name="two_words")' in (tmp_path / "two_words/pipeline.py").read_text()


@pytest.mark.parametrize("name", ["class", "trainer", "pipeline"])
def test_a_name_that_python_or_the_file_uses(tmp_path: Path, name: str) -> None:
    make.new(name, tmp_path, as_json=False)
    assert read(compile_file(tmp_path / name)).name == name


@pytest.mark.parametrize("name", ["flights", "tabular"])
def test_a_name_that_would_run_another(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError, match=f"runs the {name} that Millrace brings"):
        make.new(name, tmp_path, as_json=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "Churn", "1st", "a b", "../up", "/tmp/x", "größe", "a-", "a--b"]
)
def test_a_name_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError, match="cannot name a pipeline"):
        make.new(name, tmp_path, as_json=False)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "churn").mkdir()
    (tmp_path / "churn/mine.py").write_text("mine")
    with pytest.raises(ParameterError, match=r"There is a .*churn already"):
        make.new("churn", tmp_path, as_json=False)
    assert [path.name for path in (tmp_path / "churn").iterdir()] == ["mine.py"]


def test_programs_read_what_was_made(tmp_path: Path, millrace: object) -> None:
    made = json.loads(millrace("new", "churn", "--json", cwd=tmp_path).stdout)  # type: ignore[operator]
    assert made["pipeline"] == "churn"
    assert all((tmp_path / file).is_file() for file in made["files"])
    done = millrace("compile", made["pipeline"], "--json", cwd=tmp_path)  # type: ignore[operator]
    assert (tmp_path / json.loads(done.stdout)["compiled"]).is_file()


LOOP = """
from typing import List
from kfp import dsl
from kfp.dsl import Dataset, Input, Output

@dsl.component
def count(data: Input[Dataset]) -> int:
    return 1

@dsl.pipeline(name="loop")
def loop(tables: List[Dataset]):
    with dsl.ParallelFor(tables) as table:
        count(data=table)
"""


def test_compile_warns_of_what_kfp_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pipeline.py").write_text(LOOP)
    make.compiled(tmp_path, None, images.PREFIX, __version__, as_json=False)
    said = capsys.readouterr()
    assert re.fullmatch(r'warning: "for-loop-\d" loops over a list of artifacts, .*\n', said.err)
    assert said.out.strip() == str(tmp_path / "pipeline.yaml")
    make.compiled(tmp_path, None, images.PREFIX, __version__, as_json=True)
    assert len(json.loads(capsys.readouterr().out)["warnings"]) == 1


def test_compile_has_nothing_to_warn_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make.new("mine", tmp_path, as_json=True)
    make.compiled(tmp_path / "mine", None, images.PREFIX, __version__, as_json=False)
    assert capsys.readouterr().err == ""


def test_help_is_about_what_people_type(tmp_path: Path, millrace: object) -> None:
    assert "millrace run [OPTIONS]" in millrace("run", "--help", cwd=tmp_path).stdout  # type: ignore[operator]
    wrong = millrace("run", "--no-such-thing", cwd=tmp_path, check=False)  # type: ignore[operator]
    assert "'millrace run -h'" in wrong.stderr
    assert wrong.returncode == 2


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ParameterError, match=r"Cannot make .*file/demo: Not a directory"):
        make.new("demo", tmp_path / "file", as_json=False)
    make.new("demo", tmp_path, as_json=False)
    with pytest.raises(PipelineError, match=r"Cannot write .*file/x.yaml: Not a directory"):
        make.compiled(tmp_path / "demo", tmp_path / "file" / "x.yaml", "r.example/x", "1", False)
