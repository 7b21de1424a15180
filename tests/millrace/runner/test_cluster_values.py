"""Secrets and ConfigMaps from a file that the user names."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace import redact
from millrace.errors import ParameterError
from millrace.ir.platform import CONFIG_MAP, SECRET
from millrace.runner.cluster_values import FILE_VARIABLE, read

MANIFESTS = """
apiVersion: v1
kind: Secret
metadata: {name: warehouse}
data:
  user: YWRh
  blob: /w==
stringData:
  user: grace
---
apiVersion: v1
kind: List
items:
- kind: ConfigMap
  metadata: {name: settings}
  data: {level: "3", mode: on}
  binaryData: {raw: AAE=}
---
"""


def written(folder, text):
    file = folder / "secrets.yaml"
    file.write_text(text)
    return file


def test_manifests(tmp_path):
    values = read(written(tmp_path, MANIFESTS))
    assert values.get(SECRET, "warehouse") == {"user": b"grace", "blob": b"\xff"}
    assert values.get(CONFIG_MAP, "settings") == {"level": b"3", "mode": b"on", "raw": b"\x00\x01"}
    assert values.get(CONFIG_MAP, "warehouse") is None


def test_a_mapping_of_names_serves_both_kinds(tmp_path):
    values = read(written(tmp_path, "warehouse: {port: 5432, kind: yes}"))
    for kind in (SECRET, CONFIG_MAP):
        assert values.get(kind, "warehouse") == {"port": b"5432", "kind": b"yes"}


def test_the_file_of_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    assert read(None).file is None
    monkeypatch.setenv(FILE_VARIABLE, str(written(tmp_path, "a: {b: c}")))
    assert read(None).get(SECRET, "a") == {"b": b"c"}


@given(st.dictionaries(st.from_regex(r"[-._a-zA-Z0-9]{1,9}", fullmatch=True), st.binary()))
def test_what_kubernetes_encodes_comes_back(tmp_path_factory, keys):
    keys = {key: value for key, value in keys.items() if key not in (".", "..")}
    lines = [f"  '{key}': '{base64.b64encode(value).decode()}'" for key, value in keys.items()]
    text = "\n".join(["kind: Secret", "metadata: {name: s}", "data:", *lines])
    folder = tmp_path_factory.mktemp("secrets")
    assert read(written(folder, text)).get(SECRET, "s") == keys


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {b: [hunter22-x}", r"secrets.yaml, line 1 is not YAML"),
        ("- hunter22-x", "neither a manifest nor a mapping"),
        ("a: hunter22-x", '"a" must map keys to values'),
        ("a: {b: {c: hunter22-x}}", 'the value of "b" of "a" must be text'),
        ("a: {../b: hunter22-x}", "'../b', which cannot be one"),
        ("a: {..: hunter22-x}", "'..', which cannot be one"),
        ("{kind: Secret, metadata: {name: s}, data: {k: hunter22-x}}", '"k" of "s" is not base64'),
        ("{kind: Pod, metadata: {name: s}}", "it has a Pod named 's': it takes Secrets"),
        ("a: &a {b: *a}", "is not YAML"),
    ],
)
def test_what_it_cannot_read_shows_no_value(tmp_path, text, message):
    with pytest.raises(ParameterError, match=message) as caught:
        read(written(tmp_path, text))
    assert "hunter22-x" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(
        ParameterError, match=r"Cannot read the secrets in .*none\.yaml: No such file"
    ):
        read(tmp_path / "none.yaml")


def test_values_of_secrets_are_kept_out_of_messages(tmp_path):
    read(written(tmp_path, "{kind: Secret, metadata: {name: s}, stringData: {k: hunter22-tell}}"))
    assert redact.message("no hunter22-tell here") == "no *** here"
