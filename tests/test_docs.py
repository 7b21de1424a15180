"""The commands and programs in docs/data.md and docs/preprocessing.md run as they stand there.

A page's blocks run from top to bottom in one folder: lines of `sh` as commands, a `python` block
whose first line is a comment with a file's name is written there, and any other runs as a program.
"""

from __future__ import annotations

import csv
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
FILE = re.compile(r"# (\S+\.py)\n")


def leave_out_calls(table: Path) -> None:
    """Empties every seventh row's support_calls, so that the column is optional."""
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[::7]:
        row["support_calls"] = ""
    with table.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["data", "preprocessing"])
def test_its_blocks_run_one_after_the_other(
    page: str, repository: Path, tmp_path: Path, millrace: object
) -> None:
    blocks = BLOCK.findall((repository / "docs" / f"{page}.md").read_text("utf-8"))
    assert {language for language, _ in blocks} == {"sh", "python"}
    for language, text in blocks:
        if language == "sh":
            for line in text.replace("\\\n", "").splitlines():
                name, *arguments = shlex.split(line)
                assert name == "millrace"
                millrace(*arguments, cwd=tmp_path)  # type: ignore[operator]
                if arguments == ["new", "churn"] and page == "preprocessing":
                    leave_out_calls(tmp_path / "churn/data.csv")
        elif file := FILE.match(text):
            assert (tmp_path / file[1]).parent.is_dir()
            (tmp_path / file[1]).write_text(text, "utf-8")
        else:
            done = subprocess.run(
                [sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True
            )
            assert done.returncode == 0, f"{text}\n{done.stderr}"
            assert done.stdout
