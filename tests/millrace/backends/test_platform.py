"""What kfp-kubernetes sets for a task: Secrets, ConfigMaps, volumes, fields, the workspace."""
# ruff: noqa: PTH123, T201  the components are as people write them

import os
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest
import yaml

from millrace import redact
from millrace.backends import mount_namespace
from millrace.cli import report
from millrace.errors import PipelineError
from millrace.runner.cluster_values import FILE_VARIABLE
from millrace.runner.result import State
from millrace.runner.run import resume

PASSWORD = "correct-horse-9"
SECRETS = f"""
kind: Secret
metadata: {{name: warehouse}}
stringData: {{user: ada, password: {PASSWORD}}}
---
kind: ConfigMap
metadata: {{name: settings}}
data: {{level: "3"}}
"""


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """Nothing is a secret because an earlier test had it for one."""
    monkeypatch.setattr(redact, "_known", set())


@pytest.fixture(scope="session")
def kept(tmp_path_factory):
    """The environments of all tests here."""
    return tmp_path_factory.mktemp("envs")


@pytest.fixture
def root(tmp_path, kept):
    root = tmp_path / "root"
    root.mkdir()
    (root / "envs").symlink_to(kept)
    return root


@pytest.fixture
def secrets(tmp_path, monkeypatch):
    """A file with a Secret and a ConfigMap."""
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    file = tmp_path / "secrets.yaml"
    file.write_text(SECRETS)
    return file


def add(pipeline: Path, config=None, **executors):
    """Adds a platform document to a compiled pipeline."""
    named = {f"exec-{name}": settings for name, settings in executors.items()}
    kubernetes = {"deploymentSpec": {"executors": named}, "pipelineConfig": config or {}}
    document = {"platforms": {"kubernetes": kubernetes}}
    pipeline.write_text(pipeline.read_text() + "---\n" + yaml.safe_dump(document))
    return pipeline


def secret_env(variable, key, optional=False, **reference):
    mapping = [{"secretKey": key, "envVar": variable}]
    return {"secretNameParameter": reference, "keyToEnv": mapping, "optional": optional}


@pytest.fixture(scope="session")
def look(component):
    """A component that tells whether it has what it is to have, and prints it."""

    @component()
    def look(variable: str, expected: str = "") -> bool:
        import os

        print(os.environ.get(variable))
        return os.environ.get(variable, "") == expected

    return look


def constant(value):
    return {"runtimeValue": {"constant": value}}


def found(folder: Path, text: str) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if text.encode() in path.read_bytes()]


def test_a_secret_is_seen_by_the_task_and_by_nobody_else(kit, run, look, secrets, root, caplog):
    def one():
        look(variable="PASSWORD", expected="no")

    pipeline = add(
        kit.compile(one),
        look={"secretAsEnv": [secret_env("PASSWORD", "password", **constant("warehouse"))]},
    )
    result = run(pipeline, secrets_file=secrets)
    assert result.tasks["look"].parameters == {"Output": False}
    assert result.tasks["look"].log.read_text().splitlines().count("***") == 1
    report.write(result.run_id, None, root, None, as_json=True)
    assert found(root, PASSWORD) == []
    assert PASSWORD not in caplog.text + str(result.to_json())


def test_a_log_holds_no_secret_while_its_task_runs(kit, run, component, secrets, root, fifo):
    """The Secret comes in two writes, each of which is flushed."""

    @component()
    def tell(pipe: str):
        import os
        import time
        from pathlib import Path

        half = len(os.environ["PASSWORD"]) // 2
        for part in (os.environ["PASSWORD"][:half], os.environ["PASSWORD"][half:] + "\nnext\n"):
            os.write(1, part.encode())
        os.write(1, b"a line without an end")
        Path(pipe).write_text("told")
        while Path(pipe).exists():
            time.sleep(0.01)

    def one(pipe: str):
        tell(pipe=pipe)

    settings = {"secretAsEnv": [secret_env("PASSWORD", "password", **constant("warehouse"))]}
    pipeline = add(kit.compile(one), tell=settings)
    seen = []

    def watch():
        fifo.hear()
        (log,) = root.glob("one/*/tell/log.txt")
        deadline = time.monotonic() + 30
        while not log.read_bytes().endswith(b"next\n") and time.monotonic() < deadline:
            time.sleep(0.01)
        seen.append((log.read_text().splitlines()[-2:], found(root, PASSWORD)))
        fifo.path.unlink()

    watcher = threading.Thread(target=watch)
    watcher.start()
    result = run(pipeline, {"pipe": str(fifo.path)}, secrets_file=secrets)
    watcher.join()
    assert result.state is State.COMPLETE, result.error
    assert seen == [(["***", "next"], [])]
    assert "***\nnext\na line without an end" in result.tasks["tell"].log.read_text()


def test_a_secret_in_an_error(kit, run, component, secrets, root):
    @component()
    def log_in():
        import os

        raise ValueError(f"cannot log in with {os.environ['PASSWORD']}")

    def one():
        log_in()

    settings = {"secretAsEnv": [secret_env("PASSWORD", "password", **constant("warehouse"))]}
    result = run(add(kit.compile(one), **{"log-in": settings}), secrets_file=secrets)
    assert "ValueError: cannot log in with ***" in result.tasks["log-in"].error
    assert found(root, PASSWORD) == []


def test_names_that_are_known_when_the_task_runs(kit, run, component, look, secrets):
    dsl = kit.dsl

    @component()
    def name_it() -> str:
        return "warehouse"

    def names(secret: str = "warehouse"):
        made = name_it()
        look(variable="PASSWORD", expected=PASSWORD).after(made)
        with dsl.ParallelFor(["warehouse", "warehouse"]) as item:
            look(variable=item)

    pipeline = kit.compile(names)
    (item,) = set(re.findall(r"pipelinechannel--loop-item-param-\d+", pipeline.read_text()))
    output = {"producerTask": "name-it", "outputParameterKey": "Output"}
    add(
        pipeline,
        look={
            "secretAsEnv": [
                secret_env("PASSWORD", "password", taskOutputParameter=output),
                secret_env("NAME", "user", componentInputParameter="secret"),
            ]
        },
        **{
            "look-2": {
                "secretAsEnv": [secret_env("warehouse", "user", componentInputParameter=item)]
            }
        },
    )
    result = run(pipeline, secrets_file=secrets)
    assert result.state is State.COMPLETE, result.error
    assert result.tasks["look"].parameters == {"Output": True}


def test_what_is_optional_may_be_missing(kit, run, look, secrets):
    def optional(name: str = None):  # noqa: RUF013
        look(variable="PASSWORD", expected="")

    settings = {
        "secretAsEnv": [
            secret_env("PASSWORD", "password", optional=True, componentInputParameter="name"),
            secret_env("PASSWORD", "none", optional=True, **constant("warehouse")),
        ],
        "secretAsVolume": [
            {
                "mountPath": "/mnt/secret",
                "optional": True,
                "secretNameParameter": {"componentInputParameter": "name"},
            }
        ],
    }
    result = run(add(kit.compile(optional), look=settings), secrets_file=secrets)
    assert result.tasks["look"].parameters == {"Output": True}


@pytest.mark.parametrize(
    ("reference", "warning", "named"),
    [
        (constant("other"), 'the key "password" of the Secret "other"', "other"),
        ({"componentInputParameter": "name"}, "of a Secret named at run time", "vault"),
    ],
)
def test_a_task_fails_for_want_of_its_secret(
    kit, run, look, monkeypatch, caplog, reference, warning, named
):
    monkeypatch.delenv(FILE_VARIABLE, raising=False)

    def missing(name: str = "vault"):
        look(variable="PASSWORD", expected="from the caller")

    pipeline = add(
        kit.compile(missing),
        look={"secretAsEnv": [secret_env("PASSWORD", "password", **reference)]},
    )
    assert run(pipeline, dry=True).tasks["look"].state is State.PLANNED
    assert warning in caplog.text
    result = run(pipeline)
    assert result.tasks["look"].state is State.FAILED
    error = result.tasks["look"].error
    assert f'$PASSWORD comes from the key "password" of the Secret "{named}"' in error
    assert "--secrets FILE" in error
    assert result.tasks["look"].attempts == 1
    monkeypatch.setenv("PASSWORD", "from the caller")
    assert run(pipeline).tasks["look"].parameters == {"Output": True}


needs_namespaces = pytest.mark.skipif(
    not mount_namespace.is_available(), reason="this machine has no user namespaces for its users"
)


@pytest.mark.parametrize(
    "settings",
    [
        {"secretAsEnv": [secret_env("PASSWORD", "password", **constant("other"))]},
        pytest.param(
            {
                "configMapAsVolume": [
                    {"mountPath": "/mnt/c", "configMapNameParameter": constant("c")}
                ]
            },
            marks=needs_namespaces,
        ),
    ],
)
def test_a_task_that_never_starts_needs_no_secret(kit, run, look, monkeypatch, caplog, settings):
    monkeypatch.delenv(FILE_VARIABLE, raising=False)

    def conditional(go: bool = False):
        with kit.dsl.If(go == True):  # noqa: E712
            look(variable="PASSWORD")

    pipeline = add(kit.compile(conditional), look=settings)
    result = run(pipeline)
    assert result.state is State.COMPLETE, result.error
    assert 'look" will fail if it starts: ' in caplog.text
    failed = run(pipeline, {"go": True})
    assert failed.state is State.FAILED
    assert "--secrets FILE" in failed.error


def test_a_resumed_run_is_given_its_secrets_again(kit, run, component, secrets, root, tmp_path):
    @component()
    def flaky(file: str) -> str:
        import os
        from pathlib import Path

        return Path(file).read_text() + os.environ["NAME"]

    def resumed(file: str):
        flaky(file=file)

    settings = {"secretAsEnv": [secret_env("NAME", "user", **constant("warehouse"))]}
    pipeline = add(kit.compile(resumed), flaky=settings)
    failed = run(pipeline, {"file": str(tmp_path / "file")}, secrets_file=secrets)
    assert failed.state is State.FAILED
    (tmp_path / "file").write_text("hello ")
    without = resume(failed.run_id, root=root)
    assert 'the key "user" of the Secret "warehouse"' in without.error
    result = resume(failed.run_id, root=root, secrets_file=secrets)
    assert result.tasks["flaky"].parameters == {"Output": "hello ada"}


def test_the_cache_sees_a_config_map_and_no_secret(kit, run, look, secrets, monkeypatch):
    def cached():
        look(variable="LEVEL", expected="3")

    level = {
        "configMapNameParameter": constant("settings"),
        "keyToEnv": [{"configMapKey": "level", "envVar": "LEVEL"}],
    }
    settings = {
        "configMapAsEnv": [level],
        "secretAsEnv": [secret_env("PASSWORD", "password", **constant("warehouse"))],
    }
    pipeline = add(kit.compile(cached), look=settings)
    assert run(pipeline, secrets_file=secrets).tasks["look"].parameters == {"Output": True}
    secrets.write_text(SECRETS.replace(PASSWORD, "another-horse-1"))
    assert run(pipeline, secrets_file=secrets).tasks["look"].state is State.CACHED
    secrets.write_text(SECRETS.replace('"3"', '"4"'))
    again = run(pipeline, secrets_file=secrets).tasks["look"]
    assert (again.state, again.parameters) == (State.COMPLETE, {"Output": False})
    secrets.write_text(SECRETS.partition("---")[0])
    monkeypatch.setenv("LEVEL", "3")  # the same content, from elsewhere
    assert run(pipeline, secrets_file=secrets).tasks["look"].state is State.CACHED
    monkeypatch.setenv("LEVEL", "5")
    assert run(pipeline, secrets_file=secrets).tasks["look"].state is State.COMPLETE


def test_fields_of_the_pod(kit, run, component):
    @component()
    def fields() -> dict:
        import os

        return {key[2:]: value for key, value in os.environ.items() if key.startswith("F_")}

    def pod():
        fields()

    paths = {
        "F_NAME": "metadata.name",
        "F_UID": "metadata.uid",
        "F_SPACE": "metadata.namespace",
        "F_NODE": "spec.nodeName",
        "F_IP": "status.podIP",
        "F_TEAM": "metadata.labels['team']",
        "F_RUN": "metadata.labels['pipeline/runid']",
        "F_RUN_NAME": "metadata.annotations['pipelines.kubeflow.org/run_name']",
        "F_NONE": "metadata.annotations['none']",
    }
    settings = {
        "fieldPathAsEnv": [{"name": name, "fieldPath": path} for name, path in paths.items()],
        "podMetadata": {"labels": {"team": "blue"}},
    }
    result = run(add(kit.compile(pod), fields=settings), run_id="Pod_1")
    given = result.tasks["fields"].parameters["Output"]
    assert len(given.pop("UID")) == 36
    assert given == {
        "NAME": "pod-1-fields",
        "SPACE": "default",
        "NODE": os.uname().nodename,
        "IP": "127.0.0.1",
        "TEAM": "blue",
        "RUN": "Pod_1",
        "RUN_NAME": "Pod_1",
        "NONE": "",
    }


def test_the_workspace_is_shared_by_the_tasks_of_a_run(kit, run, component):
    @component()
    def write(folder: str) -> str:
        with open(folder + "/note", "x") as file:
            file.write("hello")
        return folder + "/note"

    @component()
    def read(file: str) -> str:
        with open(file) as opened:
            return opened.read()

    def workspace():
        read(file=write(folder="PLACE").output)

    compiled = kit.compile(workspace)  # kfp 2.17 has the size checked, which 2.13 cannot be told
    compiled.write_text(compiled.read_text().replace("PLACE", "'{{$.workspace_path}}'"))
    pipeline = add(compiled, {"workspace": {"size": "1Gi"}})
    for _ in range(2):  # a run has a workspace of its own, so nothing of an earlier one is taken
        result = run(pipeline)
        assert result.tasks["read"].parameters == {"Output": "hello"}
        assert result.tasks["read"].state is State.COMPLETE


@pytest.fixture(scope="session")
def create_pvc(kit):
    """The component of `kubernetes.CreatePVC`."""
    dsl = kit.dsl

    @dsl.container_component
    def createpvc(name: dsl.OutputPath(str), pvc_name: str = None, pvc_name_suffix: str = None):  # noqa: RUF013
        return dsl.ContainerSpec(image="argostub/createpvc")

    return createpvc


@pytest.fixture(scope="session")
def delete_pvc(kit):
    """The component of `kubernetes.DeletePVC`."""
    dsl = kit.dsl

    @dsl.container_component
    def deletepvc(pvc_name: str):
        return dsl.ContainerSpec(image="argostub/deletepvc")

    return deletepvc


def test_volumes_are_folders_of_the_root(kit, run, create_pvc, delete_pvc, root):
    def volumes():
        create_pvc(pvc_name="data")
        delete_pvc(pvc_name=create_pvc(pvc_name_suffix="-tmp").outputs["name"])

    pipeline = kit.compile(volumes)
    planned = run(pipeline, dry=True)
    assert {one.state for one in planned.tasks.values()} == {State.PLANNED}
    assert not (root / ".volumes").exists()
    result = run(pipeline, run_id="one")
    assert result.tasks["createpvc"].parameters == {"name": "data"}
    assert result.tasks["createpvc-2"].parameters == {"name": "one-tmp"}
    assert [path.name for path in (root / ".volumes").iterdir()] == ["data"]


def test_a_volume_that_no_claim_can_have(kit, run, create_pvc):
    def bad():
        create_pvc(pvc_name="../../etc")

    result = run(kit.compile(bad))
    assert "'../../etc' cannot be a PersistentVolumeClaim's" in result.tasks["createpvc"].error


@needs_namespaces
def test_volumes_are_mounted_where_they_are_asked_for(kit, run, component, create_pvc, root):
    @component()
    def write(path: str):
        with open(path, "w") as file:
            file.write("hello")

    @component()
    def read(path: str) -> str:
        with open(path) as file:
            return file.read()

    def mounted():
        made = create_pvc(pvc_name_suffix="-data").outputs["name"]
        written = write(path="/data/note")
        read(path="/mnt/again/note").after(written)
        read(path="/data/a/b/note").after(written)
        del made

    made = {"taskOutputParameter": {"producerTask": "createpvc", "outputParameterKey": "name"}}

    def claim(path, sub_path=""):
        return {"pvcMount": [{"mountPath": path, "pvcNameParameter": made, "subPath": sub_path}]}

    pipeline = kit.compile(mounted)
    add(pipeline, write=claim("/data"), read=claim("/mnt/again"), **{"read-2": claim("/data/a/b")})
    for number in range(2):  # what is in a volume is not known, so nothing is taken from the cache
        result = run(pipeline, run_id=f"run{number}")
        assert result.state is State.COMPLETE, result.error
        assert result.tasks["read"].parameters == {"Output": "hello"}
        assert result.tasks["read-2"].parameters == {"Output": "hello"}
        assert (root / ".volumes" / f"run{number}-data" / "note").read_text() == "hello"
    assert not Path("/data").exists()


@needs_namespaces
def test_secrets_and_empty_folders_are_mounted(kit, run, component, secrets, root):
    @component()
    def look_around() -> dict:
        from pathlib import Path

        found = {one.name: one.read_text()[-2:] for one in Path("/mnt/secret").iterdir()}
        Path("/scratch/level").write_text(Path("/etc/settings/level").read_text())
        try:
            Path("/mnt/secret/new").touch()
        except OSError as error:
            found["error"] = error.strerror
        return {**found, "etc": len(list(Path("/etc").iterdir())) > 1}

    def mounted():
        look_around()

    settings = {
        "secretAsVolume": [{"mountPath": "/mnt/secret", "secretName": "warehouse"}],
        "configMapAsVolume": [{"mountPath": "/etc/settings", "configMapName": "settings"}],
        "emptyDirMounts": [{"volumeName": "scratch", "mountPath": "/scratch"}],
    }
    result = run(add(kit.compile(mounted), **{"look-around": settings}), secrets_file=secrets)
    assert result.tasks["look-around"].parameters == {
        "Output": {"user": "da", "password": "-9", "error": "Read-only file system", "etc": True}
    }
    assert found(root, PASSWORD) == []


@needs_namespaces
def test_what_would_hide_the_task_itself(kit, run, look, root):
    def mounted():
        look(variable="X")

    mount = {"mountPath": str(root), "pvcNameParameter": constant("data")}
    result = run(add(kit.compile(mounted), look={"pvcMount": [mount]}))
    assert f"What is mounted at {root} would hide {root}" in result.tasks["look"].error


def test_where_processes_cannot_have_mounts(kit, run, look, monkeypatch, tmp_path):
    def mounted():
        look(variable="X")

    mount = {"mountPath": "/data", "pvcNameParameter": constant("data")}
    monkeypatch.setattr(mount_namespace, "is_available", lambda: False)
    monkeypatch.setenv("PATH", str(tmp_path))  # where no docker is
    with pytest.raises(PipelineError, match="a volume mounted at /data, where a process cannot"):
        run(add(kit.compile(mounted), look={"pvcMount": [mount]}))


@needs_namespaces
def test_a_command_with_mounts(tmp_path):
    for name in ("outer", "inner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    mounts = [
        (str(tmp_path / "inner"), "/millrace-test/outer/inner", True),
        (str(tmp_path / "outer"), "/millrace-test/outer", False),
    ]
    script = (
        "cat /millrace-test/outer/file /millrace-test/outer/inner/file; pwd; id -u; ls /proc/self"
    )
    done = subprocess.run(
        mount_namespace.command(mounts, ["sh", "-c", script]),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    said = done.stdout.splitlines()
    assert said[0] == f"outerinner{tmp_path}"
    assert said[1] == str(os.getuid())
    assert "mountinfo" in said
