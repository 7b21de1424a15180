"""Pipelines compiled by kfp from its own DSL, of a step that does what its parameters say."""
# ruff: noqa: B006  KFP reads defaults and types from the signature

import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

PLAY = Path(__file__).with_name("play.py")


class Kit:
    """What a test compiles pipelines with.

    Attributes:
        dsl: kfp's DSL.
        play: The component of `play.py`.
    """

    def __init__(self, folder: Path) -> None:
        from kfp import compiler, dsl

        self.dsl = dsl
        self.folder = folder
        self._compiler = compiler.Compiler()
        self.play = self.step(PLAY)

    def step(self, file: Path, image: str = "millrace-core:0.1.0") -> Any:
        """A component of the interface of `play.py`."""
        dsl = self.dsl

        def play(
            out: dsl.Output[dsl.Dataset],
            said: dsl.OutputPath(str),
            number: dsl.OutputPath(int),
            given: dsl.OutputPath(dict),
            sure: dsl.OutputPath(bool),
            share: dsl.OutputPath(float),
            text: str = "",
            do: str = "",
            count: int = 0,
            ratio: float = 0.5,
            flag: bool = False,
            items: list = [],
            options: dict = {},
            data_uri: str = "",
            module_file: str = "",
            push_destination: str = "",
            data: dsl.Input[dsl.Dataset] = None,
        ):
            return dsl.ContainerSpec(
                image=image,
                command=["python", "-m", "millrace.entrypoint", str(file)],
                args=["--executor_input", "{{$}}"],
            )

        return dsl.container_component(play)

    def compile(self, function: Callable[..., Any], name: str = "") -> Path:
        """Compiles a function as a pipeline of its name."""
        name = name or function.__name__.replace("_", "-")
        pipeline = self.dsl.pipeline(name=name)(function)
        path = self.folder / f"{name}-{len(list(self.folder.iterdir()))}.yaml"
        self._compiler.compile(pipeline, str(path))
        return path

    def single(self, **inputs: Any) -> Path:
        """Compiles a pipeline of one task."""

        def single() -> None:
            self.play(**inputs)

        return self.compile(single)

    def edited(self, path: Path, edit: Callable[[dict[str, Any]], Any]) -> Path:
        """A compiled pipeline with something changed by hand."""
        spec = yaml.safe_load(path.read_text())
        edit(spec)
        other = path.with_name(f"edited-{len(list(self.folder.iterdir()))}.yaml")
        other.write_text(yaml.safe_dump(spec))
        return other


@pytest.fixture(scope="session")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """What a test compiles pipelines with."""
    return Kit(tmp_path_factory.mktemp("pipelines"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the runs of a test go."""
    return tmp_path / "root"


@pytest.fixture
def run(root: Path) -> Callable[..., Any]:
    """Runs a pipeline in the test's root."""
    from millrace.runner.run import run as run_pipeline

    def start(pipeline: Path, values: dict[str, Any] | None = None, **options: Any) -> Any:
        options.setdefault("root", root)
        return run_pipeline(str(pipeline), values, **options)

    return start


class Fifo:
    """A named pipe: a step says something, and the test waits for it, but not for ever."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self._number = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def hear(self) -> str:
        """Waits until something was said."""
        poll = select.poll()
        poll.register(self._number, select.POLLIN)
        assert poll.poll(60_000), f"nobody has written to {self.path}"
        return os.read(self._number, 1 << 16).decode()


@pytest.fixture
def fifo(tmp_path: Path) -> Fifo:
    """A named pipe."""
    (tmp_path / "pipes").mkdir()
    return Fifo(tmp_path / "pipes" / "fifo")
