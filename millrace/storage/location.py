"""URIs of files and folders: a path of this machine, `file://`, or a place in an object store.

A URI names a place and nothing else. Credentials, endpoints and other options come from the
environment (`millrace/storage/drivers.py`), so that a URI can be recorded and shown.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

from millrace.errors import StorageError

SCHEMES = ("s3", "gs", "az", "abfs", "memory")  # of object stores
MINIO = "minio"  # what KFP writes for S3 at an endpoint of its own


def scheme(uri: str) -> str:
    """Returns the scheme of a URI; `file` for a path, and `s3` for `minio`.

    Raises:
        StorageError: It is not a URI that can be used.
    """
    return _split(uri)[0]


def join(uri: str, *parts: str) -> str:
    """Returns the URI of what lies below another one.

    Args:
        uri: A path or URI.
        parts: Relative paths, with `/` between their names.

    Raises:
        StorageError: The URI cannot be used, or a part leads out of it.
    """
    kind = scheme(uri)
    names = [name for part in parts for name in part.split("/")]
    for name in names:
        if name in ("", ".", "..") or "\0" in name or (kind != "file" and set(name) & set("?#")):
            raise StorageError(f'"{"/".join(parts)}" is not a path below {uri}.')
    if uri.startswith("file://"):
        names = [quote(name) for name in names]
    return (uri if uri.endswith("/") else f"{uri}/") + "/".join(names)


def name(uri: str) -> str:
    """Returns the last name of a URI."""
    return _split(uri)[1].rstrip("/").rpartition("/")[2]


def is_local(uri: str) -> bool:
    """Returns whether a URI is of this machine's file system."""
    return scheme(uri) == "file"


def local_path(uri: str) -> Path:
    """Returns the path that a local URI names.

    Raises:
        StorageError: It is of an object store.
    """
    kind, path = _split(uri)
    if kind != "file":
        raise StorageError(f"{uri} is not a path on this machine.")
    return Path(path)


def remote_path(uri: str, name: str = "") -> str:
    """Returns what an object store's driver calls a place: the bucket and the key.

    Args:
        uri: The URI of an object store.
        name: The path of a file below it, which may hold what no URI can; empty for the URI itself.
    """
    kind, path = _split(uri)
    assert kind != "file", uri
    path = path.rstrip("/")
    return f"{path}/{name}" if name else path


def _split(uri: str) -> tuple[str, str]:
    """Returns the scheme and the path of a URI, which is checked."""
    kind, separator, path = uri.partition("://")
    if not separator:
        return "file", uri
    if kind == "file":
        if not path.startswith("/") or set(path) & set("?#"):
            raise StorageError(
                f'"{_shown(uri)}" is not a file URI: write file:///path, with %3F for "?" and %23 '
                'for "#", or just the path.'
            )
        return "file", unquote(path)
    if kind not in (*SCHEMES, MINIO):
        known = ", ".join(f"{known}://" for known in ("file", *SCHEMES))
        raise StorageError(
            f'"{_shown(uri)}" begins with {kind}://, which is not supported; use one of {known}.'
        )
    bucket = path.partition("/")[0]
    if "@" in bucket or set(path) & set("?#"):
        raise StorageError(
            f'"{_shown(uri)}" has a user, a query or a fragment: a URI names a place only. Give '
            "credentials and options through the environment, a profile, or the file that "
            "MILLRACE_STORAGE_OPTIONS_FILE names."
        )
    names = path.rstrip("/").split("/")
    if not bucket or {"", ".", ".."} & set(names) or "\0" in path:
        raise StorageError(
            f'"{_shown(uri)}" is not a URI that can be used: write {kind}://bucket/prefix, without '
            'empty names, "." and "..".'
        )
    return "s3" if kind == MINIO else kind, path


def _shown(uri: str) -> str:
    """Returns a URI without what may be a secret."""
    kind, _, path = uri.partition("://")
    path = path.split("?")[0].split("#")[0]
    bucket, slash, rest = path.partition("/")
    return f"{kind}://{bucket.rpartition('@')[2]}{slash}{rest}"
