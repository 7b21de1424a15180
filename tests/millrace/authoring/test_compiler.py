from __future__ import annotations

import importlib
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import yaml

from millrace.authoring import compiler
from millrace.errors import PipelineError

PIPELINE = '''
from kfp import dsl
from millrace.components.schema_gen.component import schema_gen
from millrace.components.statistics_gen.component import statistics_gen
from millrace.components.example_gen.component import example_gen

@dsl.pipeline(name="small")
def small(data_uri: str, query: str = """SELECT *
FROM data"""):
    """Describes a table.

    Args:
        data_uri: Where the table
            lies.
        query: SQL.
    """
    rows = example_gen(data_uri=data_uri, query=query)
    stats = statistics_gen(examples=rows.outputs["examples"])
    schema_gen(statistics=stats.outputs["statistics"])
'''


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.py"
    path.write_text(PIPELINE)
    return path


def test_kfp_loads_what_we_compile(source: Path) -> None:
    from kfp import components

    compiled = compiler.compile_file(source)
    loaded = components.load_component_from_file(str(compiled))
    assert loaded.name == "small"
    assert set(loaded.component_spec.inputs) == {"data_uri", "query"}


def test_a_default_of_several_lines_survives(source: Path) -> None:
    spec = yaml.safe_load(compiler.compile_file(source.parent).read_text())
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["query"]["defaultValue"] == "SELECT *\nFROM data"


def test_descriptions_are_on_one_line(source: Path) -> None:
    spec = yaml.safe_load(compiler.compile_file(source).read_text())
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    assert parameters["data_uri"]["description"] == "Where the table lies."


def test_image_names_are_a_parameter(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.yaml"
    compiler.compile_file(source, target, prefix="registry.example/ml/millrace", tag="v7")
    executors = yaml.safe_load(target.read_text())["deploymentSpec"]["executors"]
    assert {each["container"]["image"] for each in executors.values()} == {
        "registry.example/ml/millrace-core:v7",
        "registry.example/ml/millrace-data:v7",
    }


def test_compiling_twice_gives_the_same_bytes(source: Path) -> None:
    assert compiler.compile_text(source) == compiler.compile_text(source)


class TestFresh:
    """The file beside a source is up to date, whatever the clocks say."""

    @pytest.fixture
    def compiled(self, source: Path) -> Path:
        (source.parent / "settings.py").write_text("NAME = 'settings'")
        (source.parent / "model.py").write_text("")
        source.write_text("import settings\n" + PIPELINE)
        return compiler.compile_file(source)

    def test_from_compiling_on(self, source: Path, compiled: Path) -> None:
        assert compiler.is_fresh(source)
        source.touch()
        (source.parent / "notes.txt").touch()
        (source.parent / ".#model.py").symlink_to("nowhere")  # while an editor is saving it
        assert compiler.is_fresh(source)
        compiled.unlink()
        assert not compiler.is_fresh(source)

    @pytest.mark.parametrize("name", ["pipeline.py", "settings.py"])
    def test_until_a_source_is_another(self, source: Path, compiled: Path, name: str) -> None:
        path = source.parent / name
        path.write_text(path.read_text() + "\n")
        os.utime(path, (0, 0))  # as of a copy that was kept
        assert not compiler.is_fresh(source)
        compiler.compile_file(source)
        assert compiler.is_fresh(source)
        (source.parent / "settings.py").unlink()
        assert not compiler.is_fresh(source)

    def test_with_a_package_beside_it(self, source: Path) -> None:
        package = source.parent / "helpers"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "names.py").write_text("NAME = 'one'")
        source.write_text("from helpers.names import NAME\n" + PIPELINE)
        compiler.compile_file(source)
        assert compiler.is_fresh(source)
        (package / "names.py").write_text("NAME = 'two'")
        assert not compiler.is_fresh(source)

    def test_until_there_is_more_to_import(self, source: Path) -> None:
        source.write_text(
            "try:\n    import extra\nexcept ImportError:\n    extra = None\n" + PIPELINE
        )
        compiler.compile_file(source)
        (source.parent / "extra.py").touch()
        assert not compiler.is_fresh(source)
        compiler.compile_file(source)
        assert compiler.is_fresh(source)

    def test_in_a_folder_that_was_installed(self, tmp_path: Path) -> None:
        source = tmp_path / "site-packages" / "mine" / "pipeline.py"
        (source.parent / "site_helpers").mkdir(parents=True)
        helper = source.parent / "site_helpers" / "__init__.py"
        helper.touch()
        source.write_text("import site_helpers\n" + PIPELINE)
        compiler.compile_file(source)
        assert "site_helpers" not in sys.modules
        helper.write_text("CHANGED = 1")
        assert not compiler.is_fresh(source)

    def test_with_a_neighbour_that_was_imported_before(
        self, source: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.syspath_prepend(source.parent)
        importlib.import_module("settings")
        monkeypatch.setitem(sys.modules, "settings", sys.modules.pop("settings"))
        compiler.compile_file(source)
        assert "settings" in sys.modules
        (source.parent / "settings.py").write_text("NAME = 'changed'")
        assert not compiler.is_fresh(source)

    def test_with_a_neighbour_that_it_does_not_import(self, source: Path, compiled: Path) -> None:
        (source.parent / "model.py").write_text("LAYERS = 3")
        assert compiler.is_fresh(source)

    def test_with_a_neighbour_that_cannot_be_read(self, source: Path) -> None:
        (source.parent / "folder.py").mkdir()
        (source.parent / "gone.py").symlink_to("nowhere")
        compiler.compile_file(source)
        assert compiler.is_fresh(source)

    @pytest.mark.parametrize("line", ["# 5", "# null", '# {"": ""}', '# {"a": 1}', "# []", "#", ""])
    def test_not_with_a_line_that_was_edited(self, source: Path, compiled: Path, line: str) -> None:
        header, _, rest = compiled.read_text().split("\n", 2)
        compiled.write_text(f"{header}\n{line}\n{rest}")
        assert not compiler.is_fresh(source)

    def test_not_for_other_images(
        self, source: Path, compiled: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(PipelineError, match=r"Name a file for r.example/x-\*:1 with --output"):
            compiler.compile_file(source, prefix="r.example/x", tag="1")
        compiler.compile_file(source, compiled, prefix="r.example/x", tag="1")
        assert not compiler.is_fresh(source)
        compiler.compile_file(source)
        monkeypatch.setattr(compiler, "__version__", "99")
        assert not compiler.is_fresh(source)

    def test_what_others_have_made_is_theirs(self, source: Path) -> None:
        source.with_name("pipeline.yaml").write_text("# PIPELINE DEFINITION\n")
        assert compiler.is_fresh(source)

    def test_what_earlier_versions_have_made(self, source: Path, compiled: Path) -> None:
        header, _, *rest = compiled.read_text().splitlines()
        compiled.write_text("\n".join([header, *rest]))
        assert not compiler.is_fresh(source)


@pytest.mark.parametrize("output", [".", "/", "folder"])
def test_an_output_that_is_a_folder(
    source: Path, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(source.parent)
    Path("folder").mkdir()
    with pytest.raises(PipelineError, match="is a folder: name a file, such as"):
        compiler.compile_file(source, Path(output))
    assert sorted(path.name for path in source.parent.iterdir()) == ["folder", "pipeline.py"]


def test_a_folder_that_cannot_be_written(
    source: Path, unprivileged: Callable[[], AbstractContextManager[None]]
) -> None:
    source.parent.chmod(0o555)
    with (
        unprivileged(),
        pytest.raises(
            PipelineError, match=r"`millrace compile .*pipeline.py --output FILE` writes "
        ),
    ):
        compiler.compile_file(source)
    source.parent.chmod(0o755)


@pytest.mark.parametrize(
    "line", ["sys.path.remove(FOLDER)", "sys.path = []", "sys.path.append('x')"]
)
def test_a_source_that_changes_where_python_looks(source: Path, line: str) -> None:
    source.write_text(
        PIPELINE + f"import sys\n{line.replace('FOLDER', repr(str(source.parent)))}\n"
    )
    before = list(sys.path)
    compiler.compile_file(source)
    assert sys.path == before


def test_nothing_is_left_of_an_output_that_cannot_be(source: Path) -> None:
    output = source.with_name("x" * 250)
    with pytest.raises(PipelineError, match="File name too long"):
        compiler.compile_file(source, output)
    assert {path.name for path in source.parent.iterdir()} <= {"pipeline.py", "__pycache__"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("import kfp", "must define one @dsl.pipeline, and defines none"),
        (PIPELINE + PIPELINE.replace("small", "other"), "and defines 2: small, other"),
        ("def (", "line 1"),
        ("import nothing_like_this", 'no module "nothing_like_this"'),
        (PIPELINE.replace("data_uri=data_uri, ", ""), "missing"),
        ("raise ValueError('by hand,\\n  twice')", r"by hand, twice in line 1"),
        ("raise ValueError('by hand')", r"by hand in line 1 \(raise ValueError\('by hand'\)\)\.$"),
        ("import sys\nsys.exit(3)", r"ends Python in line 2 \(sys.exit\(3\)\) and defines no"),
    ],
)
def test_a_source_that_cannot_be_compiled(source: Path, text: str, message: str) -> None:
    source.write_text(text)
    with pytest.raises(PipelineError, match=message):
        compiler.compile_file(source)
    assert [path.name for path in source.parent.glob("*.yaml*")] == []


def test_a_pipeline_that_another_has_as_a_task(source: Path) -> None:
    source.write_text(
        PIPELINE
        + """
@dsl.pipeline(name="outer")
def outer(data_uri: str):
    small(data_uri=data_uri)
"""
    )
    assert yaml.safe_load(compiler.compile_text(source))["pipelineInfo"]["name"] == "outer"


def test_a_compiled_file_is_no_source(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").touch()
    with pytest.raises(PipelineError, match=r"one\.yaml is no Python file: name a pipeline\.py"):
        compiler.compile_file(tmp_path / "one.yaml")


def test_no_source(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"There is no .*churn: `millrace new churn`"):
        compiler.compile_file(tmp_path / "churn")


def test_without_kfp_the_error_names_the_extra(source: Path) -> None:
    code = (
        "import sys; sys.modules['kfp'] = None; sys.argv = ['millrace', 'compile', sys.argv[1]]\n"
        "from millrace.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(source)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'millrace[compile]'" in done.stderr
    assert "Traceback" not in done.stderr
