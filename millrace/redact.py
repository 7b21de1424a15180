"""Keeps secrets out of lineage, logs and messages."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

HIDDEN = "***"
_known: set[str] = set()  # the secrets that this process was given, except common words

# A parameter with one of these words in its name is a secret, whatever its value.
_ALWAYS = {
    *("password", "passwords", "passwd", "passphrase", "passcode", "pwd"),
    *("secret", "secrets", "credential", "credentials", "creds"),
}
# With one of these, if its value is text: numbers under such names are counts and limits.
_TEXT = {
    *("token", "tokens", "apikey", "apikeys", "bearer", "authorization", "jwt", "cookie"),
    *("accesskey", "privatekey", "secretkey", "sas", "pat", "dsn"),
}
# A key for access, not of a table: `api_key`, but neither `key_columns` nor `primary_key`.
_KEYS = {
    *("api", "access", "account", "auth", "client", "decryption", "encryption", "gpg", "hmac"),
    *("license", "master", "pgp", "private", "secret", "service", "shared", "signing", "ssh"),
    *("storage", "subscription"),
}
# Unless the name ends in one of these.
_ABOUT = {
    *("column", "columns", "count", "counts", "feature", "features", "field", "fields", "file"),
    *("length", "len", "limit", "max", "min", "name", "names", "num", "path", "type", "size", "id"),
}

# Values that are distinctive: eight characters, or six with letters and others among them.
_TELLING = re.compile(r".{8}|(?=.*[^\W\d_])(?=.*[\W\d_]).{6}", re.DOTALL)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# A password, or a token in place of the user.
_USERINFO = re.compile(
    r"(?P<before>\b[\w+.-]+://[^/\s:@'\"]*:)[^/\s'\"?#,]+(?=@)|(?<=://)[\w.~-]{20,}(?=@)"
)
_QUERY = re.compile(
    r"(?P<before>[?&](?:[\w.-]*(?:signature|credential|token|password|secret|api_?key|access_?key)"
    r"|sig|sas)=)[^&\s'\"]+",
    re.IGNORECASE,
)
_ASSIGNED = re.compile(
    r"(?P<before>\b[\w.-]*(?:(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key)"
    r"['\"]?\s*[=:]|token=)\s*['\"]?)[^\s'\",;&]{4,}",
    re.IGNORECASE,
)
_BEARER = re.compile(r"(?P<before>\bbearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE)


def learn(values: Mapping[str, Any]) -> None:
    """Registers the secrets among parameters, to be hidden in messages and under other names.

    Values that are too common, such as `eval` or `1234`, are not registered.
    """
    _known.update(text for text in _secrets(values) if _TELLING.match(text))


def parameters(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns parameters with secrets replaced by `***`, by name and by value."""
    return {
        name: HIDDEN if value and _is_secret(name, value) else _inside(value, parameters)
        for name, value in values.items()
    }


def has_secret(values: Mapping[str, Any]) -> bool:
    """Returns whether `parameters` would replace anything in JSON values."""
    return parameters(values) != dict(values)


def metadata(values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns an artifact's metadata, with passwords in addresses replaced."""
    return {name: _inside(value, metadata) for name, value in values.items()}


def text(value: str) -> str:
    """Returns an address or text, with the passwords in addresses replaced by `***`."""
    if "://" not in value:
        return value
    return _QUERY.sub(_hidden, _USERINFO.sub(_hidden, value))


def message(value: str) -> str:
    """Returns an error message without secrets."""
    for secret in sorted(_known, key=len, reverse=True):
        value = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", HIDDEN, value)
    return _BEARER.sub(_hidden, _ASSIGNED.sub(_hidden, text(value)))


class Cleaner:
    """Replaces known secrets in text that arrives in pieces; the rest of it stays as it is.

    Of a secret of several lines each line is replaced.

    Args:
        longest: Bytes of a line that are held back, since the rest of a secret may follow.
    """

    def __init__(self, longest: int) -> None:
        parts = {line.strip() for secret in _known for line in secret.splitlines()}
        known = sorted((one for one in parts if _TELLING.match(one)), key=len, reverse=True)
        encoded = [one.encode() for one in known]
        self._pattern = re.compile(b"|".join(map(re.escape, encoded))) if encoded else None
        self._overlap = max(map(len, encoded), default=1) - 1
        self._longest = max(longest, self._overlap)
        self._held = b""

    def feed(self, content: bytes) -> bytes:
        """Takes the next piece, and returns what is known to be clean."""
        self._held += content
        cut = max(self._held.rfind(b"\n"), self._held.rfind(b"\r")) + 1
        done, self._held = self._cleaned(self._held[:cut]), self._held[cut:]
        if len(self._held) > self._longest:
            cut = self._end_of_clean_part()
            done, self._held = done + self._cleaned(self._held[:cut]), self._held[cut:]
        return done

    def end(self) -> bytes:
        """Returns what was held back."""
        done, self._held = self._cleaned(self._held), b""
        return done

    def _end_of_clean_part(self) -> int:
        """Returns where no secret begins before that may end after what is held."""
        cut = len(self._held) - self._overlap
        for match in self._pattern.finditer(self._held) if self._pattern else ():
            if match.start() < cut:
                cut = max(cut, match.end())
        return cut

    def _cleaned(self, content: bytes) -> bytes:
        return self._pattern.sub(HIDDEN.encode(), content) if self._pattern else content


def _secrets(value: Any, is_secret: bool = False) -> Iterator[str]:
    """Yields the secrets among parameters; everything in a secret is one, except its `type`."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            is_one = is_secret and not _is_about(name)
            yield from _secrets(item, is_one or _is_secret(name, item))
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _secrets(item, is_secret)
    elif is_secret and value is not None and not isinstance(value, bool):
        yield str(value)


def _hidden(match: re.Match[str]) -> str:
    return (match["before"] or "") + HIDDEN


def _inside(value: Any, of_mapping: Any) -> Any:
    if isinstance(value, str):
        return HIDDEN if value in _known else text(value)
    if isinstance(value, Mapping):
        return of_mapping(value)
    if isinstance(value, (list, tuple)):
        return [_inside(item, of_mapping) for item in value]
    return value


def _is_secret(name: str, value: Any) -> bool:
    words = _words(name)
    if isinstance(value, bool) or _is_about(name):
        return False
    if _ALWAYS.intersection(words):
        return True
    if isinstance(value, (int, float)):
        return False
    return bool(_TEXT.intersection(words)) or any(
        first in _KEYS and second in ("key", "keys") for first, second in itertools.pairwise(words)
    )


def _is_about(name: str) -> bool:
    """Returns whether a name is about something other than the secret, such as `token_count`."""
    words = _words(name)
    if words[:1] == ("pipelinechannel",) and words[-1] == "output":  # that of a task, as KFP says
        words = words[:-1]
    return bool(_ABOUT.intersection(words[-1:]))


@functools.lru_cache(maxsize=1024)
def _words(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _WORD.findall(name))
