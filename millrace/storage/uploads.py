"""Uploads one file to an object store, which checks every byte that it takes.

Each request carries or is answered with the MD5 of its bytes, so damage on the way is an error. A
large file goes in parts. Only a part whose transfer broke is sent again, and the object appears
once all parts are there. Parts that a killed process has sent are kept by S3 and Azure, and used if
they have the digest of what is to be sent.
"""

from __future__ import annotations

import abc
import base64
import contextlib
import hashlib
import io
import json
import math
import mimetypes
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from millrace.errors import StorageError
from millrace.storage import drivers, failures, location

_MOST_PARTS = 10_000  # of one object in S3
_PART_UNIT = 256 << 10  # bytes; the parts of GCS are multiples of it
_ACTION = "cannot be written"


def upload(path: Path, uri: str, name: str) -> str:
    """Uploads a file, replacing what is there.

    Args:
        path: The file.
        uri: Where it goes.
        name: Its path below that; empty if the URI is its own.

    Returns:
        The version of the object, as a listing tells it, if the store has checked its content;
        otherwise "".

    Raises:
        StorageError: It cannot be written.
    """
    files, target = drivers.filesystem(uri), location.remote_path(uri, name)
    try:
        kind = _OBJECTS.get(location.scheme(uri))
        if kind is None:
            drivers.retried(uri, _ACTION, lambda: files.put_file(os.fspath(path), target))
            return ""
        size = path.stat().st_size
        to_write = kind(files, target)
        if size <= drivers.BLOCK:
            content = path.read_bytes()
            return drivers.retried(uri, _ACTION, lambda: to_write.put(content))
        return _in_parts(path, size, uri, to_write)
    except FileNotFoundError as error:
        raise failures.failure(uri, _ACTION, error) from error


def _in_parts(path: Path, size: int, uri: str, to_write: _Object) -> str:
    part = max(drivers.BLOCK, math.ceil(size / _MOST_PARTS / _PART_UNIT) * _PART_UNIT)
    drivers.retried(uri, _ACTION, to_write.begin)
    try:
        with path.open("rb") as file:

            def send(offset: int) -> None:
                content = os.pread(file.fileno(), part, offset)
                if len(content) != min(part, size - offset):
                    raise StorageError(f"{path} changed while it was uploaded.")
                number = offset // part
                if to_write.has(number, content):
                    return
                drivers.retried(uri, _ACTION, lambda: to_write.part(number, content, offset, size))

            with ThreadPoolExecutor(to_write.parallel) as threads:
                list(threads.map(send, range(0, size, part)))
        return drivers.retried(uri, _ACTION, to_write.end)
    except BaseException:
        with contextlib.suppress(Exception):  # the first error is the one to tell
            to_write.abort()
        raise


class _Object(abc.ABC):
    """An object that is written, at once or in parts.

    Args:
        files: The store's file system.
        path: What it calls the object.
    """

    parallel = 4  # parts that are sent side by side

    def __init__(self, files: Any, path: str) -> None:
        self._files = files
        self._bucket, self._key = path.split("/", 1)
        self._type = mimetypes.guess_type(path)[0] or "application/octet-stream"

    @abc.abstractmethod
    def put(self, content: bytes) -> str:
        """Writes the object at once; returns its version."""

    @abc.abstractmethod
    def begin(self) -> None:
        """Begins to write it in parts."""

    def has(self, number: int, content: bytes) -> bool:
        """Returns whether the store has a part from an earlier attempt, with this content."""
        return False

    @abc.abstractmethod
    def part(self, number: int, content: bytes, offset: int, size: int) -> None:
        """Sends a part; several times, if its transfer breaks."""

    @abc.abstractmethod
    def end(self) -> str:
        """Makes the object of its parts; returns its version."""

    def abort(self) -> None:  # noqa: B027  a store may remove the parts by itself
        """Removes the parts."""


class _S3(_Object):
    def __init__(self, files: Any, path: str) -> None:
        super().__init__(files, path)
        self._upload: dict[str, str] = {}
        self._tags: dict[int, str] = {}
        self._sent_before: dict[int, str] = {}
        self._is_checked = True

    def put(self, content: bytes) -> str:
        done = self._call("put_object", Body=content, ContentType=self._type, **_md5(content))
        return self._tag(done, content) if self._is_checked else ""

    def begin(self) -> None:
        with contextlib.suppress(OSError):  # it may be forbidden, or the upload just have ended
            self._continue()
        if not self._upload:
            done = self._call("create_multipart_upload", ContentType=self._type)
            self._upload = {"UploadId": done["UploadId"]}

    def _continue(self) -> None:
        """Finds the upload that a killed process has left, and its parts."""
        found = self._files.call_s3(
            "list_multipart_uploads", Bucket=self._bucket, Prefix=self._key, MaxUploads=100
        )
        for one in found.get("Uploads", ()):
            if one["Key"] == self._key:
                upload = {"UploadId": one["UploadId"]}
                marker: dict[str, Any] = {}
                while True:
                    listed = self._call("list_parts", **upload, **marker)
                    for part in listed.get("Parts", ()):
                        self._sent_before[part["PartNumber"] - 1] = part["ETag"].strip('"')
                    if not listed.get("IsTruncated"):
                        break
                    marker = {"PartNumberMarker": listed["NextPartNumberMarker"]}
                self._upload = upload
                return

    def has(self, number: int, content: bytes) -> bool:
        tag = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if self._sent_before.get(number) != tag:
            return False
        self._tags[number] = tag
        return True

    def part(self, number: int, content: bytes, offset: int, size: int) -> None:
        done = self._call(
            "upload_part", PartNumber=number + 1, Body=content, **self._upload, **_md5(content)
        )
        self._tags[number] = self._tag(done, content)

    def end(self) -> str:
        tags = [self._tags[number] for number in sorted(self._tags)]
        parts = [{"PartNumber": at + 1, "ETag": f'"{tag}"'} for at, tag in enumerate(tags)]
        try:
            done = self._call(
                "complete_multipart_upload", MultipartUpload={"Parts": parts}, **self._upload
            )
        except FileNotFoundError:  # an earlier request did it, and its answer was lost
            return ""
        return str(done["ETag"]).strip('"') if self._is_checked else ""

    def abort(self) -> None:
        self._call("abort_multipart_upload", **self._upload)

    def _tag(self, done: dict[str, Any], content: bytes) -> str:
        """Returns the ETag of what was sent, which is its MD5 unless the store encrypts it."""
        tag = str(done["ETag"]).strip('"')
        is_encrypted = done.get("SSEKMSKeyId") or done.get("SSECustomerAlgorithm")
        if tag != hashlib.md5(content, usedforsecurity=False).hexdigest() and not is_encrypted:
            self._is_checked = False
        return tag

    def _call(self, method: str, **arguments: Any) -> dict[str, Any]:
        done = self._files.call_s3(method, Bucket=self._bucket, Key=self._key, **arguments)
        return dict(done)


class _Gcs(_Object):
    parallel = 1  # they are appended to one another

    def __init__(self, files: Any, path: str) -> None:
        super().__init__(files, path)
        self._session = ""
        self._whole = hashlib.md5(usedforsecurity=False)
        self._hashed = 0
        self._made: dict[str, Any] = {}

    def put(self, content: bytes) -> str:
        headers = {"Content-Type": self._type}
        self._made = self._post("media", headers=headers, data=_Body(content), json_out=True)
        self._whole = hashlib.md5(content, usedforsecurity=False)
        return self._version()

    def begin(self) -> None:
        headers, _ = self._post("resumable", headers={"X-Upload-Content-Type": self._type})
        self._session = str(headers["Location"])

    def part(self, number: int, content: bytes, offset: int, size: int) -> None:
        if self._hashed == offset:
            self._whole.update(content)
            self._hashed += len(content)
        while content:
            span = f"bytes {offset}-{offset + len(content) - 1}/{size}"
            headers, answer = self._files.call(
                "PUT", self._session, headers={"Content-Range": span}, data=_Body(content)
            )
            if offset + len(content) == size and answer:
                self._made = json.loads(answer)
                return
            received = int(str(headers.get("Range", "bytes=0--1")).partition("-")[2]) + 1
            if received <= offset:
                raise ConnectionError("the store took nothing of what was sent")
            content, offset = content[received - offset :], received

    def end(self) -> str:
        return self._version()

    def abort(self) -> None:
        self._files.call("DELETE", self._session)

    def _version(self) -> str:
        found = self._made.get("md5Hash")  # that of a composite object is not known
        if found and found != base64.b64encode(self._whole.digest()).decode():
            with contextlib.suppress(FileNotFoundError):
                self._files.rm_file(f"{self._bucket}/{self._key}")
            raise ConnectionError("the content was damaged on its way")
        return str(self._made.get("etag", "")).strip('"') if found else ""

    def _post(self, kind: str, **arguments: Any) -> Any:
        path = f"{self._files._location}/upload/storage/v1/b/{{}}/o"
        return self._files.call(
            "POST", path, self._bucket, uploadType=kind, name=self._key, **arguments
        )


class _Azure(_Object):
    def __init__(self, files: Any, path: str) -> None:
        super().__init__(files, path)
        self._parts: dict[int, str] = {}
        self._sent_before: set[str] = set()

    def put(self, content: bytes) -> str:
        return self._etag(
            self._call(
                "upload_blob", content, overwrite=True, validate_content=True, **self._properties()
            )
        )

    def begin(self) -> None:
        """Finds the parts of a killed process; the store removes those that become no blob."""
        from azure.core.exceptions import ResourceNotFoundError

        with contextlib.suppress(ResourceNotFoundError):
            _, uncommitted = self._await("get_block_list", "uncommitted")
            self._sent_before = {block.id for block in uncommitted}

    def has(self, number: int, content: bytes) -> bool:
        block = self._block(number, content)
        if block not in self._sent_before:
            return False
        self._parts[number] = block
        return True

    def part(self, number: int, content: bytes, offset: int, size: int) -> None:
        block = self._block(number, content)
        self._call("stage_block", block, content, length=len(content), validate_content=True)
        self._parts[number] = block

    def end(self) -> str:
        from azure.storage.blob import BlobBlock

        blocks = [BlobBlock(block_id=self._parts[number]) for number in sorted(self._parts)]
        return self._etag(self._call("commit_block_list", blocks, **self._properties()))

    def _properties(self) -> dict[str, Any]:
        from azure.storage.blob import ContentSettings

        settings = ContentSettings(content_type=self._type)
        return {"content_settings": settings, "metadata": {"is_directory": "false"}}

    def _call(self, method: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        return dict(self._await(method, *arguments, **options))

    def _await(self, method: str, *arguments: Any, **options: Any) -> Any:
        from fsspec.asyn import sync

        blob = self._files.service_client.get_blob_client(self._bucket, self._key)
        return sync(self._files.loop, getattr(blob, method), *arguments, **options)

    def _block(self, number: int, content: bytes) -> str:
        """Returns the name of a part, which tells its content: a list of parts has no digests."""
        return f"{number:08}-{hashlib.md5(content, usedforsecurity=False).hexdigest()}"

    def _etag(self, done: dict[str, Any]) -> str:
        return str(done["etag"]).strip('"')


class _Body(io.BytesIO):
    """The body of a request, which aiohttp closes although it may have to be sent again."""

    def close(self) -> None:
        """Does nothing."""


def _md5(content: bytes) -> dict[str, str]:
    value = hashlib.md5(content, usedforsecurity=False).digest()
    return {"ContentMD5": base64.b64encode(value).decode()}


_OBJECTS: dict[str, type[_Object]] = {"s3": _S3, "gs": _Gcs, "az": _Azure, "abfs": _Azure}
