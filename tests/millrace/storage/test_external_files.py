"""External files: which files a folder or pattern refers to."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from millrace.storage import external_files


def write(folder: Path, *names: str) -> Path:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    return folder


def test_what_is_no_data_does_not_count(tmp_path: Path) -> None:
    data = write(
        tmp_path / "data",
        "a.csv",
        "year=2020/b.csv",
        ".git/HEAD",
        ".a.csv.swp",
        "__pycache__/prep.cpython-311.pyc",
        "runs/flights/log.txt",
    )
    (tmp_path / "link").symlink_to(data)
    for path in (data, tmp_path / "link", tmp_path / "l*" / "*"):
        assert {Path(name).name for name in external_files.files(path, data / "runs")} == {
            "a.csv",
            "b.csv",
        }


def test_a_folder_counts_by_its_own_name_and_by_a_link_if_it_is_elsewhere(tmp_path: Path) -> None:
    data = write(tmp_path / "data", "year=2021/a.csv")
    write(tmp_path, "else/b.csv")
    (data / "latest").symlink_to("year=2021")
    (data / "year=2020").symlink_to("../else")
    (tmp_path / "else" / "round").symlink_to("../data")
    assert list(external_files.files(data)) == ["year=2020/b.csv", "year=2021/a.csv"]


def test_folders_that_link_to_each_other_are_read_once(tmp_path: Path) -> None:
    names = [f"package-{number}" for number in range(30)]
    write(tmp_path, *(f"{name}/index" for name in names))
    for name in names:
        for other in set(names) - {name}:
            (tmp_path / name / other).symlink_to(tmp_path / other)
    assert list(external_files.files(tmp_path)) == sorted(f"{name}/index" for name in names)


@pytest.mark.parametrize("what", [".", "*"])
def test_the_output_of_the_run_does_not_count(tmp_path: Path, what: str) -> None:
    write(tmp_path, "data.csv")
    program = (
        "import pathlib; from millrace.storage import external_files; "
        f"print(external_files.files(pathlib.Path({what!r})))"
    )
    with (tmp_path / "run.log").open("w") as log:
        subprocess.run([sys.executable, "-c", program], cwd=tmp_path, stdout=log, check=True)
    assert (tmp_path / "run.log").read_text().startswith("{'data.csv': ")
    assert "run.log" in external_files.files(tmp_path)


def test_a_path_with_fields_of_spans_names_all_spans(tmp_path: Path) -> None:
    for name in ("d-1/v1/t.csv", "d-2/v1/t.csv", "x/t.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(name)
    pattern = tmp_path / "d-{SPAN}/v{VERSION}/t.csv"
    assert list(external_files.files(pattern)) == ["d-1/v1/t.csv", "d-2/v1/t.csv"]
    assert external_files.beginning(pattern) == tmp_path
    odd = tmp_path / "{SPAN}"
    odd.write_text("a file of that very name")
    assert external_files.matches(odd) == [odd]
