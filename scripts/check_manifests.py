"""Builds every kustomization in manifests/ and validates each object against Kubernetes' schemas.

make manifests-check
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

MANIFESTS = Path(__file__).resolve().parent.parent / "manifests"
# The oldest release that the manifests support, and the newest with schemas.
RELEASES = ("1.28", kubernetes_validate.latest_version())
Manifest = dict[str, Any]


def kustomizations() -> list[Path]:
    """Returns the folders for `kubectl apply -k`."""
    return sorted(path.parent for path in MANIFESTS.rglob("kustomization.yaml"))


def builder() -> list[str] | None:
    """Returns the command that builds a kustomization, if this machine has one."""
    for command in (["kubectl", "kustomize"], ["kustomize", "build"]):
        if shutil.which(command[0]):
            return command
    return None


def build(folder: Path) -> list[Manifest]:
    """Returns the objects of a kustomization."""
    command = builder()
    if command is None:
        raise SystemExit("error: manifests need kubectl or kustomize to build; install one.")
    done = subprocess.run([*command, str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: {folder} does not build:\n{done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


def errors(manifest: Manifest) -> list[str]:
    """Returns the errors of an object: what Kubernetes would reject or ignore."""
    found = []
    for release in RELEASES:
        try:
            kubernetes_validate.validate(manifest, release, strict=True)
        except kubernetes_validate.ValidationError as error:
            where = ".".join(str(part) for part in error.path) or "the object"
            found.append(f"{where}: {error.message} (Kubernetes {release})")
        except kubernetes_validate.SchemaNotFoundError as error:
            found.append(str(error))
    return found


def main() -> None:
    """Checks every kustomization, and ends with 1 if an object is wrong."""
    wrong = 0
    for folder in kustomizations():
        manifests = build(folder)
        for manifest in manifests:
            for mistake in errors(manifest):
                wrong += 1
                name = f"{manifest['kind']}/{manifest['metadata']['name']}"
                print(f"{folder.relative_to(MANIFESTS.parent)}: {name}: {mistake}")
        print(f"{folder.relative_to(MANIFESTS.parent)}: {len(manifests)} objects")
    if wrong:
        sys.exit(f"{wrong} errors.")


if __name__ == "__main__":
    main()
