"""Reads a curated schema."""

from __future__ import annotations

from collections import Counter

from tensorflow_metadata.proto.v0 import schema_pb2

from millrace.data import schemas
from millrace.errors import DataError, nearest
from millrace.storage import paths


def load(schema_uri: str) -> schema_pb2.Schema:
    """Returns the schema of a file, or of a folder that holds `schema.pbtxt`.

    Raises:
        DataError: There is no schema, or it cannot be used.
    """
    path = paths.expanded(paths.local(schema_uri))
    if paths.is_folder(path):
        path = path / schemas.FILE
    if not paths.exists(path) and paths.is_folder(path.parent):
        hint = nearest(path.name, [other.name for other in path.parent.iterdir()])
        raise DataError(f'"schema_uri" names {path}, which does not exist.{hint}')
    schema = schemas.read(path)
    if not schema.feature:
        raise DataError(f"{path} describes no feature.")
    names = Counter(feature.name for feature in schema.feature)
    if twice := [name for name, times in names.items() if times > 1]:
        raise DataError(f'{path} describes feature "{twice[0]}" more than once.')
    domains = {domain.name for domain in schema.string_domain}
    for feature in schema.feature:
        if not feature.type:
            raise DataError(f'{path} gives feature "{feature.name}" no type: INT, FLOAT or BYTES.')
        if feature.domain and feature.domain not in domains:
            raise DataError(
                f'{path} gives feature "{feature.name}" the domain "{feature.domain}", '
                f"which it does not define.{nearest(feature.domain, domains)}"
            )
    return schema
