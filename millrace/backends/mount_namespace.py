"""Runs a command that sees folders at paths of its own, as a container would.

    python -I -S mount_namespace.py '[["/source", "/target", true], …]' COMMAND…

The third of each is whether the folder can only be read. The command runs as the same user, in a
user namespace and a mount namespace of its own. Its root is an empty file system in memory, onto
which everything of the real root is mounted: a target need not exist, and nobody else sees it.
"""

from __future__ import annotations

import ctypes
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_NEWNS, _NEWUSER = 0x00020000, 0x10000000  # of unshare(2)
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 32, 4096, 16384, 1 << 18  # of mount(2)
_KEPT = 2 | 4 | 8 | 1024 | 2048  # nosuid, nodev, noexec, noatime, nodiratime: a remount keeps them

Mounts = Sequence[tuple[str, str, bool]]


def command(mounts: Mounts, line: Sequence[str]) -> list[str]:
    """Returns the command that runs another one with mounts."""
    return [sys.executable, "-I", "-S", __file__, json.dumps(list(mounts)), *line]


@functools.lru_cache(maxsize=1)
def is_available() -> bool:
    """Tells whether this machine lets its users make such namespaces; many containers do not."""
    with tempfile.TemporaryDirectory() as folder:
        line = command([(folder, "/millrace-probe/a", True)], ["test", "-d", "/millrace-probe/a"])
        env = {**os.environ, "TMPDIR": folder}
        done = subprocess.run(line, capture_output=True, check=False, env=env)
    return not done.returncode


def main(mounts: Mounts, line: Sequence[str]) -> None:
    """Makes the namespaces and mounts, and becomes the command."""
    here, root = Path.cwd(), Path(tempfile.mkdtemp())
    user, group = os.getuid(), os.getgid()
    _call("unshare", _NEWNS | _NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        Path("/proc/self", name).write_text(text, encoding="ascii")
    _mount("none", Path("/"), _REC | _PRIVATE)
    _mount("none", root, 0, "tmpfs")
    _copy(Path("/"), root, [Path(target).parts[1:] for _, target, _ in mounts])
    for source, target, readonly in sorted(mounts, key=lambda one: len(Path(one[1]).parts)):
        there = root / target.lstrip("/")
        there.mkdir(parents=True, exist_ok=True)
        _bind(Path(source), there)
        if readonly:
            flags = os.statvfs(there).f_flag & _KEPT
            _mount("none", there, _BIND | _REMOUNT | _RDONLY | flags)
    os.chroot(root)
    os.chdir(here)
    os.execvp(line[0], list(line))  # noqa: S606  a shell is the caller's to ask for


def _copy(folder: Path, target: Path, paths: Sequence[Sequence[str]]) -> None:
    """Mounts what is in a folder onto another one, and makes the folders that `paths` lead through.

    Args:
        folder: A folder of the real root.
        target: The same in the new one; it is empty.
        paths: What will be mounted below it, by the names of folders.
    """
    through = {path[0] for path in paths}
    for entry in os.scandir(folder):
        there = target / entry.name
        if entry.name in through:
            continue
        if entry.is_symlink():
            there.symlink_to(Path(entry.path).readlink())
        elif entry.is_dir():
            there.mkdir()
            _bind(Path(entry.path), there)
        else:
            there.touch()
            _bind(Path(entry.path), there)
    for name in through:
        rest = [path[1:] for path in paths if path[0] == name]
        (target / name).mkdir()
        if (
            all(rest) and (folder / name).is_dir()
        ):  # a target itself shows nothing of what lay there
            _copy(folder / name, target / name, rest)


def _bind(source: Path, target: Path) -> None:
    _mount(str(source), target, _BIND | _REC)


def _mount(source: str, target: Path, flags: int, kind: str = "none") -> None:
    paths = os.fsencode(source), os.fsencode(target)
    _call("mount", *paths, kind.encode(), ctypes.c_ulong(flags), None)


def _call(name: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]), sys.argv[2:])
