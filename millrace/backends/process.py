"""Runs our steps and Python components in processes, and other containers in Docker."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from millrace.backends import lightweight, mount_namespace, shared
from millrace.backends.base import Backend, Ended, Work
from millrace.backends.lightweight import LightweightBackend
from millrace.backends.servers import Connection, WarmServer
from millrace.backends.sources import Sources
from millrace.errors import PipelineError
from millrace.images import COMMAND, Image
from millrace.ir import spec as ir
from millrace.ir.platform import Mount

CORE, HEAVY = "core", "heavy"
_PRELOAD = {
    CORE: (
        "pyarrow.parquet",
        "pyarrow.csv",
        "duckdb",
        "jinja2",
        "millrace.entrypoint",
        "millrace.data.examples",
        "millrace.report.page",
    ),
    HEAVY: (
        "pyarrow.parquet",
        "jinja2",
        "millrace.entrypoint",
        "millrace.data.examples",
        "millrace.report.page",
        "tensorflow",
        "tensorflow_data_validation",
        "tensorflow_transform",
        "tf_keras",
        "ai_edge_litert.interpreter",
        "ai_edge_quantizer",
    ),
}
# Read on import or at start, so a forked step would not see them.
_EARLY = ("TF_", "CUDA_", "XLA_", "OMP_", "OPENBLAS_", "MKL_", "PYTHON", "LD_", "MALLOC_", "ARROW_")


def step_of(container: ir.Container) -> str | None:
    """Returns the step that a container runs, if it runs one through our entrypoint."""
    size = len(COMMAND)
    line = (*container.command, *container.args)
    if line[1:size] != COMMAND[1:] or len(line) <= size:
        return None
    return line[size] if Path(line[0]).name.startswith("python") else None


def group_of(container: ir.Container) -> str:
    """Returns the warm server whose imports match an image."""
    name = container.image.rpartition("/")[2].partition(":")[0].partition("@")[0]
    return HEAVY if name.endswith((f"-{Image.DATA.value}", f"-{Image.TRAIN.value}")) else CORE


class ProcessBackend:
    """Runs our steps in processes forked from warm servers.

    `LightweightBackend` runs lightweight Python components; `others` runs everything else.
    """

    name = "process"

    def __init__(
        self,
        folder: Path,
        sources: Sources,
        others: Backend,
        environments: Path,
        steps: Path | None = None,
    ) -> None:
        """Starts nothing yet.

        Args:
            folder: The run's folder, for the servers' logs.
            sources: Finds the code of our steps.
            others: Runs the containers that cannot run in processes here.
            environments: Where virtual environments are kept.
            steps: The folder that the pipeline's own steps are imported from.
        """
        self._steps = steps
        self._folder = folder
        self._sources = sources
        self._others = others
        self._lightweight = LightweightBackend(folder, environments)
        self._servers: dict[tuple[str, tuple[tuple[str, str], ...]], Connection] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._is_shared = shared.minutes() > 0

    def check(self, containers: Iterable[ir.Container]) -> None:
        """Checks that a Docker Engine answers if one is needed.

        Raises:
            PipelineError: None does, or it cannot run these; the message says why it is needed.
        """
        containers = list(containers)
        others = [one for one in containers if _why_not_here(one)]
        self._lightweight.check(
            one for one in containers if step_of(one) is None and not _why_not_here(one)
        )
        if not others:
            return
        try:
            self._others.check(others)
        except PipelineError as error:
            reasons = sorted({f"{one.image}: {_why_not_here(one)}" for one in others})
            why = "; ".join(reasons)
            raise PipelineError(f"{error} Why it is needed: {why}.") from None

    def code(self, container: ir.Container) -> dict[str, Any]:
        """Returns the digests of the step's sources and of the libraries they use."""
        if (other := self._other(container)) is not None:
            return other.code(container)
        step = step_of(container)
        assert step is not None
        return {"sources": self._sources.of_step(step), "libraries": self._sources.environment()}

    def imports_here(self, container: ir.Container) -> bool:
        """Returns whether a container runs a step of ours, which is forked here."""
        return self._other(container) is None

    def prepare(self, containers: Iterable[ir.Container]) -> None:
        """Starts the warm servers for these containers, and creates environments."""
        containers = [one for one in containers if not _why_not_here(one)]
        self._lightweight.prepare(one for one in containers if step_of(one) is None)
        ours = [(step, one) for one in containers if (step := step_of(one)) is not None]
        for group in (CORE, HEAVY):
            steps = [step for step, one in ours if group_of(one) == group]
            if steps:
                self._server(group, {}, steps)

    def run(self, work: Work) -> Ended:
        """Forks a step and waits for it."""
        if (other := self._other(work.container)) is not None:
            return other.run(work)
        step = step_of(work.container)
        assert step is not None
        env = {**work.env, **work.secret_env}
        early = {key: value for key, value in env.items() if key.startswith(_EARLY)}
        server = self._server(group_of(work.container), early, [step])
        request = {
            "argv": list(work.command[len(COMMAND) :]),
            "env": env,
            "log": str(work.log),
        }
        return server.run(request, work.stop, work.container.timeout)

    def pids(self) -> list[int]:
        """Returns the warm servers, whose children the steps are."""
        with self._lock:
            own = [server.pid for server in self._servers.values()]
        return [*own, *self._lightweight.pids()]

    def cancel(self) -> None:
        """Stops installing packages and pulling images."""
        self._lightweight.cancel()
        self._others.cancel()

    def close(self) -> None:
        """Ends the warm servers, and with them every step."""
        with self._lock:
            self._closed = True
            servers = list(self._servers.values())
        for server in servers:
            server.close()
        self._lightweight.close()
        self._others.close()

    def _other(self, container: ir.Container) -> Backend | None:
        """Returns what runs a container; None if it is a step of ours that is forked here."""
        if _why_not_here(container, container.settings.mounts):
            return self._others
        return self._lightweight if step_of(container) is None else None

    def _server(self, group: str, early: Mapping[str, str], steps: Sequence[str]) -> Connection:
        key = (group, tuple(sorted(early.items())))
        with self._lock:
            if self._closed:
                raise RuntimeError("the runner is closed")
            if key not in self._servers or self._servers[key].ended:
                self._servers[key] = self._connection(group, early, steps)
            return self._servers[key]

    def _connection(self, group: str, early: Mapping[str, str], steps: Sequence[str]) -> Connection:
        modules = [*_PRELOAD[group], *_executors(steps)] if not early else []
        if not early and self._is_shared:
            ours = [name for name in modules if name not in steps]  # a user's code may change
            found = shared.connect(group, ours, self._sources.version(), _EARLY, self._steps)
            if found is not None:
                return found
        log = self._folder / f"warm-{group}-{len(self._servers)}.log"
        return WarmServer(log, modules, early, steps=self._steps)


def _why_not_here(container: ir.Container, mounts: Sequence[Mount] | None = None) -> str:
    """Returns why a container must run in Docker; empty if it may run in a process.

    Args:
        container: The container.
        mounts: What it will have mounted; what is not optional if None.
    """
    is_step = step_of(container) is not None
    if not is_step and (why := lightweight.why_not(container)):
        return why
    if mounts is None:
        mounts = [one for one in container.settings.mounts if not one.optional]
    if mounts and (is_step or not mount_namespace.is_available()):
        return f"it has a volume mounted at {mounts[0].path}, where a process cannot have one"
    return ""


def _executors(steps: Iterable[str]) -> list[str]:
    """Returns the modules of steps that are given by module name, not by file."""
    return [
        step if "." in step else f"millrace.components.{step}.executor"
        for step in steps
        if not step.endswith(".py")
    ]
