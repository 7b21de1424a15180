"""`millrace lineage show` and `verify`, on terminals of every width, in pipes and as JSON."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from millrace.cli import lineage
from millrace.errors import StoreError
from millrace.lineage.nodes import ArtifactRecord, State
from millrace.storage import digest


@pytest.fixture
def model(history):
    return history.run("flights-1")["trainer"]["model"][0]


def shown(history, capsys, what, downstream=False) -> str:
    lineage.show(str(what), history.root, None, downstream, as_json=False)
    out = re.sub(r"\d+ ms|\d+\.\d s", "T", capsys.readouterr().out)
    assert "\x1b" not in out
    return re.sub(r"sha256 [0-9a-f]{12}", "sha256 D", out).replace(str(history.root), "ROOT")


def test_the_tree_of_a_model(history, model, capsys):
    assert shown(history, capsys, "flights-1/trainer/model") == (
        """\
model  system.Model #4  37 B  1,234 rows  sha256 D
ROOT/flights/flights-1/trainer/model
made by trainer  T  in flights-1
image millrace-core:0.1.0  millrace 0.1.0  code c0dec0dec0de
seed=1
├── examples  system.Examples #1  43 B  1,234 rows  sha256 D
│   ROOT/flights/flights-1/example-gen/examples
│   made by example-gen  T
│   image millrace-core:0.1.0  code c0dec0dec0de
│   data_uri=/data/flights.csv
└── schema  system.Schema #3  39 B  1,234 rows  sha256 D
    ROOT/flights/flights-1/schema-gen/schema
    made by schema-gen  T
    image millrace-core:0.1.0  code c0dec0dec0de
    seed=1
    └── statistics  system.Statistics #2  47 B  1,234 rows  sha256 D
        ROOT/flights/flights-1/statistics-gen/statistics
        made by statistics-gen  T
        image millrace-core:0.1.0  code c0dec0dec0de
        seed=1
        └── examples  system.Examples #1, above
"""
    )


def test_the_tree_of_what_was_made_from_it(history, model, capsys):
    assert shown(history, capsys, "flights-1/example-gen/examples", downstream=True) == (
        """\
examples  system.Examples #1  43 B  1,234 rows  sha256 D
ROOT/flights/flights-1/example-gen/examples
├── statistics-gen  reads examples  T  in flights-1
│   → statistics  system.Statistics #2  47 B  1,234 rows  sha256 D
│   └── schema-gen  reads statistics  T
│       → schema  system.Schema #3  39 B  1,234 rows  sha256 D
│       └── trainer  reads examples, schema  T
│           → model  system.Model #4  37 B  1,234 rows  sha256 D
│           → metrics  system.Metrics #5
└── trainer, above

1 model made from it
model  system.Model #4  37 B  1,234 rows  sha256 D
  ROOT/flights/flights-1/trainer/model
"""
    )


@pytest.mark.parametrize("downstream", [True, False])
def test_which_models_has_this_file_touched(history, model, capsys, downstream):
    history.run("flights-2", data="other rows", data_uri="/data/*.csv")
    history.run("flights-3", data="third", data_uri="/elsewhere/flights.csv")
    out = shown(history, capsys, "/data/flights.csv", downstream)
    assert out.startswith(
        "/data/flights.csv\nexternal data: tasks got it or /data/*.csv, which it matches"
        "\n├── example-"
    )
    assert "2 models made from it\n" in out
    assert "flights-3" not in out


def test_a_file_that_matches_a_pattern_without_a_list(history, capsys):
    source = ArtifactRecord("*.csv", "/data/*.csv", metadata={"digest": "ab" * 32})
    history.start("r1").start_task("t", inputs={"data_uri": [source]})
    said = "matches the pattern: whether it was there is not recorded"
    assert f"\n/data/*.csv\n{said}\n└── t" in shown(history, capsys, "/data/x.csv")
    assert "\n/data/*.csv\n└── t" in shown(history, capsys, "/data/*.csv")
    lineage.show("/data/x.csv", history.root, None, downstream=False, as_json=True)
    assert json.loads(capsys.readouterr().out)["patterns"] == ["/data/*.csv"]


def test_nobody_read_it(history, model, capsys):
    out = shown(history, capsys, model.id, downstream=True)
    assert out.endswith("flights-1/trainer/model\nNo task has read it.\n")


def test_a_cached_task_is_shown_where_it_was_run(history, model, capsys):
    history.run("flights-2")
    out = shown(history, capsys, "flights-2/trainer/model")
    assert "made by trainer  T  in flights-1\n" in out
    assert "flights-2" not in out


def test_one_task_with_two_outputs_is_shown_once(history, capsys):
    run = history.start("r1")
    made = run.finish_task(
        run.start_task("transform", parameters={"label": "late"}),
        State.COMPLETE,
        outputs={name: [ArtifactRecord(name, f"/{name}")] for name in ("graph", "rows")},
    )
    last = run.finish_task(
        run.start_task("trainer", inputs=made),
        State.COMPLETE,
        outputs={"model": [ArtifactRecord("model", "/model", "system.Model")]},
    )
    out = shown(history, capsys, last["model"][0].id)
    assert out.count("label=late") == 1
    assert "made by transform, above" in out


def test_the_same_content_elsewhere(history, model, capsys):
    run = history.start("flights-2")
    record = ArtifactRecord("copy", "/copy", "system.Model", metadata=dict(model.metadata))
    run.finish_task(run.start_task("copy"), State.COMPLETE, outputs={"copy": [record]})
    out = shown(history, capsys, model.metadata["digest"][:12])
    assert out.startswith("copy  system.Model #6")
    assert out.endswith("also of that content or at that place: #4\n")


def test_what_no_task_made(history, capsys):
    from ml_metadata.proto import metadata_store_pb2 as pb

    kind = history.store.artifact_type("system.Dataset")
    history.store.call("put_artifacts", [pb.Artifact(type_id=kind, uri="/x")])
    assert shown(history, capsys, "/x").endswith("/x\nNo task has read it.\n")


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("downstream", [False, True])
def test_terminal(history, model, capsys, monkeypatch, width, downstream):
    from rich.console import Console
    from rich.text import Text

    from millrace.cli import output

    monkeypatch.setattr(output, "console", lambda: Console(width=width, force_terminal=True))
    what = "flights-1/example-gen/examples" if downstream else "flights-1/trainer/model"
    lineage.show(what, history.root, None, downstream, as_json=False)
    out = capsys.readouterr().out
    assert "\x1b[" in out
    assert max(len(Text.from_ansi(line).plain) for line in out.splitlines()) <= width


def test_json(history, model, capsys):
    lineage.show(str(model.id), history.root, None, downstream=False, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["artifact"]["id"] == model.id
    assert document["direction"] == "upstream"
    assert len(document["artifacts"]) == len(document["tasks"]) == 4
    lineage.show("/data/flights.csv", history.root, None, downstream=False, as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert document["artifact"] is None
    assert document["uri"] == "/data/flights.csv"
    assert document["direction"] == "downstream"
    assert {record["type"] for record in document["artifacts"]} >= {"system.Model"}


def test_no_such_artifact(history, model):
    with pytest.raises(StoreError, match='There is no artifact "x"'):
        lineage.show("x", history.root, None, downstream=False, as_json=False)


class TestVerify:
    """Whether artifacts are what was recorded."""

    def verify(self, history, capsys, what=None, code=0) -> str:
        assert lineage.verify(what, history.root, None, as_json=False) == code
        return capsys.readouterr().out.replace(str(history.root), "ROOT")

    def test_all_is_well(self, history, model, capsys):
        assert self.verify(history, capsys) == (
            "5 artifacts: 4 ok, 1 not checked\n  1 not checked: no digest of it is recorded\n"
        )

    def test_nothing_recorded(self, history, capsys):
        assert self.verify(history, capsys) == "0 artifacts: none recorded\n"

    def test_nothing_of_a_run_can_be_checked(self, history, kfp_run, capsys):
        kfp_run.task("trainer", model=kfp_run.artifact("minio://bucket/model", "system.Model"))
        assert self.verify(history, capsys, "latest", code=2) == (
            "1 artifact: 1 not checked\n  1 not checked: no digest of it is recorded\n"
        )

    def test_altered_and_missing(self, history, model, capsys):
        Path(model.uri, "a.txt").write_text("x")
        shutil.rmtree(history.root / "flights/flights-1/schema-gen")
        out = self.verify(history, capsys, code=1)
        assert re.sub(r"[0-9a-f]{12}…", "D…", out) == (
            "missing  schema  system.Schema #3\n"
            "  ROOT/flights/flights-1/schema-gen/schema\n"
            "  there is nothing at its place\n"
            "altered  model  system.Model #4\n"
            "  ROOT/flights/flights-1/trainer/model\n"
            "  sha256 is D…, not D…; 22 bytes, not 37\n"
            "  altered: a.txt\n"
            "5 artifacts: 2 ok, 1 missing, 1 altered, 1 not checked\n"
            "  1 not checked: no digest of it is recorded\n"
        )

    def test_one_run_or_artifact(self, history, model, capsys):
        history.run("flights-2", data="other rows")
        Path(model.uri, "a.txt").write_text("x")
        assert "5 artifacts: 3 ok, 1 altered" in self.verify(history, capsys, "flights-1", code=1)
        assert "5 artifacts: 4 ok, 1 not" in self.verify(history, capsys, "latest")
        assert "1 artifact: 1 ok\n" in self.verify(history, capsys, "flights-2/trainer/model")
        assert "1 altered" in self.verify(history, capsys, str(model.id), code=1)
        assert "1 altered" in self.verify(history, capsys, model.uri, code=1)
        assert "10 artifacts" in self.verify(history, capsys, code=1)

    def test_a_run_includes_what_it_took_from_the_cache(self, history, model, capsys):
        history.run("flights-2")
        Path(model.uri, "a.txt").write_text("x")
        assert "altered  model" in self.verify(history, capsys, "flights-2", code=1)

    def test_what_a_failed_task_left_is_not_missed(self, history, capsys):
        run = history.start("flights-1")
        task = run.start_task("trainer")
        left = history.artifact("flights-1", "trainer", "model", "system.Model", "half")
        run.finish_task(task, State.FAILED, outputs={"model": [left]})
        shutil.rmtree(left.uri)
        assert self.verify(history, capsys, "flights-1") == "0 artifacts: none recorded\n"

    def test_data_from_outside_has_no_digest(self, history, model, capsys):
        with pytest.raises(StoreError) as error:
            self.verify(history, capsys, "/data/flights.csv")
        assert str(error.value) == (
            "/data/flights.csv is external data whose digest is not recorded: tasks got it as a "
            "parameter."
        )

    def test_unknown(self, history, model, capsys):
        with pytest.raises(StoreError, match='There is no artifact "flights-7"'):
            self.verify(history, capsys, "flights-7")

    def test_json(self, history, model, capsys):
        Path(model.uri, "a.txt").write_text("x")
        assert lineage.verify(None, history.root, None, as_json=True) == 1
        document = json.loads(capsys.readouterr().out)
        assert document["ok"] is False
        assert document["counts"] == {"ok": 3, "altered": 1, "not checked": 1}
        (bad,) = [one for one in document["findings"] if one["verdict"] == "altered"]
        assert bad["artifact"]["id"] == model.id
        assert bad["files"] == ["altered: a.txt"]

    def test_the_command(self, history, model, millrace):
        done = millrace("lineage", "verify", "--root", history.root, cwd=history.root)
        assert done.stdout.startswith("5 artifacts: 4 ok")
        shutil.rmtree(model.uri)
        done = millrace("lineage", "verify", "--root", history.root, cwd=history.root, check=False)
        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout.startswith("missing  model")


def test_a_source_and_all_that_was_read_at_its_place(history, capsys):
    """A file that changed between two runs is two artifacts, and both made models."""
    path = history.root / "my.csv"
    for run_id, content in (("r1", "1"), ("r2", "2")):
        path.write_text(content)
        metadata = digest.of(path).metadata()
        source = ArtifactRecord("my.csv", str(path), "system.Dataset", metadata=metadata)
        run = history.start(run_id)
        task = run.start_task("trainer", inputs={"data_uri": [source]})
        model = ArtifactRecord("model", f"/{run_id}", "system.Model")
        run.finish_task(task, State.COMPLETE, outputs={"model": [model]})
    out = shown(history, capsys, path)
    assert out.startswith("my.csv  system.Dataset #3  1 B  sha256 D\nROOT/my.csv\n├── trainer")
    assert "2 models made from it" in out
    assert out.endswith("also of that content or at that place: #1\n")
    assert "\nexternal data" in shown(history, capsys, "r1/trainer/model").replace("    ", "")
    assert lineage.verify(None, history.root, None, as_json=False) == 0
    out = capsys.readouterr().out
    assert out.startswith("source changed  my.csv  system.Dataset #1\n")
    assert "4 artifacts: 2 not checked, 1 source changed, 1 ok\n" in out
