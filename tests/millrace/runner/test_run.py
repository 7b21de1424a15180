"""Pipelines from kfp's compiler, run to their end."""

# ruff: noqa: RUF013  KFP reads types from the signature
import json
import os
import re
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from millrace.errors import ParameterError, PipelineError, StoreError
from millrace.lineage import query
from millrace.lineage.store import Store
from millrace.runner.listener import Silent
from millrace.runner.result import State


def states(result):
    return {path: task.state.value for path, task in result.tasks.items()}


def test_values_go_from_task_to_task(kit, run):
    def chain(text: str = "hello", count: int = 2):
        first = kit.play(text=text, count=count)
        kit.play(
            text=f"{first.outputs['said']}, {text}",
            count=first.outputs["number"],
            ratio=first.outputs["share"],
            flag=first.outputs["sure"],
            options=first.outputs["given"],
            data=first.outputs["out"],
        )

    result = run(kit.compile(chain), {"count": 3})
    assert result.state is State.COMPLETE
    assert result.exit_code == 0
    second = result.tasks["play-2"]
    assert second.parameters["said"] == "hello, hello"
    assert second.parameters["number"] == 3
    assert second.parameters["given"]["options"]["text"] == "hello"
    assert second.artifacts["out"][0].metadata["source"] == "hello"
    assert len(second.artifacts["out"][0].metadata["digest"]) == 64


def test_steps_are_processes_of_their_own_with_a_log_each(kit, run):
    def two():
        kit.play(text="one")
        kit.play(text="two")

    result = run(kit.compile(two))
    pids = {task.artifacts["out"][0].metadata["pid"] for task in result.tasks.values()}
    assert len(pids | {os.getpid()}) == 3
    assert "played one" in result.tasks["play"].log.read_text()
    assert "played two" in result.tasks["play-2"].log.read_text()
    assert all(task.peak_memory > 1e6 for task in result.tasks.values())


def test_what_the_run_leaves_on_disk(kit, run, root):
    def small():
        kit.play(text="x")

    result = run(kit.compile(small))
    found = {
        path.relative_to(result.folder).as_posix()
        for path in result.folder.rglob("*")
        if path.is_file()
    }
    kept = {".run/lock", ".run/pipeline.yaml", ".run/request.json"}
    assert found == {"play/out/text", "play/log.txt", *kept}
    assert result.folder == root / "small" / result.run_id
    assert (root / "metadata.sqlite").is_file()


def test_a_step_leaves_no_temporary_files(kit, run, tmp_path):
    """Libraries clean up when the interpreter ends, which a forked process does not do."""

    def litter():
        kit.play(do=f"litter {tmp_path / 'told'}")

    assert run(kit.compile(litter)).state is State.COMPLETE
    left = Path((tmp_path / "told").read_text())
    assert left.is_relative_to(tempfile.gettempdir())
    assert not left.exists()
    assert not left.parents[1].exists()


def test_independent_tasks_run_at_the_same_time(kit, run, tmp_path):
    for name in ("a", "b"):
        os.mkfifo(tmp_path / name)

    def side_by_side(folder: str):
        kit.play(text="a", do=f"meet {folder}")
        kit.play(text="b", do=f"meet {folder}")

    result = run(kit.compile(side_by_side), {"folder": str(tmp_path)}, cores=2)
    assert result.state is State.COMPLETE


def test_a_core_is_free_while_what_ran_on_it_is_recorded(kit, run):
    changes = []

    class Listener(Silent):
        def changed(self, task):
            changes.append((task.path, task.state))

    def in_turn():
        kit.play(text="a")
        kit.play(text="b")

    run(kit.compile(in_turn), cores=1, listener=Listener())
    (first, _), (second, _), *ended = changes
    assert {first, second} == {"play", "play-2"}
    assert ended == [(first, State.COMPLETE), (second, State.COMPLETE)]


def test_an_optional_input_that_is_not_given_keeps_the_steps_default(kit, run):
    def optional():
        kit.play(text="x")

    result = run(kit.compile(optional))
    assert "source" not in result.tasks["play"].artifacts["out"][0].metadata


def test_an_optional_parameter_that_is_not_given_keeps_the_components_default(kit, run):
    def optional(count: int = None):
        kit.play(count=count)

    pipeline = kit.compile(optional)
    assert run(pipeline).tasks["play"].parameters["number"] == 0
    assert run(pipeline, {"count": 2}).tasks["play"].parameters["number"] == 2


def test_several_runs_at_once_share_a_root(kit, run):
    def shared(text: str):
        first = kit.play(text=text)
        kit.play(text="second", data=first.outputs["out"])

    pipeline = kit.compile(shared)
    with ThreadPoolExecutor(3) as threads:
        results = list(threads.map(lambda text: run(pipeline, {"text": text}), "abc"))
    why = [task.error for result in results for task in result.tasks.values()]
    assert [result.state for result in results] == [State.COMPLETE] * 3, why
    again = run(pipeline, {"text": "b"})
    assert {task.state for task in again.tasks.values()} == {State.CACHED}


@pytest.mark.parametrize(
    ("count", "kind", "branch"),
    [(1, "big", "condition-2"), (5, "small", "condition-3"), (1, "small", "condition-4")],
)
def test_if_elif_else(kit, run, count, kind, branch):
    dsl = kit.dsl

    def choice(count: int, kind: str):
        first = kit.play(text=kind, count=count)
        with dsl.If(first.outputs["said"] == "big"):
            a = kit.play(text="if")
        with dsl.Elif(first.outputs["number"] >= 3):
            b = kit.play(text="elif")
        with dsl.Else():
            c = kit.play(text="else")
        kit.play(data=dsl.OneOf(a.outputs["out"], b.outputs["out"], c.outputs["out"]))

    result = run(kit.compile(choice), {"count": count, "kind": kind})
    assert result.state is State.COMPLETE
    taken = {path for path, state in states(result).items() if state == "COMPLETE"}
    branches = {path.split("/")[1] for path in taken if path.count("/") == 1}
    assert branches == {branch}
    source = result.tasks["play-5"].artifacts["out"][0].metadata["source"]
    assert source == {"condition-2": "if", "condition-3": "elif", "condition-4": "else"}[branch]


def test_what_follows_a_condition_that_is_false_is_skipped(kit, run):
    dsl = kit.dsl

    def skipping(flag: bool = False):
        with dsl.If(flag == True):  # noqa: E712
            kit.play()
        kit.play(text="after")

    def follow(spec):  # kfp's DSL cannot express it; other compilers may
        spec["root"]["dag"]["tasks"]["play-2"]["dependentTasks"] = ["condition-1"]

    result = run(kit.edited(kit.compile(skipping), follow))
    assert result.state is State.COMPLETE
    assert set(states(result).values()) == {"SKIPPED"}
    assert "condition is false: flag == true" in result.tasks["condition-1"].error


def test_nested_pipelines_hand_on_inputs_and_outputs(kit, run):
    dsl = kit.dsl

    @dsl.pipeline(name="inner")
    def inner(text: str, count: int = 7) -> dsl.Dataset:
        a = kit.play(text=text, count=count)
        b = kit.play(text=f"{a.outputs['said']}+", data=a.outputs["out"])
        return b.outputs["out"]

    def outer(text: str = "deep"):
        one = inner(text=text)
        kit.play(data=one.output)

    result = run(kit.compile(outer))
    assert result.tasks["play"].artifacts["out"][0].metadata["source"] == "deep+"
    assert result.tasks["inner/play"].parameters["number"] == 7
    assert (result.folder / "inner" / "play-2" / "out" / "text").read_text() == "deep+"


def test_an_importer_records_what_is_there(kit, run, tmp_path):
    dsl = kit.dsl
    folder = tmp_path / "given"
    folder.mkdir()
    (folder / "text").write_text("imported")

    def importing(where: str):
        found = dsl.importer(
            artifact_uri=where, artifact_class=dsl.Dataset, metadata={"owner": "me"}
        )
        kit.play(data=found.output)

    pipeline = kit.compile(importing)
    first = run(pipeline, {"where": str(folder)})
    (record,) = first.tasks["importer"].artifacts["artifact"]
    assert first.tasks["play"].artifacts["out"][0].metadata["source"] == "imported"
    assert record.metadata["owner"] == "me"
    assert len(record.metadata["digest"]) == 64
    again = run(pipeline, {"where": str(folder)})
    assert again.tasks["importer"].artifacts["artifact"][0].id == record.id
    assert again.tasks["play"].state is State.CACHED
    (folder / "text").write_text("changed")
    changed = run(pipeline, {"where": str(folder)})
    assert changed.tasks["importer"].artifacts["artifact"][0].id != record.id
    assert changed.tasks["play"].artifacts["out"][0].metadata["source"] == "changed"


def test_importing_what_no_task_before_has_made(kit, run):
    dsl = kit.dsl

    def importing_nothing():
        nothing = dsl.importer(artifact_uri="/no/such/place", artifact_class=dsl.Dataset)
        nothing.after(kit.play())

    result = run(kit.compile(importing_nothing))
    assert result.state is State.FAILED
    assert result.tasks["importer"].error == "There is no /no/such/place to import."
    with Store.open(result.store) as store:
        (recorded,) = store.call("get_executions_by_type", "system.ImporterExecution")
    error = recorded.custom_properties["error"].string_value
    assert error == "There is no /no/such/place to import."


def test_an_exit_handler_runs_after_a_failure_and_gets_its_status(kit, run):
    dsl = kit.dsl

    def handled():
        last = kit.play(text="bye")
        with dsl.ExitHandler(last):
            kit.play(do="fail no such column")

    result = run(kit.compile(handled))
    assert result.state is State.FAILED
    assert result.exit_code == 1
    assert states(result)["play"] == "COMPLETE"
    assert "no such column" in result.error


def test_ignore_upstream_failure(kit, run):
    def ignoring():
        bad = kit.play(do="fail bad")
        kit.play(text="runs").after(bad)
        kit.play(text="not run").after(bad)

    def ignore(spec):  # kfp's own .ignore_upstream_failure() trips over inputs that are not given
        trigger = {"strategy": "ALL_UPSTREAM_TASKS_COMPLETED"}
        spec["root"]["dag"]["tasks"]["play-2"]["triggerPolicy"] = trigger

    result = run(kit.edited(kit.compile(ignoring), ignore))
    assert states(result) == {"play": "FAILED", "play-2": "COMPLETE", "play-3": "SKIPPED"}
    assert result.state is State.FAILED


class TestFailures:
    def test_a_users_mistake_is_one_line_and_is_not_tried_again(self, kit, run):
        def mistaken():
            first = kit.play(do='fail There is no column "late". Did you mean "lat"?')
            first.set_retry(3)
            kit.play(text="after").after(first)
            kit.play(text="beside")

        result = run(kit.compile(mistaken))
        assert result.state is State.FAILED
        assert result.error == 'play: There is no column "late". Did you mean "lat"?'
        assert states(result) == {"play": "FAILED", "play-2": "SKIPPED", "play-3": "COMPLETE"}
        assert result.tasks["play"].attempts == 1
        assert result.tasks["play-2"].error == "play failed"
        assert "Traceback" not in result.error

    def test_a_crash_has_its_traceback_in_the_log_only(self, kit, run):
        def crashing():
            kit.play(do="crash boom")

        result = run(kit.compile(crashing))
        task = result.tasks["play"]
        assert task.error == "RuntimeError: boom"
        assert "Traceback" in task.log.read_text()

    def test_a_crash_is_tried_again_in_a_clean_folder(self, kit, run, tmp_path):
        def flaky(counter: str):
            kit.play(do=f"flaky {counter}").set_retry(3, backoff_duration="0s")

        result = run(kit.compile(flaky), {"counter": str(tmp_path / "counter")})
        assert result.state is State.COMPLETE
        assert result.tasks["play"].attempts == 3
        assert not (result.folder / "play" / "out" / "half").exists()

    def test_retries_end(self, kit, run):
        def hopeless():
            kit.play(do="crash again").set_retry(2, backoff_duration="0s")

        result = run(kit.compile(hopeless))
        assert result.state is State.FAILED
        assert result.tasks["play"].attempts == 3

    @pytest.mark.parametrize(
        ("do", "error"),
        [
            ("die", "it was killed (SIGKILL), as the system does when memory runs out"),
            ("die 15", "it was ended by SIGTERM"),
            ("die 40", "it ended with exit code 168"),  # a signal without a name
        ],
    )
    def test_a_killed_step_says_so_and_is_tried_again(self, kit, run, do, error):
        def killed():
            kit.play(do=do).set_retry(1, backoff_duration="0s")

        result = run(kit.compile(killed))
        assert result.error == f"play: {error}"
        assert result.tasks["play"].attempts == 2

    @pytest.mark.parametrize(
        ("do", "error"),
        [
            ("exit", r"play: sys\.exit\(None\) in \S+play\.py, line \d+: a step returns when"),
            ("vanish", "play: its code ended the process, with exit code 0, before the step was"),
        ],
    )
    def test_half_a_result_is_none(self, kit, run, do, error):
        pipeline = kit.single(do=do)
        for _ in range(2):
            result = run(pipeline)
            assert result.state is State.FAILED
            assert re.match(error, result.error), result.error

    def test_no_space_left_is_one_line(self, kit, run):
        def full():
            kit.play(do="full")

        assert run(kit.compile(full)).error == "play: No space is left on the disk."

    def test_an_unknown_step(self, kit, run):
        pipeline = kit.single()

        def edit(spec):
            executor = next(iter(spec["deploymentSpec"]["executors"].values()))
            executor["container"]["command"][-1] = "example_gne"

        result = run(kit.edited(pipeline, edit))
        assert result.error == 'play: There is no step "example_gne". `millrace steps` lists them.'


def test_a_forked_step_sees_its_environment(kit, run):
    def environment():
        kit.play(text="plain")
        kit.play(text="set").set_env_variable("PLAY", "one")
        # Read when Python starts: this one gets a process that was started with it.
        kit.play(text="early").set_env_variable("PLAY", "two").set_env_variable(
            "PYTHONHASHSEED", "1"
        )

    result = run(kit.compile(environment))
    seen = [task.artifacts["out"][0].metadata["environment"] for task in result.tasks.values()]
    assert seen == ["", "one", "two"]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 looks where it is first")
def test_what_lies_where_the_caller_is_does_not_replace_a_library(kit, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("random", "socket", "duckdb", "jinja2"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')\n")
    shutil.copy(Path(__file__).with_name("play.py"), tmp_path / "mine.py")
    step = kit.step("mine")  # which must be found here nevertheless

    def careful():
        step(text="x")

    pipeline = kit.compile(careful)

    def dotted(spec):
        executor = next(iter(spec["deploymentSpec"]["executors"].values()))
        executor["container"]["command"][-1] = "./mine.py"

    result = run(kit.edited(pipeline, dotted))
    assert result.state is State.COMPLETE, result.error


def test_a_step_beside_its_pipeline_runs_from_anywhere(kit, run, tmp_path):
    package = tmp_path / "project" / "counting"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "helper.py").write_text("NAME = 'the step'\n")
    source = Path(__file__).with_name("play.py").read_text()
    (package / "executor.py").write_text(f"from counting.helper import NAME\n{source}")
    step = kit.step("counting.executor")

    def beside():
        step(text="x")

    pipeline = kit.compile(beside).rename(package.parent / "pipeline.yaml")
    states = []
    for name in ("the step", "the step", "the new step"):
        (package / "helper.py").write_text(f"NAME = {name!r}\n")
        result = run(pipeline)
        assert result.state is State.COMPLETE, result.error
        states += [task.state for task in result.tasks.values()]
    assert states == [State.COMPLETE, State.CACHED, State.COMPLETE]


def test_a_long_message_passes(kit, run):
    def long(size: str = "3000000"):
        first = kit.play(do=f"long {size}")
        kit.play(text=first.outputs["said"])

    result = run(kit.compile(long))
    assert len(result.tasks["play-2"].parameters["said"]) == 3_000_000


def test_placeholders_of_run_and_task(kit, run):
    dsl = kit.dsl

    def facts():
        kit.play(
            text=dsl.PIPELINE_JOB_ID_PLACEHOLDER,
            items=[dsl.PIPELINE_TASK_NAME_PLACEHOLDER, dsl.PIPELINE_ROOT_PLACEHOLDER],
            options={"name": dsl.PIPELINE_JOB_NAME_PLACEHOLDER},
        )

    result = run(kit.compile(facts))
    given = result.tasks["play"].parameters["given"]
    assert given["text"] == result.run_id
    assert given["items"] == ["play", str(result.folder)]
    assert given["options"] == {"name": result.run_id}


@pytest.mark.parametrize("module", ["my_pack.model", "my_pack/model.py"])
def test_lineage_records_which_code_ran(kit, run, root, tmp_path, monkeypatch, module):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_pack").mkdir()
    pipeline = kit.single(module_file=module)
    for text in ("A = 1", "A = 1", "A = 2"):
        (tmp_path / "my_pack" / "model.py").write_text(text)
        run(pipeline)
    with Store.open(root / "metadata.sqlite") as store:
        tasks = [query.tasks(store, one)[0] for one in reversed(query.runs(store))]
    assert [task.state for task in tasks] == ["COMPLETE", "CACHED", "COMPLETE"]
    steps = [task.to_json()["properties"]["code_digest"] for task in tasks]
    modules = [task.to_json()["properties"]["module_file_digest"] for task in tasks]
    assert [steps.index(one) for one in steps] == [0, 0, 0]
    assert [modules.index(one) for one in modules] == [0, 0, 2]
    assert all(len(one) == 64 for one in (*steps, *modules))


def test_lineage_of_a_run(kit, run):
    from ml_metadata import metadata_store
    from ml_metadata.proto import metadata_store_pb2 as pb

    dsl = kit.dsl

    def recorded(flag: bool = True):
        first = kit.play(text="x")
        with dsl.If(flag == True):  # noqa: E712
            kit.play(text="y", data=first.outputs["out"])
        kit.play(do="fail so")

    result = run(kit.compile(recorded))
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = result.store
    store = metadata_store.MetadataStore(config)
    executions = {
        one.custom_properties["task_name"].string_value: one for one in store.get_executions()
    }
    state = pb.Execution.State
    assert {name: state.Name(one.last_known_state) for name, one in executions.items()} == {
        "": "FAILED",
        "play": "COMPLETE",
        "condition-1": "COMPLETE",
        "play-2": "COMPLETE",
        "play-3": "FAILED",
    }
    dag = executions["condition-1"].id
    assert executions["play-2"].custom_properties["parent_dag_id"].int_value == dag
    assert executions["play-3"].custom_properties["error"].string_value == "so"
    assert executions["play"].custom_properties["cache_fingerprint"].string_value
    made = result.tasks["play"].artifacts["out"][0].id
    read = [
        event.execution_id
        for event in store.get_events_by_artifact_ids([made])
        if event.type == pb.Event.INPUT
    ]
    assert executions["play-2"].id in read


class TestWhereTheRunGoes:
    def test_a_root_that_cannot_be_written(self, kit, run):
        pipeline = kit.single()
        with pytest.raises(
            PipelineError, match=r"Cannot make /proc/.*Name another folder with --root"
        ):
            run(pipeline, root="/proc/millrace")

    def test_a_root_whose_name_is_too_long(self, kit, run, tmp_path):
        pipeline = kit.single()
        with pytest.raises(
            PipelineError, match=r"Cannot make .*: File name too long. Name another folder with"
        ):
            run(pipeline, root=tmp_path / ("x" * 300))

    def test_the_variable_names_the_root(self, kit, tmp_path, monkeypatch):
        from millrace.runner.run import run

        monkeypatch.setenv("MILLRACE_ROOT", str(tmp_path / "elsewhere"))
        result = run(str(kit.single()))
        assert result.folder.is_relative_to(tmp_path / "elsewhere")

    def test_a_run_id_is_used_once(self, kit, run):
        pipeline = kit.single()
        run(pipeline, run_id="the-one")
        with pytest.raises(PipelineError, match=r"There is a run in .*the-one already"):
            run(pipeline, run_id="the-one")

    def test_a_store_that_is_no_store_leaves_no_folder(self, kit, run, root):
        root.mkdir()
        (root / "metadata.sqlite").write_text("this is no database, but a text that is long enough")
        pipeline = kit.single()
        with pytest.raises(StoreError):
            run(pipeline)
        assert not list((root / "single").iterdir())

    def test_an_unknown_runner(self, kit, run):
        pipeline = kit.single()
        with pytest.raises(
            ParameterError, match="There is no runner 'podman': take process or docker"
        ):
            run(pipeline, runner="podman")


def test_relative_files_are_the_callers(kit, run, tmp_path, monkeypatch):
    (tmp_path / "mine.csv").write_text("a\n1\n")
    monkeypatch.chdir(tmp_path)

    def located(data_uri: str):
        kit.play(data_uri=data_uri)

    result = run(kit.compile(located), {"data_uri": "mine.csv"})
    (made,) = result.tasks["play"].artifacts["out"]
    assert made.metadata["data_uri"] == str(tmp_path / "mine.csv")
    assert result.parameters["data_uri"] == str(tmp_path / "mine.csv")


def test_json_says_everything(kit, run):
    def said():
        kit.play(text="x", count=4)

    result = run(kit.compile(said))
    document = json.loads(json.dumps(result.to_json()))
    assert document["run_id"] == result.run_id
    assert document["state"] == "COMPLETE"
    (task,) = document["tasks"]
    assert task["state"] == "COMPLETE"
    assert task["seconds"] > 0
    assert task["peak_memory_bytes"] > 0
    assert task["parameters"]["number"] == 4
    assert task["outputs"]["out"]["metadata"]["rows"] == 4
    assert Path(task["outputs"]["out"]["uri"], "text").read_text() == "x"


def test_memory_of_all_processes(kit, run):
    result = run(kit.single(), measure_memory=True)
    assert result.peak_memory > 10e6


def test_a_secret_in_an_address_shows_nowhere(kit, run):
    result = run(kit.single(do="fail cannot read https://ada:hunter2@host/x?sig=hunter2"))
    log = result.tasks["play"].log.read_text()
    assert "cannot read https://ada:***@host/x?sig=***" in log
    assert result.error == "play: cannot read https://ada:***@host/x?sig=***"
    result.store = "mysql://ada:hunter2@host/db"
    assert "hunter2" not in json.dumps(result.to_json()) + log


def test_a_run_id_stays_in_its_folder(kit, run):
    with pytest.raises(ParameterError, match="cannot be a run's id"):
        run(kit.single(), run_id="../../elsewhere")
