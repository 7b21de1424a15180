"""Importers: where the URI and the metadata come from."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset, Input, Model

from cases import FILES, artifact, case
from steps import component, join, read, say

TABLE = str(FILES / "table.csv")
TEXT = "day,late\n1,0\n2,1\n"


@component
def place(data: Input[Dataset]) -> str:
    """Returns where an artifact lies."""
    return data.uri


@component
def metadata_of(data: Input[Dataset]) -> str:
    """Returns the metadata of an artifact."""
    import json

    return json.dumps(data.metadata, sort_keys=True)


@case(
    outputs={"Output": TEXT},
    ran="importer read",
    features=["importer"],
    local="2.13",
)
def a_static_uri() -> str:
    table = dsl.importer(artifact_uri=TABLE, artifact_class=Dataset)
    return read(data=table.output).output


@case(
    values={"uri": TABLE},
    outputs={"Output": TEXT},
    ran="importer read",
    features=["importer", "values"],
    local="2.13",
)
def a_uri_of_a_parameter(uri: str) -> str:
    table = dsl.importer(artifact_uri=uri, artifact_class=Dataset)
    return read(data=table.output).output


@case(
    values={"uri": TABLE},
    outputs={"Output": TEXT},
    ran="importer read say",
    features=["importer", "outputs"],
    local="2.13",
)
def a_uri_of_an_output(uri: str) -> str:
    table = dsl.importer(artifact_uri=say(text=uri).output, artifact_class=Dataset)
    return read(data=table.output).output


@case(
    outputs={"Output": "gs://bucket/some/table.csv?x=1"},
    features=["importer", "uri"],
    local="2.13",
)
def a_uri_elsewhere_is_not_read() -> str:
    table = dsl.importer(artifact_uri="gs://bucket/some/table.csv?x=1", artifact_class=Dataset)
    return place(data=table.output).output


@case(
    values={"who": "ada", "count": 3},
    outputs={
        "Output": artifact(
            TEXT, fixed="text", who="ada", title="table of ada and bob", parts=["ada", "x"]
        )
    },
    features=["importer", "metadata", "values", "outputs", "f-strings"],
    local="2.13",
)
def metadata_computed_at_run_time(who: str, count: int) -> Dataset:
    bob = say(text="bob")
    table = dsl.importer(
        artifact_uri=TABLE,
        artifact_class=Dataset,
        metadata={
            "fixed": "text",
            "who": who,
            "title": f"table of {who} and {bob.output}",
            "parts": [who, "x"],
        },
    )
    return table.output


@case(
    outputs={"Output": '{"b": {"c": "d"}, "text": "t"}'},
    features=["importer", "metadata"],
    local="2.13",
)
def metadata_is_seen_by_tasks() -> str:
    table = dsl.importer(
        artifact_uri=TABLE, artifact_class=Dataset, metadata={"text": "t", "b": {"c": "d"}}
    )
    return metadata_of(data=table.output).output


@case(
    outputs={"one": TEXT, "two": TEXT},
    ran="importer importer-2 read read-2",
    features=["importer", "reimport"],
    local="2.13",
)
def reimported() -> NamedTuple("Outputs", one=str, two=str):
    texts = [
        read(
            data=dsl.importer(artifact_uri=TABLE, artifact_class=Dataset, reimport=again).output
        ).output
        for again in (False, True)
    ]
    return NamedTuple("Outputs", one=str, two=str)(*texts)


@case(
    outputs={"Output": "s3://b/1,s3://b/2"},
    features=["importer", "ParallelFor", "Collected"],
)
def in_a_loop() -> str:
    with dsl.ParallelFor(["s3://b/1", "s3://b/2"]) as uri:
        table = dsl.importer(artifact_uri=uri, artifact_class=Dataset)
        one = place(data=table.output)
    return join(texts=dsl.Collected(one.output)).output


@case(
    values={"flag": True},
    outputs={"Output": artifact(TEXT, "system.Model", kind="m")},
    features=["importer", "If", "OneOf", "artifacts"],
    local=None,
    why="expects one artifact selector, and OneOf has several",
)
def one_of_two_imported(flag: bool) -> Model:
    with dsl.If(flag == True):  # noqa: E712
        one = dsl.importer(artifact_uri=TABLE, artifact_class=Model, metadata={"kind": "m"})
    with dsl.Else():
        two = dsl.importer(artifact_uri="gs://b/m", artifact_class=Model)
    return dsl.OneOf(one.output, two.output)


@case(
    values={"uri": ""},
    failed="importer",
    skipped="read",
    errors=["importer"],
    features=["importer", "bad input", "values"],
    local="2.13",
)
def an_empty_uri(uri: str) -> str:
    table = dsl.importer(artifact_uri=uri, artifact_class=Dataset)
    return read(data=table.output).output
