"""The local engine learns the same as Beam from every analyzer that it supports."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform as tft

from millrace.components.transform import engine, on_beam
from millrace.components.transform.inputs import RawInputs
from millrace.data import examples, schemas
from millrace.errors import ModuleError


def dense(value: Any) -> Any:
    return tf.reshape(tf.sparse.to_dense(value), [-1, 1])


def everywhere(value: Any, like: Any) -> Any:
    """A statistic as a feature: the same in every row."""
    return tf.zeros_like(tf.cast(like, tf.float32)) + tf.reshape(
        tf.cast(value, tf.float32), [1, -1]
    )


def every_analyzer(inputs: dict[str, Any]) -> dict[str, Any]:
    x, i, t = inputs["number"], inputs["whole"], inputs["text"]
    s, j, u = inputs["optional number"], inputs["optional.whole"], inputs["größe"]
    key = tf.squeeze(t, 1)
    label = tf.cast(tf.squeeze(tf.equal(inputs["label"], "yes"), 1), tf.int64)
    out = {
        "z": tft.scale_to_z_score(x),
        "z_int": tft.scale_to_z_score(i),
        "z_sparse": dense(tft.scale_to_z_score(s)),
        "z_elementwise": tft.scale_to_z_score(tf.concat([x, x * x], 1), elementwise=True),
        "zero_one": tft.scale_to_0_1(x),
        "min_max_sparse": dense(tft.scale_by_min_max(s, -1.0, 2.0)),
        "mean": everywhere(tft.mean(x), x),
        "mean_sparse": everywhere(tft.mean(s), x),
        "var": everywhere(tft.var(x), x),
        "var_sparse": everywhere(tft.var(j), x),
        "min": everywhere(tft.min(i), x),
        "max_sparse": everywhere(tft.max(j), x),
        "sum": everywhere(tft.sum(x), x),
        "size": everywhere(tft.size(u), x),
        "gaussian": tft.scale_to_gaussian(x),
        "covariance": everywhere(tft.covariance(tf.concat([x, x * x], 1), tf.float32)[0], x),
        "pca": tf.matmul(
            tf.concat([x, tf.cast(i, tf.float32)], 1),
            tft.pca(tf.concat([x, tf.cast(i, tf.float32)], 1), 1, tf.float32),
        ),
        "bucket": tft.bucketize(x, 7),
        "bucket_sparse": dense(tft.bucketize(s, 4)),
        "bucket_weighted": tft.bucketize(x, 5, weights=tf.abs(x)),
        "quantiles": everywhere(tft.quantiles(i, 5, epsilon=0.001), x),
        "interpolated": tft.apply_buckets_with_interpolation(x, tft.quantiles(x, 6, 0.001)),
        "vocabulary": tft.compute_and_apply_vocabulary(t, vocab_filename="text"),
        "vocabulary_oov": tft.compute_and_apply_vocabulary(
            t, top_k=2, num_oov_buckets=1, vocab_filename="top"
        ),
        "vocabulary_sparse": dense(
            tft.compute_and_apply_vocabulary(u, num_oov_buckets=1, vocab_filename="sparse")
        ),
        "vocabulary_int": tft.compute_and_apply_vocabulary(i, top_k=40, vocab_filename="int"),
        "vocabulary_frequent": tft.compute_and_apply_vocabulary(
            inputs["many"], frequency_threshold=20, num_oov_buckets=1, vocab_filename="frequent"
        ),
        "vocabulary_none": tft.compute_and_apply_vocabulary(
            t, frequency_threshold=10_000, vocab_filename="none"
        ),
        "vocabulary_weighted": tft.compute_and_apply_vocabulary(
            t, weights=tf.abs(x), vocab_filename="weighted", store_frequency=True
        ),
        "vocabulary_shuffled": tft.compute_and_apply_vocabulary(
            t, fingerprint_shuffle=True, vocab_filename="shuffled"
        ),
        "vocabulary_zipped": tft.compute_and_apply_vocabulary(
            t, file_format="tfrecord_gzip", vocab_filename="zipped"
        ),
        "vocabulary_reserved": tft.compute_and_apply_vocabulary(
            t, reserved_tokens=["fir", "yew"], vocab_filename="reserved"
        ),
        "vocabulary_approximate": tft.experimental.compute_and_apply_approximate_vocabulary(
            t, top_k=3, vocab_filename="approximate"
        ),
        "vocabulary_telling": tft.compute_and_apply_vocabulary(
            key, labels=label, vocab_filename="telling"
        )[:, tf.newaxis],
        "vocabulary_telling_weighted": tft.compute_and_apply_vocabulary(
            tf.squeeze(inputs["many"], 1),
            labels=label,
            weights=tf.squeeze(tf.abs(x), 1),
            use_adjusted_mutual_info=True,
            top_k=30,
            num_oov_buckets=1,
            vocab_filename="telling_weighted",
        )[:, tf.newaxis],
        "vocabulary_telling_int": tft.compute_and_apply_vocabulary(
            tf.squeeze(inputs["level"], 1),
            labels=label,
            min_diff_from_avg=0.0,
            vocab_filename="telling_int",
        )[:, tf.newaxis],
        "vocabulary_covering": tft.compute_and_apply_vocabulary(
            inputs["many"],
            top_k=3,
            key_fn=lambda token: token[-1:],
            coverage_top_k=2,
            num_oov_buckets=1,
            vocab_filename="covering",
        ),
        "z_by_key": tft.scale_to_z_score_per_key(tf.squeeze(x, 1), key)[:, tf.newaxis],
        "min_max_by_key": tft.scale_by_min_max_per_key(tf.squeeze(x, 1), key)[:, tf.newaxis],
        "bucket_by_key": tft.bucketize_per_key(tf.squeeze(x, 1), key, 4)[:, tf.newaxis],
        "label": tf.cast(tf.equal(inputs["label"], "yes"), tf.int64),
    }
    # Analyzers of the results of analyzers.
    out["z_of_bucket"] = tft.scale_to_z_score(out["bucket"])
    out["vocabulary_of_vocabulary"] = tft.compute_and_apply_vocabulary(
        tf.strings.as_string(out["vocabulary_oov"]), vocab_filename="second"
    )
    return out


def few_analyzers(inputs: dict[str, Any]) -> dict[str, Any]:
    bucket = tft.bucketize(inputs["number"], 5)
    return {
        "z": dense(tft.scale_to_z_score(inputs["optional number"])),
        "bucket": bucket,
        "z_of_bucket": tft.scale_to_z_score(bucket),
        "text": tft.compute_and_apply_vocabulary(
            inputs["many"], top_k=20, num_oov_buckets=1, vocab_filename="text"
        ),
        "label": tf.cast(tf.equal(inputs["label"], "yes"), tf.int64),
    }


@dataclasses.dataclass(frozen=True)
class Both:
    local: dict[str, np.ndarray]
    beam: dict[str, np.ndarray]
    local_folder: Path
    beam_folder: Path


def analyze_both(preprocessing_fn: Any, rows: Any, root: Path, runner: str | None = None) -> Both:
    schema = schemas.load(rows.schema)
    inputs = RawInputs(schema, "label")

    def batches():
        return examples.read(rows.examples, "train")

    (batch,) = examples.read(rows.examples, "eval")
    here = engine.analyze(preprocessing_fn, inputs, batches, root / "local")
    files = examples.shards(rows.examples, "train")
    on_beam.analyze(preprocessing_fn, inputs, files, root / "beam", runner)
    there = engine.load(root / "beam", inputs)
    return Both(
        {name: value.numpy() for name, value in here.transform(batch).items()},
        {name: value.numpy() for name, value in there.transform(batch).items()},
        root / "local",
        root / "beam",
    )


def unequal(both: Both) -> dict[str, str]:
    """The differences between both."""
    found = {}
    assert sorted(both.local) == sorted(both.beam)
    for name, local in both.local.items():
        beam = both.beam[name]
        try:
            assert local.dtype == beam.dtype
            if local.dtype == np.float32:
                np.testing.assert_allclose(local, beam, rtol=1e-5, atol=1e-5)
            else:
                np.testing.assert_array_equal(local, beam)
        except AssertionError as error:
            found[name] = str(error)
    return found


def vocabularies(folder: Path) -> dict[str, list[bytes]]:
    output = tft.TFTransformOutput(str(folder))
    names = [path.name for path in (folder / "transform_fn" / "assets").iterdir()]
    return {name: output.vocabulary_by_name(name.split(".")[0]) for name in sorted(names)}


@pytest.mark.slow
def test_both_engines_agree(rows, tmp_path) -> None:
    assert unequal(analyze_both(few_analyzers, rows, tmp_path)) == {}


@pytest.mark.slow
def test_both_engines_agree_on_three_phases(rows, tmp_path) -> None:
    def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
        z = tft.scale_to_z_score(tft.bucketize(inputs["number"], 5))
        return {"z": z, "largest": everywhere(tft.max(z), inputs["number"])}

    # Beam's default runner ends with an assertion here; this one cannot run all analyzers.
    both = analyze_both(preprocessing_fn, rows, tmp_path, "BundleBasedDirectRunner")
    assert unequal(both) == {}


@pytest.mark.slow
def test_both_engines_learn_the_same_from_every_analyzer(rows, tmp_path) -> None:
    """One test, because Beam takes a minute, and test processes cannot share its result."""
    both = analyze_both(every_analyzer, rows, tmp_path)
    assert unequal(both) == {}
    folders = both.local_folder, both.beam_folder
    found = [vocabularies(folder) for folder in folders]
    assert len(found[0]) > 12
    assert found[0] == found[1]
    outputs = [tft.TFTransformOutput(str(folder)) for folder in folders]
    assert outputs[0].transformed_metadata.schema == outputs[1].transformed_metadata.schema


def never_read() -> Any:
    raise AssertionError("data was read")


def counted_by_beam(inputs: dict[str, Any]) -> dict[str, Any]:
    (rows,) = tft.experimental.ptransform_analyzer(
        [inputs["number"]], beam.combiners.Count.Globally(), [tf.int64], [[]]
    )
    return {
        "rows": everywhere(rows, inputs["number"]),
        "label": tf.cast(tf.equal(inputs["label"], "yes"), tf.int64),
    }


def test_what_only_beam_can_do_is_refused_before_data_is_read(rows, tmp_path) -> None:
    inputs = RawInputs(schemas.load(rows.schema), "label")
    with pytest.raises(engine.Unsupported, match="PTransform"):
        engine.analyze(counted_by_beam, inputs, never_read, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", ["1.15.0", "1.22.0", "2.0.0"])
def test_other_versions_of_tft_are_left_to_beam(rows, tmp_path, monkeypatch, version) -> None:
    monkeypatch.setattr(tft, "__version__", version)
    inputs = RawInputs(schemas.load(rows.schema), "label")
    with pytest.raises(engine.Unsupported, match=version):
        engine.analyze(few_analyzers, inputs, never_read, tmp_path)


def test_data_is_read_once_for_each_phase(rows, tmp_path) -> None:
    readings = []

    def batches():
        readings.append(1)
        return examples.read(rows.examples, "train")

    inputs = RawInputs(schemas.load(rows.schema), "label")
    engine.analyze(few_analyzers, inputs, batches, tmp_path)
    assert len(readings) == 2


def test_sources_are_the_columns_that_a_feature_is_computed_from(rows, tmp_path) -> None:
    def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
        whole = tf.cast(inputs["whole"], tf.float32)
        return {
            "one": tft.scale_to_z_score(inputs["number"]),
            "two": inputs["number"] * whole,
            "sparse": dense(inputs["optional number"]),
            "text": tft.compute_and_apply_vocabulary(inputs["text"], vocab_filename="text"),
            "none": tf.ones_like(whole) * tft.mean(whole),
        }

    inputs = RawInputs(schemas.load(rows.schema), "label")
    analysis = engine.analyze(
        preprocessing_fn, inputs, lambda: examples.read(rows.examples, "train"), tmp_path
    )
    assert analysis.sources == {
        "one": ["number"],
        "two": ["number", "whole"],
        "sparse": ["optional number"],
        "text": ["text"],
        "none": ["whole"],  # for its shape
    }


def test_analyzers_in_another_order_each_time_are_refused(rows, tmp_path) -> None:
    columns = ["number", "whole"]

    def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
        columns.reverse()
        return {name: tft.scale_to_0_1(tf.cast(inputs[name], tf.float32)) for name in columns}

    inputs = RawInputs(schemas.load(rows.schema), "label")
    with pytest.raises(ModuleError, match="another order each time"):
        engine.analyze(
            preprocessing_fn, inputs, lambda: examples.read(rows.examples, "train"), tmp_path
        )
