"""Builds the images of the steps: the targets of docker/Dockerfile, named as in millrace/images.py.

    make images IMAGE_PREFIX=registry.example.com/ml/millrace IMAGE_TAG=1.2.0
    make images BASE_IMAGE=debian:trixie-slim DOCKER_BUILD_ARGS="--network host"
    make test-current          # builds the target `test` instead, and runs it

Further arguments go to `docker build`; DOCKER names another client, such as podman. It needs Python
3.10 or later and no set-up.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCKER = os.environ.get("DOCKER", "docker")
sys.path.insert(0, str(ROOT))

from millrace.images import PREFIX, Image, name  # noqa: E402 - this tree's, which need not be installed
from millrace.version import __version__  # noqa: E402


def main(what: str, *arguments: str) -> None:
    """Builds the images of the `steps` or of the `test`s, and prints how long each took."""
    prefix = os.environ.get("IMAGE_PREFIX") or PREFIX
    tag = os.environ.get("IMAGE_TAG") or __version__
    if not _output(DOCKER, "version", "--format", "{{.Server.Version}}"):
        raise SystemExit(
            "error: no Docker Engine answers. Start one or name one in DOCKER_HOST; "
            'for a test engine on this machine: eval "$(docker/engine.sh start)".'
        )
    names = {image.value: name(image, prefix, tag) for image in Image}
    if what == "test":
        names = {what: f"{prefix}-{what}:{tag}"}
    common = [*labels(), *base_image(), *arguments]
    environment = os.environ | builder()
    for target, full_name in names.items():
        start = time.monotonic()
        command = [DOCKER, "build", "--file", "docker/Dockerfile", "--target", target]
        command += ["--tag", full_name, *common, "."]
        if subprocess.run(command, cwd=ROOT, env=environment).returncode:
            raise SystemExit(f"error: {full_name} was not built; see above for the reason.")
        size = int(_output(DOCKER, "image", "inspect", "--format", "{{.Size}}", full_name))
        print(f"{full_name}: {size / 1e9:.2f} GB, {time.monotonic() - start:.0f} s", flush=True)


def builder() -> dict[str, str]:
    """Returns the environment in which `docker build` uses BuildKit, where this client can.

    A client of version 20.10 has BuildKit built in, but off by default. A later one takes it from
    its buildx plugin; without the plugin it has only the classic builder, which is twice as slow.
    """
    client = _output(DOCKER, "version", "--format", "{{.Client.Version}}")
    return {"DOCKER_BUILDKIT": "1"} if int(client.split(".")[0]) < 23 else {}


def labels() -> list[str]:
    """Returns the options that label an image with its sources."""
    commit = _output("git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    given = {"version": __version__, "revision": commit}
    return [f"--label=org.opencontainers.image.{key}={value}" for key, value in given.items()]


def base_image() -> list[str]:
    """Returns the option for another base than the Dockerfile's own."""
    base = os.environ.get("BASE_IMAGE")
    return [f"--build-arg=BASE_IMAGE={base}"] if base else []


def _output(*command: str) -> str:
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    except FileNotFoundError:
        raise SystemExit(f"error: there is no command `{command[0]}`; install it.") from None
    return done.stdout.strip()


if __name__ == "__main__":
    main(*sys.argv[1:])
