"""No secret gets into lineage, and nothing else is hidden."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace import redact


@pytest.mark.parametrize(
    "name",
    [
        *("password", "db_password", "dbPassword", "DB-PASSWORD", "passwd", "pwd", "passphrase"),
        *("secret", "client_secret", "aws_secret_access_key", "credentials", "gcp_credentials"),
        *("token", "api_token", "authToken", "access_token", "HF_TOKEN", "apikey", "api_key"),
        *("OPENAI_API_KEY", "apiKey", "private_key", "ssh-key", "encryption.key", "account_key"),
        *("bearer", "authorization", "sas", "dsn", "storageKey", "signing_keys"),
    ],
)
def test_hidden_names(name):
    assert redact.parameters({name: "abc"}) == {name: "***"}
    assert redact.parameters({"custom_config": {name: "abc", "x": 1}}) == {
        "custom_config": {name: "***", "x": 1}
    }
    assert redact.parameters({"list": [{name: ["abc"]}]}) == {"list": [{name: "***"}]}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("key", "user_id"),
        ("key_columns", ["user_id"]),
        ("primary_key", "id"),
        ("split_key", "user_id"),
        ("monkey", "x"),
        ("max_tokens", 512),
        ("tokens", 3),
        ("token_column", "text"),
        ("password_column", "pw"),
        ("secret_name", "mysql"),
        ("token_path", "/run/token"),
        ("aws_access_key_id", "AKIA"),
        ("passenger_count", 3),
        ("patience", 3),
        ("compass", "north"),
        ("passwords", ""),
        ("secret", None),
        ("use_token", True),
        ("secretary", "Ada"),
        ("label", "late"),
    ],
)
def test_names_that_are_no_secrets(name, value):
    assert redact.parameters({name: value}) == {name: value}


def test_a_password_may_be_a_number():
    assert redact.parameters({"db_password": 12345}) == {"db_password": "***"}


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql://me:pw@host:3306/db", "mysql://me:***@host:3306/db"),
        ("redis://:pw@host", "redis://:***@host"),
        ("from s3://k:s@b/x and ftp://a:b@c", "from s3://k:***@b/x and ftp://a:***@c"),
        ("https://x-access-token:ghp_1@github.com/a", "https://x-access-token:***@github.com/a"),
        ("https://ghp_0123456789abcdefghij@github.com/a", "https://***@github.com/a"),
        ("https://a/b?X-Amz-Signature=1f&x=2", "https://a/b?X-Amz-Signature=***&x=2"),
        ("https://a/b?x=2&sig=1f%3D", "https://a/b?x=2&sig=***"),
        ("https://a/b?password=1f", "https://a/b?password=***"),
        ("postgresql://me:p%40w@h/d", "postgresql://me:***@h/d"),
    ],
)
def test_passwords_in_addresses(text, shown):
    assert redact.text(text) == shown
    assert redact.parameters({"uri": text, "list": [text]}) == {"uri": shown, "list": [shown]}
    assert redact.metadata({"source": {"uri": text}}) == {"source": {"uri": shown}}
    assert redact.message(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket/key/a@b",
        "/data/a:b@c/d",
        "http://localhost:9000/bucket/x@y",
        "oci://registry:5000/image@sha256:0123456789abcdef",
        "mysql://me@host/db",
        "https://a/b?page=2&size=3",
        "grpc://host:8080",
        "me:pw@host",
        "SELECT * FROM data WHERE token = 'x'",
        "",
    ],
)
def test_addresses_without_passwords(text):
    assert redact.text(text) == text


def test_metadata_hides_no_names():
    """A step sets metadata on purpose; a column may be called `token`."""
    said = {"features": {"token": "BYTES", "password": 3}, "secret": "x"}
    assert redact.metadata(said) == said


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("login failed: password=hunter2, host=db", "login failed: password=***, host=db"),
        ("{'api_key': 'abcdef', 'x': 1}", "{'api_key': '***', 'x': 1}"),
        ("Authorization: Bearer abcdefghijk.lmn", "Authorization: Bearer ***"),
        ("env HF_TOKEN=hf_abcdef is wrong", "env HF_TOKEN=*** is wrong"),
        ("unexpected token: 'FROM' at 3", "unexpected token: 'FROM' at 3"),
        ("the key: user_id is missing", "the key: user_id is missing"),
        ("ValueError: no column x", "ValueError: no column x"),
    ],
)
def test_messages(said, shown):
    assert redact.message(said) == shown


@pytest.fixture
def learned(monkeypatch):
    monkeypatch.setattr(redact, "_known", set())
    redact.learn({"password": "hunter2pw", "db": {"pwd": "long hunter2pw"}, "pin_secret": "123"})
    redact.learn({"credentials": {"user": "ada_lo", "tls": True}, "api_token": 7, "text": "plain"})
    redact.learn({"credentials": {"type": "service_account", "project": "flights", "at": "eval"}})
    redact.learn({"db_password": 1234, "secrets": ["true", "horsebattery", "$ecret"]})


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("cannot log in with hunter2pw", "cannot log in with ***"),
        ("cannot log in with 'long hunter2pw'.", "cannot log in with '***'."),
        ("ada_lo is unknown: True", "*** is unknown: True"),
        ("(horsebattery) and '$ecret'", "(***) and '***'"),
        ("horsebatteryhorse, hunter2pws", "horsebatteryhorse, hunter2pws"),
        ("The split eval of flights.csv is true", "The split eval of flights.csv is true"),
        ("1234 rows of a service_account", "1234 rows of a service_account"),
        ("123 plain rows, 7 columns", "123 plain rows, 7 columns"),
    ],
)
def test_what_is_known_to_be_secret(learned, said, shown):
    assert redact.message(said) == shown


def test_a_secret_by_another_name(learned):
    assert redact.parameters({"text": "hunter2pw", "list": ["hunter2pw", "x"]}) == {
        "text": "***",
        "list": ["***", "x"],
    }


def test_an_ordinary_value_that_a_secret_also_has(learned):
    """The cache would take no result of it."""
    given = {"split": "eval", "label": "flights", "flag": ["true"], "uri": "/data/flights.csv"}
    assert redact.parameters(given) == given
    assert redact.metadata(given) == given


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"db_password": "hunter2"}, True),
        ({"options": [{"api_key": "abc"}]}, True),
        ({"source": "postgresql://me:hunter2@db/x"}, True),
        ({"password": ""}, False),
        ({"max_tokens": 5, "items": [1, {"a": None}]}, False),
        ({}, False),
    ],
)
def test_whether_there_is_a_secret(values, expected):
    assert redact.has_secret(values) is expected


SECRETS = [
    "correct-horse-9",
    "correct-horse-9-battery",
    "-----BEGIN-----\nabcdefgh12345\n",
    "ünïcödé-x",
]


@given(st.data())
def test_secrets_are_replaced_wherever_the_text_is_cut(data):
    """Whatever the pieces, the result is that of the whole text."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(redact, "_known", set())
        redact.learn({"secret": SECRETS})
        words = st.sampled_from([*SECRETS, "correct-", "horse", "9", " ", "\n", "\r", "\0", "word"])
        text = "".join(data.draw(st.lists(words, max_size=20))).encode()
        cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
        pieces = [text[one:two] for one, two in itertools.pairwise([0, *cuts, len(text)])]
        whole = redact.Cleaner(1 << 20)
        expected = whole.feed(text) + whole.end()
        cleaner = redact.Cleaner(data.draw(st.integers(0, 60)))
        assert b"".join(map(cleaner.feed, pieces)) + cleaner.end() == expected
        for secret in ("correct-horse-9", "abcdefgh12345", "ünïcödé-x"):
            assert secret.encode() not in expected


def test_lines_are_not_held_back(monkeypatch):
    monkeypatch.setattr(redact, "_known", set())
    redact.learn({"secret": "correct-horse-9"})
    cleaner = redact.Cleaner(1 << 16)
    assert cleaner.feed(b"key=correct-ho") == b""
    assert cleaner.feed(b"rse-9\n\xff tw") == b"key=***\n"
    assert cleaner.feed(b"o\r") == b"\xff two\r"
    assert cleaner.end() == b""
