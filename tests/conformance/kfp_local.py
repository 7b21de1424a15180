"""Runs cases with kfp.local: one JSON request a line on standard input, each in a fork of its own.

It is a separate program: kfp.local changes global state, and takes the
repository's folder `docker` for the library of that name if it can see it.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

os.environ |= {"CONFORMANCE_INSTALL_KFP": "0", "PYTHONWARNINGS": "ignore"}

from kfp import dsl, local

from cases import described, load


def main() -> None:
    """Answers requests."""
    cases = load()
    for line in sys.stdin:
        request = json.loads(line)
        folder = Path(request["folder"])
        child = os.fork()
        if not child:
            log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT)
            os.dup2(log, 1)
            os.dup2(log, 2)
            outcome = run(cases[request["case"]].pipeline(), request["values"], folder)
            (folder / "outcome.json").write_text(json.dumps(outcome))
            sys.stdout.flush()
            os._exit(0)
        os.waitpid(child, 0)
        print(json.dumps(request["case"]), flush=True)


def run(pipeline: Any, values: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Runs a pipeline and returns its state, outputs and error."""
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(folder / "root"))
    try:
        outputs = pipeline(**values).outputs
    except Exception as error:
        traceback.print_exc()
        return {"state": "FAILED", "outputs": {}, "error": f"{type(error).__name__}: {error}"}
    return {
        "state": "COMPLETE",
        "outputs": {name: normal(value) for name, value in outputs.items()},
        "error": "",
    }


def normal(value: Any) -> Any:
    """Returns an output in the form in which results are compared."""
    if isinstance(value, list):
        return [normal(one) for one in value]
    if isinstance(value, dsl.Artifact):
        return described(value.schema_title, value.uri, value.metadata)
    return value


if __name__ == "__main__":
    main()
