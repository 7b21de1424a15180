"""Compiled pipelines: what is read, and what is rejected before anything starts."""
# ruff: noqa: B006, RUF013  KFP reads defaults and types from the signature

from pathlib import Path

import pytest
import yaml

from millrace.errors import ParameterError, PipelineError
from millrace.ir import parameters, values
from millrace.ir import spec as ir
from millrace.runner.run import load


@pytest.fixture(scope="module")
def sample(kit):
    """A pipeline with a bit of everything that is run."""
    dsl = kit.dsl

    @dsl.pipeline(name="inner")
    def inner(text: str, count: int = 7) -> dsl.Dataset:
        return kit.play(text=text, count=count).outputs["out"]

    def sample(count: int, name: str = "x", options: dict = {"a": 1}, items: list = [1, 2]):
        """Does a bit of everything.

        Args:
            count: How many there are.
        """
        found = dsl.importer(artifact_uri=name, artifact_class=dsl.Dataset, metadata={"k": name})
        first = kit.play(text=f"{name}!", count=count, data=found.output)
        first.set_retry(2, backoff_duration="10s", backoff_factor=3, backoff_max_duration="60s")
        first.set_cpu_request("500m").set_memory_request("2G").set_cpu_limit("2")
        first.set_memory_limit("4Gi").set_display_name("First").set_env_variable("A", "b")
        with dsl.If(first.outputs["number"] > 1):
            kit.play(text=first.outputs["said"])
        inner(text=name).set_caching_options(False)

    return kit.compile(sample)


def test_a_pipeline(sample):
    pipeline = load(str(sample))
    assert pipeline.name == "sample"
    assert pipeline.description == "Does a bit of everything."
    assert len(pipeline.digest) == 64
    assert [path for path, _ in pipeline.walk()][-2:] == ["condition-1", "condition-1/play-2"] or [
        path for path, _ in pipeline.walk()
    ][-2:] == ["inner", "inner/play"]
    count = pipeline.root.parameters["count"]
    assert (count.type, count.required, count.description) == (
        "NUMBER_INTEGER",
        True,
        "How many there are.",
    )
    assert pipeline.root.parameters["options"].default == {"a": 1}
    assert not pipeline.root.parameters["name"].required


def test_a_task(sample):
    task = dict(load(str(sample)).walk())["play"]
    assert task.display_name == "First"
    assert task.depends == ("importer",)
    assert task.cache
    assert task.retry == ir.Retry(2, 10, 3, 60)
    assert [task.retry.wait(attempt) for attempt in range(3)] == [10, 30, 60]
    container = task.component.body
    assert container.resources == ir.Resources(0.5, 2, 2_000_000_000, 4 * 2**30)
    assert container.env == {"A": "b"}
    assert container.command[:3] == ("python", "-m", "millrace.entrypoint")
    assert task.component.parameters["count"].default == 0
    assert isinstance(task.component.parameters["count"].default, int)


def test_a_default_may_be_absent_and_still_optional(kit):
    dsl = kit.dsl

    @dsl.container_component
    def maybe(text: str = None):
        return dsl.ContainerSpec(image="x", command=["true"])

    def optional(text: str = None):
        maybe(text=text)

    parameter = load(str(kit.compile(optional))).root.parameters["text"]
    assert parameter.default is ir.MISSING
    assert parameter.optional


def with_platform(pipeline, **settings):
    """Adds what kfp-kubernetes would set for the executor of a pipeline's only task."""
    executors = {"exec-play": settings}
    document = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
    pipeline.write_text(pipeline.read_text() + "---\n" + yaml.safe_dump(document))
    return str(pipeline)


def test_the_values_that_a_parameter_takes(kit):
    def edit(spec):
        spec["root"]["inputDefinitions"]["parameters"]["text"]["literals"] = ["a", "b"]

    def literals(text: str = "a"):
        kit.play(text=text)

    pipeline = load(str(kit.edited(kit.compile(literals), edit)))
    assert parameters.checked(pipeline, {"text": "b"}) == {"text": "b"}
    with pytest.raises(ParameterError, match='"text" must be one of "a", "b", and is \'c\''):
        parameters.checked(pipeline, {"text": "c"})


@pytest.mark.parametrize(("name", "good", "bad"), [("text", "a", "b"), ("count", 1, 2)])
def test_the_values_that_an_input_takes(kit, name, good, bad):
    def edit(spec):
        spec["components"]["comp-play"]["inputDefinitions"]["parameters"][name]["literals"] = [good]

    task = load(str(kit.edited(kit.single(), edit))).dag.tasks["play"]
    parameter = task.component.parameters[name]
    assert values.typed(parameter, good) == good
    assert values.typed(parameter, None) is None
    with pytest.raises(ParameterError, match=f'"{name}" must be one of'):
        values.typed(parameter, bad)


class TestWhatOnlyAClusterHas:
    def test_init_containers(self, kit):
        pipeline = with_platform(kit.single(), initContainers=[{"name": "a", "image": "b"}])
        with pytest.raises(PipelineError, match="has init containers, which run on a cluster only"):
            load(pipeline)

    def test_an_unknown_field_of_the_pod(self, kit):
        field = {"name": "LIMIT", "fieldPath": "spec.weird"}
        pipeline = with_platform(kit.single(), fieldPathAsEnv=[field])
        with pytest.raises(
            PipelineError, match=r'sets \$LIMIT to the field "spec.weird" of its pod'
        ):
            load(pipeline)

    def test_where_a_task_is_placed_does_not_matter(self, kit):
        settings = {
            "nodeSelector": {"labels": {"a": "b"}},
            "tolerations": [{"key": "k"}],
            "podResourceClaims": [{"resourceClaimTemplateName": "gpu"}],
        }
        load(with_platform(kit.single(), **settings))

    def test_the_configuration_of_its_own_pod(self, kit):
        def edit(spec):
            spec["components"]["comp-play"]["taskConfigPassthroughs"] = [{"field": "ENV"}]

        with pytest.raises(PipelineError, match="asks for the configuration of its own pod"):
            load(str(kit.edited(kit.single(), edit)))


@pytest.mark.parametrize("path", ["", "/", "data", "/data/../etc", "/a\0b"])
def test_a_path_where_nothing_can_be_mounted(kit, path):
    mount = {"mountPath": path, "volumeName": "scratch"}
    with pytest.raises(PipelineError, match="must be an absolute path"):
        load(with_platform(kit.single(), emptyDirMounts=[mount]))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"componentInputParameter": "claim"}, 'comes from "claim", which is no input'),
        (
            {"taskOutputParameter": {"producerTask": "make", "outputParameterKey": "name"}},
            'it depends on "make", which does not exist',
        ),
    ],
)
def test_the_name_of_a_volume_from_nowhere(kit, reference, message):
    mount = {"mountPath": "/data", "pvcNameParameter": reference}
    with pytest.raises(PipelineError, match=message):
        load(with_platform(kit.single(), pvcMount=[mount]))


def task_of(spec):
    return spec["root"]["dag"]["tasks"]["play"]


def executor_of(spec):
    return spec["deploymentSpec"]["executors"]["exec-play"]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda spec: spec.update(schemaVersion="2.2.0"), "schemaVersion is 2.2.0.*upgrade"),
        (lambda spec: spec.update(schemaVersion="3.0.0"), "schemaVersion is 3.0.0.*upgrade"),
        (lambda spec: spec.update(schemaVersion="1.0.0"), "schemaVersion is 1.0.0.*compile it"),
        (lambda spec: spec.pop("schemaVersion"), "schemaVersion is None"),
        (lambda spec: spec.pop("root"), "it has no `root`"),
        (lambda spec: spec.pop("components"), 'task "play": there is no component "comp-play"'),
        (lambda spec: spec.pop("deploymentSpec"), 'there is no executor "exec-play"'),
        (lambda spec: spec.update(root={"executorLabel": "exec-play"}), "its root is not a DAG"),
        (
            lambda spec: spec["pipelineInfo"].update(name="../up"),
            "the pipeline's name '../up' cannot be a folder's",
        ),
        (
            lambda spec: task_of(spec).update(dependentTasks=["plya"]),
            '"play": it depends on "plya", which does not exist',
        ),
        (
            lambda spec: task_of(spec).update(dependentTasks=["play"]),
            "tasks wait for one another: play → play",
        ),
        (
            lambda spec: task_of(spec).update(newFeature={}),
            '"play": it has "newFeature", which this version of Millrace cannot run',
        ),
        (
            lambda spec: task_of(spec)["inputs"]["parameters"].update(
                text={"componentInputParameter": "txt"}
            ),
            '"play": its input "text" comes from "txt", which is no input of the pipeline',
        ),
        (
            lambda spec: task_of(spec).update(
                triggerPolicy={"condition": "size(inputs.parameter_values['text']) > 1"}
            ),
            "the condition .* is not supported, at",
        ),
        (
            lambda spec: task_of(spec).update(
                triggerPolicy={"condition": "inputs.parameter_values['no'] == 'x'"}
            ),
            'its condition looks at "no", which is none of its inputs',
        ),
        (
            lambda spec: task_of(spec).update(retryPolicy={"backoffDuration": "ten"}),
            "'ten' is not a duration such as 10s",
        ),
        (
            lambda spec: executor_of(spec)["container"].update(
                resources={"resourceMemoryRequest": "2 bananas"}
            ),
            "'2 bananas' is not a quantity",
        ),
        (
            lambda spec: executor_of(spec)["container"].update(lifecycle={}),
            '"exec-play" has "lifecycle", which this version of Millrace cannot run',
        ),
        (
            lambda spec: spec["deploymentSpec"]["executors"].update(
                {"exec-play": {"customJob": {}}}
            ),
            '"exec-play" is a customJob, which cannot be run',
        ),
        (
            lambda spec: spec["components"]["comp-play"]["inputDefinitions"]["parameters"][
                "text"
            ].update(parameterType="TENSOR"),
            'the parameter "text" is of type TENSOR',
        ),
        (lambda spec: spec.update(root=[1]), 'the component "root" has "1"'),
        (lambda spec: task_of(spec).update(inputs=[]), "is not a compiled pipeline"),
        (lambda spec: task_of(spec).pop("componentRef"), "is not a compiled pipeline: KeyError"),
    ],
)
def test_what_is_wrong_is_said(kit, edit, message):
    pipeline = kit.edited(kit.single(text="x"), edit)
    with pytest.raises(PipelineError, match=message) as raised:
        load(str(pipeline))
    assert str(pipeline) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_component_within_itself(kit):
    dsl = kit.dsl

    @dsl.pipeline(name="inner")
    def inner():
        kit.play()

    def outer():
        inner()

    def edit(spec):
        task = spec["components"]["comp-inner"]["dag"]["tasks"]["play"]
        task["componentRef"]["name"] = "comp-inner"

    with pytest.raises(PipelineError, match='the component "comp-inner" contains itself'):
        load(str(kit.edited(kit.compile(outer), edit)))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a compiled pipeline: it has no `root`"),
        (b"just text", "is not a compiled pipeline"),
        (b"[1, 2]", "is not a compiled pipeline"),
        (b"a: [", "is not valid YAML: did not find expected node content, in line"),
        (b"x: 1\na: \tb: c", "is not valid YAML: .*, in line 2"),
        (b"a: 1\nb: {c: 1, c: 2}", 'the key "c" in line 2 is there twice'),
        (b"a: x\0y", "is not valid YAML: unacceptable character #x0000"),
        (b"kind: Workflow\nspec: {}", "is an Argo Workflow"),
        (b"\xff\xfe\x00\x01", "is not a compiled pipeline"),
        (b"\x80\x81", "is not valid YAML: "),
        (b"a: !!python/object/apply:os.system [ls]", "for the tag .*os.system', in line 1"),
        (b"root: 1\n---\nroot: 2\n", "is not a compiled pipeline"),
    ],
)
def test_broken_files(tmp_path, content, message):
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(PipelineError, match=message):
        load(str(path))


class TestWhereAPipelineIsFound:
    def test_ours_by_name(self):
        assert load("tabular").name == "tabular"

    def test_a_name_that_is_nearly_ours(self):
        with pytest.raises(PipelineError, match=r'no pipeline "tabluar". Did you mean "tabular"\?'):
            load("tabluar")

    def test_a_file_that_is_not_there(self):
        with pytest.raises(PipelineError, match=r"There is no file no.yaml"):
            load("no.yaml")

    def test_a_folder_without_a_pipeline(self, tmp_path):
        with pytest.raises(PipelineError, match=r"There is no pipeline.py and no pipeline.yaml in"):
            load(str(tmp_path))

    def test_a_source_is_compiled_when_it_is_newer(self, tmp_path):
        source = tmp_path / "pipeline.py"
        text = (
            "from kfp import dsl\n"
            "@dsl.container_component\n"
            "def nothing():\n"
            "    return dsl.ContainerSpec(image='x', command=['true'])\n"
            "@dsl.pipeline(name='{name}')\n"
            "def mine():\n"
            "    nothing()\n"
        )
        source.write_text(text.format(name="first"))
        assert load(str(tmp_path)).name == "first"
        compiled = tmp_path / "pipeline.yaml"
        made = compiled.stat().st_mtime_ns
        assert load(str(source)).name == "first"
        assert compiled.stat().st_mtime_ns == made
        source.write_text(text.format(name="second"))
        assert load(str(tmp_path)).name == "second"

    def test_running_a_compiled_pipeline_does_not_import_kfp(self, kit, tmp_path):
        import subprocess
        import sys

        program = (
            "import sys; from millrace.runner.run import load; load(sys.argv[1]);"
            "print({'kfp', 'ml_metadata', 'rich', 'pyarrow', 'tensorflow'} & set(sys.modules))"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, kit.single()],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == "set()"


def test_every_pipeline_of_ours_can_be_run():
    from millrace.authoring.locate import packaged

    assert {"flights", "tabular"} <= set(packaged())
    for folder in packaged().values():
        assert isinstance(load(str(Path(folder) / "pipeline.yaml")), ir.Pipeline)
