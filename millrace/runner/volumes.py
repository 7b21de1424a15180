"""Volumes of PersistentVolumeClaims: a folder for each claim, in the home of the runs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path, PurePosixPath

from millrace.errors import ParameterError

FOLDER = ".volumes"  # in the home of the runs; no pipeline has such a name

_CLAIM = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")


class Volumes:
    """The volumes of a root, which all its runs share as they would in a cluster.

    Args:
        home: The folder that keeps runs.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER

    def make(self, claim: str, sub_path: str = "") -> Path:
        """Returns the folder of a claim, or one within it; it is made if it is not there.

        Raises:
            ParameterError: The name cannot be a claim's, or the folder would be outside of it.
        """
        inner = PurePosixPath(sub_path)
        if inner.is_absolute() or ".." in inner.parts:
            raise ParameterError(f"The path {sub_path!r} leads out of the volume {claim}.")
        volume = self._of(claim)
        folder = volume / inner
        folder.mkdir(parents=True, exist_ok=True)
        if not folder.resolve().is_relative_to(volume.resolve()):
            raise ParameterError(f"The path {sub_path!r} leads out of the volume {claim}.")
        return folder

    def delete(self, claim: str) -> None:
        """Deletes the volume of a claim with everything in it; one that is not there is no error.

        Raises:
            ParameterError: The name cannot be a claim's.
        """
        folder = self._of(claim)
        if folder.is_dir():
            shutil.rmtree(folder)

    def _of(self, claim: str) -> Path:
        if not _CLAIM.fullmatch(claim):
            raise ParameterError(f"The name {claim!r} cannot be a PersistentVolumeClaim's.")
        return self._folder / claim
