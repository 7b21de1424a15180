"""Runs containers through Docker's command line, with as few rights as a step needs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import threading
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from millrace.backends.base import GRACE, Ended, Stop, Work, check_length, has_ended
from millrace.backends.process import step_of
from millrace.errors import PipelineError
from millrace.images import PREFIX
from millrace.ir import spec as ir

LABEL = "millrace.run"
_ENGINE_FAILED = 125  # `docker run` itself, not the command in the container
# Ends the run's containers when the runner dies and its end of the pipe closes silently. A
# container that `docker run` was just about to start is found the second or third time.
_WATCH = """
read -r word && exit
for again in 1 2 3; do
  docker ps --quiet --filter "label=$0=$1" | xargs -r docker kill >/dev/null 2>&1
  sleep 1
done
"""


@dataclasses.dataclass(frozen=True)
class Options:
    """How containers are run.

    Attributes:
        network: The Docker network they are in; Docker's default if empty.
    """

    network: str = ""


class DockerBackend:
    """Runs every container in Docker, as the caller's user."""

    name = "docker"

    def __init__(self, run_id: str, options: Options) -> None:
        self._run_id = run_id
        self._options = options
        self._images: dict[str, str] = {}
        self._watch: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._pulling: dict[str, threading.Lock] = {}
        self._stop = Stop()

    def check(self, containers: Iterable[ir.Container]) -> None:
        """Checks that an engine answers, and that it has Millrace's images."""
        containers = list(containers)
        wanted = sorted({container.image for container in containers})
        self._look_up(wanted)
        for container in containers:
            image = container.image
            if step_of(container) is not None and not self._images[image]:
                raise PipelineError(f"The Docker Engine has no image {image}: {_how_to_get(image)}")

    def code(self, container: ir.Container) -> dict[str, Any]:
        """Returns the id of the image, which changes whenever anything in it does.

        An image that the engine does not have is pulled first, as its name may refer to another
        image than last time.

        Raises:
            PipelineError: It cannot be pulled.
        """
        return {"image": self._image_id(container.image)}

    def imports_here(self, container: ir.Container) -> bool:
        """Returns False: a container imports from its image."""
        return False

    def prepare(self, containers: Iterable[ir.Container]) -> None:
        """Does nothing: containers are not kept waiting."""

    def run(self, work: Work) -> Ended:
        """Runs a container and waits for it."""
        self._start_watch()
        check_length(work.command)
        name = f"millrace-{uuid.uuid4().hex[:12]}"
        with work.log.open("ab") as log:
            process = subprocess.Popen(
                ["docker", "run", "--name", name, *self._arguments(work)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **work.secret_env},
                start_new_session=True,  # Ctrl-C is the runner's to handle
            )
            done = threading.Event()
            threading.Thread(target=_wait, args=(process, done), daemon=True).start()
            reason = has_ended(done, work.stop, work.container.timeout)
            if process.poll() is None:
                _docker("stop", "--time", f"{GRACE:.0f}", name)
                _docker("rm", "--force", name)  # it may have been starting
            code = process.wait()
        if code == _ENGINE_FAILED and not reason:
            return Ended(code, 0, "Docker could not run it", is_told_by_log=True)
        # The exit code of a command that a signal ended is 128 and its number.
        return Ended(128 - code if code > 128 else code, 0, reason or "")

    def pids(self) -> list[int]:
        """Returns nothing: the engine's containers are not our children."""
        return []

    def cancel(self) -> None:
        """Stops pulling images."""
        self._stop.ask()

    def close(self) -> None:
        """Ends the watch; each container has ended with its work."""
        with self._lock:
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.communicate(b"done\n")

    def _image_id(self, image: str) -> str:
        """Returns the id of an image; pulls it if the engine does not have it."""
        with self._lock:
            pulling = self._pulling.setdefault(image, threading.Lock())
        with pulling:
            found = self._images.get(image) or _inspect(image)
            if not found:
                self._pull(image)
                found = _inspect(image)
            self._images[image] = found
        return found

    def _pull(self, image: str) -> None:
        pull = subprocess.Popen(
            ["docker", "pull", "--quiet", image],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        unregister = self._stop.register(pull.terminate)
        try:
            _, errors = pull.communicate()
        finally:
            unregister()
        if self._stop.asked:
            raise PipelineError("The run was stopped.")
        if pull.returncode:
            raise PipelineError(
                f"Docker has no image {image} and cannot pull it: {' '.join(errors.split())}"
            )

    def _start_watch(self) -> None:
        with self._lock:
            if self._watch is None:
                self._watch = subprocess.Popen(
                    ["sh", "-c", _WATCH, LABEL, self._run_id],
                    stdin=subprocess.PIPE,
                    start_new_session=True,
                )

    def _arguments(self, work: Work) -> Iterator[str]:
        container = work.container
        image = self._image_id(container.image)  # as the cache looked it up
        yield from ("--rm", "--init", "--read-only", "--workdir", "/tmp")  # noqa: S108
        yield from ("--tmpfs", "/tmp:rw,exec,mode=1777")  # noqa: S108
        yield from ("--cap-drop", "ALL", "--security-opt", "no-new-privileges")
        yield from ("--user", f"{os.getuid()}:{os.getgid()}")
        yield from ("--label", f"{LABEL}={self._run_id}")
        if self._options.network:
            yield from ("--network", self._options.network)
        yield from _limits(container.resources)
        for key, value in {"HOME": "/tmp", **work.env}.items():  # noqa: S108
            if key not in work.secret_env:
                yield from ("--env", f"{key}={value}")
        for name in work.secret_env:
            yield from ("--env", name)  # its value, a secret, is in no list of processes
        yield from _mounts(work)
        entry, *rest = work.command or [""]
        if container.command:
            yield from ("--entrypoint", entry, image)
            yield from rest
        else:
            yield image
            yield from work.command

    def _look_up(self, images: list[str]) -> None:
        """Looks up the ids of the images that the engine has."""
        try:
            answer = _docker("version", "--format", "{{.Server.Version}}")
        except PipelineError as error:
            raise PipelineError(f"{_needed(images)}, and {error}") from None
        if answer.returncode:
            raise PipelineError(
                f"{_needed(images)}, and no engine answers: {' '.join(answer.stderr.split())}"
            )
        for image in images:
            self._images[image] = _inspect(image)


def _inspect(image: str) -> str:
    """Returns the id of an image; empty if the engine does not hold it."""
    found = _docker("image", "inspect", "--format", "{{.Id}}", image)
    return found.stdout.strip() if not found.returncode else ""


def _wait(process: subprocess.Popen[bytes], done: threading.Event) -> None:
    process.wait()
    done.set()


def _limits(resources: ir.Resources) -> Iterator[str]:
    cpus = min(resources.cpu_limit, os.cpu_count() or 1)  # Docker refuses more than there are
    if cpus:
        yield from ("--cpus", f"{cpus:g}")
    if resources.memory_limit:
        yield from ("--memory", str(resources.memory_limit))
    if resources.accelerators:
        yield from ("--gpus", str(resources.accelerators))


def _mounts(work: Work) -> Iterator[str]:
    """Mounts what the step reads and writes at the same paths as on this machine."""
    for path in work.writes:
        with contextlib.suppress(OSError):
            path.mkdir(parents=True, exist_ok=True)
    written = [work.folder, *work.writes]
    readonly = {path: ",readonly" for path in work.reads if path.exists()}
    for path, how in {**readonly, **dict.fromkeys(written, "")}.items():
        yield from _bind(path, str(path), how)
    for mount in work.mounts:
        yield from _bind(mount.source, mount.target, ",readonly" if mount.readonly else "")


def _bind(source: Path, target: str, how: str) -> Iterator[str]:
    here, there = (str(one).replace('"', '""') for one in (source, target))  # a line of CSV
    yield from ("--mount", f'type=bind,"source={here}","target={there}"{how}')


def _how_to_get(image: str) -> str:
    if image.startswith(f"{PREFIX}-"):
        return "`make images` builds it."
    return f"`docker pull {image}` gets it if its registry has it."


def _needed(images: list[str]) -> str:
    return f"Running {', '.join(images)} needs a Docker Engine"


def _docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["docker", *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise PipelineError("there is no `docker` command here: install Docker.") from None
