"""Python components and packages to install, without a package index."""

import base64
import hashlib
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PYTHON = "{}.{}".format(*sys.version_info)
IMAGE = f"python:{PYTHON}"  # no component here is for another Python than the tests'


def make_wheel(folder: Path, name: str, version: str, source: str, module: str = "") -> Path:
    """Writes a wheel of one module, which is a file of the wheel's name unless it is given."""
    info = f"{name}-{version}.dist-info"
    files = {
        module or f"{name}.py": source,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-say = {name}:say\n",
    }
    record = [f"{path},sha256={_digest(text)},{len(text.encode())}" for path, text in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*record, f"{info}/RECORD,,", ""])
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in files.items():
            archive.writestr(inner, text)
    return path


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package that is on this machine only."""
    folder = tmp_path_factory.mktemp("wheels")
    return make_wheel(folder, "millpond", "1.5", "LEVEL = 3\ndef say(): print('deep')\n")


@pytest.fixture(scope="session")
def component(kit: Any) -> Callable[..., Any]:
    """Makes a component of a function, for the Python of the tests."""

    def make(**options: Any) -> Any:
        return kit.dsl.component(**{"base_image": IMAGE, **options})

    return make


@pytest.fixture
def single(kit: Any, run: Callable[..., Any]) -> Callable[..., Any]:
    """Runs a component alone, and returns what came of its task."""

    def start(one: Any, inputs: dict[str, Any] | None = None, **options: Any) -> Any:
        def alone() -> None:
            one(**inputs or {})

        result = run(kit.compile(alone), **options)
        (task,) = result.tasks.values()
        return task

    return start
