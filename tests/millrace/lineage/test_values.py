"""Any JSON value comes back from a store unchanged."""

from __future__ import annotations

import json

import pytest
from google.protobuf import struct_pb2
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_metadata.proto import metadata_store_pb2 as pb

from millrace.lineage import postgresql, values
from millrace.lineage.nodes import ArtifactRecord, State
from millrace.lineage.read import artifacts
from millrace.lineage.record import RunRecord
from millrace.lineage.store import Store

_TEXT = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\0"), max_size=20)
_BEYOND = 10**400  # more than a double
_WHOLE = st.integers(-(2**99), 2**99) | st.sampled_from([_BEYOND, -_BEYOND])
_NUMBER = st.floats(allow_nan=False, allow_infinity=False) | _WHOLE
_SCALAR = _TEXT | _NUMBER | st.booleans()
_JSON = st.recursive(
    _SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=4),
    max_leaves=8,
)
_NAME = st.from_regex(r"[a-z_]{1,10}", fullmatch=True) | st.sampled_from(["exact", "display_name"])
_MANY = st.dictionaries(_NAME, _JSON, max_size=6)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("values") / "metadata.sqlite") as opened:
        yield opened


@pytest.fixture(scope="module")
def run(store):
    return RunRecord.start(store, "p", "r", "/root")


@settings(max_examples=150, deadline=None)
@given(_MANY)
def test_metadata_comes_back(metadata):
    for fit in (False, True):
        artifact = pb.Artifact()
        values.set_metadata(artifact, metadata)
        if fit:
            postgresql.fit([artifact])
        assert values.metadata(artifact) == metadata


@settings(max_examples=40, deadline=None)
@given(_MANY)
def test_metadata_comes_back_from_a_store(store, run, metadata):
    task = run.start_task("t")
    record = ArtifactRecord("x", "/x", metadata=metadata)
    number = run.finish_task(task, State.COMPLETE, outputs={"x": [record]})["x"][0].id
    assert artifacts(store, [number])[number].metadata == metadata


@settings(max_examples=100, deadline=None)
@given(_MANY)
def test_parameters_come_back(parameters):
    execution = pb.Execution()
    values.set_struct(execution, "inputs", {"other": 1})
    values.set_struct(execution, "inputs", parameters)
    assert values.struct(execution, "inputs") == parameters
    postgresql.fit([execution])
    assert values.struct(execution, "inputs") == parameters


@pytest.mark.parametrize(
    "value", [0.66672341, 1e-9, 1e300, 1 / 3, -2.5e-7, 3, 0, 2**53, 2**53 + 1, 123456789.125, 0.1]
)
def test_no_digit_is_lost(store, run, value):
    """MLMD itself keeps six decimals."""
    task = run.start_task("t")
    record = ArtifactRecord("x", "/x", metadata={"value": value, "list": [value]})
    number = run.finish_task(task, State.COMPLETE, outputs={"x": [record]})["x"][0].id
    assert artifacts(store, [number])[number].metadata == {"value": value, "list": [value]}
    (message,) = store.call("get_artifacts_by_id", [number])
    assert message.custom_properties["value"].double_value == pytest.approx(
        value, rel=1e-14, abs=1e-6
    )


def test_kinds_of_properties_are_those_of_kfp():
    artifact = pb.Artifact()
    values.set_metadata(
        artifact,
        {"text": "x", "int": 3, "float": 0.5, "flag": True, "list": [1], "object": {"a": 1}},
    )
    found = {name: value.WhichOneof("value") for name, value in artifact.custom_properties.items()}
    assert found == {
        "text": "string_value",
        "int": "double_value",
        "float": "double_value",
        "flag": "int_value",
        "list": "struct_value",
        "object": "struct_value",
    }
    struct = struct_pb2.Struct()
    struct.update({"list": [1]})
    assert artifact.custom_properties["list"].struct_value == struct
    struct.Clear()
    struct.update({"struct": {"a": 1}})
    assert artifact.custom_properties["object"].struct_value == struct


def test_names_that_are_taken(store, run):
    metadata = {"display_name": "mine", "exact": {"list": [1]}}
    made = run.finish_task(
        run.start_task("t"),
        State.COMPLETE,
        outputs={"x": [ArtifactRecord("x", "/x", metadata=metadata)]},
        parameters={"exact": 2**60 + 1},
    )
    (found,) = artifacts(store, [made["x"][0].id]).values()
    assert (found.name, found.metadata) == ("x", metadata)


def test_what_another_writer_calls_exact():
    artifact = pb.Artifact()
    artifact.custom_properties["exact"].string_value = "very"
    assert values.metadata(artifact) == {"exact": "very"}


@pytest.mark.parametrize("is_large", [False, True])
def test_what_an_earlier_version_calls_exact(is_large):
    artifact = pb.Artifact()
    artifact.custom_properties["auc"].double_value = 0.666723
    exact = {"auc": 0.66672341, **({"text": "x" * 3_000} if is_large else {})}
    artifact.custom_properties["exact"].struct_value.update(exact)
    postgresql.fit([artifact])
    assert values.metadata(artifact) == {"auc": 0.666723}


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (3, "int_value"),
        (2**31, "double_value"),  # more than MySQL's INT
        (0.5, "double_value"),
        (0.123456789, "struct_value"),
        (True, "bool_value"),
        ("x", "string_value"),
        ([1, "a"], "struct_value"),
        ({"a": None}, "struct_value"),
    ],
)
def test_properties_of_executions(value, kind):
    execution = pb.Execution()
    values.set_property(execution, "x", value)
    assert execution.custom_properties["x"].WhichOneof("value") == kind
    assert values.plain(execution.custom_properties["x"]) == value


def test_what_is_no_number_is_said():
    artifact = pb.Artifact()
    odd = {"a": float("nan"), "b": float("inf"), "c": [float("-inf")]}
    values.set_metadata(artifact, {**odd, "none": None})
    assert values.metadata(artifact) == {"a": "NaN", "b": "Infinity", "c": ["-Infinity"]}


def test_whole_numbers_beyond_a_double():
    artifact, execution = pb.Artifact(), pb.Execution()
    given = {"a": _BEYOND, "b": [{"c": -_BEYOND}]}
    values.set_metadata(artifact, given)
    assert values.metadata(artifact) == given
    assert artifact.custom_properties["a"].string_value == str(_BEYOND)
    values.set_struct(execution, "inputs", given)
    assert values.struct(execution, "inputs") == given
    values.set_property(execution, "x", _BEYOND)
    assert values.text(execution, "x") == str(_BEYOND)


def test_what_is_not_json_is_refused():
    with pytest.raises(TypeError, match=r"x: set is not a JSON value: \{1\}"):
        values.set_metadata(pb.Artifact(), {"x": {1}})


def test_records_of_other_writers_are_read():
    artifact = pb.Artifact(uri="/x", type="Examples", name="examples:1")
    artifact.properties["span"].int_value = 7
    artifact.custom_properties["state"].string_value = "published"
    artifact.custom_properties["odd"].proto_value.Pack(struct_pb2.Value(string_value="x"))
    artifact.custom_properties["empty"].Clear()
    assert values.metadata(artifact) == {
        "empty": None,
        "odd": None,
        "span": 7,
        "state": "published",
    }


def test_postgresql_gets_what_it_can_hold():
    execution = pb.Execution(name="run/x")
    for name, value in {"plain": "it's", "path": "C:\\x", "long": "x" * 3_000}.items():
        values.set_property(execution, name, value)
    values.set_struct(execution, "inputs", {"query": "y" * 3_000})
    values.set_struct(execution, "few", {"a": "\\"})
    artifact = pb.Artifact(uri="/a\\b")
    postgresql.fit([execution, artifact])
    found = {name: value.WhichOneof("value") for name, value in execution.custom_properties.items()}
    assert found == {
        "plain": "string_value",
        "path": "proto_value",
        "long": "proto_value",
        "inputs": "proto_value",
        "few": "struct_value",
    }
    assert values.text(execution, "path") == "C:\\x"
    assert values.text(execution, "long") == "x" * 3_000
    assert values.struct(execution, "inputs") == {"query": "y" * 3_000}
    assert artifact.uri == "/a%5Cb"
    json.dumps(values.struct(execution, "few"))
