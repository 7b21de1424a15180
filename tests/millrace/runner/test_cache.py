"""What makes a task reuse an earlier result, and what makes it run again."""
# ruff: noqa: B006  KFP reads defaults and types from the signature

import ast
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from millrace.runner.result import State
from millrace.storage import digest
from millrace.storage.digest_cache import FILE

PLAY = Path(__file__).parent / "play.py"


def old(path):
    """Makes a file look as if it had not been changed for a while."""
    then = time.time_ns() - 60_000_000_000
    os.utime(path, ns=(then, then))


@pytest.fixture
def step(kit, tmp_path):
    """A copy of the step that a test may change, with a helper that it imports."""
    shutil.copy(PLAY, tmp_path / "mine.py")
    with (tmp_path / "mine.py").open("a") as file:
        file.write("\nimport helper\n")
    (tmp_path / "helper.py").write_text("VALUE = 1\n")
    return tmp_path / "mine.py"


@pytest.fixture
def pipeline(kit):
    def cached(
        text: str = "x",
        count: int = 1,
        options: dict = {},
        data_uri: str = "",
        module_file: str = "",
    ):
        first = kit.play(
            text=text, count=count, options=options, data_uri=data_uri, module_file=module_file
        )
        kit.play(text="second", data=first.outputs["out"])

    return kit.compile(cached)


def states(result):
    return [task.state.value for task in result.tasks.values()]


def test_the_same_again_is_taken_from_the_cache(run, pipeline):
    first = run(pipeline)
    again = run(pipeline)
    assert states(again) == ["CACHED", "CACHED"]
    assert again.state is State.COMPLETE
    assert [path.name for path in again.folder.iterdir()] == [".run"]  # to see what was run
    for path, task in first.tasks.items():
        assert again.tasks[path].parameters == task.parameters
        assert again.tasks[path].artifacts["out"][0].uri == task.artifacts["out"][0].uri
        assert again.tasks[path].artifacts["out"][0].metadata == task.artifacts["out"][0].metadata


def test_a_cached_run_starts_no_server(run, pipeline, monkeypatch):
    run(pipeline)
    monkeypatch.setattr(
        "millrace.backends.servers.WarmServer.__init__", lambda *_: pytest.fail("a server started")
    )
    assert states(run(pipeline)) == ["CACHED", "CACHED"]


@pytest.mark.parametrize(
    "change", [{"text": "y"}, {"count": 2}, {"options": {"a": 1}}], ids=lambda change: str(change)
)
def test_another_parameter_runs_again(run, pipeline, change):
    run(pipeline)
    assert states(run(pipeline, change))[0] == "COMPLETE"


def test_what_follows_is_cached_if_its_input_came_out_the_same(run, pipeline):
    run(pipeline)
    # `count` is in the first task's metadata only, and not in the content of what it made.
    assert states(run(pipeline, {"count": 2})) == ["COMPLETE", "CACHED"]
    assert states(run(pipeline, {"text": "y"})) == ["COMPLETE", "COMPLETE"]


class TestExternalFiles:
    def test_content_counts(self, run, pipeline, tmp_path):
        data = tmp_path / "data.csv"
        data.write_text("a\n1\n")
        old(data)
        run(pipeline, {"data_uri": str(data)})
        assert states(run(pipeline, {"data_uri": str(data)}))[0] == "CACHED"
        data.write_text("a\n2\n")
        assert states(run(pipeline, {"data_uri": str(data)}))[0] == "COMPLETE"

    def test_the_time_of_change_does_not(self, run, pipeline, tmp_path):
        data = tmp_path / "data.csv"
        data.write_text("a\n1\n")
        old(data)
        run(pipeline, {"data_uri": str(data)})
        data.touch()
        assert states(run(pipeline, {"data_uri": str(data)}))[0] == "CACHED"

    def test_where_it_lies_does_not(self, run, pipeline, tmp_path):
        for folder in ("here", "there"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "data.csv").write_text("a\n1\n")
        run(pipeline, {"data_uri": str(tmp_path / "here" / "data.csv")})
        assert (
            states(run(pipeline, {"data_uri": str(tmp_path / "there" / "data.csv")}))[0] == "CACHED"
        )

    @pytest.mark.parametrize("what", ["", "*.csv"])
    def test_a_folder_and_a_glob_count_every_file(self, run, pipeline, tmp_path, what):
        folder = tmp_path / "parts"
        folder.mkdir()
        (folder / "1.csv").write_text("a\n1\n")
        value = {"data_uri": str(folder / what)}
        run(pipeline, value)
        assert states(run(pipeline, value))[0] == "CACHED"
        (folder / "2.csv").write_text("a\n2\n")
        assert states(run(pipeline, value))[0] == "COMPLETE"
        (folder / "2.csv").rename(folder / "3.csv")
        assert states(run(pipeline, value))[0] == "COMPLETE"

    def test_a_folder_in_a_pattern_counts_by_its_name(self, run, pipeline, tmp_path):
        (tmp_path / "gl" / "year=2020").mkdir(parents=True)
        (tmp_path / "gl" / "year=2020" / "p.csv").write_text("a\n1\n")
        value = {"data_uri": str(tmp_path / "gl" / "year=*" / "p.csv")}
        run(pipeline, value)
        assert states(run(pipeline, value))[0] == "CACHED"
        (tmp_path / "gl" / "year=2020").rename(tmp_path / "gl" / "year=2031")
        assert states(run(pipeline, value))[0] == "COMPLETE"
        shutil.move(tmp_path / "gl", tmp_path / "other")
        value = {"data_uri": str(tmp_path / "other" / "year=*" / "p.csv")}
        assert states(run(pipeline, value))[0] == "CACHED"

    def test_a_folder_that_a_link_points_to(self, run, pipeline, tmp_path):
        for name in ("data", "else"):
            (tmp_path / name).mkdir()
        (tmp_path / "data" / "year=2020").symlink_to("../else")
        (tmp_path / "else" / "round").symlink_to("../data")
        (tmp_path / "else" / "p.csv").write_text("a\n1\n")
        value = {"data_uri": str(tmp_path / "data")}
        run(pipeline, value)
        assert states(run(pipeline, value))[0] == "CACHED"
        (tmp_path / "else" / "p.csv").write_text("a\n2\n")
        assert states(run(pipeline, value))[0] == "COMPLETE"

    @pytest.mark.parametrize("what", ["", "*.csv", "gr\udcfc\udcdfe.csv"])
    def test_a_name_that_is_not_utf_8(self, run, pipeline, tmp_path, what):
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "gr\udcfc\udcdfe.csv").write_text("a\n1\n")
        value = {"data_uri": str(tmp_path / "data" / what)}
        assert states(run(pipeline, value))[0] == "COMPLETE"
        assert states(run(pipeline, value))[0] == "CACHED"

    @pytest.mark.parametrize("what", ["", "*.csv", "data.csv"])
    def test_data_that_change_while_they_are_read(self, kit, run, tmp_path, what):
        data = tmp_path / "data" / "data.csv"
        data.parent.mkdir()
        data.write_text("a\n1\n")

        def edited(data_uri: str):
            kit.play(do=f"edit {data}", data_uri=data_uri).set_retry(2)

        pipeline, value = kit.compile(edited), {"data_uri": str(data.parent / what)}
        result = run(pipeline, value)
        assert result.error == (
            f"play: What it reads has changed while it ran: data_uri={data.parent / what}."
            " Run again."
        )
        assert result.tasks["play"].attempts == 1
        assert states(run(pipeline, value)) == ["COMPLETE"]
        assert states(run(pipeline, value)) == ["CACHED"]

    def test_a_module_may_be_edited_while_it_is_used(self, kit, run, tmp_path):
        (tmp_path / "mine.py").write_text("import words\n")
        (tmp_path / "words.py").write_text("A = 1\n")
        pipeline = kit.single(
            do=f"edit {tmp_path / 'words.py'}", module_file=str(tmp_path / "mine.py")
        )
        assert states(run(pipeline)) == ["COMPLETE"]
        assert states(run(pipeline)) == ["COMPLETE"]
        assert states(run(pipeline)) == ["CACHED"]

    def test_a_module_that_changes_before_it_is_used(self, kit, run, tmp_path):
        (tmp_path / "mine.py").write_text("import words\n")
        (tmp_path / "words.py").write_text("0")

        def retried(module_file: str):
            kit.play(do=f"flaky {tmp_path / 'words.py'}", module_file=module_file).set_retry(2)

        result = run(kit.compile(retried), {"module_file": str(tmp_path / "mine.py")})
        assert "has changed before it started: module_file=" in result.error

    def test_what_the_run_itself_writes_there_does_not_count(self, kit, run, tmp_path):
        data = tmp_path / "data"
        for folder in ("__pycache__", "models"):
            (data / folder).mkdir(parents=True)

        def writing(data_uri: str, push_destination: str):
            first = kit.play(data_uri=data_uri, do=f"edit {data}/__pycache__/a.pyc")
            kit.play(
                data_uri=data_uri,
                do=f"edit {data}/models/model",
                push_destination=push_destination,
            ).after(first)

        value = {"data_uri": str(data), "push_destination": str(data / "models")}
        result = run(kit.compile(writing), value, root=data / ".millrace")
        assert result.state is State.COMPLETE, result.error

    @pytest.mark.parametrize("what", ["", "*"])
    def test_what_a_step_is_to_write_among_its_data_does_not_count(self, kit, run, tmp_path, what):
        (tmp_path / "data").mkdir()

        def pushing(data_uri: str, push_destination: str):
            kit.play(data_uri=data_uri, push_destination=push_destination)

        (tmp_path / "data" / "a.csv").write_text("a\n1\n")
        value = {
            "data_uri": str(tmp_path / "data" / what),
            "push_destination": str(tmp_path / "data" / "models"),
        }
        result = run(kit.compile(pushing), value)
        assert result.state is State.COMPLETE, result.error

    @pytest.mark.parametrize("text", ["[1]", "1", "{", ""])
    def test_a_damaged_digest_cache(self, run, pipeline, root, text):
        root.mkdir()
        (root / FILE).write_text(text)
        assert states(run(pipeline)) == ["COMPLETE", "COMPLETE"]
        assert states(run(pipeline)) == ["CACHED", "CACHED"]

    def test_a_change_that_keeps_size_and_time_of_a_fresh_file_is_seen(
        self, run, pipeline, tmp_path
    ):
        data = tmp_path / "data.csv"
        data.write_text("a\n1\n")
        status = data.stat()
        run(pipeline, {"data_uri": str(data)})
        data.write_text("a\n2\n")
        os.utime(data, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert states(run(pipeline, {"data_uri": str(data)}))[0] == "COMPLETE"

    def test_an_old_file_is_not_read_again(self, run, pipeline, tmp_path, root, monkeypatch):
        data = tmp_path / "data.csv"
        data.write_text("a\n1\n")
        old(data)
        run(pipeline, {"data_uri": str(data)})
        of_file = digest.of_file

        def read(path):
            assert path != data, "it was read again"
            return of_file(path)

        monkeypatch.setattr("millrace.storage.digest.of_file", read)
        assert states(run(pipeline, {"data_uri": str(data)})) == ["CACHED", "CACHED"]
        assert (root / FILE).is_file()

    def test_a_users_module_with_what_it_imports(self, run, pipeline, tmp_path):
        (tmp_path / "features.py").write_text("import words\nfrom . import nothing\n")
        (tmp_path / "words.py").write_text("A = 1\n")
        (tmp_path / "other.py").write_text("A = 1\n")
        value = {"module_file": str(tmp_path / "features.py")}
        run(pipeline, value)
        (tmp_path / "other.py").write_text("A = 2\n")
        assert states(run(pipeline, value))[0] == "CACHED"
        (tmp_path / "words.py").write_text("A = 2\n")
        assert states(run(pipeline, value))[0] == "COMPLETE"

    @pytest.mark.parametrize("module", ["my_pack.model", "my_pack/model.py"])
    @pytest.mark.parametrize("changed", ["my_pack/part.py", "beside.py"])
    def test_what_a_module_imports_where_the_caller_is(
        self, run, pipeline, tmp_path, monkeypatch, module, changed
    ):
        monkeypatch.chdir(tmp_path)
        (tmp_path / "my_pack").mkdir()
        (tmp_path / "my_pack" / "__init__.py").touch()
        (tmp_path / "my_pack" / "model.py").write_text("from my_pack import part\nimport beside\n")
        for file in ("my_pack/part.py", "beside.py"):
            (tmp_path / file).write_text("A = 1\n")
        value = {"module_file": module}
        run(pipeline, value)
        assert states(run(pipeline, value))[0] == "CACHED"
        (tmp_path / changed).write_text("A = 2\n")
        assert states(run(pipeline, value))[0] == "COMPLETE"
        (tmp_path / "my_pack" / "__init__.py").write_text("import os\n")
        assert states(run(pipeline, value))[0] == "COMPLETE"

    def test_a_neighbour_hides_what_lies_where_the_caller_is(self, run, kit, tmp_path, monkeypatch):
        for folder in ("here", "beside"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "common.py").write_text(f"VALUE = {folder!r}\n")
        (tmp_path / "beside" / "mine.py").write_text("from common import VALUE\n")
        monkeypatch.chdir(tmp_path / "here")
        pipeline = kit.single(do="load", module_file=str(tmp_path / "beside" / "mine.py"))
        assert run(pipeline).tasks["play"].parameters["said"] == "beside"
        (tmp_path / "here" / "common.py").write_text("VALUE = 'other'\n")
        assert states(run(pipeline)) == ["CACHED"]
        (tmp_path / "beside" / "common.py").write_text("VALUE = 'changed'\n")
        assert run(pipeline).tasks["play"].parameters["said"] == "changed"


class TestCode:
    def test_the_steps_own_code_counts(self, kit, run, step):
        play = kit.step(step)

        def coded():
            play(text="x")

        pipeline = kit.compile(coded)
        run(pipeline)
        assert states(run(pipeline)) == ["CACHED"]
        (step.parent / "helper.py").write_text("VALUE = 2\n")
        assert states(run(pipeline)) == ["COMPLETE"]
        step.write_text(step.read_text() + "# changed\n")
        assert states(run(pipeline)) == ["COMPLETE"]

    def test_shared_code_counts_for_those_that_import_it(self, tmp_path, repository):
        from millrace.backends.sources import Sources
        from millrace.storage.digest_cache import DigestCache

        sources = Sources(DigestCache(tmp_path / FILE))
        found = sources._closure("millrace.components.example_gen.executor")
        files = {path.relative_to(repository).as_posix() for path in found.values()}
        assert "components/example_gen/executor.py" in files
        assert "components/example_gen/report.html.j2" in files
        assert "millrace/data/examples.py" in files
        assert "millrace/report/templates/base.html.j2" in files
        assert not any(file.startswith(("millrace/runner", "millrace/cli")) for file in files)
        assert not any(file.startswith("components/trainer") for file in files)

    def test_one_thread_parses_at_a_time(self, tmp_path, monkeypatch):
        """CPython 3.11's parser keeps its depth in one place for all threads (issue 106905)."""
        from concurrent.futures import ThreadPoolExecutor

        from millrace.storage import digest_cache

        inside = threading.Lock()

        def parse(text):
            assert inside.acquire(blocking=False)
            threading.Event().wait(0.01)
            inside.release()
            return ast.Module([], [])

        monkeypatch.setattr(digest_cache.ast, "parse", parse)
        files = [tmp_path / f"{number}.py" for number in range(4)]
        for file in files:
            file.touch()
        with ThreadPoolExecutor(4) as threads:  # each as in a run of its own
            found = threads.map(
                lambda file: digest_cache.DigestCache(tmp_path / FILE).imports(file), files
            )
            assert list(found) == [[]] * 4

    @pytest.mark.parametrize(
        ("text", "counts"), [("import scipy", True), ("import tensorflow as tf, json", False)]
    )
    def test_any_library_that_a_users_module_imports(self, tmp_path, monkeypatch, text, counts):
        from millrace.backends.sources import Sources
        from millrace.storage.digest_cache import DigestCache

        (tmp_path / "mine.py").write_text(f"import beside\n{text}\n")
        (tmp_path / "beside.py").touch()

        def digest_with(*installed):
            monkeypatch.setattr(Sources, "_installed", lambda _: list(installed))
            return Sources(DigestCache(tmp_path / FILE)).of_module(str(tmp_path / "mine.py"))

        assert (digest_with("scipy-1.0") != digest_with("scipy-2.0")) == counts

    def test_libraries_count(self, run, pipeline, monkeypatch):
        run(pipeline)
        monkeypatch.setattr(
            "millrace.backends.sources.Sources.environment", lambda _: "tensorflow-99.0"
        )
        assert states(run(pipeline)) == ["COMPLETE", "COMPLETE"]


@pytest.mark.parametrize(
    "change",
    [
        lambda container: container.update(image="millrace-core:9.9"),
        lambda container: container.update(env=[{"name": "PLAY", "value": "9"}]),
        lambda container: container.update(args=["--executor_input", "{{$}} "]),
    ],
    ids=["image", "environment", "arguments"],
)
def test_another_container_runs_again(kit, run, change):
    pipeline = kit.single(text="x")
    run(pipeline)

    def edit(spec):
        for executor in spec["deploymentSpec"]["executors"].values():
            change(executor["container"])

    assert states(run(kit.edited(pipeline, edit))) == ["COMPLETE"]


class TestWhatIsLeftOfTheResult:
    def test_an_output_that_was_removed(self, run, pipeline):
        first = run(pipeline)
        shutil.rmtree(first.tasks["play"].artifacts["out"][0].uri)
        assert states(run(pipeline)) == ["COMPLETE", "CACHED"]

    def test_an_output_that_was_cut_short(self, run, pipeline):
        first = run(pipeline, {"text": "long enough"})
        (Path(first.tasks["play"].artifacts["out"][0].uri) / "text").write_text("long")
        assert states(run(pipeline, {"text": "long enough"})) == ["COMPLETE", "CACHED"]

    @pytest.mark.parametrize("is_fresh", [True, False])
    def test_an_output_that_was_altered_in_place(self, run, pipeline, is_fresh):
        """Neither its size nor its time of change shows it: later tasks would read wrong data."""
        first = run(pipeline)
        text = Path(first.tasks["play"].artifacts["out"][0].uri) / "text"
        if not is_fresh:  # its digest is remembered
            old(text)
            assert states(run(pipeline)) == ["CACHED", "CACHED"]
        status = text.stat()
        text.write_text("y")
        os.utime(text, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert states(run(pipeline)) == ["COMPLETE", "CACHED"]

    def test_an_output_that_got_another_file(self, run, pipeline):
        first = run(pipeline)
        (Path(first.tasks["play"].artifacts["out"][0].uri) / "more").touch()
        assert states(run(pipeline)) == ["COMPLETE", "CACHED"]

    def test_a_pushed_model_that_was_removed(self, kit, run, tmp_path):
        def pushing(push_destination: str):
            kit.play(push_destination=push_destination)

        pipeline, value = kit.compile(pushing), {"push_destination": str(tmp_path / "models")}
        run(pipeline, value)
        assert states(run(pipeline, value)) == ["CACHED"]
        shutil.rmtree(tmp_path / "models")
        assert states(run(pipeline, value)) == ["COMPLETE"]

    def test_a_task_that_failed_is_not_taken(self, kit, run, tmp_path):
        def flaky(counter: str):
            kit.play(do=f"flaky {counter}")

        pipeline, value = kit.compile(flaky), {"counter": str(tmp_path / "counter")}
        assert [run(pipeline, value).state.value for _ in range(4)] == [
            "FAILED",
            "FAILED",
            "COMPLETE",
            "COMPLETE",
        ]


def test_caching_can_be_turned_off_by_the_pipeline(kit, run):
    def uncached():
        kit.play(text="x").set_caching_options(False)

    pipeline = kit.compile(uncached)
    run(pipeline)
    assert states(run(pipeline)) == ["COMPLETE"]


def test_caching_can_be_turned_off_by_the_caller(run, pipeline):
    run(pipeline)
    assert states(run(pipeline, caching=False)) == ["COMPLETE", "COMPLETE"]
    assert states(run(pipeline)) == ["CACHED", "CACHED"]


def test_a_cache_key_of_the_authors(kit, run):
    def keyed(text: str):
        kit.play(text=text).set_caching_options(True, cache_key="mine")

    pipeline = kit.compile(keyed)
    run(pipeline, {"text": "a"})
    again = run(pipeline, {"text": "b"})
    assert states(again) == ["CACHED"]
    assert again.tasks["play"].parameters["said"] == "a"


def test_another_pipeline_of_the_same_task_has_its_own_cache(kit, run):
    def one():
        kit.play(text="x")

    def other():
        kit.play(text="x")

    run(kit.compile(one))
    assert states(run(kit.compile(other))) == ["COMPLETE"]
