"""Steps in containers, in a real engine."""

import gzip
import hashlib
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from millrace.backends.docker import Options
from millrace.errors import PipelineError
from millrace.lineage import query
from millrace.lineage.store import Store
from millrace.runner.result import State
from millrace.storage import digest, store

pytestmark = pytest.mark.docker

BASE = "millrace-base:trixie"
SOCKET = Path("/var/tmp/millrace-engine/docker.sock")  # as docker/engine.sh starts it
SOURCE = Path(__file__).parents[1] / "runner" / "play.py"
# The same path here and in the image, where /tmp is empty, even if the checkout lies below it.
PLAY = Path(f"/var/tmp/millrace-play-{os.getuid()}/play.py")


def docker(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    command = ["docker", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module", autouse=True)
def engine():
    """An engine that answers and has the base image."""
    patch = pytest.MonkeyPatch()
    if "DOCKER_HOST" not in os.environ and SOCKET.exists():
        patch.setenv("DOCKER_HOST", f"unix://{SOCKET}")
    if shutil.which("docker") is None or docker("image", "inspect", BASE).returncode:
        pytest.skip(f"no Docker Engine with the image {BASE}")
    yield
    patch.undo()


@pytest.fixture(scope="module")
def image(engine, tmp_path_factory, repository):
    """An image with what starts a step, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("image")
    shutil.copytree(repository / "millrace", folder / "millrace")
    PLAY.parent.mkdir(exist_ok=True)
    for target in (PLAY, folder / "play.py"):
        shutil.copy(SOURCE, target)
    (folder / "Dockerfile").write_text(
        f"FROM {BASE}\n"
        "COPY millrace /opt/millrace\n"
        f"COPY play.py {PLAY}\n"
        "ENV PYTHONPATH=/opt\n"
        "RUN ln -s /usr/bin/python3 /usr/local/bin/python\n"
    )
    name = "millrace-play-core:test"
    built = docker(
        "build", "--network", "host", "-t", name, folder, env={**os.environ, "DOCKER_BUILDKIT": "0"}
    )
    assert not built.returncode, built.stderr
    yield name
    docker("image", "rm", "--force", name)
    shutil.rmtree(PLAY.parent)


@pytest.fixture
def in_docker(run):
    return lambda *arguments, **options: run(
        *arguments, runner="docker", docker=Options(network="host"), **options
    )


WRITE = 'printf %s "$0" > "$1"; wc -c < "$1" > "$2"'


@pytest.fixture(scope="module")
def foreign(kit):
    """A third-party pipeline: shell and Python, in an image without Millrace."""
    dsl = kit.dsl

    @dsl.container_component
    def write(text: str, out: dsl.Output[dsl.Dataset], size: dsl.OutputPath(int)):
        return dsl.ContainerSpec(
            image=BASE,
            command=["sh", "-euc", WRITE],
            args=[text, out.path, size],
        )

    @dsl.container_component
    def double(
        data: dsl.Input[dsl.Dataset], out: dsl.Output[dsl.Dataset], meta: dsl.OutputPath(dict)
    ):
        return dsl.ContainerSpec(
            image=BASE,
            command=[
                "python3",
                "-c",
                "import sys; t=open(sys.argv[1]).read(); "
                "open(sys.argv[2],'w').write(t*2); open(sys.argv[3],'w').write('{\"a\": 1}')",
            ],
            args=[data.path, out.path, meta],
        )

    def foreign(text: str = "it's $HOME"):
        first = write(text=text).set_memory_limit("256Mi").set_cpu_limit("16")
        double(data=first.outputs["out"])

    return kit.compile(foreign)


@pytest.mark.parametrize("runner", ["process", "docker"])
def test_a_third_partys_image(run, foreign, runner):
    result = run(foreign, runner=runner, docker=Options(network="host"))
    assert result.state is State.COMPLETE, result.error
    assert result.tasks["write"].parameters == {"size": 10}
    assert result.tasks["double"].parameters == {"meta": {"a": 1}}
    (made,) = result.tasks["double"].artifacts["out"]
    assert Path(made.uri).read_text() == "it's $HOME" * 2
    assert len(made.metadata["digest"]) == 64


def test_lineage_records_which_image_ran(in_docker, foreign, root):
    in_docker(foreign)
    image = docker("image", "inspect", "--format", "{{.Id}}", BASE).stdout.strip()
    with Store.open(root / "metadata.sqlite") as store:
        (found,) = query.runs(store)
        tasks = query.tasks(store, found)
    assert [task.properties["image_digest"] for task in tasks] == [image, image]


def test_containers_are_cached_too(in_docker, foreign):
    in_docker(foreign)
    assert {task.state for task in in_docker(foreign).tasks.values()} == {State.CACHED}


def test_our_steps_make_the_same_in_both(kit, run, in_docker, image, tmp_path):
    play = kit.step(PLAY, image)
    (tmp_path / "data.csv").write_text("a\n1\n")

    def same(data_uri: str):
        first = play(text="x", count=3, data_uri=data_uri)
        play(text=first.outputs["said"], data=first.outputs["out"])

    pipeline, values = kit.compile(same), {"data_uri": str(tmp_path / "data.csv")}
    mine, contained = run(pipeline, values), in_docker(pipeline, values)
    assert contained.state is State.COMPLETE, contained.error
    for path, task in mine.tasks.items():
        other = contained.tasks[path]
        assert other.state is State.COMPLETE  # another environment: not the other's result
        assert other.parameters == task.parameters
        assert (
            other.artifacts["out"][0].metadata["digest"]
            == task.artifacts["out"][0].metadata["digest"]
        )
    assert {task.state for task in in_docker(pipeline, values).tasks.values()} == {State.CACHED}


def test_artifacts_of_containers_lie_in_an_object_store(
    kit, in_docker, image, s3, tmp_path, monkeypatch
):
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MILLRACE_HOME", str(tmp_path / "home"))
    play, root = kit.step(PLAY, image), f"{s3.uri}/{tmp_path.name}"
    store.write_bytes(f"{root}/in/data.csv", b"a\n1\n")

    def remote(data_uri: str, last: str = ""):
        first = play(text="x", count=3, data_uri=data_uri)
        play(text=first.outputs["said"], do=last, data=first.outputs["out"])

    pipeline, values = kit.compile(remote), {"data_uri": f"{root}/in/data.csv"}
    made = in_docker(pipeline, values, root=f"{root}/out")
    assert made.state is State.COMPLETE, made.error
    (out,) = made.tasks["play-2"].artifacts["out"]
    assert out.uri == f"{root}/out/remote/{made.run_id}/play-2/out"
    assert store.digest(out.uri).hexdigest == out.metadata["digest"]
    again = in_docker(pipeline, values, root=f"{root}/out")
    assert {task.state for task in again.tasks.values()} == {State.CACHED}
    shutil.rmtree(tmp_path / "home" / "staged")
    shutil.rmtree(made.folder)
    other = in_docker(pipeline, values | {"last": "litter /dev/null"}, root=f"{root}/out")
    states = [other.tasks[name].state for name in ("play", "play-2")]
    assert states == [State.CACHED, State.COMPLETE], other.error
    local = in_docker(pipeline, values, root=tmp_path / "local")
    digests = [
        each.tasks[name].artifacts["out"][0].metadata["digest"]
        for each in (made, local)
        for name in ("play", "play-2")
    ]
    assert digests[:2] == digests[2:]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if s3.secret.encode() in path.read_bytes()]


def test_a_module_and_what_lies_beside_it(kit, in_docker, image, tmp_path):
    play = kit.step(PLAY, image)
    (tmp_path / "mine.py").write_text("from common import VALUE\n")
    (tmp_path / "common.py").write_text("VALUE = 'beside'\n")

    def loading():
        play(do="load", module_file=str(tmp_path / "mine.py"))

    result = in_docker(kit.compile(loading))
    assert result.tasks["play"].parameters.get("said") == "beside", result.error


def test_a_module_of_the_image_is_the_images(kit, in_docker, image, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    play = kit.step(PLAY, image)

    def modular(module_file: str):
        play(module_file=module_file)

    pipeline, values = kit.compile(modular), {"module_file": "my_pack.model"}
    (tmp_path / "my_pack").mkdir()
    (tmp_path / "my_pack" / "model.py").write_text("A = 1")
    in_docker(pipeline, values)
    (tmp_path / "my_pack" / "model.py").write_text("A = 2")
    assert in_docker(pipeline, values).tasks["play"].state is State.CACHED


def test_a_users_mistake_in_a_container(kit, in_docker, image):
    play = kit.step(PLAY, image)

    def mistaken():
        play(do="fail There is no row.").set_retry(2)

    result = in_docker(kit.compile(mistaken))
    assert result.error == "play: There is no row."
    assert result.tasks["play"].attempts == 1


def test_a_folder_with_any_name(kit, in_docker, image, tmp_path):
    play = kit.step(PLAY, image)

    def anywhere():
        play(text="x")

    result = in_docker(kit.compile(anywhere), root=tmp_path / 'a "b", c')
    assert result.state is State.COMPLETE, result.tasks["play"].error


def test_a_parameter_that_no_container_takes(kit, in_docker, image):
    play = kit.step(PLAY, image)

    def long(text: str):
        play(text=text).set_retry(num_retries=2, backoff_duration="60s")

    result = in_docker(kit.compile(long), {"text": "x" * 140_000})
    task = result.tasks["play"]
    assert task.error.endswith(
        "and a container takes no more than 131,071: put the longest into a file, and name that."
    )
    assert task.attempts == 1


def test_a_destination_is_written(kit, in_docker, image, tmp_path):
    play = kit.step(PLAY, image)

    def pushing(push_destination: str):
        play(push_destination=f"{push_destination}/deeper")

    result = in_docker(kit.compile(pushing), {"push_destination": str(tmp_path / "models")})
    assert result.state is State.COMPLETE, result.error
    assert (tmp_path / "models" / "deeper").is_dir()


@pytest.fixture
def shell(kit):
    """Compiles a pipeline of one shell command: $0 takes what it says, $1 is its output."""
    dsl = kit.dsl

    def compiled(command: str, image: str = BASE) -> Path:
        @dsl.container_component
        def sh(said: dsl.OutputPath(str), out: dsl.Output[dsl.Dataset] = None):
            return dsl.ContainerSpec(
                image=image, command=["sh", "-uc", command], args=[said, out.path]
            )

        def shell():
            sh()

        return kit.compile(shell)

    return compiled


CLAIM = """
import json, pathlib, sys
outputs = json.loads(sys.argv[1])["outputs"]
(out,) = outputs["artifacts"]["out"]["artifacts"]
pathlib.Path(out["uri"]).write_text("x")
out["metadata"] = {"digest": "mine", "bytes": 7, "rows": 1}
output = {"artifacts": {"out": {"artifacts": [out]}}}
pathlib.Path(outputs["outputFile"]).write_text(json.dumps(output))
"""


def test_a_third_party_does_not_say_what_the_digest_is(kit, run, tmp_path):
    dsl = kit.dsl

    @dsl.container_component
    def claim(out: dsl.Output[dsl.Dataset]):
        return dsl.ContainerSpec(image=BASE, command=["python3", "-c", CLAIM], args=["{{$}}"])

    def claiming():
        claim()

    result = run(kit.compile(claiming), docker=Options(network="host"))
    (made,) = result.tasks["claim"].artifacts["out"]
    assert made.metadata == {"rows": 1, **digest.of(Path(made.uri)).metadata()}


class TestRights:
    def test_inputs_cannot_be_written(self, in_docker, kit, tmp_path):
        dsl = kit.dsl

        @dsl.container_component
        def sh(data: dsl.Input[dsl.Dataset], said: dsl.OutputPath(str)):
            command = 'touch "$0/new"; echo $? > "$1"'
            return dsl.ContainerSpec(
                image=BASE, command=["sh", "-uc", command], args=[data.path, said]
            )

        def reading(folder: str):
            sh(data=dsl.importer(artifact_uri=folder, artifact_class=dsl.Dataset).output)

        (tmp_path / "data").mkdir()
        result = in_docker(kit.compile(reading), {"folder": str(tmp_path / "data")})
        assert result.tasks["sh"].parameters["said"] == "1\n"
        assert "Read-only file system" in result.tasks["sh"].log.read_text()

    def test_the_image_cannot_be_written_but_tmp_can(self, in_docker, shell):
        result = in_docker(shell('touch /new || touch /tmp/new && echo tmp > "$0"'))
        assert result.tasks["sh"].parameters["said"] == "tmp\n"

    def test_other_runs_cannot_be_seen(self, in_docker, shell, root):
        (root / "secret").mkdir(parents=True)
        result = in_docker(shell(f'ls -A {root} > "$0"'))
        assert "secret" not in result.tasks["sh"].parameters["said"]

    def test_it_has_no_capabilities_and_our_user(self, in_docker, shell):
        result = in_docker(
            shell('grep -E "CapEff|NoNewPrivs" /proc/self/status > "$0"; id -u >> "$0"')
        )
        said = result.tasks["sh"].parameters["said"].split()
        assert said == ["CapEff:", "0000000000000000", "NoNewPrivs:", "1", str(os.getuid())]


def with_platform(pipeline, config=None, **executors):
    """Adds what kfp-kubernetes would set to a compiled pipeline."""
    kubernetes = {"deploymentSpec": {"executors": executors}, "pipelineConfig": config or {}}
    document = {"platforms": {"kubernetes": kubernetes}}
    pipeline.write_text(pipeline.read_text() + "---\n" + yaml.safe_dump(document))
    return pipeline


SECRETS = """
kind: Secret
metadata: {name: warehouse}
stringData: {password: correct-horse-9}
"""


def test_secrets_are_given_to_a_container_and_to_no_process_list(
    kit, in_docker, shell, tmp_path, root
):
    secrets = tmp_path / "secrets.yaml"
    secrets.write_text(SECRETS)
    mapping = [{"secretKey": "password", "envVar": "PASSWORD"}]
    settings = {
        "secretAsEnv": [{"secretName": "warehouse", "keyToEnv": mapping}],
        "secretAsVolume": [{"secretName": "warehouse", "mountPath": "/mnt/secret"}],
        "emptyDirMounts": [{"volumeName": "scratch", "mountPath": "/scratch"}],
    }
    script = """
        test "$PASSWORD" = "$(cat /mnt/secret/password)" && test ${#PASSWORD} = 15
        if touch /mnt/secret/new; then exit 1; fi
        touch /scratch/new
        echo "$PASSWORD"
        printf right > "$0"
    """
    result = in_docker(with_platform(shell(script), **{"exec-sh": settings}), secrets_file=secrets)
    assert result.tasks["sh"].parameters == {"said": "right"}, result.tasks["sh"].error
    assert "***" in result.tasks["sh"].log.read_text()
    files = [path for path in root.rglob("*") if path.is_file()]
    assert not [path for path in files if b"correct-horse-9" in path.read_bytes()]


def test_containers_share_volumes_and_the_workspace(kit, in_docker):
    dsl = kit.dsl

    @dsl.container_component
    def sh(script: str, folder: str, said: dsl.OutputPath(str)):
        return dsl.ContainerSpec(image=BASE, command=["sh", "-euc"], args=[script, said, folder])

    def sharing():
        write = sh(
            script='echo a > /data/a; echo b > "$1/b"; echo > "$0"', folder="{{$.workspace_path}}"
        )
        sh(script='cat /again/a "$1/b" > "$0"', folder="{{$.workspace_path}}").after(write)

    def claim(path):
        return {"pvcMount": [{"mountPath": path, "constant": "data"}]}

    pipeline = kit.compile(sharing)
    with_platform(
        pipeline, {"workspace": {}}, **{"exec-sh": claim("/data"), "exec-sh-2": claim("/again")}
    )
    result = in_docker(pipeline)
    assert result.tasks["sh-2"].parameters == {"said": "a\nb\n"}, result.error


class Registry(ThreadingHTTPServer):
    """A registry of one image, whose `latest` can be moved."""

    def __init__(self) -> None:
        super().__init__(("localhost", 0), _Answer)
        self.image = f"localhost:{self.server_port}/moving:latest"
        self.blobs: dict[str, bytes] = {}
        self.manifest = b""

    def push(self, folder: Path, text: str) -> None:
        """Moves `latest` to a new image of one static program, which prints a text."""
        (folder / "say.c").write_text(f'#include <stdio.h>\nint main() {{ puts("{text}"); }}\n')
        subprocess.run(["gcc", "-static", "-o", folder / "say", folder / "say.c"], check=True)
        layer = io.BytesIO()
        with tarfile.open(fileobj=layer, mode="w") as archive:
            program = archive.gettarinfo(folder / "say", "say")
            program.mtime = 0  # the same text makes the same image
            archive.addfile(program, io.BytesIO((folder / "say").read_bytes()))
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [_digest(layer.getvalue())]},
        }
        kind = "application/vnd.docker"
        packed = gzip.compress(layer.getvalue(), mtime=0)
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{kind}.distribution.manifest.v2+json",
            "config": self._blob(json.dumps(config).encode(), f"{kind}.container.image.v1+json"),
            "layers": [self._blob(packed, f"{kind}.image.rootfs.diff.tar.gzip")],
        }
        self.manifest = json.dumps(manifest).encode()

    def _blob(self, content: bytes, kind: str) -> dict[str, object]:
        self.blobs[_digest(content)] = content
        return {"mediaType": kind, "size": len(content), "digest": _digest(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        last = self.path.rpartition("/")[2]
        kind, content = "application/octet-stream", b"{}"
        if "/blobs/" in self.path:
            content = self.server.blobs[last]
        elif "/manifests/" in self.path:
            content = self.server.manifest
            kind = "application/vnd.docker.distribution.manifest.v2+json"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Docker-Content-Digest", _digest(content))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


@pytest.fixture
def registry():
    """A registry that the engine pulls from."""
    if shutil.which("gcc") is None:
        pytest.skip("there is no gcc to make a program without libraries")
    server = Registry()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    docker("image", "rm", "--force", server.image)
    server.shutdown()
    server.server_close()


def test_a_moved_tag_is_no_cache_hit(kit, run, registry, tmp_path):
    @kit.dsl.container_component
    def say():
        return kit.dsl.ContainerSpec(image=registry.image, command=["/say"])

    def saying():
        say()

    pipeline = kit.compile(saying)
    states = []
    for text in ("one", "one", "two"):
        registry.push(tmp_path, text)
        docker("image", "rm", "--force", registry.image)
        (task,) = run(pipeline).tasks.values()
        states.append(task.state)
        if task.log:
            assert task.log.read_text() == f"{text}\n"
    assert states == [State.COMPLETE, State.CACHED, State.COMPLETE]


def test_an_image_that_cannot_be_pulled(kit, run):
    image = "localhost:9/nobody/nothing:1"

    @kit.dsl.container_component
    def say():
        return kit.dsl.ContainerSpec(image=image, command=["/say"])

    def saying():
        say()

    (task,) = run(kit.compile(saying)).tasks.values()
    assert task.state is State.FAILED
    assert task.error.startswith(f"Docker has no image {image} and cannot pull it: ")
    assert "connection refused" in task.error


class TestMistakes:
    def test_no_engine(self, run, foreign, monkeypatch):
        monkeypatch.setenv("DOCKER_HOST", "unix:///no/such.sock")
        with pytest.raises(
            PipelineError, match="Running millrace-base:trixie needs a Docker Engine, and no engine"
        ):
            run(foreign)

    def test_no_docker(self, run, foreign, root, monkeypatch):
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(
            PipelineError, match="there is no `docker` command here: install Docker"
        ):
            run(foreign)
        assert not root.exists()

    @pytest.mark.parametrize(
        ("image", "hint"),
        [
            ("millrace-core:0.0.9", "`make images` builds it."),
            (
                "r.example/x-core:1",
                "`docker pull r.example/x-core:1` gets it if its registry has it.",
            ),
        ],
    )
    def test_an_image_of_ours_that_is_not_there(self, in_docker, kit, image, hint):
        def rename(spec):
            spec["deploymentSpec"]["executors"]["exec-play"]["container"]["image"] = image

        with pytest.raises(PipelineError) as error:
            in_docker(kit.edited(kit.single(), rename))
        assert str(error.value) == f"The Docker Engine has no image {image}: {hint}"

    def test_a_command_that_is_not_there(self, in_docker, kit, shell):
        def edit(spec):
            spec["deploymentSpec"]["executors"]["exec-sh"]["container"]["command"] = ["nope"]

        result = in_docker(kit.edited(shell(""), edit))
        assert result.state is State.FAILED
        assert "nope" in result.error

    @pytest.mark.parametrize("code", [3, 255])
    def test_what_it_printed_last_is_the_reason(self, in_docker, kit, shell, code):
        def retry(spec):
            spec["root"]["dag"]["tasks"]["sh"]["retryPolicy"] = {"maxRetryCount": 1}

        pipeline = kit.edited(shell(f"echo no such table >&2; exit {code}"), retry)
        result = in_docker(pipeline)
        assert result.error == f"sh: it ended with exit code {code}: no such table"
        assert result.tasks["sh"].attempts == 2

    def test_too_much_memory(self, in_docker, kit, shell):
        def edit(spec):
            container = spec["deploymentSpec"]["executors"]["exec-sh"]["container"]
            container["resources"] = {"resourceMemoryLimit": "32Mi"}

        pipeline = kit.edited(shell('python3 -c "x = bytearray(200_000_000)"'), edit)
        result = in_docker(pipeline)
        if result.state is State.COMPLETE:
            pytest.skip("this engine cannot limit memory")
        assert "killed" in result.error or "137" in result.error


_PROGRAM = """
import sys
from millrace.cli import run
sys.exit(run.start(sys.argv[1], root=sys.argv[2], runner="docker", docker_network="host"))
"""


@pytest.fixture
def waiting(shell, root):
    """A run, in a process of its own, whose container waits for ever."""
    pipeline = shell('trap "" TERM; echo started > "$1"; sleep 1000')
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, pipeline, root],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    yield process
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_run_leaves_no_container(waiting, number, root):
    process = waiting
    deadline = time.monotonic() + 60
    while not any(path.read_text() for path in root.glob("shell/*/sh/out")):
        assert time.monotonic() < deadline, "the container has not started"
        time.sleep(0.05)
    (run_id,) = [path.name for path in (root / "shell").iterdir()]
    (container,) = docker("ps", "-aq", "--filter", f"label=millrace.run={run_id}").stdout.split()
    pid = json.loads(docker("inspect", container).stdout)[0]["State"]["Pid"]
    pidfd = os.pidfd_open(pid)
    process.send_signal(number)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    assert poll.poll(30_000)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else -9), output
    docker("wait", container, timeout=30)
    assert not docker("ps", "-aq", "--filter", f"label=millrace.run={run_id}").stdout.split()
