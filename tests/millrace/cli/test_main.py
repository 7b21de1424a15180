"""The command line as a whole: a mistake is one line, wherever it is made."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

MILLRACE = str(Path(sys.executable).with_name("millrace"))
LONG = "a" * 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", LONG], 'There is no pipeline "aaa'),
        (["run", LONG + ".yaml"], "There is no file aaa"),
        (["run", LONG + ".py"], "There is no file aaa"),
        (["new", LONG], "File name too long."),
        (["compile", LONG], "There is no aaa"),
        (["run", "~nobody-of-that-name/x"], 'There is no pipeline "~nobody-of-that-name/x"'),
        (["runs", "--root", "~nobody-of-that-name/x"], "There is no lineage store at"),
        (["runs", "--store", "~nobody-of-that-name/x"], "There is no lineage store at"),
    ],
)
def test_a_mistake_is_one_line(millrace, tmp_path, arguments, message):
    done = millrace(*arguments, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


def test_a_folder_that_is_gone(tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    command = f"cd {gone} && rmdir {gone} && {MILLRACE} runs"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: The current folder no longer exists: change to another.\n"


@pytest.mark.parametrize("command", [["--help"], ["steps"], ["steps", "--json"]])
def test_an_output_that_takes_no_more(command):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([MILLRACE, *command], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert done.stderr == "error: Cannot write the output: No space left on device.\n"


def test_exit_codes_are_documented(millrace, repository, tmp_path):
    assert millrace("run", "--no-such-option", cwd=tmp_path, check=False).returncode == 2
    text = " ".join(millrace("run", "--help", cwd=tmp_path).stdout.split())
    assert re.findall(r"\b\d+\b", text.partition("Exit codes: ")[2]) == ["0", "1", "2", "130"]
    documented = (repository / "docs/watching.md").read_text().partition("## Exit codes")[2]
    assert re.findall(r"^\| (\d+) \|", documented, re.MULTILINE) == ["0", "1", "2", "130"]
