"""What lineage keeps of a secret, so that the cache hits, does not let anybody guess it."""

import hashlib
import json
import shutil

import pytest

from millrace.lineage import query
from millrace.lineage.resume import PARTS, TASK_FINGERPRINT
from millrace.lineage.secret_key import FILE
from millrace.lineage.store import Store
from millrace.runner import cache

DICTIONARY = ["123456", "hunter2", "letmein", "1234", "correct horse"]


STEP = """
from millrace.artifacts import Dataset, Output

def run(out: Output[Dataset], password: str = "", note: str = ""):
    out.path.write_text("rows")
"""


@pytest.fixture
def step(kit, tmp_path):
    """A component that takes a secret and tells nothing of it."""
    dsl = kit.dsl
    (tmp_path / "log_in.py").write_text(STEP)

    def log_in(out: dsl.Output[dsl.Dataset], password: str = "", note: str = ""):
        return dsl.ContainerSpec(
            image="millrace-core:0.1.0",
            command=["python", "-m", "millrace.entrypoint", str(tmp_path / "log_in.py")],
            args=["--executor_input", "{{$}}"],
        )

    return dsl.container_component(log_in)


@pytest.fixture
def pipeline(kit, step):
    def secretive(db_password: str = "", note: str = ""):
        step(password=db_password, note=note)

    return kit.compile(secretive)


def states(result):
    return [task.state.value for task in result.tasks.values()]


def recorded(result) -> dict:
    with Store.open(result.store) as store:
        (task,) = query.tasks(store, query.find_run(store, result.run_id))
    return task.properties


def guesses(make) -> set[str]:
    """What somebody computes who knows everything but the secret, as lineage would keep it."""
    texts = (json.dumps(make(word), sort_keys=True) for word in DICTIONARY)
    return {hashlib.sha256(text.encode()).hexdigest()[:12] for text in texts}


@pytest.fixture
def asked(monkeypatch):
    """What the fingerprints of tasks were made of, but for the key."""
    calls = []
    parts = cache.parts
    monkeypatch.setattr(cache, "parts", lambda *given: calls.append(given[:-1]) or parts(*given))
    return calls


def test_what_is_no_secret_is_known_by_its_plain_digest(run, pipeline, asked):
    found = recorded(run(pipeline, {"note": "letmein"}))
    assert found[PARTS]["parameter note"] in guesses(lambda word: {"value": word})
    assert cache.fingerprint(cache.parts(*asked[0], lambda: b"any key")) == found[TASK_FINGERPRINT]


@pytest.mark.parametrize("secret", DICTIONARY[1::2])
def test_a_secret_cannot_be_guessed(run, pipeline, secret, asked):
    found = recorded(run(pipeline, {"db_password": secret, "note": "x"}))
    kept = found[PARTS]["parameter password"]
    assert kept not in guesses(lambda word: {"value": word})
    for key in (b"", b"0" * 32):
        parts = cache.parts(*asked[0], lambda key=key: key)
        assert cache.short(parts)["parameter password"] != kept
        assert cache.short(parts)["parameter note"] == found[PARTS]["parameter note"]
        assert cache.fingerprint(parts) != found[TASK_FINGERPRINT]
    assert secret not in json.dumps(found)


def test_a_secret_by_another_name_cannot_be_guessed(run, kit, step):
    def renamed(db_password: str):
        step(note=db_password)

    parts = recorded(run(kit.compile(renamed), {"db_password": "correct horse"}))[PARTS]
    assert parts["parameter note"] not in guesses(lambda word: {"value": word})


def test_the_environment_may_hold_a_secret(run, kit, step):
    def pipeline(name: str, value: str):
        def environment():
            step(note="x").set_env_variable(name, value)

        return kit.compile(environment)

    plain = recorded(run(pipeline("PLAY", "1234")))[PARTS]
    assert plain["environment"] in guesses(lambda word: {"PLAY": word})
    secret = pipeline("DB_PASSWORD", "1234")
    parts = recorded(run(secret))[PARTS]
    assert parts["environment"] not in guesses(lambda word: {"DB_PASSWORD": word})
    assert states(run(secret)) == ["CACHED"]
    assert states(run(pipeline("DB_PASSWORD", "4321"))) == ["COMPLETE"]


def test_the_same_secret_hits_in_the_same_root(run, pipeline, root, tmp_path):
    values = {"db_password": "1234"}
    run(pipeline, values)
    assert states(run(pipeline, values)) == ["CACHED"]
    assert states(run(pipeline, values, dry=True)) == ["CACHED"]
    assert states(run(pipeline, {"db_password": "4321"})) == ["COMPLETE"]
    other = tmp_path / "other"
    assert states(run(pipeline, values, root=other, cache_from=[root], dry=True)) == ["PLANNED"]
    assert not other.exists(), "a dry run makes nothing"
    other.mkdir()
    shutil.copy(root / FILE, other)
    assert states(run(pipeline, values, root=other, cache_from=[root])) == ["CACHED"]


def test_a_root_without_secrets_needs_no_key(run, pipeline, root):
    run(pipeline)
    assert not (root / FILE).exists()


def test_a_key_that_cannot_be_read_is_no_reason_to_fail(run, pipeline, root, caplog):
    (root / FILE).mkdir(parents=True)
    values = {"db_password": "1234"}
    for _ in range(2):
        assert states(run(pipeline, values)) == ["COMPLETE"]
    assert "Tasks with secrets are not taken from the cache." in caplog.text
