"""The built images: their content, and steps that run in them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from millrace.authoring import interface
from millrace.images import Image

pytestmark = pytest.mark.docker
ROOT = Path(__file__).parents[2]
ALL = pytest.mark.parametrize("image", list(Image), ids=lambda image: image.value)
SCRIPT = """
import getpass, importlib.metadata, importlib.util, json, os, pathlib, sys, sysconfig
site = pathlib.Path(sysconfig.get_path("purelib"))
compiled = {path.parent.parent / (path.name.split(".")[0] + ".py") for path in site.rglob("*.pyc")}
print(json.dumps({
    "python": list(sys.version_info[:2]),
    "executable": sys.executable,
    "user": [os.getuid(), os.getgid(), getpass.getuser(), os.path.expanduser("~")],
    "versions": {found.name: found.version for found in importlib.metadata.distributions()},
    "modules": [name for name in sys.argv[1:] if importlib.util.find_spec(name)],
    "bytecode": len(compiled) / len(list(site.rglob("*.py"))),
    "headers": (site / "tensorflow/include").exists(),
    "editable": [path.name for path in site.glob("__editable__*")],
}))
"""
MODULES = ("tensorflow", "tensorflow_data_validation", "tensorflow_transform", "tf_keras")
MODULES += ("ai_edge_litert", "ai_edge_quantizer", "ml_metadata", "duckdb", "kfp", "pytest")


@pytest.fixture(scope="module")
def inspect_python(container):
    known = {}

    def of(image: Image) -> dict:
        if image not in known:
            done = container(image, "python", "-c", SCRIPT, *MODULES)
            assert done.returncode == 0, done.stderr
            known[image] = json.loads(done.stdout)
        return known[image]

    return of


@ALL
def test_without_a_command_the_entrypoint_says_how_it_is_used(image, container):
    done = container(image)
    assert done.returncode == 1
    assert done.stderr.startswith("usage: python -m millrace.entrypoint STEP")


@ALL
def test_it_runs_as_a_numeric_user_without_rights(image, inspected, inspect_python):
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", inspected(image)["Config"]["User"])
    assert inspect_python(image)["user"] == [10001, 10001, "millrace", "/tmp"]


@ALL
def test_any_user_may_run_it(image, container):
    command = "id -u && echo x > ~/x && millrace --version"
    done = container(image, "sh", "-c", command, user="4321:0")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "4321"


@ALL
def test_python_is_the_virtual_environments(image, inspect_python):
    assert inspect_python(image)["executable"] == "/opt/millrace/bin/python"
    assert inspect_python(image)["editable"] == []
    assert inspect_python(image)["bytecode"] > 0.99


def test_each_image_has_what_its_steps_need_and_no_more(inspect_python):
    assert set(inspect_python(Image.CORE)["modules"]) == {"ml_metadata", "duckdb"}
    tensorflow = {"tensorflow", "tensorflow_transform", "tf_keras", "ml_metadata", "duckdb"}
    assert set(inspect_python(Image.DATA)["modules"]) == tensorflow | {"tensorflow_data_validation"}
    tools = {"ai_edge_litert", "ai_edge_quantizer"}
    assert set(inspect_python(Image.TRAIN)["modules"]) == tensorflow | tools


@ALL
def test_versions_are_those_of_the_current_line(image, inspect_python):
    python = ".".join(map(str, inspect_python(image)["python"]))
    pins = set()
    for line in (ROOT / "constraints/current.txt").read_text(encoding="utf-8").splitlines():
        pin = Requirement(line) if line and not line.startswith("#") else None
        if pin and (pin.marker is None or pin.marker.evaluate({"python_version": python})):
            pins.add(f"{canonicalize_name(pin.name)}{pin.specifier}")
    versions = inspect_python(image)["versions"]
    installed = {f"{canonicalize_name(key)}=={value}" for key, value in versions.items()}
    assert {pin for pin in installed - pins if not pin.startswith("millrace==")} == set()


@ALL
def test_no_build_tools_or_headers_are_left(image, container, inspect_python):
    tools = "gcc g++ cc c++ cpp ld as make uv"
    done = container(image, "sh", "-c", f"for tool in {tools}; do command -v $tool; done; true")
    assert done.stdout == ""
    assert not inspect_python(image)["headers"]


def test_data_and_train_share_their_large_layer(inspected):
    data, train = (inspected(image)["RootFS"]["Layers"] for image in (Image.DATA, Image.TRAIN))
    core = inspected(Image.CORE)["RootFS"]["Layers"]
    assert data[:-2] == train[:-2]
    assert core[:-1] == data[: len(core) - 1]
    assert core[-1] == data[-1] == train[-1], "the code is the last layer, and the same in all"


@ALL
def test_labels_say_what_it_is(image, inspected):
    labels = inspected(image)["Config"]["Labels"]
    prefix = "org.opencontainers.image."
    assert labels[prefix + "title"] == "Millrace"
    assert labels[prefix + "licenses"] == "Apache-2.0"
    assert labels[prefix + "version"]
    assert re.fullmatch(r"[0-9a-f]{40}(-dirty)?", labels[prefix + "revision"])


@pytest.mark.parametrize("step", interface.names())
def test_a_step_loads_in_its_image(step, container):
    code = f"from millrace.entrypoint import load_executor; load_executor({step!r})"
    done = container(Image(interface.of(step).image), "python", "-c", code)
    assert done.returncode == 0, done.stderr
