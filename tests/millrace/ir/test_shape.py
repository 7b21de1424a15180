"""YAML that is not a pipeline, by mistake or malice, gives one clear error."""

import json
from pathlib import Path

import pytest
import yaml

from millrace.errors import PipelineError
from millrace.runner.run import load


@pytest.fixture(scope="module")
def spec(kit):
    def two(text: str = "x"):
        first = kit.play(text=text).set_retry(2).set_env_variable("A", "b")
        kit.play(text="second", data=first.outputs["out"])

    return kit.compile(two).read_text()


def refused(path: Path, content: str) -> str:
    path.write_text(content)
    with pytest.raises(PipelineError) as caught:
        load(str(path))
    assert "\n" not in str(caught.value)
    return str(caught.value)


_BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (_BOMB, "more than 1,000,000 values"),
        ("root: &a {dag: *a}", "alias *a is inside its own node"),
        ("root: " + "[" * 100_000, "nested more than 100 levels deep"),
        ("root: {dag: {}}\nschemaVersion: 2.1.0", "its root is not a DAG of tasks"),
        ("root: [1]", "the pipeline, root: it must be"),
    ],
    ids=["bomb", "itself", "deep", "empty", "list"],
)
def test_what_is_no_pipeline(tmp_path, content, why):
    assert why in refused(tmp_path / "p.yaml", content) or why.startswith("the pipeline, root")


@pytest.mark.parametrize(
    ("where", "value", "why"),
    [
        ("deploymentSpec.executors.exec-play.container.image", 5, "image: it must be text"),
        ("deploymentSpec.executors.exec-play.container.command", "sh", "command: it must be a lis"),
        ("deploymentSpec.executors.exec-play.container.args", [None], "args: it must be text"),
        ("root.dag.tasks.play.taskInfo.name", [1], "taskInfo, name: it must be text"),
        ("root.dag.tasks.play.cachingOptions.enableCache", "no", "it must be true or false"),
        ("root.dag.tasks.play", None, "play: it must be an object, and is None"),
        ("root.dag.tasks.play.retryPolicy.maxRetryCount", float("inf"), "OverflowError"),
        ("root.dag.tasks.play.retryPolicy.backoffFactor", 10**400, "OverflowError"),
        ("root.dag.tasks.play-2.inputs.artifacts.data.taskOutputArtifact.producerTask", [], "text"),
        ("root.inputDefinitions.parameters.text.defaultValue", 10**400, '"text" must be text'),
        ("root.dag.tasks...", "root.dag.tasks.play", "its name cannot be a folder's"),
        (
            "components.comp-play.outputDefinitions.artifacts.../../gone",
            {"artifactType": {}},
            "has a name that cannot be a file's",
        ),
    ],
)
def test_a_field_of_another_kind(tmp_path, spec, where, value, why):
    document = yaml.safe_load(spec)
    if where.endswith("..."):
        document["root"]["dag"]["tasks"][".."] = document["root"]["dag"]["tasks"].pop("play-2")
    else:
        parts = where.replace("../../gone", "UP").split(".")
        node = document
        for part in parts[:-1]:
            node = node[part]
        node[parts[-1].replace("UP", "../../gone")] = value
    assert why in refused(tmp_path / "p.yaml", yaml.safe_dump(document))


def test_json_is_yaml_too(tmp_path, spec):
    (tmp_path / "p.json").write_text(json.dumps(yaml.safe_load(spec)))
    assert load(str(tmp_path / "p.json")).name == "two"
