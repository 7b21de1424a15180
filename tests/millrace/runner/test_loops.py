"""Loops: `dsl.ParallelFor`, `dsl.Collected`, and the results of their iterations."""
# ruff: noqa: B006  KFP reads defaults and types from the signature

import json
from pathlib import Path

import pytest

from millrace.lineage import query
from millrace.lineage.store import Store
from millrace.runner.result import State


def said(result, path):
    return result.tasks[path].parameters["said"]


def test_each_item_has_an_iteration(kit, run):
    dsl = kit.dsl

    def looping(items: list = ["a", "b", "c"]):
        with dsl.ParallelFor(items) as item:
            kit.play(text=item)

    result = run(kit.compile(looping))
    assert result.state is State.COMPLETE, result.error
    assert [said(result, f"for-loop-1[{index}]/play") for index in range(3)] == ["a", "b", "c"]
    assert result.tasks["for-loop-1"].iterations == 3
    assert result.tasks["for-loop-1"].iterations_ended == 3
    folder = result.folder / "for-loop-1" / "2" / "play" / "out"
    assert (folder / "text").read_text() == "c"


def test_loops_in_loops_over_parts_of_items(kit, run):
    dsl = kit.dsl

    def nested():
        items = [{"list": ["x1", "x2"]}, {"list": []}]
        with dsl.ParallelFor(items) as outer, dsl.ParallelFor(outer.list) as inner:
            kit.play(text=inner)

    result = run(kit.compile(nested))
    assert result.state is State.COMPLETE, result.error
    texts = [task.parameters["said"] for task in result.tasks.values() if not task.is_dag]
    assert sorted(texts) == ["x1", "x2"]
    assert sorted(
        task.iterations for task in result.tasks.values() if task.iterations is not None
    ) == [0, 2, 2]


def test_collected_parameters_and_artifacts_come_in_the_order_of_the_items(kit, run):
    dsl = kit.dsl

    @dsl.container_component
    def count(data: dsl.Input[list[dsl.Dataset]], numbers: list, out: dsl.OutputPath(str)):
        return dsl.ContainerSpec(
            image="millrace-core:0.1.0",
            command=["python", "-m", "millrace.entrypoint", str(COUNT)],
            args=["--executor_input", "{{$}}"],
        )

    def collecting(items: list = ["a", "b", "c"]):
        with dsl.ParallelFor(items, parallelism=2) as item:
            made = kit.play(text=item)
        count(data=dsl.Collected(made.outputs["out"]), numbers=dsl.Collected(made.outputs["said"]))

    result = run(kit.compile(collecting))
    assert result.state is State.COMPLETE, result.error
    assert json.loads(result.tasks["count"].parameters["out"]) == {
        "texts": ["a", "b", "c"],
        "numbers": ["a", "b", "c"],
    }
    again = run(kit.compile(collecting))
    assert again.tasks["count"].state is State.CACHED


def test_a_loop_over_nothing_is_complete_and_gives_empty_lists(kit, run):
    dsl = kit.dsl

    def empty(items: list = []):
        with dsl.ParallelFor(items) as item:
            made = kit.play(text=item)
        kit.play(items=dsl.Collected(made.outputs["said"]))

    result = run(kit.compile(empty))
    assert result.state is State.COMPLETE, result.error
    assert result.tasks["play-2"].parameters["given"]["items"] == []


def test_skipped_branches_are_left_out_of_what_is_collected(kit, run):
    dsl = kit.dsl

    def branching():
        with dsl.ParallelFor(["a", "b", "c"]) as item, dsl.If(item != "b"):
            made = kit.play(text=item)
        kit.play(items=dsl.Collected(made.outputs["said"]))

    result = run(kit.compile(branching))
    assert result.state is State.COMPLETE, result.error
    last = list(result.tasks.values())
    given = next(task for task in last if task.path == "play-2")
    assert given.parameters["given"]["items"] == ["a", "c"]


def test_a_failed_iteration_fails_the_loop_and_the_others_go_on(kit, run):
    dsl = kit.dsl

    def failing():
        with dsl.ParallelFor(["x", "fail because", "y"]) as item:
            made = kit.play(do=item)
        kit.play(items=dsl.Collected(made.outputs["said"]))

    result = run(kit.compile(failing))
    assert result.state is State.FAILED
    assert result.tasks["for-loop-2[1]/play"].error == "because"
    assert result.tasks["for-loop-2[2]/play"].state is State.COMPLETE
    assert result.tasks["play-2"].state is State.SKIPPED
    assert "for-loop-2[1]/play: because" in result.error


def test_fail_fast_starts_nothing_new_after_a_failure(kit, run):
    dsl = kit.dsl

    def failing():
        with dsl.ParallelFor(["fail at once", "x", "y"], parallelism=1) as item:
            kit.play(do=item)

    result = run(kit.compile(failing), fail_fast=True)
    assert result.state is State.FAILED
    assert "for-loop-2[1]/play" not in result.tasks


@pytest.mark.parametrize("items", ["no list", '{"a": 1}', "3"])
def test_a_loop_needs_a_list(kit, run, items):
    dsl = kit.dsl

    def wrong(text: str):
        made = kit.play(text=text)
        with dsl.ParallelFor(made.outputs["said"]) as item:
            kit.play(text=item)

    result = run(_loop_over_text(kit, wrong), {"text": items})
    assert result.state is State.FAILED
    assert "The loop needs a list, and play-said is" in result.error


def test_lineage_has_the_loop_with_its_iterations(kit, run):
    dsl = kit.dsl

    def recorded():
        with dsl.ParallelFor(["a", "b"]) as item:
            kit.play(text=item)

    result = run(kit.compile(recorded))
    with Store.open(result.store) as store:
        found = {task.name: task for task in query.tasks(store, query.find_run(store, "latest"))}
    (loop,) = (task for task in found.values() if "iteration_count" in task.properties)
    assert loop.properties["iteration_count"] == 2
    assert {name for name in found if name.endswith("play")} == {
        f"{loop.name}[{index}]/play" for index in (0, 1)
    }
    assert all(task.state == "COMPLETE" for task in found.values())


def _loop_over_text(kit, function) -> Path:
    """Compile a loop over an output that is declared as text, which kfp's SDK refuses."""
    try:
        return kit.compile(function)
    except (TypeError, ValueError):
        pytest.skip("this kfp refuses it when it compiles")


COUNT = Path(__file__).with_name("count_artifacts.py")
