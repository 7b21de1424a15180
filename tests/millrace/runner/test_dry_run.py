"""`--dry-run` shows what would run and why, `cache explain` why it did."""

from pathlib import Path

import pytest


@pytest.fixture
def pipeline(kit):
    def planned(text: str = "a", do: str = ""):
        first = kit.play(text=text)
        second = kit.play(text="2", data=first.outputs["out"], do=do)
        kit.play(text="3", data=second.outputs["out"]).set_caching_options(False)

    return kit.compile(planned)


def plan(run, pipeline, values=None, **options):
    result = run(pipeline, values, dry=True, **options)
    return {path: (task.state.value, task.error) for path, task in result.tasks.items()}


def test_nothing_is_made_and_nothing_recorded(run, pipeline, root):
    found = plan(run, pipeline)
    assert found["play"] == ("PLANNED", "it has not run before")
    assert found["play-2"] == ("PLANNED", "it needs the outputs of play")
    assert [path.name for path in Path(root).glob("*")] in ([], [".digests.json"])


def test_hits_and_misses_with_their_reasons(run, pipeline):
    run(pipeline)
    assert plan(run, pipeline) == {
        "play": ("CACHED", ""),
        "play-2": ("CACHED", ""),
        "play-3": ("PLANNED", "caching is off"),
    }
    assert plan(run, pipeline, {"text": "b"})["play"] == ("PLANNED", "changed: parameter text")
    found = plan(run, pipeline, start="play-2")
    assert found["play"] == ("CACHED", "")
    assert found["play-2"] == ("PLANNED", "asked for: --from play-2")


def test_a_result_that_was_deleted(run, pipeline):
    made = run(pipeline)
    (made.folder / "play" / "out" / "text").unlink()
    state, why = plan(run, pipeline)["play"]
    assert (state, why) == (
        "PLANNED",
        "its result is no longer complete, or was made without the cache",
    )


def test_loops_are_planned_from_what_is_known(kit, run):
    dsl = kit.dsl

    def looping(items: list):
        with dsl.ParallelFor(items) as item:
            kit.play(text=item)

    pipeline = kit.compile(looping)
    run(pipeline, {"items": ["a"]})
    found = plan(run, pipeline, {"items": ["a", "b"]})
    assert found["for-loop-1[0]/play"] == ("CACHED", "")
    assert found["for-loop-1[1]/play"] == ("PLANNED", "changed: parameter text")
    assert found["for-loop-1"][0] == "PLANNED"


def test_the_command_line(millrace, pipeline, tmp_path):
    millrace("run", pipeline, cwd=tmp_path)
    shown = millrace("run", pipeline, "--dry-run", "-p", "do=fail x", cwd=tmp_path).stdout
    assert "changed: parameter do" in shown
    assert "2 to run, 1 in the cache" in shown
    failed = millrace("run", pipeline, "-p", "do=fail x", cwd=tmp_path, check=False)
    assert failed.returncode == 1
    why = millrace("cache", "explain", "latest", "play-2", cwd=tmp_path).stdout
    assert why.splitlines() == ["play-2  failed", "changed: parameter do"]
    why = millrace("cache", "explain", "latest", "play", cwd=tmp_path).stdout
    assert why.splitlines()[1].startswith("its result was taken from run planned-")
    wrong = millrace("cache", "explain", "latest", "ply", cwd=tmp_path, check=False)
    assert 'has no task "ply". Did you mean "play"?' in wrong.stderr
