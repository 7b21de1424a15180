"""New pipelines, and their compiled files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from millrace import images
from millrace.authoring import interface
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
    make.new("two_words", tmp_path, is_step=False, as_json=False)
    made = sorted(path.name for path in (tmp_path / "two_words").iterdir())
    assert made == ["data.csv", "model.py", "pipeline.py", "preprocessing.py"]
    for name in ("model.py", "pipeline.py", "preprocessing.py"):
        compile((tmp_path / "two_words" / name).read_text(), name, "exec")
    assert '@dsl.pipeline(name="two_words")' in (tmp_path / "two_words/pipeline.py").read_text()


@pytest.mark.parametrize("name", ["class", "trainer", "pipeline"])
def test_a_name_that_python_or_the_file_uses(tmp_path: Path, name: str) -> None:
    make.new(name, tmp_path, is_step=False, as_json=False)
    assert read(compile_file(tmp_path / name)).name == name


@pytest.mark.parametrize("name", ["flights", "tabular"])
def test_a_name_that_would_run_another(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError, match=f"runs the {name} that Millrace brings"):
        make.new(name, tmp_path, is_step=False, as_json=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "Churn", "1st", "a b", "../up", "/tmp/x", "größe", "a-", "a--b"]
)
def test_a_name_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(ParameterError, match="cannot name a pipeline"):
        make.new(name, tmp_path, is_step=False, as_json=False)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "churn").mkdir()
    (tmp_path / "churn/mine.py").write_text("mine")
    with pytest.raises(ParameterError, match=r"There is a .*churn already"):
        make.new("churn", tmp_path, is_step=False, as_json=False)
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
    make.new("mine", tmp_path, is_step=False, as_json=True)
    make.compiled(tmp_path / "mine", None, images.PREFIX, __version__, as_json=False)
    assert capsys.readouterr().err == ""


USES_A_STEP = """
from kfp import dsl
from count_rows.component import count_rows
from millrace.components.example_gen.component import example_gen

@dsl.pipeline(name="counted")
def counted(data_uri: str = "data.csv"):
    count_rows(examples=example_gen(data_uri=data_uri).outputs["examples"])
"""


def test_a_new_step_passes_its_test(tmp_path: Path, millrace: object) -> None:
    made = json.loads(millrace("new", "--step", "count_rows", "--json", cwd=tmp_path).stdout)  # type: ignore[operator]
    assert made["step"] == "count_rows"
    assert {Path(file).name for file in made["files"]} == {
        *("__init__.py", "component.py", "executor.py", "test_executor.py"),
    }
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "count_rows"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert "2 passed" in done.stdout, done.stdout


@pytest.mark.slow
def test_a_new_step_runs_in_a_pipeline_beside_it(tmp_path: Path, millrace: object) -> None:
    millrace("new", "--step", "count_rows", cwd=tmp_path)  # type: ignore[operator]
    (tmp_path / "pipeline.py").write_text(USES_A_STEP)
    (tmp_path / "data.csv").write_text("x\n" + "".join(f"{number}\n" for number in range(50)))
    done = millrace("run", ".", cwd=tmp_path)  # type: ignore[operator]
    assert "complete" in done.stdout
    (page,) = tmp_path.glob(".millrace/counted/*/count-rows/page*")
    counts = re.findall(r"\d+", page.read_text())
    assert sum(map(int, counts)) == 50


def test_a_new_step_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In components/ its test and README are made too, and its names are the package's."""
    folder = tmp_path / "components"
    folder.mkdir()
    monkeypatch.setattr(interface, "folder", lambda: folder)
    make.new("count_rows", folder, is_step=True, as_json=False)
    test = tmp_path / "tests/components/count_rows/test_executor.py"
    assert "from millrace.components.count_rows import component, executor" in test.read_text()
    readme = (folder / "count_rows/README.md").read_text()
    assert readme == interface.readme(interface.of("count_rows"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("count-rows", "cannot name a step"),
        ("Count", "cannot name a step"),
        ("../up", "cannot name a step"),
        ("lambda", "word or a module of Python"),
        ("json", "word or a module of Python"),
        ("trainer", "Millrace has a step trainer"),
    ],
)
def test_a_name_that_no_step_can_have(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make.new(name, tmp_path, is_step=True, as_json=False)
    assert list(tmp_path.iterdir()) == []


def test_help_is_about_what_people_type(tmp_path: Path, millrace: object) -> None:
    assert "millrace run [OPTIONS]" in millrace("run", "--help", cwd=tmp_path).stdout  # type: ignore[operator]
    wrong = millrace("run", "--no-such-thing", cwd=tmp_path, check=False)  # type: ignore[operator]
    assert re.search(r"'millrace run (-h|--help)'", wrong.stderr)
    assert wrong.returncode == 2


def test_what_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ParameterError, match=r"Cannot make .*file/demo: Not a directory"):
        make.new("demo", tmp_path / "file", is_step=False, as_json=False)
    make.new("demo", tmp_path, is_step=False, as_json=False)
    with pytest.raises(PipelineError, match=r"Cannot write .*file/x.yaml: Not a directory"):
        make.compiled(tmp_path / "demo", tmp_path / "file" / "x.yaml", "r.example/x", "1", False)
