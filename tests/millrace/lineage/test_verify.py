"""An audit reports every change, with the file if possible, and nothing else."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millrace.lineage.nodes import ArtifactRecord, State
from millrace.lineage.verify import Verdict, check, external, live_artifacts, verify
from millrace.storage import digest, external_files
from millrace.storage import store as storage


@pytest.fixture
def model(history):
    return history.run("flights-1")["trainer"]["model"][0]


def test_all_is_well(history, model):
    findings = verify(live_artifacts(history.store))
    assert [finding.artifact.id for finding in findings] == [1, 2, 3, 4, 5]
    assert [finding.verdict for finding in findings] == [Verdict.OK] * 4 + [Verdict.UNCHECKED]
    assert findings[-1].reason == "no digest of it is recorded"
    assert all(finding.verdict.good for finding in findings)
    assert findings[3].digest == model.metadata["digest"]


def test_every_finding_is_reported_at_once(history, model):
    reported = []
    findings = verify(live_artifacts(history.store), on_finding=reported.append)
    assert sorted(reported, key=lambda finding: finding.artifact.id) == findings


@pytest.mark.parametrize(
    ("change", "files"),
    [
        (lambda folder: (folder / "a.txt").write_text("x"), ("altered: a.txt",)),
        (lambda folder: (folder / "a.txt").unlink(), ("removed: a.txt",)),
        (lambda folder: (folder / "new").touch(), ("added: new",)),
        (
            lambda folder: (folder / "a.txt").rename(folder / "b.txt"),
            ("removed: a.txt", "added: b.txt"),
        ),
        (
            lambda folder: shutil.rmtree(folder / "deep") or (folder / "a.txt").write_text(""),
            ("altered: a.txt", "removed: deep/b.txt"),
        ),
    ],
)
def test_altered_folders_name_their_files(model, change, files):
    change(Path(model.uri))
    finding = check(model)
    assert finding.verdict is Verdict.ALTERED
    assert finding.files == files
    assert finding.digest == digest.of(Path(model.uri)).hexdigest
    assert finding.reason.startswith(f"sha256 is {finding.digest[:12]}…, not ")


def test_one_flipped_bit(model):
    path = Path(model.uri, "a.txt")
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    finding = check(model)
    assert finding.files == ("altered: a.txt",)
    assert finding.reason.endswith("bytes as before")


def test_a_file(tmp_path):
    path = tmp_path / "x"
    path.write_text("12345")
    record = ArtifactRecord("x", str(path), metadata=digest.of(path).metadata())
    assert check(record).verdict is Verdict.OK
    path.write_text("123456")
    finding = check(record)
    assert finding.reason == "sha256 is 8d969eef6eca…, not 5994471abb01…; 6 bytes, not 5"
    assert finding.files == ()


def test_a_file_in_place_of_a_folder(model):
    folder = Path(model.uri)
    found = digest.of(folder)
    manifest = "".join(f"{sha}  {name}\n" for name, sha in found.files.items())
    shutil.rmtree(folder)
    folder.write_text(manifest)  # which has the digest of the folder
    assert digest.of(folder).hexdigest == found.hexdigest
    assert check(model).verdict is Verdict.ALTERED


def test_only_what_no_task_made_may_change(history, tmp_path):
    """Events decide, not the metadata of a step."""
    data, made = tmp_path / "data", tmp_path / "made"
    records = []
    for path in (data, made):
        path.write_text("1")
        metadata = {**digest.of(path).metadata(), "source": True}
        records.append(ArtifactRecord(path.name, str(path), metadata=metadata))
    run = history.start("flights-1")
    task = run.start_task("t", inputs={"data_uri": records[:1]})
    run.finish_task(task, State.COMPLETE, outputs={"made": records[1:]})
    data.write_text("2")
    made.write_text("2")
    found = live_artifacts(history.store)
    verdicts = [finding.verdict for finding in verify(found, external(history.store, found))]
    assert verdicts == [Verdict.SOURCE_CHANGED, Verdict.ALTERED]


def test_a_digest_without_bytes(tmp_path):
    (tmp_path / "x").write_text("12345")
    finding = check(ArtifactRecord("x", str(tmp_path / "x"), metadata={"digest": "aa"}))
    assert finding.reason.endswith("not aa…; 5 bytes")


def test_missing(model):
    shutil.rmtree(model.uri)
    finding = check(model)
    assert (finding.verdict, finding.reason) == (Verdict.MISSING, "there is nothing at its place")
    assert not finding.verdict.good


class TestMoved:
    """The folder of the runs was moved or copied as a whole: records hold the former paths."""

    @pytest.fixture
    def moved(self, history, model) -> Path:
        return (history.root / "flights").rename(history.root / "new" / "flights").parent

    @pytest.fixture(autouse=True)
    def new(self, history):
        (history.root / "new").mkdir()

    def test_it_is_found(self, model, moved):
        finding = check(model, own=moved)
        assert finding.verdict is Verdict.OK
        assert finding.reason == f"it lies at {moved}/flights/flights-1/trainer/model now"
        assert check(model).verdict is Verdict.MISSING

    def test_it_was_altered_there(self, model, moved):
        (moved / "flights/flights-1/trainer/model/a.txt").write_text("x")
        finding = check(model, own=moved)
        assert (finding.verdict, finding.files) == (Verdict.ALTERED, ("altered: a.txt",))
        assert str(moved) in finding.reason

    def test_what_is_still_at_its_place_counts(self, history, model):
        shutil.copytree(history.root / "flights", history.root / "new" / "flights")
        Path(model.uri, "a.txt").write_text("x")
        assert check(model, own=history.root / "new").verdict is Verdict.ALTERED

    def test_a_copy_of_a_bucket(self, model, moved):
        model.uri = "memory://bucket/prefix/flights/flights-1/trainer/model"
        assert check(model, own=moved).verdict is Verdict.OK

    def test_the_same_name_elsewhere_is_not_it(self, model, moved):
        (moved / "trainer").mkdir()
        shutil.move(moved / "flights/flights-1/trainer/model", moved / "trainer/model")
        assert check(model, own=moved).verdict is Verdict.MISSING

    def test_a_path_that_leads_out(self, model, moved):
        model.uri = "/x/../../../flights/flights-1/trainer/model"
        assert check(model, own=moved / "a").verdict is Verdict.MISSING

    def test_a_source_is_not_looked_for(self, model, moved):
        assert check(model, is_source=True, own=moved).verdict is Verdict.SOURCE_CHANGED


def test_a_link_to_nothing_is_not_readable(model):
    shutil.rmtree(model.uri)
    Path(model.uri).symlink_to("gone")
    assert check(model).verdict is Verdict.UNREADABLE


def test_unreadable(model, unprivileged):
    Path(model.uri, "a.txt").chmod(0)
    with unprivileged():
        finding = check(model)
    assert finding.verdict is Verdict.UNREADABLE
    assert finding.reason == f"{model.uri}/a.txt cannot be read: permission denied."
    assert not finding.verdict.good


def test_a_link_that_leads_out(model):
    path = Path(model.uri, "a.txt")
    copy = Path(model.uri).with_name("copy.txt")
    path.rename(copy)
    path.symlink_to(copy)
    finding = check(model)
    assert finding.verdict is Verdict.UNREADABLE
    assert "outside of the artifact" in finding.reason


@pytest.mark.parametrize(
    ("uri", "verdict"),
    [
        ("relative/path", Verdict.UNCHECKED),
        ("file:///no/such", Verdict.MISSING),
        ("/no/such", Verdict.MISSING),
    ],
)
def test_places(uri, verdict):
    assert check(ArtifactRecord("x", uri, metadata={"digest": "aa"})).verdict is verdict


def test_object_stores(model):
    """The digest of a folder is the same wherever it lies."""
    import fsspec

    bucket = fsspec.filesystem("memory")
    bucket.put(model.uri, "/bucket/model", recursive=True)
    record = ArtifactRecord("model", "memory://bucket/model", metadata=model.metadata)
    assert check(record).verdict is Verdict.OK
    bucket.pipe("/bucket/model/a.txt", b"x")
    finding = check(record)
    assert (finding.verdict, finding.files) == (Verdict.ALTERED, ("altered: a.txt",))
    bucket.rm("/bucket/model", recursive=True)
    assert check(record).verdict is Verdict.MISSING


def test_an_s3_server_and_its_scheme_in_kfp(model, s3, monkeypatch):
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    for path in filter(Path.is_file, Path(model.uri).rglob("*")):
        name = f"s3://{s3.bucket}/kfp/model/{path.relative_to(model.uri)}"
        storage.write_bytes(name, path.read_bytes())
    for scheme in ("s3", "minio"):
        uri = f"{scheme}://{s3.bucket}/kfp/model"
        record = ArtifactRecord("model", uri, metadata=model.metadata)
        assert check(record).verdict is Verdict.OK


def test_a_place_that_cannot_be_asked_is_not_checked(model):
    for uri in ("ipfs://x/y", "s3://bucket/x?endpoint=elsewhere"):
        finding = check(ArtifactRecord("x", uri, metadata=model.metadata))
        assert finding.verdict is Verdict.UNCHECKED
        assert uri.partition("?")[0] in finding.reason


def test_file_addresses(model):
    model.uri = f"file://{model.uri}"
    assert check(model).verdict is Verdict.OK


def test_a_folder_of_many_files_has_no_list(tmp_path):
    for index in range(101):
        (tmp_path / f"{index}").write_text("x")
    record = ArtifactRecord("x", str(tmp_path), metadata=digest.of(tmp_path).metadata())
    (tmp_path / "7").write_text("y")
    finding = check(record)
    assert finding.verdict is Verdict.ALTERED
    assert finding.files == ()


def test_what_was_deleted_on_purpose_is_not_missed(history, model):
    from ml_metadata.proto import metadata_store_pb2 as pb

    shutil.rmtree(model.uri)
    (message,) = history.store.call("get_artifacts_by_id", [model.id])
    message.state = pb.Artifact.DELETED
    history.store.call("put_artifacts", [message])
    assert model.id not in {record.id for record in live_artifacts(history.store)}


def test_json(model):
    Path(model.uri, "a.txt").write_text("x")
    document = check(model).to_json()
    assert document["verdict"] == "altered"
    assert document["files"] == ["altered: a.txt"]
    assert document["artifact"]["id"] == model.id


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.binary(max_size=9), min_size=1),
    st.dictionaries(st.sampled_from("abcdef"), st.binary(max_size=9), min_size=1),
)
def test_any_change(tmp_path, before, now):
    folder = tmp_path / "x"

    def write(tree: dict[str, bytes]) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, content in tree.items():
            (folder / name).write_bytes(content)

    write(before)
    record = ArtifactRecord("x", str(folder), metadata=digest.of(folder).metadata())
    write(now)
    finding = check(record)
    names = {line.partition(": ")[2] for line in finding.files}
    assert names == {name for name in {*before, *now} if before.get(name) != now.get(name)}
    assert (finding.verdict is Verdict.OK) == (before == now)


def test_many_at_once(history):
    run = history.start("flights-1")
    folder = history.root / "many"
    folder.mkdir()
    records = []
    for index in range(200):
        (folder / f"{index}").write_bytes(os.urandom(1_000))
        content = digest.of(folder / f"{index}").metadata()
        records.append(ArtifactRecord("x", str(folder / f"{index}"), metadata=content))
    run.finish_task(run.start_task("t"), State.COMPLETE, outputs={"x": records})
    (folder / "7").write_bytes(b"")
    findings = verify(live_artifacts(history.store))
    bad = [finding.artifact.uri for finding in findings if not finding.verdict.good]
    assert bad == [str(folder / "7")]


@pytest.mark.parametrize("change", [Path.unlink, lambda path: path.write_text("other")])
def test_a_source_may_change_after_it_was_read(tmp_path, change):
    path = tmp_path / "my.csv"
    path.write_text("a,b\n1,2\n")
    metadata = digest.of(path).metadata()
    record = ArtifactRecord("my.csv", str(path), "system.Dataset", metadata=metadata)
    assert check(record, is_source=True).verdict is Verdict.OK
    change(path)
    finding = check(record, is_source=True)
    assert finding.verdict is Verdict.SOURCE_CHANGED
    assert finding.verdict.good


@pytest.mark.parametrize(
    ("uri", "part"),
    [
        ("data", "data/b.csv"),
        ("data", "else/c.csv"),
        ("data/*.csv", "data/b.csv"),
        ("*/more", "else/c.csv"),
        (".", "data/a.csv"),
    ],
)
def test_patterns_and_links_out_of_folders(tmp_path, uri, part):
    """What is read from outside need not be whole: what it leads to counts, but for the runs."""
    for name in ("data/a.csv", "data/b.csv", "else/c.csv", "runs/log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "data" / "more").symlink_to("../else")
    own = tmp_path / "runs"
    metadata = external_files.digest_of(tmp_path / uri, own).metadata()
    record = ArtifactRecord("x", str(tmp_path / uri), metadata=metadata)
    (own / "log").write_text("longer")
    assert check(record, is_source=True, own=own).verdict is Verdict.OK
    (tmp_path / part).write_text("other")
    finding = check(record, is_source=True, own=own)
    assert finding.verdict is Verdict.SOURCE_CHANGED
    assert finding.files[0].endswith(Path(part).name)


def test_a_folder_has_one_digest_whoever_made_it(model):
    assert external_files.digest_of(Path(model.uri)) == digest.of(Path(model.uri))
