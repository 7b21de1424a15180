"""The README is true: its commands run, and what it links to is there."""

from __future__ import annotations

import csv
import random
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from millrace.authoring import interface

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    for line in block.splitlines()
    if line.strip() and not line.startswith("#")
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, flights_sample: Path) -> Path:
    """A folder as the README's reader has it: the flights (a sample), and a table of their own."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(ROOT / "pipelines", folder / "pipelines")
    (folder / "data").mkdir()
    shutil.copy(flights_sample, folder / "data/flights.csv")
    generator = random.Random(1)
    with (folder / "my.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["tenure", "plan", "churned"])
        for _ in range(400):
            tenure, plan = generator.randint(1, 60), generator.choice(["basic", "pro"])
            writer.writerow([tenure, plan, int(generator.random() < 1 / (1 + tenure / 9))])
    return folder


@pytest.mark.slow
def test_its_commands_run_one_after_the_other(workplace: Path, millrace: object) -> None:
    ran = []
    for command in COMMANDS:
        words = command.split()
        if words[0] != "millrace" or "docker" in words:
            continue
        done = millrace(*words[1:], cwd=workplace, check=False)  # type: ignore[operator]
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        ran.append(words[1])
    assert {"run", "runs", "new", "lineage", "compile"} <= set(ran)


def test_its_make_targets_exist() -> None:
    targets = [command.split()[1] for command in COMMANDS if command.startswith("make ")]
    assert {"run", "test", "images"} <= set(targets)
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_its_table_names_every_step() -> None:
    for name in interface.names():
        step = interface.of(name)
        row = f"| [{step.title}](components/{name}/README.md) | {step.summary} |"
        assert row in README, f"README.md: the table of the steps lacks the line\n{row}"


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert (ROOT / target).exists(), f"README.md links to {target}, which is not there"
