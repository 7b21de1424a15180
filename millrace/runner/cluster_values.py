"""Secrets and ConfigMaps in place of a cluster's, from a file that the user names.

The file is YAML. Each document is a Kubernetes manifest of kind Secret, ConfigMap or List:

    kind: Secret
    metadata: {name: warehouse}
    stringData: {user: ada, password: …}

or maps names to keys and values, for Secrets and ConfigMaps alike:

    warehouse: {user: ada, password: …}
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from millrace import redact
from millrace.errors import ParameterError, PipelineError
from millrace.ir.platform import CONFIG_MAP, SECRET
from millrace.ir.shape import check_yaml

FILE_VARIABLE = "MILLRACE_SECRETS_FILE"

_Keys = dict[str, bytes]
_KEY = re.compile(r"(?!\.\.?$)[-._a-zA-Z0-9]{1,253}")  # Kubernetes' own rule: each may be a file


class ClusterValues:
    """The Secrets and ConfigMaps of a file.

    Args:
        values: Their keys, by kind and name.
        file: Where they were read from, for messages.
    """

    def __init__(
        self, values: Mapping[tuple[str, str], _Keys] | None = None, file: Path | None = None
    ) -> None:
        self._values = values or {}
        self.file = file

    def get(self, kind: str, name: str) -> Mapping[str, bytes] | None:
        """Returns the keys of a Secret or ConfigMap; None if the file has none of that name."""
        return self._values.get((kind, name))


def read(file: Path | None) -> ClusterValues:
    """Reads Secrets and ConfigMaps, and keep the values of Secrets out of messages from now on.

    Args:
        file: The file; that of MILLRACE_SECRETS_FILE, or none, if None.

    Raises:
        ParameterError: It cannot be read. What it holds is not shown.
    """
    if file is None:
        if not (named := os.environ.get(FILE_VARIABLE)):
            return ClusterValues()
        file = Path(named).expanduser()
    try:
        content = file.read_bytes()
        check_yaml(content, yaml.BaseLoader)
        documents = list(yaml.load_all(content, Loader=yaml.BaseLoader))
    except OSError as error:
        raise ParameterError(f"Cannot read the secrets in {file}: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, PipelineError) as error:
        where = getattr(error, "problem_mark", None)
        line = f", line {where.line + 1}" if where else ""
        raise ParameterError(f"The secrets file {file}{line} is not YAML.") from None
    values: dict[tuple[str, str], _Keys] = {}
    try:
        for document in documents:
            for kind, name, keys in _objects(document):
                values.setdefault((kind, name), {}).update(keys)
    except ParameterError as error:
        raise ParameterError(f"The secrets file {file}: {error}") from None
    for (kind, _), keys in values.items():
        if kind == SECRET:
            redact.learn({"secret": [_text(value) for value in keys.values()]})
    return ClusterValues(values, file)


def _objects(document: Any) -> Iterator[tuple[str, str, _Keys]]:
    """Yields kind, name and keys of what a document holds."""
    if document in (None, ""):
        return
    if not isinstance(document, Mapping):
        raise ParameterError("a document is neither a manifest nor a mapping of names to keys.")
    if not isinstance(kind := document.get("kind"), str):
        for name, keys in document.items():
            if not isinstance(keys, Mapping):
                raise ParameterError(f'"{name}" must map keys to values.')
            encoded = {str(key): _plain(name, key, value) for key, value in keys.items()}
            yield SECRET, str(name), encoded
            yield CONFIG_MAP, str(name), encoded
        return
    if kind in ("List", "SecretList", "ConfigMapList"):
        for item in document.get("items") or ():
            yield from _objects(item)
        return
    name = (document.get("metadata") or {}).get("name")
    if kind not in (SECRET, CONFIG_MAP) or not name:
        raise ParameterError(f"it has a {kind} named {name!r}: it takes Secrets and ConfigMaps.")
    plain, coded = ("stringData", "data") if kind == SECRET else ("data", "binaryData")
    keys = {key: _decoded(name, key, one) for key, one in (document.get(coded) or {}).items()}
    keys |= {key: _plain(name, key, one) for key, one in (document.get(plain) or {}).items()}
    yield kind, name, keys


def _plain(name: str, key: str, value: Any) -> bytes:
    if not _KEY.fullmatch(key):
        raise ParameterError(f'"{name}" has the key {key!r}, which cannot be one.')
    if not isinstance(value, str):
        raise ParameterError(f'the value of "{key}" of "{name}" must be text.')
    return value.encode()


def _decoded(name: str, key: str, value: Any) -> bytes:
    try:
        return base64.b64decode("".join(_plain(name, key, value).decode().split()), validate=True)
    except (binascii.Error, ValueError):
        raise ParameterError(f'the value of "{key}" of "{name}" is not base64.') from None


def _text(value: bytes) -> str:
    return value.decode(errors="replace").strip()
