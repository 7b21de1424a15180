from __future__ import annotations

import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.data import schemas
from millrace.errors import DataError


def test_it_comes_back_as_text(tmp_path):
    schema = schema_pb2.Schema()
    schema.feature.add(name="größe", type=schema_pb2.FLOAT)
    schemas.save(tmp_path / "schema", schema)
    assert schemas.load(tmp_path / "schema") == schema
    assert 'name: "größe"' in (tmp_path / "schema" / "schema.pbtxt").read_text("utf-8")


def test_a_missing_or_damaged_schema(tmp_path):
    with pytest.raises(DataError, match=r"^There is no schema .*/schema.pbtxt\.$"):
        schemas.load(tmp_path)
    (tmp_path / "schema.pbtxt").write_text('feature { name: "a" typ: INT }')
    with pytest.raises(DataError, match=r'text format: line 1:21 : .*no field named "typ"'):
        schemas.load(tmp_path)


def test_ignored_and_required_features():
    feature = schema_pb2.Feature(name="a")
    assert (schemas.ignored(feature), schemas.required(feature)) == (False, False)
    feature.presence.min_fraction = 1
    assert (schemas.ignored(feature), schemas.required(feature)) == (False, True)
    feature.lifecycle_stage = schema_pb2.PLANNED
    assert (schemas.ignored(feature), schemas.required(feature)) == (True, False)


def test_the_stages_are_those_that_tfx_passes_over():
    util = pytest.importorskip("tfx_bsl.tfxio.tensor_representation_util")
    expected = util._DISQUALIFYING_LIFECYCLE_STAGES
    for stage in schema_pb2.LifecycleStage.values():
        feature = schema_pb2.Feature(lifecycle_stage=stage)
        assert schemas.ignored(feature) == (stage in expected), stage
