"""Every process gets the same key of a root, and nobody else can read it."""

from __future__ import annotations

import multiprocessing
import stat

import pytest

from millrace.errors import StoreError
from millrace.lineage.secret_key import FILE, secret_key


def test_a_key_is_made_once(tmp_path):
    key = secret_key(tmp_path / "new" / "root")
    assert len(key) == 32
    assert secret_key(tmp_path / "new" / "root") == key
    assert secret_key(tmp_path / "other") != key
    path = tmp_path / "new" / "root" / FILE
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_many_processes_get_one_key(tmp_path):
    with multiprocessing.get_context("fork").Pool(8) as pool:
        assert len(set(pool.map(secret_key, [tmp_path] * 64, chunksize=1))) == 1


@pytest.mark.parametrize("left", [b"", b"half"])
def test_a_process_was_killed_before_it_wrote_the_key(tmp_path, left):
    (tmp_path / FILE).write_bytes(left)
    key = secret_key(tmp_path)
    assert len(key) == 32
    assert secret_key(tmp_path) == key


def test_a_root_that_cannot_be_written(tmp_path, unprivileged):
    root = tmp_path / "root"
    root.mkdir(mode=0o555)
    with unprivileged(), pytest.raises(StoreError) as error:
        secret_key(root)
    assert str(error.value).endswith(f"{root / FILE}: Permission denied.")
