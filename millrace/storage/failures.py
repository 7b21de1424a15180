"""Errors of object stores, as they are told to people: what failed, why, and what to do.

Each driver raises errors of its own. They are recognised by the code that the store gave, or by
their class, and never show a secret.
"""

from __future__ import annotations

import errno
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from millrace.errors import StorageError
from millrace.storage import location

OPTIONS_FILE = "MILLRACE_STORAGE_OPTIONS_FILE"
_TRANSIENT_ERRNOS = {errno.EBUSY, errno.EREMOTEIO, errno.EAGAIN, errno.EPIPE, errno.ECONNRESET}
# Errors of botocore, aiohttp, gcsfs and azure-core, which may not be installed.
_TRANSIENT_CLASSES = re.compile(
    r"(HTTPClient|ClientPayload|ClientConnection|ServerDisconnected|ServiceRequest|ServiceResponse"
    r"|IncompleteRead|ResponseParser|FSTimeout|Retry)Error$|^IncompleteRead$"
)
_NO_HOST = re.compile(r"Name or service not known|nodename nor servname")
_TRANSIENT_CODES = re.compile(
    r"SlowDown|Throttl|RequestTimeout$|InternalError|ServiceUnavailable|ServerBusy|Conflict"
    r"|TooManyRequests|BadDigest|Md5Mismatch|contentMD5|\b429\b|\b50[0234]\b"
)
_SKEWED = re.compile(
    r"RequestTimeTooSkewed|RequestExpired|Request date header too old|not within the valid time"
    r"|short-lived token|check your iat and exp",
    re.IGNORECASE,
)
_NO_BUCKET = re.compile(r"NoSuchBucket|ContainerNotFound|bucket does not exist", re.IGNORECASE)
_REFUSED = re.compile(
    r"InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken|InvalidToken|AuthenticationFailed"
    r"|NoCredentials|ProfileNotFound|ClientAuthenticationError|RefreshError|Invalid Credentials"
    r"|DefaultCredentialsError|\b401\b"
)
_FORBIDDEN = re.compile(r"AccessDenied|AuthorizationPermissionMismatch|Forbidden|\b403\b")
_SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_CONNECTION_STRING",
    "AZURE_STORAGE_SAS_TOKEN",
)
_SECRET_PARTS = re.compile(r"(?:AccountKey|SharedAccessSignature|sig)=([^;&]{4,})")
_SECRET = re.compile(r"key|secret|token|password|credential|sas|connection_string", re.IGNORECASE)


def failure(uri: str, action: str, error: BaseException) -> StorageError:
    """Returns the error that tells a user what failed, why, and what to do about it."""
    reason = " ".join(redacted(_reason(error)).split()).rstrip(".")
    return StorageError(f"{uri} {action}: {reason}. {_advice(uri, error)}".rstrip())


def options_text() -> str:
    """Returns what the file of options holds, which is checked; "" without one.

    Raises:
        StorageError: It cannot be read.
    """
    path = os.environ.get(OPTIONS_FILE)
    if not path:
        return ""
    try:
        text = Path(path).read_text(encoding="utf-8")
        options = json.loads(text)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise StorageError(f"{OPTIONS_FILE}: {path} cannot be read: {reason}.") from None
    if not isinstance(options, dict) or not all(isinstance(v, dict) for v in options.values()):
        raise StorageError(
            f"{OPTIONS_FILE}: {path} must hold an object of options for each scheme, as in "
            '{"s3": {"profile": "research"}}.'
        )
    return text


def is_transient(error: BaseException) -> bool:
    """Tells whether a request may succeed if it is repeated."""
    if _NO_HOST.search(str(error)):
        return False
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    if any(_TRANSIENT_CLASSES.search(base.__name__) for base in type(error).__mro__):
        return True
    if isinstance(error, PermissionError):
        return False
    if isinstance(error, OSError) and error.errno in _TRANSIENT_ERRNOS:
        return True
    return _TRANSIENT_CODES.search(f"{_code(error)} {error}") is not None


def _code(error: BaseException) -> str:
    """Returns the code that S3 gave an error, or the HTTP status of others."""
    for one in (error, error.__cause__):
        response = getattr(one, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        for attribute in ("status_code", "status", "code"):
            if isinstance(value := getattr(one, attribute, None), int):
                return str(value)
    return ""


def _reason(error: BaseException) -> str:
    if isinstance(message := getattr(error, "message", None), str) and message:
        return message.partition("\n")[0]  # Azure's goes on with the answer's XML
    if isinstance(error, OSError) and error.strerror:
        where = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror.lower()}{where}"
    return str(error) or type(error).__name__


def _advice(uri: str, error: BaseException) -> str:
    kind = location.scheme(uri)
    if kind == "file":
        return ""
    text = f"{_code(error)} {type(error).__name__} {error}"
    bucket = f"{kind}://{location.remote_path(uri).partition('/')[0]}"
    if _SKEWED.search(text):
        now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        return f"The clock of this machine says {now} UTC: set it right, for example with NTP."
    if _NO_BUCKET.search(text) or isinstance(error, FileNotFoundError):
        return f"Check that {bucket} exists, and that the endpoint is right."
    if _REFUSED.search(text):
        return (
            "Check the credentials: the store's usual environment variables, a profile, or "
            f"{OPTIONS_FILE}."
        )
    if isinstance(error, PermissionError) or _FORBIDDEN.search(text):
        return (
            f"Check the credentials and what they may do in {bucket}: list, read, write and delete."
        )
    if is_transient(error):
        return "Try again later, and check the network and the endpoint."
    return ""


def redacted(text: str) -> str:
    """Returns a message without the secrets of the options and of the environment."""
    for secret in _secrets(json.loads(options_text() or "{}")):
        text = text.replace(secret, "***")
    for variable in _SECRET_VARIABLES:
        value = os.environ.get(variable, "")
        for secret in (value, *_SECRET_PARTS.findall(value)):
            text = text.replace(secret or "\0", "***")
    return text


def _secrets(options: Any, is_secret: bool = False) -> Iterator[str]:
    if isinstance(options, dict):
        for name, value in options.items():
            yield from _secrets(value, is_secret or _SECRET.search(name) is not None)
    elif isinstance(options, str) and is_secret and len(options) >= 4:
        yield options
