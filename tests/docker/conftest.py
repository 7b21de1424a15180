"""Fixtures of the image tests."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest

from millrace.images import Image, name


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="session")
def inspected() -> Callable[[Image], dict]:
    """The engine's description of an image."""

    def inspect(image: Image) -> dict:
        done = docker("image", "inspect", name(image))
        if done.returncode:
            pytest.fail(
                f"{done.stderr.strip()}\nThese tests need a Docker Engine and `make images`."
            )
        return json.loads(done.stdout)[0]

    return inspect


@pytest.fixture(scope="session")
def container(inspected) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command in an image, with the fewest possible rights."""

    def run(image: Image, *command: str, user: str = "") -> subprocess.CompletedProcess[str]:
        inspected(image)
        options = ["--rm", "--network=none", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL"]
        options += [f"--user={user}"] if user else []
        return docker("run", *options, name(image), *command)

    return run
