"""Creates the files of a new pipeline or step for `millrace new`."""

from __future__ import annotations

import keyword
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from millrace.authoring import interface, locate
from millrace.errors import ParameterError

_HERE = Path(__file__).parent
_PIPELINE_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_STEP_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_TEST = "test_executor.py"


def pipeline(name: str, folder: Path) -> list[Path]:
    """Creates a pipeline that runs as it is, and returns its files.

    Args:
        name: The pipeline's name: small letters, digits, `-` and `_`.
        folder: Where the pipeline's own folder is made.

    Raises:
        ParameterError: The name is not valid, or is taken.
    """
    if not _PIPELINE_NAME.fullmatch(name):
        raise ParameterError(
            f'"{name}" cannot name a pipeline: use small letters and digits, with - or _ between.'
        )
    if name in locate.packaged():
        raise ParameterError(
            f"`millrace run {name}` runs the {name} that Millrace brings: take another name."
        )
    return _write(folder / name, _rendered("template", name=name))


def step(name: str, folder: Path) -> list[Path]:
    """Creates a step with a passing test, and returns its files.

    In Millrace's own components/, the test goes to tests/components/, and the step has a README.

    Args:
        name: The name of the step, of its package and of its function.
        folder: Where the step's own folder is made.

    Raises:
        ParameterError: The name is not valid, or is taken.
    """
    if not _STEP_NAME.fullmatch(name):
        raise ParameterError(
            f'"{name}" cannot name a step: use small letters and digits, with _ between.'
        )
    if keyword.iskeyword(name) or name in sys.stdlib_module_names:
        raise ParameterError(f'"{name}" is a word or a module of Python\'s: take another name.')
    if name in interface.names():
        raise ParameterError(f"Millrace has a step {name}: take another name.")
    is_ours = folder.resolve() == interface.folder().resolve()
    title = "".join(part.capitalize() for part in name.split("_"))
    package = f"millrace.components.{name}" if is_ours else name
    files = _rendered("step_template", name=name, title=title, package=package)
    if not is_ours:
        return _write(folder / name, files)
    test = files.pop(_TEST)
    files["README.md"] = interface.readme(
        interface.parse(folder / name / "component.py", files["component.py"])
    )
    tests = folder.resolve().parent / "tests" / "components" / name
    return [*_write(folder / name, files), *_write(tests, {_TEST: test})]


def _rendered(template: str, **values: str) -> dict[str, str]:
    """Returns the files of a template, by name."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    templates = Environment(  # noqa: S701 - it renders Python, not HTML
        loader=FileSystemLoader(_HERE / template),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
    )
    return {
        path.name.removesuffix(".j2"): templates.get_template(path.name).render(values)
        if path.suffix == ".j2"
        else path.read_text(encoding="utf-8")
        for path in sorted((_HERE / template).iterdir())
    }


def _write(target: Path, files: Mapping[str, str]) -> list[Path]:
    """Creates a folder with files, and returns them."""
    if os.path.lexists(target):  # pathlib raises if a name is too long
        raise ParameterError(f"There is a {target} already.")
    try:
        target.mkdir(parents=True)
        for file, text in files.items():
            (target / file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ParameterError(f"Cannot make {target}: {error.strerror}.") from error
    return [target / file for file in files]
