"""Disks that are full or cannot be written."""

import os
import subprocess

import pytest

from millrace.runner.result import State

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")


@pytest.fixture
def mounted(tmp_path):
    """A small disk."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options: str):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder],
            capture_output=True,
            check=False,
        )
        if done.returncode:
            pytest.skip(f"cannot mount: {done.stderr.decode().strip()}")
        return folder

    yield mount
    subprocess.run(["umount", "-l", folder], capture_output=True, check=False)


@root_only
def test_a_full_disk_is_one_line_and_what_was_made_before_stays(kit, run, mounted):
    folder = mounted("size=1500k")

    def filling(size: str):
        first = kit.play(text="small")
        kit.play(do=f"long {size}").after(first)

    pipeline = kit.compile(filling)
    result = run(pipeline, {"size": "3000000"}, root=folder)
    assert result.state is State.FAILED
    assert result.tasks["play-2"].error.startswith("No space is left on the disk")
    assert "\n" not in result.tasks["play-2"].error
    again = run(pipeline, {"size": "10"}, root=folder)
    assert again.tasks["play"].state is State.CACHED
    assert again.state is State.COMPLETE


@root_only
def test_a_read_only_disk(kit, run, mounted, tmp_path):
    from millrace.errors import PipelineError

    folder = mounted("size=1m,ro")
    with pytest.raises(PipelineError, match=r"Cannot make .*Read-only file system. Name another"):
        run(kit.single(), root=folder / "root")
