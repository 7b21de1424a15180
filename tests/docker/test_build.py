"""The sources of the images; no Docker Engine is needed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.images import Image

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "docker/Dockerfile").read_text(encoding="utf-8")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="the script runs in the images' Python")
def test_layers_are_the_package_and_its_extras(tmp_path):
    command = [sys.executable, ROOT / "docker/requirements.py", ROOT / "pyproject.toml", tmp_path]
    subprocess.run(command, check=True)
    layers = {path.stem: set(path.read_text().splitlines()) for path in tmp_path.iterdir()}
    assert set(layers) == {"core", "tensorflow", "data", "train", "test"}
    assert layers["tensorflow"] == layers["data"] & layers["train"]
    assert any(line.startswith("tensorflow-transform") for line in layers["tensorflow"])
    assert any(line.startswith("duckdb") for line in layers["core"])
    assert not any("tensorflow" in line for line in layers["core"])


def test_every_image_is_a_target():
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    assert {image.value for image in Image} <= stages


def test_what_is_copied_is_in_the_build_context():
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sent = {line.removeprefix("!/") for line in ignore if line.startswith("!/")}
    copied = set()
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        copied |= set(line.split()[:-1])
    assert copied == sent
    assert all((ROOT / path).exists() for path in sent)


def test_the_base_can_be_replaced_and_is_public():
    assert DOCKERFILE.count("ARG BASE_IMAGE=python:3.13-slim-trixie") == 1
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE).count("${BASE_IMAGE}") == 1
