"""Imports that cannot be read are told before anything runs."""

import pytest

from millrace.errors import PipelineError
from millrace.runner.result import State


@pytest.fixture
def importing(kit):
    """Compiles a pipeline that imports a dataset, and may read it."""
    dsl = kit.dsl

    def make(uri=None, read=True, condition=False):
        def body(where):
            imported = dsl.importer(artifact_uri=uri or where, artifact_class=dsl.Dataset)
            if read:
                kit.play(data=imported.output)

        def importing(where: str = "", go: str = "no"):
            if condition:
                with dsl.If(go == "yes"):
                    body(where)
            else:
                body(where)

        return kit.compile(importing)

    return make


@pytest.mark.parametrize("uri", [None, "no/such.csv"])
def test_a_file_that_is_not_there(importing, run, uri, root):
    with pytest.raises(
        PipelineError, match=r'task "importer": there is no .*/no/such\.csv to import'
    ):
        run(importing(uri), {"where": "no/such.csv"})
    assert not (root / "importing").exists()


def test_a_file_of_the_caller(importing, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data.csv").write_text("a")
    assert run(importing("data.csv", read=False)).state is State.COMPLETE


def test_an_import_that_a_condition_skips(importing, run):
    assert run(importing("/no/such.csv", condition=True)).state is State.COMPLETE


def test_what_only_a_cluster_reads(importing, run):
    uri = "oci://registry.example/model:1"
    with pytest.raises(PipelineError, match=f'"importer": {uri} can be read on a cluster only'):
        run(importing(), {"where": uri})
    assert run(importing(uri, read=False)).state is State.COMPLETE
