"""Pipelines as components: their inputs, outputs and defaults, in loops and conditions."""

from typing import List, NamedTuple, Optional

from kfp import dsl
from kfp.dsl import Dataset, Input, Model

from cases import artifact, case
from steps import add, component, fail, join, read, read_all, say, total, write


@component
def maybe(text: Optional[str] = None) -> str:
    """Says what it was given."""
    return f"{text!r}"


@dsl.pipeline
def add_twice(a: int, b: int = 10) -> int:
    """Adds twice."""
    return add(a=add(a=a, b=b).output, b=b).output


@dsl.pipeline
def optional_text(text: Optional[str] = None) -> str:
    """Hands on what it was given."""
    return maybe(text=text).output


@dsl.pipeline
def write_and_read(text: str) -> NamedTuple("Outputs", made=Dataset, text=str):
    """Gives an artifact and its text."""
    made = write(text=text)
    return NamedTuple("Outputs", made=Dataset, text=str)(made.output, read(data=made.output).output)


@dsl.pipeline
def read_inside(data: Input[Dataset]) -> str:
    """Reads what it was given."""
    return say(text=read(data=data).output).output


@dsl.pipeline
def write_several(texts: List[str]) -> List[Dataset]:
    """Makes an artifact of each."""
    with dsl.ParallelFor(texts) as text:
        made = write(text=text)
    return dsl.Collected(made.output)


@dsl.pipeline
def read_several(data: Input[List[Dataset]]) -> str:
    """Reads all."""
    return read_all(data=data).output


@dsl.pipeline
def plus_each(base: int, items: List[int]) -> List[int]:
    """Adds to each."""
    with dsl.ParallelFor(items) as item:
        one = add(a=base, b=item)
    return dsl.Collected(one.output)


@dsl.pipeline
def sign(x: int) -> str:
    """Says whether a number is positive."""
    with dsl.If(x > 0):
        positive = say(text="positive")
    with dsl.Else():
        other = say(text="other")
    return dsl.OneOf(positive.output, other.output)


@dsl.pipeline
def deep(a: int) -> int:
    """Adds three levels down."""
    return add_twice(a=add_twice(a=a, b=1).output).output


@dsl.pipeline
def failing(message: str) -> str:
    """Fails in its second task."""
    return say(text=fail(message=say(text=message).output).output).output


@case(
    outputs={"Output": 21},
    ran="add-twice/add add-twice/add-2",
    features=["nested pipelines", "pipeline defaults"],
    local="2.13",
)
def default_of_the_inner_pipeline() -> int:
    return add_twice(a=1).output


@case(
    values={"b": 0},
    outputs={"Output": 1},
    features=["nested pipelines", "values"],
    local="2.13",
)
def zero_is_no_missing_value(b: int) -> int:
    return add_twice(a=1, b=b).output


@case(
    outputs={"Output": 22},
    ran="deep/add-twice/add deep/add-twice/add-2 deep/add-twice-2/add deep/add-twice-2/add-2",
    features=["nested pipelines", "three levels"],
    local="2.13",
)
def three_levels() -> int:
    return deep(a=0).output


@case(
    outputs={"given": "'x'", "left_out": "None"},
    features=["nested pipelines", "optional"],
    local=None,
    why="has no value of an optional input that was left out",
)
def optional_input() -> NamedTuple("Outputs", given=str, left_out=str):
    given, left_out = optional_text(text="x"), optional_text()
    return NamedTuple("Outputs", given=str, left_out=str)(given.output, left_out.output)


@case(
    outputs={"Output": "None"},
    features=["nested pipelines", "optional", "values"],
    local=None,
    why="has no value of an optional input that was left out",
)
def optional_through_two_levels(text: Optional[str] = None) -> str:
    return optional_text(text=text).output


@case(
    values={"text": "x"},
    outputs={"Output": "'x'"},
    features=["nested pipelines", "optional", "values"],
    local="2.13",
)
def optional_given_through_two_levels(text: Optional[str] = None) -> str:
    return optional_text(text=text).output


@case(
    outputs={"made": artifact("in", length=2), "text": "in", "again": "in"},
    ran="write-and-read/write write-and-read/read read",
    features=["nested pipelines", "artifacts", "several outputs"],
    local="2.13",
)
def artifact_out() -> NamedTuple("Outputs", made=Dataset, text=str, again=str):
    inner = write_and_read(text="in")
    again = read(data=inner.outputs["made"])
    return NamedTuple("Outputs", made=Dataset, text=str, again=str)(
        inner.outputs["made"], inner.outputs["text"], again.output
    )


@case(
    outputs={"Output": "handed in"},
    ran="write read-inside/read read-inside/say",
    features=["nested pipelines", "artifacts"],
    local=None,
    why="2.17 does not hand artifacts to a nested pipeline; 2.13 does",
)
def artifact_in() -> str:
    return read_inside(data=write(text="handed in").output).output


@case(
    outputs={"Output": "a,b"},
    ran="write-several/for-loop-1[0]/write write-several/for-loop-1[1]/write read-several/read-all",
    features=["nested pipelines", "lists of artifacts", "ParallelFor", "Collected"],
    local=None,
    why="does not hand artifacts to a nested pipeline",
)
def lists_of_artifacts_out_and_in() -> str:
    return read_several(data=write_several(texts=["a", "b"]).output).output


@case(
    outputs={"Output": [11, 12]},
    features=["nested pipelines", "ParallelFor", "Collected", "a loop in a pipeline"],
)
def a_loop_in_a_pipeline() -> List[int]:
    return plus_each(base=10, items=[1, 2]).output


@case(
    outputs={"Output": [21, 22]},
    ran="for-loop-2[0]/add-twice/add for-loop-2[0]/add-twice/add-2"
    " for-loop-2[1]/add-twice/add for-loop-2[1]/add-twice/add-2",
    features=["nested pipelines", "ParallelFor", "Collected", "a pipeline in a loop"],
)
def a_pipeline_in_a_loop() -> List[int]:
    with dsl.ParallelFor([1, 2]) as x:
        one = add_twice(a=x)
    return dsl.Collected(one.output)


@case(
    outputs={"Output": 66},
    features=["nested pipelines", "ParallelFor", "Collected", "a loop over a pipeline's output"],
    local="2.17",
)
def a_loop_over_a_pipelines_output() -> int:
    made = plus_each(base=10, items=[0, 1])
    with dsl.ParallelFor(made.output) as x:
        one = add_twice(a=x)
    with dsl.ParallelFor([1]) as y:
        add(a=y)
    return add(a=total(values=dsl.Collected(one.output)).output, b=5).output


@case(
    outputs={"Output": "positive,other"},
    features=["nested pipelines", "ParallelFor", "OneOf", "Else", "a pipeline in a loop"],
)
def a_pipeline_with_conditions_in_a_loop() -> str:
    with dsl.ParallelFor([1, -1]) as x:
        one = sign(x=x)
    return join(texts=dsl.Collected(one.output)).output


@case(
    outputs={"Output": 21},
    ran="condition-branches-1/condition-2/add-twice/add"
    " condition-branches-1/condition-2/add-twice/add-2",
    values={"x": 1},
    features=["nested pipelines", "If", "Else", "OneOf", "a pipeline in a condition"],
)
def a_pipeline_in_a_condition(x: int) -> int:
    with dsl.If(x == 1):
        one = add_twice(a=x)
    with dsl.Else():
        other = add_twice(a=x, b=1)
    return dsl.OneOf(one.output, other.output)


@case(
    outputs={"Output": "positive other"},
    features=["nested pipelines", "OneOf", "used twice"],
)
def one_pipeline_twice() -> str:
    first, second = sign(x=1), sign(x=-5)
    return say(text=f"{first.output} {second.output}").output


@case(
    ran="failing/say",
    failed="failing/fail",
    skipped="failing/say-2 say",
    errors=["deep down"],
    features=["nested pipelines", "failure", "skipped"],
    local="2.13",
)
def a_failure_in_a_pipeline() -> str:
    return say(text=failing(message="deep down").output).output


@component
def train(text: str, model: dsl.Output[Model]):
    """Writes a model."""
    with open(model.path, "w") as file:
        file.write(text)
    model.metadata["size"] = len(text)


@dsl.pipeline
def train_several(count: int = 1) -> NamedTuple("Outputs", model=Model, rows=int):
    """Gives a model and a number."""
    made = train(text=f"model of {count}")
    return NamedTuple("Outputs", model=Model, rows=int)(made.output, add(a=count).output)


@case(
    outputs={"model": artifact("model of 1", "system.Model", size=10), "rows": 2},
    features=["nested pipelines", "f-strings", "artifacts", "pipeline defaults"],
    local=None,
    why="writes 1.0 within the text",
)
def outputs_of_several_kinds() -> NamedTuple("Outputs", model=Model, rows=int):
    made = train_several()
    return NamedTuple("Outputs", model=Model, rows=int)(made.outputs["model"], made.outputs["rows"])
