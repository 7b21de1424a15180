"""Artifacts: their content, metadata, types, places, and lists of them."""

from typing import List, NamedTuple

from kfp import dsl
from kfp.dsl import (
    HTML,
    Artifact,
    ClassificationMetrics,
    Dataset,
    Input,
    Markdown,
    Metrics,
    Model,
    Output,
)

from cases import artifact, case
from steps import component, read, read_any, say, write


@component
def annotate(made: Output[Model]):
    """Writes metadata of every type."""
    with open(made.path, "w") as file:
        file.write("model")
    made.metadata["text"] = "t"
    made.metadata["count"] = 3
    made.metadata["ratio"] = 0.5
    made.metadata["flag"] = True
    made.metadata["items"] = [1, "two"]
    made.metadata["options"] = {"a": {"b": 1}}


@component
def metadata_of(made: Input[Model]) -> str:
    """Returns the metadata that a task sees, with whole numbers as such."""
    import json

    def whole(value):
        if isinstance(value, dict):
            return {key: whole(one) for key, one in value.items()}
        if isinstance(value, list):
            return [whole(one) for one in value]
        if isinstance(value, float) and value == int(value):
            return int(value)
        return value

    names = ["count", "flag", "items", "options", "ratio", "text"]
    return json.dumps([whole(made.metadata[name]) for name in names])


@component
def keys_of(data: Input[Dataset]) -> str:
    """Returns the names of the metadata that a task sees."""
    return ",".join(sorted(data.metadata))


@component
def measure(metrics: Output[Metrics]):
    """Logs metrics."""
    metrics.log_metric("accuracy", 0.75)
    metrics.log_metric("rows", 12)


@component
def classify(metrics: Output[ClassificationMetrics]):
    """Logs a confusion matrix and a curve."""
    metrics.log_confusion_matrix(["no", "yes"], [[3, 1], [2, 4]])
    metrics.log_roc_curve([0.0, 0.5, 1.0], [0.0, 0.8, 1.0], [1.0, 0.5, 0.1])


@component
def render(page: Output[HTML], text: Output[Markdown]):
    """Writes pages."""
    with open(page.path, "w") as file:
        file.write("<p>ü</p>")
    with open(text.path, "w") as file:
        file.write("# ü")


@component
def write_folder(made: Output[Dataset]):
    """Writes a folder."""
    import os

    os.makedirs(os.path.join(made.path, "deep"))
    for name in ("a.txt", "deep/b.txt"):
        with open(os.path.join(made.path, name), "w") as file:
            file.write(name)


@component
def list_folder(data: Input[Dataset]) -> str:
    """Lists a folder."""
    import os

    found = [
        os.path.relpath(os.path.join(folder, name), data.path)
        for folder, _, names in os.walk(data.path)
        for name in names
    ]
    return ",".join(sorted(found))


@component
def write_by_path(made: dsl.OutputPath("Dataset"), text: str):
    """Writes an artifact of which it knows the path only."""
    with open(made, "w") as file:
        file.write(text)


@component
def read_by_path(data: dsl.InputPath("Dataset")) -> str:
    """Reads an artifact of which it knows the path only."""
    with open(data) as file:
        return file.read()


@component
def write_one_of_two(first: Output[Dataset], second: Output[Dataset]):
    """Leaves its second output unwritten."""
    with open(first.path, "w") as file:
        file.write("first")


@component
def exists(data: Input[Dataset]) -> bool:
    """Tells whether there is anything."""
    import os

    return os.path.exists(data.path)


@component
def write_elsewhere(made: Output[Dataset]):
    """Writes below the task's URI, and says so."""
    import os

    made.uri = dsl.get_uri("elsewhere")
    os.makedirs(os.path.dirname(made.path), exist_ok=True)
    with open(made.path, "w") as file:
        file.write("elsewhere")


@component
def returned(text: str) -> Dataset:
    """Returns an artifact."""
    import os

    uri = dsl.get_uri("mine")
    made = Dataset(uri=uri, metadata={"by": "return"})
    os.makedirs(os.path.dirname(made.path), exist_ok=True)
    with open(made.path, "w") as file:
        file.write(text)
    return made


@component
def write_to_custom_path(folder: str, made: Output[Dataset]):
    """Writes to a file of its own choice."""
    made.custom_path = folder + "/custom.txt"
    with open(made.path, "w") as file:
        file.write("custom")


@component
def both(text: str, made: Output[Dataset]) -> NamedTuple("Outputs", size=int, name=str):
    """Gives an artifact and parameters."""
    from collections import namedtuple

    with open(made.path, "w") as file:
        file.write(text)
    return namedtuple("Outputs", ["size", "name"])(len(text), "b")


@component
def overwrite_uri(made: Output[Dataset]):
    """Says that its output lies elsewhere, where nobody looks."""
    made.uri = "gs://bucket/else/where"


@component
def join_two(first: Input[Dataset], second: Input[Dataset]) -> str:
    """Reads two artifacts."""
    with open(first.path) as one, open(second.path) as two:
        return one.read() + two.read()


@component
def read_optional(text: str, data: Input[Dataset] = None) -> str:
    """Says whether it was given an artifact."""
    return text + (" none" if data is None else " some")


@case(
    outputs={"Output": artifact("hello", length=5)},
    ran="write",
    features=["artifacts", "metadata"],
    local="2.13",
)
def made_by_a_task() -> Dataset:
    return write(text="hello").output


@case(outputs={"Output": "hello"}, ran="read write", features=["artifacts"], local="2.13")
def read_by_a_task() -> str:
    return read(data=write(text="hello").output).output


@case(
    outputs={"Output": "any"},
    features=["artifacts", "types"],
    local="2.13",
)
def read_as_any_artifact() -> str:
    return read_any(data=write(text="any").output).output


@case(
    outputs={
        "Output": artifact(
            "model",
            "system.Model",
            text="t",
            count=3,
            ratio=0.5,
            flag=True,
            items=[1, "two"],
            options={"a": {"b": 1}},
        )
    },
    features=["metadata"],
    local="2.13",
)
def metadata_of_every_type() -> Model:
    return annotate().output


@case(
    outputs={"Output": '[3, true, [1, "two"], {"a": {"b": 1}}, 0.5, "t"]'},
    features=["metadata"],
    local="2.13",
)
def metadata_is_handed_on() -> str:
    return metadata_of(made=annotate().output).output


@case(
    outputs={"Output": "length"},
    features=["metadata"],
    local="2.13",
)
def metadata_holds_nothing_of_the_runner() -> str:
    return keys_of(data=write(text="hello").output).output


@case(
    outputs={"Output": artifact(None, "system.Metrics", accuracy=0.75, rows=12)},
    features=["Metrics"],
    local="2.13",
)
def metrics() -> Metrics:
    return measure().output


@case(
    outputs={
        "Output": artifact(
            None,
            "system.ClassificationMetrics",
            confusionMatrix={
                "annotationSpecs": [{"displayName": "no"}, {"displayName": "yes"}],
                "rows": [{"row": [3, 1]}, {"row": [2, 4]}],
            },
            confidenceMetrics=[
                {"confidenceThreshold": 1.0, "falsePositiveRate": 0.0, "recall": 0.0},
                {"confidenceThreshold": 0.5, "falsePositiveRate": 0.5, "recall": 0.8},
                {"confidenceThreshold": 0.1, "falsePositiveRate": 1.0, "recall": 1.0},
            ],
        )
    },
    features=["ClassificationMetrics"],
    local="2.13",
)
def classification_metrics() -> ClassificationMetrics:
    return classify().output


@case(
    outputs={
        "page": artifact("<p>ü</p>", "system.HTML"),
        "text": artifact("# ü", "system.Markdown"),
    },
    features=["HTML", "Markdown"],
    local="2.13",
)
def pages() -> NamedTuple("Outputs", page=HTML, text=Markdown):
    made = render()
    return NamedTuple("Outputs", page=HTML, text=Markdown)(
        made.outputs["page"], made.outputs["text"]
    )


@case(
    outputs={
        "listed": "a.txt,deep/b.txt",
        "made": artifact({"a.txt": "a.txt", "deep/b.txt": "deep/b.txt"}),
    },
    features=["artifacts", "folders"],
    local="2.13",
)
def a_folder() -> NamedTuple("Outputs", listed=str, made=Dataset):
    made = write_folder()
    listed = list_folder(data=made.output)
    return NamedTuple("Outputs", listed=str, made=Dataset)(listed.output, made.output)


@case(outputs={"Output": "by path"}, features=["OutputPath", "InputPath"], local="2.13")
def by_path() -> str:
    made = write_by_path(text="by path")
    return read_by_path(data=made.outputs["made"]).output


@case(
    outputs={"Output": False},
    ran="exists write-one-of-two",
    features=["artifacts", "unwritten"],
    local="2.13",
)
def an_output_that_is_not_written() -> bool:
    return exists(data=write_one_of_two().outputs["second"]).output


@case(
    outputs={"Output": "elsewhere", "made": artifact("elsewhere")},
    features=["get_uri"],
    local="2.13",
)
def below_the_uri_of_the_task() -> NamedTuple("Outputs", Output=str, made=Dataset):
    made = write_elsewhere()
    text = read(data=made.output)
    return NamedTuple("Outputs", Output=str, made=Dataset)(text.output, made.output)


@case(
    outputs={"Output": "returned"},
    features=["get_uri", "returned artifacts"],
    local="2.13",
)
def an_artifact_that_is_returned() -> str:
    return read(data=returned(text="returned").output).output


@case(
    values={"folder": "{tmp}"},
    outputs={"Output": "custom"},
    features=["custom_path"],
    local=None,
    why="2.17 ignores custom_path; 2.13 has none, and writes to the usual path",
)
def a_custom_path(folder: str) -> str:
    return read(data=write_to_custom_path(folder=folder).output).output


@case(
    outputs={"text": "b", "size": 4, "made": artifact("four")},
    features=["artifacts", "several outputs"],
    local="2.13",
)
def artifact_and_parameters() -> NamedTuple("Outputs", text=str, size=int, made=Dataset):
    made = both(text="four")
    text = say(text=made.outputs["name"])
    return NamedTuple("Outputs", text=str, size=int, made=Dataset)(
        text.output, made.outputs["size"], made.outputs["made"]
    )


@case(
    outputs={"Output": artifact(None, "system.Dataset", "gs://bucket/else/where")},
    features=["artifacts", "uri"],
    local="2.13",
)
def a_uri_of_its_own() -> Dataset:
    return overwrite_uri().output


@case(
    outputs={"Output": "aa"},
    ran="join-two write",
    features=["artifacts"],
    local="2.13",
)
def one_artifact_at_two_inputs() -> str:
    made = write(text="a")
    return join_two(first=made.output, second=made.output).output


@case(
    outputs={"Output": "without none"},
    features=["artifacts", "optional"],
    local="2.17",
)
def an_optional_artifact_left_out() -> str:
    return read_optional(text="without").output


@component
def count_all(data: Input[List[Artifact]]) -> int:
    """Counts artifacts."""
    return len(data)


@case(
    outputs={"Output": 3, "all": [artifact(text, length=1) for text in "abc"]},
    features=["lists of artifacts", "ParallelFor", "Collected"],
    local="2.17",
)
def a_list_of_artifacts() -> NamedTuple("Outputs", [("Output", int), ("all", List[Dataset])]):
    with dsl.ParallelFor(["a", "b", "c"]) as text:
        made = write(text=text)
    count = count_all(data=dsl.Collected(made.output))
    return NamedTuple("Outputs", [("Output", int), ("all", List[Dataset])])(
        count.output, dsl.Collected(made.output)
    )
