"""An artifact is found by its id, place, digest, or RUN/TASK/OUTPUT."""

from __future__ import annotations

import re

import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from millrace.errors import StoreError
from millrace.lineage.find import Found, find
from millrace.lineage.nodes import ArtifactRecord, Kind, State


@pytest.fixture
def made(history):
    return history.run("flights-1-aa")


@pytest.fixture
def model(made):
    return made["trainer"]["model"][0]


def missing(store, text) -> str:
    with pytest.raises(StoreError) as error:
        find(store, text)
    return str(error.value)


@pytest.mark.parametrize("form", ["{id}", "#{id}"])
def test_by_id(history, model, form):
    assert find(history.store, form.format(id=model.id)).artifact == model


@pytest.mark.parametrize("form", ["{}", "{}/", "file://{}", "{}/a.txt", "{}/deep/b.txt", "{}/gone"])
def test_by_place(history, model, form):
    assert find(history.store, form.format(model.uri)).artifact == model


def test_by_relative_place(history, model, monkeypatch):
    monkeypatch.chdir(history.root / "flights")
    assert find(history.store, "flights-1-aa/trainer/model/a.txt").artifact == model
    assert find(history.store, "./flights-1-aa/../flights-1-aa/trainer/model").artifact == model


def test_by_a_link_to_its_place(history, model, tmp_path):
    (tmp_path / "link").symlink_to(model.uri)
    assert find(history.store, str(tmp_path / "link" / "a.txt")).artifact == model


def test_by_place_after_the_files_are_gone(history, model):
    (history.root / "flights").rename(history.root / "elsewhere")
    assert find(history.store, model.uri).artifact == model


def test_by_remote_place(history):
    run = history.start("flights-2")
    record = ArtifactRecord("x", "s3://bucket/x")
    made = run.finish_task(run.start_task("t"), State.COMPLETE, outputs={"x": [record]})
    for text in ("s3://bucket/x", "s3://bucket/x/", "s3://bucket/x/deep/file"):
        assert find(history.store, text).artifact.id == made["x"][0].id
    assert "There is no artifact" in missing(history.store, "s3://bucket")


def test_the_newest_of_a_place(history):
    run = history.start("flights-2")
    ids = []
    for digest in ("aa" * 32, "bb" * 32):
        record = ArtifactRecord("x", "/data/x", metadata={"digest": digest})
        made = run.finish_task(run.start_task("t"), State.COMPLETE, outputs={"x": [record]})
        ids.append(made["x"][0].id)
    found = find(history.store, "/data/x")
    assert found.artifact.id == ids[1]
    assert [other.id for other in found.others] == [ids[0]]


@pytest.mark.parametrize("run", ["flights-1-aa", "flights-1", "fl", "latest"])
def test_by_port(history, model, run):
    assert find(history.store, f"{run}/trainer/model").artifact == model


def test_by_port_that_is_not_there(history, model):
    assert missing(history.store, "flights-1/trainr/model") == (
        'Run flights-1-aa has no task "trainr". Did you mean "trainer"?'
    )
    assert missing(history.store, "flights-1/trainer/modle") == (
        'Task "trainer" of run flights-1-aa has no output "modle". Did you mean "model"?'
    )


def test_by_port_of_several_runs(history, model):
    history.start("flights-1-bb")
    assert missing(history.store, "flights-1/trainer/model").startswith(
        '"flights-1" matches 2 runs: '
    )


@pytest.mark.parametrize("length", [4, 12, 64])
@pytest.mark.parametrize("form", ["{}", "sha256:{}"])
def test_by_digest(history, model, length, form):
    text = form.format(model.metadata["digest"][:length])
    assert find(history.store, text).artifact == model
    assert find(history.store, text.upper().replace("SHA", "sha")).artifact == model


def test_a_digest_of_several_artifacts(history):
    run = history.start("flights-1")
    outputs = {
        name: [ArtifactRecord(name, f"/{name}", metadata={"digest": digest * 32})]
        for name, digest in (("one", "ab"), ("two", "ab"), ("three", "ac"))
    }
    run.finish_task(run.start_task("t"), State.COMPLETE, outputs=outputs)
    found = find(history.store, "abab")
    assert [found.artifact.name, *(other.name for other in found.others)] == ["two", "one"]
    run.finish_task(
        run.start_task("t"),
        State.COMPLETE,
        outputs={"four": [ArtifactRecord("four", "/4", metadata={"digest": "abad" * 16})]},
    )
    assert missing(history.store, "aba") == (
        f'There is no artifact "aba" in the lineage store {history.store.where}. Name it by its '
        "id, its path or address, the beginning of its digest, or RUN/TASK/OUTPUT."
    )
    run.finish_task(
        run.start_task("t"),
        State.COMPLETE,
        outputs={"five": [ArtifactRecord("five", "/5", metadata={"digest": "abab" + "0" * 60})]},
    )
    assert missing(history.store, "abab") == (
        '"abab" matches the digests of 2 artifacts: abab000000000000…, abababababababab…. Give '
        "more of it."
    )


def test_a_number_may_be_a_digest(history):
    run = history.start("flights-1")
    record = ArtifactRecord("x", "/x", metadata={"digest": "1234567" + "a" * 57})
    made = run.finish_task(run.start_task("t"), State.COMPLETE, outputs={"x": [record]})["x"]
    assert find(history.store, "1234567").artifact == made[0]


@pytest.mark.parametrize("state", ["MARKED_FOR_DELETION", "DELETED"])
def test_what_was_deleted_is_found_by_its_id_and_not_by_its_place(history, model, state):
    (message,) = history.store.call("get_artifacts_by_id", [model.id])
    message.state = pb.Artifact.State.Value(state)
    history.store.call("put_artifacts", [message])
    assert "There is no artifact" in missing(history.store, model.uri)
    for text in (str(model.id), "flights-1-aa/trainer/model"):
        found = find(history.store, text).artifact
        assert found.id == model.id
        assert found.deleted


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ("/data/flights.csv", "/data/flights.csv"),
        ("/data/flights.csv", "file:///data/flights.csv"),
        ("file:///data/flights.csv", "/data/flights.csv"),
        ("/data", "/data/flights.csv"),
        ("/data/*.csv", "/data/flights.csv"),
        ("gs://bucket/day-1/*", "gs://bucket/day-1/x.csv"),
        (["/other", "/data/flights.csv"], "/data/flights.csv"),
        ("/data/day-*", "/data/day-1/flights.csv"),
        ("/data/**/*.csv", "/data/flights.csv"),
        ("/data/**/*.csv", "/data/a/b/flights.csv"),
    ],
)
def test_data_from_outside(history, given, asked):
    run = history.start("flights-1")
    reader = run.start_task("example-gen", parameters={"n": 1, "data_uri": given})
    run.start_task("another", parameters={"data_uri": "/data2/flights.csv"})
    found = find(history.store, asked)
    assert found.artifact is None
    assert found.readers == (reader,)
    assert found.uri == asked
    assert found.patterns == ((given,) if "*" in given else ())


@pytest.mark.parametrize("given", ["/data/*.csv", "/data/*/*/x.csv", "/*/x.csv", "/data/s*b.csv"])
def test_a_star_stays_within_its_folder(history, given):
    run = history.start("r1")
    run.start_task("t", parameters={"data_uri": given})
    assert "There is no artifact" in missing(history.store, "/data/sub/x.csv")


def test_only_files_that_a_pattern_named(history):
    """A file that came later has touched no model."""
    run = history.start("r1")
    files = {"x.csv": "ab", "day-1/y.csv": "cd"}
    metadata = {"digest": "ab" * 32, "file_digests": files}
    source = ArtifactRecord("*", "/data/[dx]*", metadata=metadata)
    run.start_task("t", parameters={"data_uri": "/data/[dx]*"}, inputs={"data_uri": [source]})
    for was_there in ("x.csv", "day-1/y.csv", "day-1"):
        found = find(history.store, f"/data/{was_there}")
        assert (found.artifact.uri, found.patterns) == ("/data/[dx]*", ())
    for came_later in ("xx.csv", "day-1/z.csv", "day-2", "y.csv"):
        assert "There is no artifact" in missing(history.store, f"/data/{came_later}")


def test_by_a_file_that_a_pattern_names(history):
    run = history.start("r1")
    source = ArtifactRecord("*.csv", "/data/*.csv", metadata={"digest": "ab" * 32})
    run.start_task("t", parameters={"data_uri": "/data/*.csv"}, inputs={"data_uri": [source]})
    found = find(history.store, "/data/x.csv")
    assert (found.artifact.uri, found.patterns) == ("/data/*.csv", ("/data/*.csv",))
    found = find(history.store, "/data/*.csv")
    assert (found.artifact.uri, found.patterns) == ("/data/*.csv", ())
    assert "There is no artifact" in missing(history.store, "/data/x.tsv")


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "/", "/nowhere", "s3://x", "9999", "abcdef", "a/b/c", "%", "'", "\\", "a b"),
        "/x" * 3_000,
        "x" * 300,
    ],
)
def test_what_is_not_there(history, model, text):
    assert re.match(r'There is no (artifact|run) "', missing(history.store, text))


def test_a_password_is_not_repeated(history, model):
    assert "***" in missing(history.store, "s3://me:pw@host/x")


def test_an_iteration_and_an_item_of_a_list(history):
    """RUN/loop-1[0]/task/port[1]."""
    run = history.start("flights-1")
    loop = run.start_task("loop-1", Kind.DAG, properties={"iteration_count": 2})
    made = {}
    for index in range(2):
        body = run.start_task(
            "loop-1", Kind.DAG, parent=loop, properties={"iteration_index": index}
        )
        task = run.start_task("train", parent=body)
        records = [ArtifactRecord("x", f"/{index}/{number}") for number in range(2)]
        outputs = {"model": records[:1], "parts": records}
        made[index] = run.finish_task(task, State.COMPLETE, outputs=outputs)
    for index in range(2):
        task = f"flights-1/loop-1[{index}]/train"
        (model,) = made[index]["model"]
        assert find(history.store, f"{task}/model") == Found(model)
        assert find(history.store, f"{task}/model[0]") == Found(model)
        for number, part in enumerate(made[index]["parts"]):
            assert find(history.store, f"{task}/parts[{number}]") == Found(part)
        with pytest.raises(StoreError) as error:
            find(history.store, f"{task}/parts")
        assert str(error.value) == (
            f'Output "parts" of task "loop-1[{index}]/train" of run flights-1 is a list of 2 '
            "artifacts: write parts[0] to parts[1]."
        )
        with pytest.raises(StoreError, match=r"is a list of 2 artifacts: write parts\[0\] to"):
            find(history.store, f"{task}/parts[2]")
