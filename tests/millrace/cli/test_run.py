"""`millrace run`: what it prints, and the exit codes."""

import io
import json
import runpy
import shlex
from pathlib import Path

import pytest

from millrace.cli import progress, task_summary
from millrace.cli import run as command
from millrace.lineage.nodes import ArtifactRecord
from millrace.runner.result import RunResult, State, TaskResult

RUNNER_TESTS = Path(__file__).parents[1] / "runner"


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    kind = runpy.run_path(str(RUNNER_TESTS.parent / "conftest.py"))["Kit"]
    return kind(tmp_path_factory.mktemp("pipelines"))


@pytest.fixture(scope="module")
def pipeline(kit):
    def shown(text: str, do: str = "", count: int = 3):
        """Shows itself.

        Args:
            text: What to say.
        """
        first = kit.play(text=text, count=count)
        kit.play(do=do, data=first.outputs["out"]).set_display_name("The second")
        kit.play(text="after").after(first)

    return kit.compile(shown)


def test_a_run_as_a_user_sees_it(millrace, pipeline, tmp_path):
    done = millrace("run", pipeline, "-p", "text=hello", cwd=tmp_path)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert any(line.endswith("The second: running") for line in lines)
    assert any("play: complete" in line and "rows 3" in line for line in lines)
    assert "task state time memory what came out" in lines
    assert lines[-1].split(" · ")[0].startswith("shown-")
    assert " complete in " in lines[-1]
    assert done.stderr == ""
    assert not any(line.endswith(" ") for line in done.stdout.splitlines())
    assert (tmp_path / ".millrace" / "metadata.sqlite").is_file()
    again = millrace("run", pipeline, "-p", "text=hello", cwd=tmp_path)
    assert again.stdout.count("cached") == 6


def test_what_a_run_prints_can_be_asked_for(millrace, pipeline, tmp_path):
    """Its root lies elsewhere, has a space in its name, and is written with `..`."""
    (tmp_path / "here").mkdir()
    where = ("--root", "../a root")
    done = millrace("run", pipeline, "-p", "text=x", *where, cwd=tmp_path / "here")
    last = done.stdout.splitlines()[-1].rpartition(" · ")[2]
    shown = millrace(*shlex.split(last)[1:], cwd=tmp_path / "here")
    run = json.loads(millrace("runs", *where, "--json", cwd=tmp_path / "here").stdout)[0]
    assert shown.stdout.startswith(run["run_id"])
    made = tmp_path / "a root" / "shown" / run["run_id"] / "play" / "out"
    for place in (made, made.as_uri(), f"../a root/shown/{run['run_id']}/play/out/text"):
        found = millrace("lineage", "show", place, *where, cwd=tmp_path / "here").stdout
        assert found.splitlines()[1] == str(made)
    assert millrace("lineage", "verify", *where, cwd=tmp_path / "here").stdout.endswith(" ok\n")


def test_what_a_pattern_names_is_in_the_lineage(millrace, kit, tmp_path):
    def reading(data_uri: str):
        kit.play(data_uri=data_uri)

    (tmp_path / "a.csv").write_text("1")
    (tmp_path / "b.csv").write_text("2")
    millrace("run", kit.compile(reading), "-p", "data_uri=*.csv", cwd=tmp_path)
    tree = millrace("lineage", "show", "latest/play/out", cwd=tmp_path).stdout
    assert "data_uri  system.Dataset #1  2 B  sha256 " in tree
    assert f"{tmp_path}/*.csv\n" in tree
    assert millrace("lineage", "verify", cwd=tmp_path).stdout == "2 artifacts: 2 ok\n"
    (tmp_path / "b.csv").write_text("3")
    said = millrace("lineage", "verify", cwd=tmp_path).stdout
    assert said.startswith("source changed  *.csv  system.Dataset #1\n")
    assert "\n  altered: b.csv\n" in said


def test_json_and_nothing_else(millrace, pipeline, tmp_path):
    done = millrace("run", pipeline, "-p", "text=hello", "--json", "--memory", cwd=tmp_path)
    document = json.loads(done.stdout)
    assert document["state"] == "COMPLETE"
    assert document["peak_memory_bytes"] > 10e6
    assert [task["name"] for task in document["tasks"]] == ["play", "The second", "play-3"]
    assert document["parameters"] == {"text": "hello", "do": "", "count": 3}


def test_a_failure_says_why_once_and_where_its_log_lies(millrace, pipeline, tmp_path):
    done = millrace(
        "run", pipeline, "-p", "text=x", "-p", "do=fail No row.", cwd=tmp_path, check=False
    )
    assert done.returncode == 1
    summary = done.stdout.partition("what came out")[2]
    assert summary.count("No row.") == 1
    assert "\nThe second failed: No row.\nIts log: /" in summary
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], 'The pipeline "shown" needs --param text=…\n  text (string): What to say.'),
        (["-p", "txt=1"], 'has no parameter "txt". Did you mean "text"?'),
        (["-p", "text=x", "-p", "count=many"], '"count" must be a whole number, and is "many".'),
        (["-p", "text=x", "--runner", "podman"], "There is no runner 'podman'"),
        (["--params", "no.yaml"], "Cannot read no.yaml: No such file or directory."),
        (["-p", "text=x", "--secrets", "no.yaml"], "Cannot read the secrets in no.yaml: No such"),
        (["-p", "text=x", "--root", "/proc/x"], "Cannot make /proc/x"),
        (["-p", "text=x", "--store", "oracle://x"], "oracle"),
    ],
)
def test_mistakes_are_one_error_and_make_nothing(millrace, pipeline, tmp_path, arguments, message):
    done = millrace("run", pipeline, *arguments, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stdout == ""
    assert not list(tmp_path.glob(".millrace/shown/*"))


def test_parameters_of_a_file_and_of_the_command_line(pipeline, tmp_path, capsys):
    (tmp_path / "p.yaml").write_text("text: of the file\ncount: 7\n")
    code = command.start(
        str(pipeline),
        ["text=of the line"],
        params_file=tmp_path / "p.yaml",
        root=tmp_path / "root",
        as_json=True,
    )
    assert code == 0
    document = json.loads(capsys.readouterr().out)
    assert document["parameters"] == {"text": "of the line", "count": 7, "do": ""}


def test_listing_the_parameters(pipeline, capsys):
    command.list_parameters(str(pipeline), as_json=False)
    assert capsys.readouterr().out == (
        '  text (string): What to say.\n  count (integer, default 3)\n  do (string, default "")\n'
    )


def test_listing_the_parameters_for_programs(pipeline, capsys):
    command.list_parameters(str(pipeline), as_json=True)
    shown = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert (shown["text"]["required"], shown["text"]["default"]) == (True, None)
    assert (shown["count"]["required"], shown["count"]["default"]) == (False, 3)
    assert shown["do"]["default"] == ""


def test_ctrl_c_outside_of_a_run(monkeypatch):
    from millrace.cli import main

    def interrupted(**_):
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "app", interrupted)
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 130


def test_secrets_are_not_printed(kit, tmp_path, capsys):
    def secretive(db_password: str):
        kit.play(options={"password": db_password})

    pipeline = kit.compile(secretive)
    command.start(str(pipeline), ["db_password=hunter2"], root=tmp_path, as_json=True)
    printed = capsys.readouterr().out
    assert json.loads(printed)["state"] == "COMPLETE"
    assert "hunter2" not in printed


def test_a_secret_stands_in_no_message(millrace, kit, tmp_path):
    """The step prints it, and has it under another name."""

    def login(password: str):
        kit.play(text=password, do="tell")

    pipeline = kit.compile(login)
    done = millrace("run", pipeline, "-p", "password=hunter2pw", cwd=tmp_path, check=False)
    assert "play failed: RuntimeError: cannot log in with ***" in done.stdout
    assert "hunter2pw" not in done.stdout + done.stderr
    assert b"hunter2pw" not in (tmp_path / ".millrace" / "metadata.sqlite").read_bytes()


def test_the_default_of_a_secret_is_not_listed(kit, capsys):
    def guarded(password: str = "hunter2pw", count: int = 3):
        kit.play(text=password, count=count)

    pipeline = str(kit.compile(guarded))
    command.list_parameters(pipeline, as_json=False)
    command.list_parameters(pipeline, as_json=True)
    printed = capsys.readouterr().out
    assert "hunter2pw" not in printed
    assert 'password (string, default "***")' in printed
    assert '"default": "***"' in printed


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def result_of(*tasks: TaskResult) -> RunResult:
    by_path = {task.path: task for task in tasks}
    return RunResult("p-1", "p", Path("/r/p/p-1"), "/r/metadata.sqlite", {}, by_path)


def test_a_terminal_gets_a_live_table():
    stream = Terminal()
    listener = progress.listener(stream)
    task = TaskResult("trainer", "Trainer", State.RUNNING)
    result = result_of(task)
    listener.started(result)
    listener.retrying(task, "boom", 10)
    task.state, task.seconds = State.COMPLETE, 1.5
    result.state = State.COMPLETE
    listener.ended(result)
    command.summarise(result, stream)
    text = stream.getvalue()
    assert "\x1b[" in text
    assert "Trainer" in text
    assert text.rstrip().endswith("millrace run show p-1")


def test_tasks_of_one_name_are_distinguished():
    result = result_of(
        TaskResult("play", "play", State.COMPLETE),
        TaskResult("inner", "inner", is_dag=True),
        TaskResult("inner/play", "play", State.FAILED, error="boom"),
        TaskResult("inner/trainer", "Trainer", State.COMPLETE),
    )
    stream = io.StringIO()
    command.summarise(result, stream)
    names = [line.split()[0] for line in stream.getvalue().splitlines() if line]
    assert names[:5] == ["task", "play", "inner/play", "Trainer", "inner/play"]
    assert "\ninner/play failed: boom\n" in stream.getvalue()


def test_warnings_of_a_step_are_printed():
    record = ArtifactRecord("graph", "/r/graph", "system.TransformGraph")
    record.metadata["warning_texts"] = ['"copy" alone tells "y"', "few rows"]
    task = TaskResult("t", "Transform", State.COMPLETE, artifacts={"graph": [record]})
    stream = io.StringIO()
    command.summarise(result_of(task), stream)
    assert '\nTransform: "copy" alone tells "y"\nTransform: few rows\n' in stream.getvalue()


def test_a_long_name_or_error_is_not_cut_where_nobody_watches():
    task = TaskResult("t", "A" * 60, State.SKIPPED, error="because " + "of this " * 40)
    text = progress.table_text(result_of(task), io.StringIO())
    assert "A" * 60 in text
    assert " ".join(text.split()).count("of this") == 40


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"rows": 327346, "columns": 12, "digest": "ab", "bytes": 9}, "rows 327,346 · columns 12"),
        ({"auc": 0.6678880009903493, "f1": 0.5}, "auc 0.6679"),
        ({"blessed": True, "reasons": []}, "blessed yes"),
        (
            {"chosen": "int8", "model_bytes": 142736, "auc": 0.5},
            "chosen int8 · model 143 kB · auc 0.5",
        ),
        ({"b": 2, "a": 1.0, "note": "text", "flag": True}, "a 1 · b 2"),
        ({"rows": 5, "anomalies": 0}, "anomalies 0 · rows 5"),
        ({}, ""),
    ],
)
def test_facts(metadata, text):
    task = TaskResult("t", "T", artifacts={"out": [ArtifactRecord("out", "/x", metadata=metadata)]})
    assert task_summary.of(task) == text
