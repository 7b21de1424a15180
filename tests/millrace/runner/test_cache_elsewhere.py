"""The cache compares content, so it hits in a root that was moved, and across roots."""

import shutil

import pytest

from millrace.lineage import query
from millrace.lineage.store import Store
from millrace.runner.run import run


@pytest.fixture
def pipeline(kit):
    def chain(text: str = "made", data_uri: str = ""):
        first = kit.play(text=text, data_uri=data_uri)
        kit.play(text="second", data=first.outputs["out"])

    return str(kit.compile(chain))


def states(result):
    return [task.state.value for task in result.tasks.values()]


def test_a_root_that_was_moved(pipeline, tmp_path):
    run(pipeline, root=tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    result = run(pipeline, root=tmp_path / "b")
    assert states(result) == ["CACHED", "CACHED"]
    (made,) = result.tasks["play"].artifacts["out"]
    assert made.uri.startswith(str(tmp_path / "b"))


def test_a_root_that_was_copied_does_without_the_first(pipeline, tmp_path):
    first = run(pipeline, root=tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    shutil.rmtree(tmp_path / "a")
    assert states(run(pipeline, root=tmp_path / "b")) == ["CACHED", "CACHED"]
    folder = tmp_path / "b" / "chain" / first.run_id / "play" / "out"
    (folder / "text").write_text("evil")
    assert states(run(pipeline, root=tmp_path / "b")) == ["COMPLETE", "CACHED"]


def test_the_same_data_at_another_path(pipeline, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.csv").write_text("a\n1\n")
    run(pipeline, {"data_uri": str(tmp_path / "one" / "one.csv")}, root=tmp_path / "root")
    again = run(pipeline, {"data_uri": str(tmp_path / "two" / "two.csv")}, root=tmp_path / "root")
    assert states(again) == ["CACHED", "CACHED"]


def test_results_of_another_root_are_taken_and_recorded_here(pipeline, tmp_path):
    run(pipeline, root=tmp_path / "a")
    result = run(pipeline, root=tmp_path / "b", cache_from=[tmp_path / "a"])
    assert states(result) == ["CACHED", "CACHED"]
    (made,) = result.tasks["play"].artifacts["out"]
    assert made.uri.startswith(str(tmp_path / "a"))
    assert made.id is not None
    with Store.open(result.store) as store:
        tasks = {task.name: task for task in query.tasks(store, query.find_run(store, "latest"))}
    assert tasks["play"].outputs["out"][0].uri == made.uri
    assert tasks["play-2"].inputs["data"][0].id == tasks["play"].outputs["out"][0].id
    assert tasks["play"].properties["cached_from_store"].startswith(str(tmp_path / "a"))
    assert states(run(pipeline, root=tmp_path / "b")) == ["CACHED", "CACHED"]  # it is known now


def test_a_root_without_a_store_is_one_error(millrace, pipeline, tmp_path):
    done = millrace("run", pipeline, "--cache-from", "gone", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: There is no lineage store at ")
