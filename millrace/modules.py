"""Loads users' modules: a Python file, or an installed module by its dotted name."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from millrace.errors import MillraceError, ModuleError, nearest

_PREAMBLE = ("Graph execution error", "Detected at node", "<stack traces", 'File "', "Traceback")


def load(module_file: str) -> ModuleType:
    """Imports a module from a path that ends in `.py`, or by its dotted name.

    Raises:
        ModuleError: It cannot be found, or its code fails.
    """
    try:
        return (
            _load_file(Path(module_file))
            if module_file.endswith(".py")
            else importlib.import_module(module_file)
        )
    except SyntaxError as error:
        raise ModuleError(
            f"{error.filename}, line {error.lineno}: {error.msg}: {(error.text or '').strip()}"
        ) from error
    except ModuleNotFoundError as error:
        raise ModuleError(
            f'Cannot import "{module_file}": there is no module "{error.name}".'
        ) from error
    except ModuleError:
        raise
    except Exception as error:
        raise ModuleError(
            f'Importing "{module_file}" failed: {type(error).__name__}: {error}'
        ) from error


def function(module_file: str, *names: str) -> Callable[..., Any]:
    """Returns the first function of `names` that a module defines.

    Raises:
        ModuleError: It defines none of them.
    """
    return named_function(module_file, *names)[1]


def named_function(module_file: str, *names: str) -> tuple[str, Callable[..., Any]]:
    """Returns the first function of `names` that a module defines, and its name there.

    Raises:
        ModuleError: It defines none of them.
    """
    module = load(module_file)
    for name in names:
        if callable(found := getattr(module, name, None)):
            return name, found
    defined = [key for key, value in vars(module).items() if inspect.isfunction(value)]
    wanted = " or ".join(f"{name}(…)" for name in names)
    raise ModuleError(
        f'"{module_file}" must define {wanted}, and does not.{nearest(names[0], defined)}'
    )


@contextlib.contextmanager
def calling(
    module_file: str, name: str, kinds: tuple[type[Exception], ...] = (Exception,)
) -> Iterator[None]:
    """Converts exceptions of a user's code to errors that name the function and the line.

    Args:
        module_file: The function's module.
        name: The function's name.
        kinds: The exceptions to convert; others pass unchanged.

    Raises:
        ModuleError: The code raised one of them.
    """
    try:
        yield
    except MillraceError:
        raise
    except kinds as error:
        raise ModuleError(
            f"{name} of {module_file} failed{where(error, module_file)}:"
            f" {type(error).__name__}: {_reason(error)}"
        ) from error


def where(error: BaseException, module_file: str) -> str:
    """Returns the last line of a module in an error's traceback, or an empty string."""
    file = Path(module_file).name
    if not file.endswith(".py"):
        file = f"{module_file.rpartition('.')[2]}.py"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).name == file
    ]
    return f" in line {frames[-1].lineno} ({frames[-1].line})" if frames else ""


def _reason(error: BaseException) -> str:
    """Returns the most informative line of an error's message."""
    lines = [line.strip() for line in str(error).splitlines()]
    # TensorFlow begins with the place in the graph.
    useful = [line for line in lines if line and not line.startswith(_PREAMBLE)]
    return (useful or lines or [""])[0]


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ModuleError(f"There is no file {path}.")
    name = f"millrace_user_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ModuleError(f"{path} is not a Python module.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pickling and typing.get_type_hints look up a function's module
    _look_beside(path)
    spec.loader.exec_module(module)
    return module


def _look_beside(path: Path) -> None:
    """Lets a module import its neighbours, now and later.

    Libraries come first, so that a `random.py` there does not replace Python's own; the working
    directory comes last.
    """
    folder, here = str(path.parent.absolute()), str(Path.cwd())
    if folder not in sys.path:
        last = [one for one in sys.path if one in ("", here)]
        sys.path[:] = [*(one for one in sys.path if one not in last), folder, *last]
