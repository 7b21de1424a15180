"""Which tasks KFP may cache: none that reads external data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from millrace.authoring import compiler
from millrace.cli import make
from millrace.ir.declared import declared

ROOT = Path(__file__).parents[3]
HEAD = """
from kfp import dsl
from millrace.components.example_gen.component import example_gen
from millrace.components.schema_gen.component import schema_gen
from millrace.components.statistics_gen.component import statistics_gen
from millrace.components.trainer.component import trainer
from millrace.components.transform.component import transform
from millrace.dsl import pinned, with_resources

@dsl.component
def fingerprint(uri: str) -> str:
    return uri

"""


def tasks_of(spec: dict[str, Any]) -> dict[str, tuple[bool, bool]]:
    """Every task, with whether KFP may cache it, and whether a runner may by content."""
    found = {}
    for of, component in [("", spec["root"]), *spec["components"].items()]:
        for name, task in component.get("dag", {}).get("tasks", {}).items():
            label = spec["components"][task["componentRef"]["name"]].get("executorLabel")
            container = spec["deploymentSpec"]["executors"].get(label, {}).get("container", {})
            by = declared([*container.get("command", []), *container.get("args", [])])
            caching = task.get("cachingOptions", {})
            assert caching.keys() <= {"enableCache", "cacheKey"}
            found[f"{of}/{name}".lstrip("/")] = (
                bool(caching.get("enableCache")),
                by.cache_by_content,
            )
    return found


def compiled(source: Path) -> dict[str, Any]:
    documents = list(yaml.safe_load_all(compiler.compile_text(source)))
    check_with_kfp(documents[0])
    spec: dict[str, Any] = documents[0]
    return spec


def check_with_kfp(spec: dict[str, Any]) -> None:
    """KFP's own messages parse the file."""
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())


@pytest.fixture
def tasks(tmp_path: Path) -> Any:
    def compile_body(body: str, before: str = "") -> dict[str, tuple[bool, bool]]:
        lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
        path = tmp_path / "pipeline.py"
        path.write_text(f"{HEAD}{before}@dsl.pipeline(name='p')\ndef p(uri: str):\n{lines}")
        return tasks_of(compiled(path))

    return compile_body


INNER = """
@dsl.pipeline(name="inner")
def inner(data_uri: str):
    example_gen(data_uri=data_uri, max_rejected=2)

"""
KFP, CONTENT, NEVER = (True, False), (False, True), (False, False)


def test_flights() -> None:
    found = tasks_of(compiled(ROOT / "pipelines/flights/pipeline.py"))
    assert found.pop("example-gen") == CONTENT
    assert len(found) == 7
    assert set(found.values()) == {KFP}  # its modules are in the image


def test_tabular() -> None:
    found = tasks_of(compiled(ROOT / "pipelines/tabular/pipeline.py"))
    reading = {"example-gen", "schema-gen", "example-validator", "transform", "trainer"}
    assert {name for name, by in found.items() if by == CONTENT} == reading
    assert {by for name, by in found.items() if name not in reading} == {KFP}


def test_template(tmp_path: Path) -> None:
    make.new("mine", tmp_path, is_step=False, as_json=False)
    found = tasks_of(compiled(tmp_path / "mine/pipeline.py"))
    reading = {"example-gen", "transform", "trainer"}
    assert {name for name, by in found.items() if by == CONTENT} == reading
    assert {by for name, by in found.items() if name not in reading} == {KFP}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", KFP),
        ("module_file=''", KFP),
        ("module_file='mine.features'", KFP),
        ("module_file='features'", KFP),
        ("module_file='features.py'", CONTENT),
        ("module_file='/work/features'", CONTENT),
        ("module_file='s3://code/features.py'", CONTENT),
        ("module_file=uri", CONTENT),
        ("module_file=f'mine.{uri}'", CONTENT),
    ],
)
def test_modules(tasks: Any, arguments: str, expected: tuple[bool, bool]) -> None:
    body = f"""
rows = example_gen(data_uri=uri)
schema = schema_gen(statistics=statistics_gen(examples=rows.outputs['examples']).output)
transform(
    examples=rows.outputs['examples'], schema=schema.outputs['schema'], label='y', {arguments}
)
"""
    assert tasks(body.replace(").output)", ").outputs['statistics'])"))["transform"] == expected


@pytest.mark.parametrize("uri", ["uri", "'s3://bucket/table.csv'", "f'/data/{uri}.csv'"])
def test_data(tasks: Any, uri: str) -> None:
    assert tasks(f"example_gen(data_uri={uri})")["example-gen"] == CONTENT


def test_what_another_task_names(tasks: Any) -> None:
    found = tasks("example_gen(data_uri=fingerprint(uri=uri).output)")
    assert found == {"fingerprint": KFP, "example-gen": CONTENT}


def test_in_loops_conditions_and_pipelines(tasks: Any) -> None:
    found = tasks(
        """
with dsl.ParallelFor(['a', 'b']) as item:
    example_gen(data_uri=item).set_display_name('of a loop')
with dsl.If(uri == 'x'):
    example_gen(data_uri=uri, max_rejected=1)
inner(data_uri=uri)
""",
        INNER,
    )
    reading = [by for name, by in found.items() if "example-gen" in name]
    assert reading == [CONTENT] * 3


def test_what_the_author_switched_off_stays_off(tasks: Any) -> None:
    found = tasks(
        """
example_gen(data_uri=uri)
example_gen(data_uri=uri).set_caching_options(False)
example_gen(data_uri=uri).set_caching_options(False)
"""
    )
    assert found == {"example-gen": CONTENT, "example-gen-2": NEVER, "example-gen-3": NEVER}
    assert tasks("example_gen(data_uri=uri).set_caching_options(False)") == {"example-gen": NEVER}


def test_resources_change_nothing_of_the_cache(tasks: Any) -> None:
    off = "with_resources(example_gen(data_uri=uri).set_caching_options(False), 'Rows')"
    assert tasks(off) == {"example-gen": NEVER}
    keyed = "example_gen(data_uri=uri).set_caching_options(True, cache_key='v1')"
    assert tasks(f"with_resources({keyed}, 'Rows')") == {"example-gen": KFP}


def test_what_the_author_keyed_stays_cached(tasks: Any) -> None:
    found = tasks("example_gen(data_uri=uri).set_caching_options(True, cache_key='v1')")
    assert found == {"example-gen": KFP}


def test_what_is_pinned_stays_cached(tasks: Any) -> None:
    found = tasks("example_gen(data_uri=uri)\npinned(example_gen(data_uri=uri))")
    assert found == {"example-gen": CONTENT, "example-gen-2": KFP}
    versioned = "pinned(example_gen(data_uri=f's3://sales/{uri}/orders.parquet'))"
    assert tasks(versioned) == {"example-gen": KFP}


def test_platform_settings_are_copied() -> None:
    from millrace.authoring import caching

    def step() -> dict[str, Any]:
        return {"componentRef": {"name": "comp-x"}, "cachingOptions": {}}

    line = ["python", "-m", "millrace.entrypoint", "x", "--reads", "uri"]
    spec: dict[str, Any] = {
        "root": {
            "dag": {
                "tasks": {"a": {**step(), "cachingOptions": {"enableCache": True}}, "b": step()}
            }
        },
        "components": {
            "comp-x": {
                "executorLabel": "exec-x",
                "inputDefinitions": {"parameters": {"uri": {"defaultValue": "s3://x"}}},
            }
        },
        "deploymentSpec": {"executors": {"exec-x": {"container": {"command": line, "args": []}}}},
    }
    settings = {"secretAsEnv": [{"secretName": "s"}]}
    platforms: dict[str, Any] = {
        "platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-x": settings}}}}
    }
    caching.restrict(spec, platforms)
    assert tasks_of(spec) == {"a": CONTENT, "b": NEVER}
    executors = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors == {"exec-x": settings, "exec-x-uncached": settings}
