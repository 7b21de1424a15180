"""Runs whose artifacts lie in an object store, on a real S3 server."""

import json
import shutil
from pathlib import Path

import pytest

from millrace.cli import gc, lineage, runs
from millrace.cli import run as cli_run
from millrace.lineage import query
from millrace.lineage.store import Store
from millrace.runner.result import State
from millrace.runner.run import remote_of, resume, run
from millrace.storage import digest, store


@pytest.fixture
def bucket(s3, tmp_path, monkeypatch):
    """The URI of a place in the bucket, which this process may use."""
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    return f"s3://{s3.bucket}/{tmp_path.name}"


@pytest.fixture
def pipeline(kit):
    def chain(text: str = "made", do: str = "", data_uri: str = ""):
        first = kit.play(text=text, data_uri=data_uri)
        kit.play(text="second", do=do, data=first.outputs["out"])

    return str(kit.compile(chain))


def test_artifacts_lie_in_the_bucket_with_the_same_digests(bucket, pipeline, tmp_path):
    result = run(pipeline, root=bucket)
    assert result.state is State.COMPLETE, result.error
    (made,) = result.tasks["play"].artifacts["out"]
    assert made.uri == f"{bucket}/chain/{result.run_id}/play/out"
    assert store.read_bytes(f"{made.uri}/text") == b"made"
    assert store.digest(made.uri).hexdigest == made.metadata["digest"]
    (read,) = result.tasks["play-2"].artifacts["out"]
    assert read.metadata["source"] == "made"
    local = run(pipeline, root=tmp_path / "local")
    assert local.tasks["play"].artifacts["out"][0].metadata["digest"] == made.metadata["digest"]
    with Store.open(result.store) as opened:
        found = query.find_run(opened, "latest")
        assert found.root == f"{bucket}/chain/{result.run_id}"


def test_the_cache_hits_and_what_is_read_is_staged_again(bucket, pipeline, tmp_path):
    first = run(pipeline, root=bucket)
    again = run(pipeline, root=bucket)
    assert [task.state for task in again.tasks.values()] == [State.CACHED] * 2
    shutil.rmtree(tmp_path / "home" / "staged")
    shutil.rmtree(first.folder)
    other = run(pipeline, {"do": "litter /dev/null"}, root=bucket)
    assert other.tasks["play"].state is State.CACHED
    assert other.tasks["play-2"].state is State.COMPLETE, other.error
    assert other.tasks["play-2"].artifacts["out"][0].metadata["source"] == "made"


def test_an_object_that_was_altered_is_made_anew(bucket, pipeline):
    result = run(pipeline, root=bucket)
    (made,) = result.tasks["play"].artifacts["out"]
    store.write_bytes(f"{made.uri}/text", b"evil")
    again = run(pipeline, root=bucket)
    assert again.tasks["play"].state is State.COMPLETE
    store.remove(again.tasks["play"].artifacts["out"][0].uri)
    assert run(pipeline, root=bucket).tasks["play"].state is State.COMPLETE


def test_external_data_in_the_bucket_is_staged_and_known_by_its_content(bucket, kit, tmp_path):
    def reading(data_uri: str):
        kit.play(data_uri=data_uri)

    path = str(kit.compile(reading))
    store.write_bytes(f"{bucket}/in/data.csv", b"a\n1\n")
    result = run(path, {"data_uri": f"{bucket}/in/data.csv"}, root=bucket)
    assert result.state is State.COMPLETE, result.error
    seen = result.tasks["play"].artifacts["out"][0].metadata["data_uri"]
    assert seen.startswith(str(tmp_path / "home" / "staged"))
    assert seen.endswith("/data.csv")
    (tmp_path / "copy.csv").write_bytes(b"a\n1\n")
    same = run(path, {"data_uri": str(tmp_path / "copy.csv")}, root=bucket)
    assert same.tasks["play"].state is State.CACHED
    store.write_bytes(f"{bucket}/in/data.csv", b"a\n2\n")
    changed = run(path, {"data_uri": f"{bucket}/in/data.csv"}, root=bucket)
    assert changed.tasks["play"].state is State.COMPLETE
    with Store.open(result.store) as opened:
        (task,) = query.tasks(opened, query.find_run(opened, "latest"))
        assert task.inputs["data_uri"][0].uri == f"{bucket}/in/data.csv"
    gone = run(path, {"data_uri": f"{bucket}/in/gone.csv"}, root=bucket)
    assert gone.state is State.FAILED
    assert "in/gone.csv" in gone.error


def test_a_failed_run_is_resumed(bucket, kit, tmp_path):
    def mended(module_file: str):
        first = kit.play(text="kept")
        kit.play(do="load", module_file=module_file, data=first.outputs["out"])

    module = tmp_path / "value.py"
    module.write_text("VALUE = undefined\n")
    failed = run(str(kit.compile(mended)), {"module_file": str(module)}, root=bucket)
    assert failed.state is State.FAILED
    module.write_text("VALUE = 'right'\n")
    result = resume(failed.run_id, root=bucket)
    assert result.state is State.COMPLETE, result.error
    assert result.tasks["play-2"].artifacts["out"][0].uri.startswith(bucket)


@pytest.mark.parametrize("kind", ["s3", "gs", "az"])
def test_no_secret_is_written_anywhere(request, pipeline, kind, tmp_path, monkeypatch, caplog):
    """Neither in the IR, the lineage, a log or a page, nor in the store itself."""
    server = request.getfixturevalue(kind)
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    if kind == "gs":  # the emulator takes no secret, but who configures one must not find it again
        options = tmp_path.parent / f"{tmp_path.name}.json"
        options.write_text(json.dumps({"gs": {"token": "anon", "secret": server.secret}}))
        monkeypatch.setenv("MILLRACE_STORAGE_OPTIONS_FILE", str(options))
    caplog.set_level("DEBUG", logger="millrace")
    root = f"{server.uri}/{tmp_path.name}"
    result = run(pipeline, {"do": "tell"}, root=root)
    assert result.tasks["play"].state is State.COMPLETE, result.error
    run(pipeline, root=f"{server.uri}-missing/x")
    secret = server.secret.encode()
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        assert secret not in path.read_bytes(), path
    assert server.secret not in caplog.text
    for name in store.list_files(root):
        assert secret not in store.read_bytes(f"{root}/{name}"), name


@pytest.mark.parametrize("kind", ["gs", "az"])
def test_other_stores_do_as_s3_does(request, pipeline, kind, tmp_path, monkeypatch):
    server = request.getfixturevalue(kind)
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    root = f"{server.uri}/{tmp_path.name}"
    first = run(pipeline, root=root)
    assert first.state is State.COMPLETE, first.error
    (made,) = first.tasks["play"].artifacts["out"]
    assert store.digest(made.uri).hexdigest == made.metadata["digest"]
    again = run(pipeline, root=root)
    assert [task.state for task in again.tasks.values()] == [State.CACHED] * 2
    local = run(pipeline, root=tmp_path / "local")
    assert local.tasks["play"].artifacts["out"][0].metadata["digest"] == made.metadata["digest"]


def test_copies_are_kept_up_to_a_limit(bucket, pipeline, monkeypatch, tmp_path):
    monkeypatch.setenv("MILLRACE_STAGED_BYTES", "4")
    result = run(pipeline, root=bucket)
    staged = [path for path in (tmp_path / "home" / "staged").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in staged) <= 4
    assert digest.of(result.folder / ".run").size  # what the run itself needs stays


def test_every_command_takes_a_remote_root(bucket, pipeline, tmp_path, capsys):
    root = bucket
    code = cli_run.start(pipeline, [f"text={tmp_path.name}"], root=root)
    assert (code, remote_of(root)) == (0, bucket)
    assert f"--root {bucket}" in capsys.readouterr().out
    runs.list_runs(root, None, 20, as_json=True)
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed["root"] == f"{bucket}/chain/{listed['run_id']}"
    assert store.exists(f"{listed['root']}/play/out")
    assert gc.collect(gc.Wanted(older_than="0h"), True, root, None, as_json=True) == 0
    assert len(json.loads(capsys.readouterr().out)["artifacts"]) == 2
    assert not store.exists(listed["root"])
    assert lineage.verify(None, root, None, as_json=True) == 0


@pytest.mark.parametrize(
    ("root", "why"),
    [
        ("s3://bucket/x?endpoint_url=http://evil", "has a user, a query or a fragment"),
        ("s3://key:secret@bucket/x", "has a user, a query or a fragment"),
        ("s3://bucket/../x", "is not a URI that can be used"),
        ("ftp://host/x", "is not supported"),
    ],
)
def test_a_root_that_cannot_be_used(pipeline, root, why):
    from millrace.errors import StorageError

    with pytest.raises(StorageError, match=why) as caught:
        run(pipeline, root=root)
    assert "secret" not in str(caught.value)


def test_a_bucket_that_is_not_there(bucket, pipeline):
    result = run(pipeline, root="s3://no-such-bucket-here/x")
    assert result.state is State.FAILED
    assert "no-such-bucket-here" in result.error
    assert "\n" not in result.error


def test_the_page_of_a_run_lies_with_its_logs(bucket, pipeline, millrace, tmp_path):
    run(pipeline, root=bucket)
    home = tmp_path / "home"
    where = millrace("run", "report", "latest", "--root", home, cwd=tmp_path).stdout
    page = Path(where.strip().removeprefix("file://"))
    assert page.is_relative_to(home)
    assert page.read_text().count(">log</a>") == 2


def test_an_artifact_without_a_file_is_no_error(bucket, tmp_path):
    """Metrics are metadata alone."""
    from millrace.lineage.nodes import ArtifactRecord
    from millrace.runner.placement import Placement
    from millrace.storage.digest_cache import DigestCache

    folder, cache = tmp_path / "run", DigestCache(tmp_path / "digests.json")
    placement = Placement(folder, bucket, tmp_path / "home", cache)
    metrics = ArtifactRecord("metrics", str(folder / "metrics"), "system.Metrics", "0.0.1", {})
    (published,) = placement.publish({"metrics": [metrics]})["metrics"]
    assert published.uri == f"{bucket}/metrics"
    placement.close()


def test_the_command_takes_a_remote_root(bucket, pipeline, millrace, tmp_path, s3):
    env = s3.env | {"MILLRACE_HOME": str(tmp_path / "home")}
    done = millrace("run", pipeline, "--root", bucket, cwd=tmp_path, **env)
    assert f"--root {bucket}" in done.stdout
    assert not (tmp_path / "s3:").exists()
    assert any(name.endswith("/play/out/text") for name in store.list_files(bucket))
    shown = millrace("run", "show", "latest", "--root", bucket, cwd=tmp_path, **env)
    assert bucket in shown.stdout
    checked = millrace("lineage", "verify", "--root", bucket, cwd=tmp_path, **env)
    assert "altered" not in checked.stdout.lower() or "0 altered" in checked.stdout.lower()
    listed = millrace("runs", cwd=tmp_path, MILLRACE_ROOT=str(tmp_path / "home"))
    assert "chain" in listed.stdout
    nothing = millrace("runs", cwd=tmp_path, check=False)
    assert "There is no lineage store at" in nothing.stderr
