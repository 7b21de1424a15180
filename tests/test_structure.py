"""The structure of the repository: directions of imports, and generated files are fresh."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from millrace import artifacts, dsl
from millrace.authoring import compiler, interface

ROOT = Path(__file__).parents[1]
STEPS = sorted(path.parent.name for path in ROOT.glob("components/*/component.py"))
PIPELINES = sorted(path.parent.name for path in ROOT.glob("pipelines/*/pipeline.py"))

# Modules that are too slow to import for commands that do not need them.
HEAVY = {"apache_beam", "kfp", "pandas", "pyarrow", "tensorflow", "tf_keras", "duckdb"}
HEAVY |= {"tensorflow_data_validation", "tensorflow_transform", "tfx_bsl", "ml_metadata"}
# What an executor may import of Millrace, besides its own folder.
SHARED = {"artifacts", "data", "errors", "ml", "modules", "progress", "redact", "report", "storage"}


def imports(path: Path) -> list[tuple[int, str]]:
    """Every module that a file imports, with the line, `from a import b` as `a.b`."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: import by the full name instead"
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def loaded_by(code: str) -> set[str]:
    """The modules and packages that a fresh interpreter has loaded after some code."""
    code += "\nimport sys; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("step", STEPS)
def test_component_imports_only_the_dsl(step: str) -> None:
    path = ROOT / "components" / step / "component.py"
    for line, name in imports(path):
        top = name.split(".")[0]
        assert top in sys.stdlib_module_names or name.startswith(("kfp.", "millrace.dsl.")), (
            f"{path}:{line}: component.py imports {name}; it may import kfp and millrace.dsl only. "
            "Move the work to executor.py."
        )


def test_components_load_nothing_heavy() -> None:
    code = "\n".join(f"import millrace.components.{step}.component" for step in STEPS)
    heavy = loaded_by(code) & (HEAVY - {"kfp"})
    assert not heavy, f"importing every component.py loads {heavy}; import it in executor.py"


@pytest.mark.parametrize("step", STEPS)
def test_executor_keeps_to_its_own(step: str) -> None:
    for path in (ROOT / "components" / step).glob("*.py"):
        if path.name == "component.py":
            continue
        for line, name in imports(path):
            parts = name.split(".")
            where = f"{path}:{line}: a step's work imports {name}"
            assert parts[0] not in {"kfp", "ml_metadata"}, f"{where}; it must run without it"
            if parts[:2] == ["millrace", "components"]:
                assert parts[2] == step, f"{where}; share code through millrace/ instead"
            elif parts[0] == "millrace":
                assert parts[1] in SHARED, f"{where}; it may import {sorted(SHARED)} of millrace"


def test_only_lineage_imports_ml_metadata() -> None:
    for path in ROOT.glob("millrace/**/*.py"):
        if path.parent.name == "lineage":
            continue
        for line, name in imports(path):
            assert not name.startswith("ml_metadata"), f"{path}:{line}: go through millrace.lineage"


def test_packages_import_nothing() -> None:
    for path in [*ROOT.glob("millrace/**/__init__.py"), *ROOT.glob("[cp]*s/**/__init__.py")]:
        assert not imports(path), f"{path}: an __init__.py imports nothing; import where it is used"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['millrace', '--help']\n"
        "from millrace.cli.main import main\n"
        "import contextlib, io\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()): main()"
    )
    heavy = loaded_by(code) & (HEAVY | {"yaml", "jinja2", "psutil", "numpy", "rich", "fsspec"})
    assert not heavy, f"millrace --help loads {heavy}; import it within the command"


def test_a_run_loads_only_what_it_needs() -> None:
    code = "import millrace.cli.run, millrace.lineage.store, millrace.runner.recorder"
    slow = {"absl.logging", "google.protobuf.text_format", "grpc", "importlib.metadata", "rich"}
    slow |= {"configparser", "fsspec", "jinja2", "pydantic"} | HEAVY - {"ml_metadata"}
    found = loaded_by(code) & slow
    assert not found, f"millrace run loads {found}; import it where it is used"


@pytest.mark.parametrize("step", STEPS)
def test_component_and_executor_agree(step: str) -> None:
    run = importlib.import_module(f"millrace.components.{step}.executor").run
    found = interface.differences(interface.of(step), run)
    assert not found, f"components/{step}/executor.py: {'; '.join(found)}"


@pytest.mark.parametrize("step", STEPS)
def test_every_port_is_described(step: str) -> None:
    for port in interface.of(step).ports:
        assert port.description, f'components/{step}/component.py: describe "{port.name}" in Args'


def test_every_step_is_in_the_lifecycle() -> None:
    assert sorted(interface.names()) == STEPS, (
        "components/__init__.py: LIFECYCLE must name every folder of components/ that is a step"
    )


@pytest.mark.parametrize("step", STEPS)
def test_every_step_has_tests(step: str) -> None:
    folder = ROOT / "tests" / "components" / step
    assert list(folder.glob("test_*.py")), f"{folder} is missing: a step has tests of its own"


def test_every_artifact_type_can_be_used() -> None:
    """A new type needs a class, an entry in TYPES, and a name for KFP."""
    defined = {
        kind
        for kind in vars(artifacts).values()
        if isinstance(kind, type) and issubclass(kind, artifacts.Artifact)
    }
    for kind in defined:
        assert artifacts.TYPES.get(kind.schema_title) is kind, (
            f"millrace/artifacts.py: TYPES must have {kind.__name__}, under a title of its own"
        )
        assert kind.__name__ in dsl.__all__, f"millrace/dsl.py must export {kind.__name__}"
        assert getattr(dsl, kind.__name__).schema_title == kind.schema_title, (
            f"millrace/dsl.py: {kind.__name__} is KFP's class of another type"
        )


@pytest.mark.parametrize("step", STEPS)
def test_readme_is_fresh(step: str) -> None:
    path = ROOT / "components" / step / "README.md"
    assert path.is_file(), f"{path} is missing: run `make docs`"
    expected = interface.readme(interface.of(step))
    assert path.read_text(encoding="utf-8") == expected, f"{path} is stale: run `make docs`"


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_compiled_pipeline_is_fresh(pipeline: str) -> None:
    folder = ROOT / "pipelines" / pipeline
    compiled, fresh = (
        list(yaml.load_all(text, Loader=yaml.CSafeLoader))
        for text in (
            (folder / compiler.COMPILED).read_text(encoding="utf-8"),
            compiler.compile_text(folder / compiler.SOURCE),
        )
    )
    for document in (compiled[0], fresh[0]):
        document.pop("sdkVersion")  # it differs between the dependency lines
    assert compiled == fresh, f"{folder / compiler.COMPILED} is stale: run `make compile`"


@pytest.mark.parametrize("top", ["millrace", "components", "pipelines"])
def test_every_folder_with_code_is_a_package(top: str) -> None:
    for folder in {path.parent for path in (ROOT / top).rglob("*.py")}:
        assert (folder / "__init__.py").is_file(), (
            f"{folder} needs an __init__.py: setup.py installs packages only"
        )
