"""From KFP's ExecutorInput to `run(...)`, and from what it returns to the ExecutorOutput."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Optional

import pytest

from millrace import entrypoint
from millrace.artifacts import Dataset, Examples, Input, Model, Output
from millrace.errors import ModuleError, ParameterError
from millrace.ir.declared import Declared

STEP = """
import errno
import sys
from millrace.artifacts import Dataset, Input, Output
from millrace.errors import DataError


def run(
    name: str,
    out: Output[Dataset],
    number: int = 1,
    ratio: float = 0.5,
    do: str = "",
    data: Input[Dataset] | None = None,
):
    if do == "fail":
        raise DataError("There is no row.")
    if do == "crash":
        raise ZeroDivisionError("by zero")
    if do == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "/some/where")
    if do == "exit":
        sys.exit("enough")
    if do == "claim":
        out.metadata |= {"digest": "mine", "bytes": 3, "file_digests": {"a": "b"}, "rows": 4}
        return {"size": 0, "text": "", "list": []}
    if do == "import":
        raise ModuleNotFoundError("no tensorflow", name="tensorflow.python")
    if do == "other":
        raise ModuleNotFoundError("no sklearn", name="sklearn")
    out.path.write_text(name * number)
    out.metadata |= {"ratio": ratio, "none": None, "source": data.uri if data else ""}
    return {"size": len(name) * number, "text": name, "list": [1, "é"]}
"""


@pytest.fixture
def step(tmp_path: Path) -> str:
    path = tmp_path / "step.py"
    path.write_text(STEP)
    return str(path)


@pytest.fixture
def message(tmp_path: Path) -> dict[str, Any]:
    """KFP's ExecutorInput, as its backend and its local runner write it."""
    out = tmp_path / "outputs"
    return {
        "inputs": {"parameterValues": {"name": "ab"}},
        "outputs": {
            "parameters": {
                key: {"outputFile": str(out / "parameters" / key)}
                for key in ("size", "text", "list")
            },
            "artifacts": {
                "out": {
                    "artifacts": [
                        {
                            "name": "projects/1/artifacts/7",
                            "uri": str(out / "data" / "out"),
                            "type": {"schemaTitle": "system.Dataset", "schemaVersion": "0.0.1"},
                            "metadata": {},
                        }
                    ]
                }
            },
            "outputFile": str(out / "executor_output.json"),
        },
    }


def call(step: str, message: dict[str, Any]) -> int:
    return entrypoint.main([step, "--executor_input", json.dumps(message)])


def output(message: dict[str, Any]) -> Any:
    return json.loads(Path(message["outputs"]["outputFile"]).read_text())


def test_what_a_step_gives_back(step, message):
    assert call(step, message) == 0
    artifact = message["outputs"]["artifacts"]["out"]["artifacts"][0]
    assert Path(artifact["uri"]).read_text() == "ab"
    (written,) = output(message)["artifacts"]["out"]["artifacts"]
    assert (written["name"], written["uri"]) == (artifact["name"], artifact["uri"])
    assert written["metadata"]["ratio"] == 0.5
    assert written["metadata"]["bytes"] == 2
    assert written["metadata"]["digest"] == (
        "fb8e20fc2e4c3f248c60c39bd652f3c1347298bb977b8b4d5903b85055620603"
    )
    assert "none" not in written["metadata"]
    assert output(message)["parameterValues"] == {"size": 2, "text": "ab", "list": [1, "é"]}
    files = {key: Path(one["outputFile"]) for key, one in message["outputs"]["parameters"].items()}
    assert {key: path.read_text() for key, path in files.items()} == {
        "size": "2",
        "text": "ab",
        "list": '[1, "\\u00e9"]',
    }


def test_a_digest_is_of_what_there_is_and_nobodys_word(step, message):
    message["inputs"]["parameterValues"]["do"] = "claim"
    assert call(step, message) == 0
    (written,) = output(message)["artifacts"]["out"]["artifacts"]
    assert written["metadata"] == {"rows": 4}


def test_kfps_own_library_reads_it(step, message):
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2

    call(step, message)
    text = Path(message["outputs"]["outputFile"]).read_text()
    read = json_format.Parse(text, pipeline_spec_pb2.ExecutorOutput())
    assert read.parameter_values["size"].number_value == 2
    assert read.artifacts["out"].artifacts[0].metadata["ratio"] == 0.5


def test_numbers_as_protobuf_writes_them(step, message):
    message["inputs"]["parameterValues"] |= {"number": 3.0, "ratio": 2}
    assert call(step, message) == 0
    assert output(message)["parameterValues"]["size"] == 6


def test_an_input_artifact(step, message):
    message["inputs"]["artifacts"] = {
        "data": {"artifacts": [{"name": "d", "uri": "s3://bucket/d", "metadata": {"rows": 1}}]}
    }
    call(step, message)
    assert output(message)["artifacts"]["out"]["artifacts"][0]["metadata"]["source"] == (
        "s3://bucket/d"
    )


def test_the_inputs_of_an_f_string_are_no_mistake(step, message):
    message["inputs"]["parameterValues"]["pipelinechannel--other-text"] = "x"
    assert call(step, message) == 0


@pytest.mark.parametrize(
    ("values", "code", "line"),
    [
        ({"do": "fail"}, 1, "There is no row."),
        ({"do": "full"}, 1, "No space is left on the disk at /some/where."),
        ({"do": "import"}, 1, "tensorflow is not installed: pip install 'millrace[train]'."),
        ({"do": "other"}, 70, "ModuleNotFoundError: no sklearn"),
        (
            {"do": "exit"},
            1,
            "sys.exit('enough') in {step}, line 23: a step returns when it is done, and raises an"
            " error when it cannot go on.",
        ),
        ({"do": "crash"}, 70, "ZeroDivisionError: by zero"),
        ({"nmae": "x"}, 1, 'The step has no parameter "nmae". Did you mean "name"?'),
        ({"number": "3"}, 1, "\"number\" must be int, and is str: '3'."),
        ({"number": 1.5}, 1, '"number" must be int, and is float: 1.5.'),
        ({"number": True}, 1, '"number" must be int, and is bool: True.'),
        ({"ratio": "x"}, 1, "\"ratio\" must be float, and is str: 'x'."),
        ({"name": None}, 1, '"name" must be str, and is NoneType: None.'),
    ],
)
def test_how_a_step_fails(step, message, tmp_path, monkeypatch, capsys, values, code, line):
    line = line.format(step=step)
    reason = tmp_path / "reason"
    monkeypatch.setenv(entrypoint.TERMINATION_LOG, str(reason))
    message["inputs"]["parameterValues"] |= values
    assert call(step, message) == code
    assert reason.read_text() == line + "\n"
    printed = capsys.readouterr().err
    assert printed.endswith(f"error: {line}\n")
    assert ("Traceback" in printed) == (code == 70)
    assert not Path(message["outputs"]["outputFile"]).exists()


def test_a_parameter_that_is_needed(step, message):
    message["inputs"] = {}
    with pytest.raises(ParameterError, match='The step needs "name", and it was not given'):
        entrypoint.execute(step, message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_step", 'There is no step "no_such_step". `millrace steps` lists them.'),
        ("no.such.module", 'Cannot import "no.such.module": there is no module "no".'),
        ("/no/such/file.py", "There is no file /no/such/file.py."),
        ("json.decoder", '"json.decoder" must define run(…), and does not.'),
    ],
)
def test_steps_that_are_not_there(name, message):
    with pytest.raises(ModuleError) as raised:
        entrypoint.load_executor(name)
    assert str(raised.value).startswith(message)


def test_lists_and_objects_get_their_whole_numbers_back():
    def run(items: list, options: dict, data: Input[Examples], out: Output[Model]) -> None: ...

    arguments = entrypoint.bind(
        run,
        {
            "inputs": {
                "parameterValues": {"items": [1.0, 2.5, [3.0]], "options": {"a": {"b": 4.0}}},
                "artifacts": {
                    "data": {
                        "artifacts": [
                            {"uri": "/d", "type": {"schemaTitle": "system.Examples"}, "name": "d"}
                        ]
                    }
                },
            },
            "outputs": {"artifacts": {"out": {"artifacts": [{"uri": "/o"}]}}},
        },
    )
    assert arguments["items"] == [1, 2.5, [3]]
    assert [type(one) for one in arguments["items"][:2]] == [int, float]
    assert arguments["options"] == {"a": {"b": 4}}
    assert isinstance(arguments["data"], Examples)
    assert type(arguments["out"]).__name__ == "Artifact"  # the message names no type


def test_a_result_that_is_no_json_is_a_crash(tmp_path, message):
    path = tmp_path / "bad.py"
    path.write_text(
        "from millrace.artifacts import Dataset, Output\n"
        "def run(name: str, out: Output[Dataset]):\n"
        "    return {'size': float('nan')}\n"
    )
    assert call(str(path), message) == 70


@pytest.mark.parametrize(
    "arguments", [[], ["a"], ["a", "--executor_input"], ["a", "--other", "{}"]]
)
def test_usage(arguments, capsys):
    assert entrypoint.main(arguments) == 1
    assert capsys.readouterr().err.startswith("usage: python -m millrace.entrypoint STEP")


def test_as_a_container_runs_it(step, message):
    command = [sys.executable, "-m", "millrace.entrypoint", step, "--executor_input"]
    done = subprocess.run([*command, json.dumps(message)], check=False)
    assert done.returncode == 0
    assert output(message)["parameterValues"]["size"] == 2


def test_what_a_container_declares_changes_nothing(step, message):
    declarations = Declared(
        reads=("data_uri",), modules=("a", "b"), writes=("c",), cache_by_content=True
    )
    line = [step, "--executor_input", json.dumps(message), *declarations.arguments()]
    assert entrypoint.main(line) == 0
    assert output(message)["parameterValues"]["size"] == 2


def test_an_unknown_argument_is_named(step, message, capsys):
    line = [step, "--executor_input", json.dumps(message), "--read", "data_uri"]
    assert entrypoint.main(line) == 1
    assert "error: Unrecognized arguments: --read data_uri.\n" in capsys.readouterr().err


def test_starting_a_step_imports_no_more_than_it_needs():
    program = (
        "import sys, millrace.entrypoint;"
        "print([m for m in ('kfp', 'ml_metadata', 'yaml', 'numpy', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


def test_dataset_paths():
    assert Dataset("s3://bucket/a/b").path == Path("/s3/bucket/a/b")
    assert Dataset("/a/b").path == Path("/a/b")
    assert Dataset("file:///a%20b/c").path == Path("/a b/c")
    assert Dataset("/a%20b").path == Path("/a%20b")
    assert Dataset("s3://bucket/a%20b").path == Path("/s3/bucket/a%20b")


@pytest.mark.parametrize(
    ("hint", "value", "bound"),
    [
        (Optional[str], "a", "a"),  # noqa: UP045  as many write it
        (str | None, None, None),
        (int | None, 3.0, 3),
        (float | None, 3, 3.0),
        (int | float, 3, 3),
        (int | str, "3", "3"),
        (list[str] | None, ["a"], ["a"]),
        (dict[str, Any] | None, {"a": 2.0}, {"a": 2}),
        (bool | None, True, True),
        (Any, True, True),
    ],
)
def test_one_of_several_types(hint, value, bound):
    found = entrypoint.coerce("x", value, hint)
    assert (found, type(found)) == (bound, type(bound))


@pytest.mark.parametrize(
    ("hint", "value", "message"),
    [
        (str | None, 3, '"x" must be str or None, and is int: 3.'),
        (int | None, True, '"x" must be int or None, and is bool: True.'),
        (list[str] | int, "a", "\"x\" must be list or int, and is str: 'a'."),
    ],
)
def test_none_of_several_types(hint, value, message):
    with pytest.raises(ParameterError, match=re.escape(message)):
        entrypoint.coerce("x", value, hint)
