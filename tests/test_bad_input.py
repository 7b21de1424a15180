"""Users' mistakes on the command line give one clear error each, and no data is lost."""

from __future__ import annotations

import csv
import random
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROWS = 400


def table(path: Path, header: list[str], row: Callable[[random.Random, int], list[Any]]) -> Path:
    """Writes a CSV of made-up rows."""
    generator = random.Random(1)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(row(generator, number) for number in range(ROWS))
    return path


def customers(path: Path) -> Path:
    """Writes a valid table."""
    return table(
        path,
        ["tenure", "plan", "churned"],
        lambda r, _: [r.randint(1, 60), r.choice(["basic", "pro"]), r.randint(0, 1)],
    )


def text(content: str | bytes) -> Callable[[Path], None]:
    """Makes what writes a file of that content."""
    data = content.encode() if isinstance(content, str) else content
    return lambda path: path.write_bytes(data) and None


READ = {
    "empty file": (text(""), "my.csv is empty"),
    "header only": (text("tenure,plan,churned\n"), "has columns, but no rows"),
    "ragged row": (text("tenure,plan,churned\n1,a,0\n2,b\n3,c,1\n"), r"my.csv.* line 3"),
    "duplicate columns": (text("a,b,a\n1,2,3\n4,5,6\n"), '"a"'),
    "not UTF-8": (text(b"a,churned\n\xff\xfe\xfa,1\nx,0\n"), "UTF-8"),
}


@pytest.fixture
def run(tmp_path: Path, millrace: Any) -> Callable[..., str]:
    """Runs `millrace run tabular` in a folder, expects it to fail, and returns the error."""

    def run(*parameters: str, data: str = "my.csv", label: str = "churned") -> str:
        given = [f"data_uri={data}", f"label={label}", *parameters]
        words = [word for each in given for word in ("--param", each)]
        done = millrace("run", "tabular", *words, cwd=tmp_path, check=False)
        printed = done.stdout + done.stderr
        assert done.returncode == 1, printed
        assert "Traceback" not in printed
        errors = re.findall(r"^(?:error:|\w+ failed:) (.*)", printed, re.MULTILINE)
        assert len(errors) == 1, f"one error, not {errors}\n{printed}"
        return errors[0]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("case", READ)
def test_a_file_that_cannot_be_read_as_it_is(
    case: str, tmp_path: Path, run: Callable[..., str]
) -> None:
    write, message = READ[case]
    write(tmp_path / "my.csv")
    assert re.search(message, run())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "message"),
    [("nothing*.csv", r"nothing\*\.csv"), ("mi.csv", 'Did you mean ".*my.csv"')],
)
def test_data_that_is_not_there(
    data: str, message: str, tmp_path: Path, run: Callable[..., str]
) -> None:
    customers(tmp_path / "my.csv")
    assert re.search(message, run(data=data))


@pytest.mark.slow
def test_a_label_that_is_not_a_column(tmp_path: Path, run: Callable[..., str]) -> None:
    customers(tmp_path / "my.csv")
    assert re.search(r'"churn".* Did you mean "churned"', run(label="churn"))


@pytest.mark.slow
def test_a_label_that_is_constant(tmp_path: Path, run: Callable[..., str]) -> None:
    table(tmp_path / "my.csv", ["tenure", "churned"], lambda r, _: [r.randint(1, 60), 1])
    assert "churned" in (error := run())
    assert "1" in error


@pytest.mark.slow
def test_one_class_only_in_a_split(tmp_path: Path, run: Callable[..., str]) -> None:
    table(tmp_path / "my.csv", ["tenure", "churned"], lambda r, n: [r.randint(1, 60), int(n == 7)])
    assert re.search(r'split "(train|eval)"', run("fail_on_anomalies=false"), re.IGNORECASE)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def preprocessing_fn(inputs:\n", r"prep\.py, line 1"),
        ("def preprocess(inputs): return inputs\n", 'must define preprocessing_fn.* "preprocess"'),
    ],
)
def test_a_module_that_cannot_be_used(
    code: str, message: str, tmp_path: Path, run: Callable[..., str]
) -> None:
    customers(tmp_path / "my.csv")
    (tmp_path / "prep.py").write_text(code)
    assert re.search(message, run("preprocessing_file=prep.py"))


@pytest.mark.slow
def test_a_policy_that_no_candidate_meets(tmp_path: Path, run: Callable[..., str]) -> None:
    customers(tmp_path / "my.csv")
    error = run("max_bytes=10", "train_steps=5")
    assert "max_bytes" in error
    assert "float32" in error


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("train_steps=many", '"train_steps" must be a whole number'),
        ("splits=[1]", '"splits" must be an object'),
        ("fail_on_anomalies=perhaps", '"fail_on_anomalies" must be true or false'),
        ("polcy=best", 'no parameter "polcy".* Did you mean "policy"'),
        ("policy", "is given as name=value"),
    ],
)
def test_parameters(parameter: str, message: str, tmp_path: Path, run: Callable[..., str]) -> None:
    assert re.search(message, run(parameter))
    assert not (tmp_path / ".millrace").exists(), "nothing is started before parameters are checked"


def test_a_store_of_a_newer_version(tmp_path: Path, run: Callable[..., str], millrace: Any) -> None:
    customers(tmp_path / "my.csv")
    (tmp_path / ".millrace").mkdir()
    store = tmp_path / ".millrace/metadata.sqlite"
    millrace("runs", cwd=tmp_path, check=False)
    with sqlite3.connect(store) as database:
        database.executescript(
            "CREATE TABLE IF NOT EXISTS MLMDEnv (schema_version INTEGER PRIMARY KEY);"
            "DELETE FROM MLMDEnv; INSERT INTO MLMDEnv VALUES (999);"
        )
    before = store.read_bytes()
    assert "999" in run()
    assert store.read_bytes() == before


def test_a_store_that_is_not_one(tmp_path: Path, run: Callable[..., str]) -> None:
    customers(tmp_path / "my.csv")
    (tmp_path / ".millrace").mkdir()
    (tmp_path / ".millrace/metadata.sqlite").write_text("These are my notes.")
    assert "metadata.sqlite" in run()
    assert (tmp_path / ".millrace/metadata.sqlite").read_text() == "These are my notes."


@pytest.mark.slow
def test_a_run_that_fails_leaves_earlier_runs_whole(
    tmp_path: Path, run: Callable[..., str], millrace: Any
) -> None:
    words = ["--param", "data_uri=my.csv", "--param", "label=churned", "-p", "train_steps=5"]
    customers(tmp_path / "my.csv")
    millrace("run", "tabular", *words, cwd=tmp_path)
    (tmp_path / "my.csv").write_text("tenure,plan,churned\n1,a\n")
    run()
    millrace("lineage", "verify", cwd=tmp_path)
    assert "failed" in (printed := millrace("runs", cwd=tmp_path).stdout)
    assert "complete" in printed


def odd(path: Path) -> Path:
    """Writes unusual names, values and a column that break many tools."""
    return table(
        path,
        ["a b", "x.y", "größe", "日本", "void", "churned"],
        lambda r, n: [
            ["inf", "-inf", "nan", ""][n % 4] if n % 5 == 0 else r.gauss(0, 1),
            r.randint(0, 99),
            r.choice(["rot", "grün", ""]),
            r.random(),
            "",
            r.randint(0, 1),
        ],
    )


@pytest.mark.slow
def test_infinities_are_anomalies_and_nan_is_missing(
    tmp_path: Path, run: Callable[..., str]
) -> None:
    odd(tmp_path / "my.csv")
    error = run()
    assert "NaN" not in error
    assert re.search('"a b": Float feature has Inf values', error)
    (page,) = tmp_path.glob(".millrace/tabular/*/example-validator/report.html")
    assert "a b" in page.read_text(encoding="utf-8")


@pytest.mark.slow
def test_odd_values_and_names_reach_the_model(tmp_path: Path, millrace: Any) -> None:
    odd(tmp_path / "my.csv")
    words = ["-p", "data_uri=my.csv", "-p", "label=churned", "-p", "fail_on_anomalies=false"]
    millrace("run", "tabular", *words, "-p", "train_steps=5", cwd=tmp_path)
    assert list(tmp_path.glob(".millrace/tabular/*/pusher/pushed_model/model.tflite"))
