"""Volumes of PersistentVolumeClaims."""

import pytest

from millrace.errors import ParameterError
from millrace.runner.volumes import Volumes


def test_a_claim_has_one_folder(tmp_path):
    volumes = Volumes(tmp_path)
    (volumes.make("data") / "file").write_text("x")
    assert (volumes.make("data") / "file").read_text() == "x"
    assert volumes.make("data", "a/b") == tmp_path / ".volumes" / "data" / "a" / "b"
    volumes.delete("data")
    assert not (tmp_path / ".volumes" / "data").exists()
    volumes.delete("data")


@pytest.mark.parametrize("name", ["", "..", ".", "../x", "a/b", "/etc", "a\0b", "-a"])
def test_names_that_lead_elsewhere(tmp_path, name):
    with pytest.raises(ParameterError, match="cannot be a PersistentVolumeClaim's"):
        Volumes(tmp_path).make(name)
    with pytest.raises(ParameterError, match="cannot be a PersistentVolumeClaim's"):
        Volumes(tmp_path).delete(name)


def test_paths_that_lead_out_of_a_volume(tmp_path):
    volumes = Volumes(tmp_path)
    for path in ("../other", "/etc", "a/../../b"):
        with pytest.raises(ParameterError, match="leads out of the volume"):
            volumes.make("data", path)
    (volumes.make("data") / "link").symlink_to(tmp_path)
    with pytest.raises(ParameterError, match="leads out of the volume"):
        volumes.make("data", "link")
