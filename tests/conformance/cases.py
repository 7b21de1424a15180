"""The cases: pipelines in kfp's DSL, with the results that KFP's semantics require.

A module in `pipelines/` declares its cases with the decorator `case`. Cases do not depend on a
runner: Millrace and kfp.local run the same ones, and `compile_all.py` writes them for others.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
FILES = HERE / "files"


@dataclasses.dataclass(frozen=True)
class Case:
    """A pipeline and its expected result.

    Values, and the content of artifacts, may hold `{tmp}`: an empty folder that the case has for
    itself, in which tasks may leave files.

    Attributes:
        name: Its area and the name of its function: `loops/over_static_ints`.
        function: The DSL function, from which the pipeline is made.
        values: The parameters that the pipeline is given.
        outputs: All outputs of the pipeline; `artifact(…)` for an artifact.
        ran: The paths of all tasks that end COMPLETE, without those that are DAGs; None if that
            is not looked at.
        skipped: Paths of tasks that are SKIPPED, if their DAG opened.
        failed: The paths of all tasks that end FAILED, without DAGs. If there are any, the run
            fails, unless `state` says otherwise.
        parameters: Output parameters of tasks, by path.
        files: The text of files that tasks leave in `{tmp}`.
        errors: What the message of the run, or of its failed tasks, must contain.
        raises: What the error must contain if the pipeline does not even start.
        state: How the run ends.
        cached: If given, the pipeline runs a second time with caching, and these are the paths of
            all tasks that are CACHED in it.
        features: What it is about.
        local: The oldest kfp whose kfp.local gives the same result; None if none does.
        why: What kfp.local does instead.
        needs: The oldest kfp that compiles it.
        docker: Whether it has containers of its own, which take a Docker Engine.
        slow: Whether it takes more than a few seconds.
    """

    name: str
    function: Callable[..., Any]
    values: Mapping[str, Any]
    outputs: Mapping[str, Any]
    ran: Sequence[str] | None
    skipped: Sequence[str]
    failed: Sequence[str]
    parameters: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, str]
    errors: Sequence[str]
    raises: Sequence[str]
    state: str
    cached: Sequence[str] | None
    features: Sequence[str]
    local: str | None
    why: str
    needs: str
    docker: bool
    slow: bool

    @property
    def pipeline_name(self) -> str:
        """The name of the compiled pipeline."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower())

    def pipeline(self) -> Any:
        """Makes kfp's pipeline."""
        from kfp import dsl

        return dsl.pipeline(name=self.pipeline_name)(self.function)

    def compile(self, folder: Path) -> Path:
        """Compiles it into a folder."""
        from kfp import compiler

        path = folder / f"{self.pipeline_name}.yaml"
        compiler.Compiler().compile(self.pipeline(), str(path))
        return path

    def given(self, tmp: Path) -> dict[str, Any]:
        """Returns the parameters, with a folder filled in."""
        return filled(dict(self.values), tmp)

    def compiles_with(self, kfp: str) -> bool:
        """Returns whether a version of kfp can compile it."""
        return version(kfp) >= version(self.needs)

    def runs_in_local(self, kfp: str) -> bool:
        """Returns whether kfp.local of a version gives the same result."""
        return self.local is not None and version(kfp) >= version(self.local)


_CASES: dict[str, Case] = {}


def case(
    *,
    values: Mapping[str, Any] | None = None,
    outputs: Mapping[str, Any] | None = None,
    ran: str | None = None,
    skipped: str = "",
    failed: str = "",
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    files: Mapping[str, str] | None = None,
    errors: Sequence[str] = (),
    raises: Sequence[str] = (),
    state: str = "",
    cached: str | None = None,
    features: Sequence[str] = (),
    local: str | None = "2.17",
    why: str = "",
    needs: str = "2.13",
    docker: bool = False,
    slow: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declares a DSL function as a case; lists of paths are text, with blanks in between."""
    if local != "2.13" and not docker and not raises:
        assert local or why, "say what kfp.local makes of it"

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        name = f"{function.__module__.rpartition('.')[2]}/{function.__name__}"
        assert name not in _CASES, name
        _CASES[name] = Case(
            name=name,
            function=function,
            values=values or {},
            outputs=outputs or {},
            ran=ran.split() if ran is not None else None,
            skipped=skipped.split(),
            failed=failed.split(),
            parameters=parameters or {},
            files=files or {},
            errors=errors,
            raises=raises,
            state=state or ("FAILED" if failed else "COMPLETE"),
            cached=cached.split() if cached is not None else None,
            features=features,
            local=local,
            why=why,
            needs=needs,
            docker=docker,
            slow=slow,
        )
        return function

    return register


def load() -> dict[str, Case]:
    """Returns all cases by name."""
    for path in sorted((HERE / "pipelines").glob("*.py")):
        name = f"conformance.{path.stem}"
        if name not in sys.modules:
            spec = importlib.util.spec_from_file_location(name, path)
            assert spec is not None
            assert spec.loader is not None
            sys.modules[name] = module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
    return dict(_CASES)


def artifact(
    content: Any = None, kind: str = "system.Dataset", uri: str = "", /, **metadata: Any
) -> dict[str, Any]:
    """Returns an artifact in the form in which results are compared.

    Args:
        content: The text of a file; a mapping of names to texts for a folder; None if there is
            nothing, or if it lies elsewhere.
        kind: Its schema title.
        uri: Its URI, if it does not lie on this machine.
        metadata: Its metadata.
    """
    found = {"type": kind, "content": content, "metadata": metadata}
    return found | {"uri": uri} if uri else found


def described(kind: str, uri: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an output artifact, in the form of `artifact`."""
    if re.match(r"(?!file:)\w+:/", uri):
        return artifact(None, kind, uri, **metadata)
    return artifact(_content(Path(uri.removeprefix("file://"))), kind, **metadata)


def _content(path: Path) -> Any:
    if path.is_dir():
        return {
            str(file.relative_to(path)): file.read_text()
            for file in sorted(path.rglob("*"))
            if file.is_file()
        }
    return path.read_text() if path.exists() else None


def filled(value: Any, tmp: Path) -> Any:
    """Replaces `{tmp}` by a folder."""
    return json.loads(json.dumps(value).replace("{tmp}", str(tmp)))


def version(text: str) -> tuple[int, ...]:
    """Returns a version's first two numbers, to be compared."""
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])
