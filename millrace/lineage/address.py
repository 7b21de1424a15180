"""Parses the addresses of lineage stores that `--store` takes."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from millrace import redact
from millrace.errors import StoreError, nearest
from millrace.lineage import STORE
from millrace.lineage.mlmd import pb
from millrace.storage import paths

DEADLINE = 10.0  # seconds a call over gRPC may take

_RETRIES = (
    20  # SQLite has one writer at a time; with MLMD's default of 5, many processes wait for seconds
)
_MESSAGE = 100 << 20  # bytes; a long list of artifacts exceeds gRPC's default of 4 MB
_PORTS = {"mysql": 3306, "postgresql": 5432, "grpc": 8080}
_SCHEMES = ("sqlite", *_PORTS)


@dataclasses.dataclass(frozen=True)
class Address:
    """The address of a lineage store.

    Attributes:
        scheme: sqlite, mysql, postgresql or grpc.
        shown: The address, with the password hidden.
        config: MLMD's connection configuration.
        path: The file of an SQLite store.
        host: Server host name.
        port: Server port.
    """

    scheme: str
    shown: str
    config: Any
    path: Path | None = None
    host: str = ""
    port: int = 0


def of_root(root: Path, store: str | None = None) -> str:
    """Returns the address of a root's store: the one given, or SQLite within the root."""
    return store or str(paths.absolute(root) / STORE)


def parse(uri: str) -> Address:
    """Parses an address.

    Raises:
        StoreError: It is not a valid address.
    """
    scheme, colon, _ = uri.partition("://")
    if not colon:
        return _sqlite(uri)
    scheme = {"postgres": "postgresql"}.get(scheme, scheme)
    try:
        parts = urlsplit(uri)
        port = parts.port or _PORTS.get(scheme, 0)
    except ValueError:  # without its text, which may hold a part of the password
        raise StoreError(
            f"The address of the lineage store, {scheme}://…, cannot be read: the port must be a "
            "number, and /, ?, #, @ and : within a password are written %2F, %3F, %23, %40 and %3A."
        ) from None
    if scheme == "sqlite":
        return _sqlite(unquote(parts.path.removeprefix("/")))
    if scheme not in _PORTS:
        raise StoreError(
            f"{redact.text(uri)} is not the address of a lineage store: it must be a path, or "
            f"begin with sqlite, mysql, postgresql or grpc and ://.{nearest(scheme, _SCHEMES)}"
        )
    host = parts.hostname or "localhost"
    config = {"mysql": _mysql, "postgresql": _postgresql, "grpc": _grpc}[scheme](parts, host, port)
    return Address(scheme, redact.text(uri), config, None, host, port)


def _sqlite(text: str) -> Address:
    if not text.strip():
        raise StoreError("The path of the lineage store is empty.")
    path = paths.absolute(text)
    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    config.retry_options.max_num_retries = _RETRIES
    return Address("sqlite", str(path), config, path)


def _mysql(parts: SplitResult, host: str, port: int) -> pb.ConnectionConfig:
    config = pb.ConnectionConfig()
    config.retry_options.max_num_retries = _RETRIES
    mysql = config.mysql
    mysql.host, mysql.port, mysql.database = host, port, _database(parts)
    mysql.user, mysql.password = unquote(parts.username or ""), unquote(parts.password or "")
    _options(parts, mysql.ssl_options, "ssl_")
    return config


def _postgresql(parts: SplitResult, host: str, port: int) -> pb.ConnectionConfig:
    config = pb.ConnectionConfig()
    config.retry_options.max_num_retries = _RETRIES
    server = config.postgresql
    server.port, server.dbname = str(port), _database(parts)
    server.user, server.password = unquote(parts.username or ""), unquote(parts.password or "")
    if re.fullmatch(r"[\d.]+|.*:.*", host):
        server.hostaddr = host
    else:
        server.host = host
    _options(parts, server.ssloption, "")
    return config


def _grpc(parts: SplitResult, host: str, port: int) -> pb.MetadataStoreClientConfig:
    config = pb.MetadataStoreClientConfig(host=host, port=port, client_timeout_sec=DEADLINE)
    config.channel_arguments.max_receive_message_length = _MESSAGE
    _options(parts, config.ssl_config, "", read=True)
    return config


def _database(parts: SplitResult) -> str:
    name = unquote(parts.path.strip("/"))
    if not name:
        raise StoreError(
            f"{redact.text(parts.geturl())} names no database: "
            f"write {parts.scheme}://USER:PASSWORD@HOST:PORT/DATABASE."
        )
    return name


def _options(parts: SplitResult, target: Any, prefix: str, read: bool = False) -> None:
    """Sets the TLS options, such as `?ssl_ca=FILE`, which are named as in MLMD."""
    fields = {prefix + field.name: field for field in target.DESCRIPTOR.fields}
    for name, value in parse_qsl(parts.query):
        if name not in fields:
            raise StoreError(
                f'{redact.text(parts.geturl())} has an unknown option "{name}"; '
                f"known are {', '.join(fields)}.{nearest(name, fields)}"
            )
        field = fields[name]
        if field.type == field.TYPE_BOOL:
            setattr(target, field.name, value.lower() in ("1", "true", "yes"))
        else:
            setattr(target, field.name, _content(name, value) if read else value)


def _content(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise StoreError(f"{name}={path} of the lineage store cannot be read: {error}") from None
