"""ParallelFor over every kind of items, nested, with conditions, and Collected."""

from typing import Dict, List, NamedTuple

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Output

from cases import artifact, case
from steps import (
    add,
    array,
    component,
    dump,
    fail,
    join,
    leave,
    number,
    read,
    read_all,
    say,
    struct,
    total,
    write,
)


@component
def span(count: int) -> List[int]:
    """Counts from 0."""
    return list(range(count))


@component
def names() -> List[str]:
    """Returns names."""
    return ["ada", "bob", "eve"]


@component
def people() -> List[Dict[str, int]]:
    """Returns objects."""
    return [{"a": 1, "b": 10}, {"a": 2, "b": 20}]


@component
def depth(values: list) -> str:
    """Returns nested lists of whole numbers as text."""

    def whole(value):
        return [whole(one) for one in value] if isinstance(value, list) else int(value)

    return str(whole(values))


@component
def half(value: float) -> float:
    """Halves."""
    return value / 2


@component
def flip(value: bool) -> bool:
    """Negates."""
    return not value


@case(
    ran="for-loop-2[0]/add for-loop-2[1]/add for-loop-2[2]/add",
    parameters={f"for-loop-2[{index}]/add": {"Output": index + 2} for index in range(3)},
    features=["ParallelFor", "ints"],
)
def over_static_ints():
    with dsl.ParallelFor([1, 2, 3]) as x:
        add(a=x)


@case(
    outputs={"Output": "a,b,c"},
    ran="for-loop-2[0]/say for-loop-2[1]/say for-loop-2[2]/say join",
    features=["ParallelFor", "Collected", "strings"],
)
def over_static_strings() -> str:
    with dsl.ParallelFor(["a", "b", "c"]) as x:
        one = say(text=x)
    return join(texts=dsl.Collected(one.output)).output


@case(
    outputs={"Output": [0.25, -1.5]},
    features=["ParallelFor", "Collected", "doubles"],
)
def over_static_doubles() -> List[float]:
    with dsl.ParallelFor([0.5, -3.0]) as x:
        one = half(value=x)
    return dsl.Collected(one.output)


@case(
    outputs={"Output": [11, 22]},
    features=["ParallelFor", "Collected", "structs", "items of items"],
)
def over_static_structs() -> List[int]:
    with dsl.ParallelFor([{"a": 1, "b": 10}, {"a": 2, "b": 20}]) as x:
        one = add(a=x.a, b=x.b)
    return dsl.Collected(one.output)


@case(
    outputs={"Output": [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]},
    features=["ParallelFor", "Collected", "structs"],
)
def whole_structs() -> List[dict]:
    with dsl.ParallelFor([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]) as x:
        one = struct(value=x)
    return dsl.Collected(one.output)


@case(
    values={"items": [4, 5]},
    outputs={"Output": 11},
    features=["ParallelFor", "Collected", "values"],
)
def over_a_parameter(items: List[int]) -> int:
    with dsl.ParallelFor(items) as x:
        one = add(a=x)
    return total(values=dsl.Collected(one.output)).output


@case(
    values={"items": [{"a": "x", "b": "1"}, {"a": "y", "b": "2"}]},
    outputs={"Output": "x 1|y 2"},
    features=["ParallelFor", "Collected", "values", "items of items"],
)
def over_a_parameter_of_structs(items: List[Dict[str, str]]) -> str:
    with dsl.ParallelFor(items) as x:
        one = pair(a=x.a, b=x.b)
    return bars(texts=dsl.Collected(one.output)).output


@component
def pair(a: str, b: str) -> str:
    """Joins."""
    return f"{a} {b}"


@component
def bars(texts: List[str]) -> str:
    """Joins."""
    return "|".join(texts)


@case(
    outputs={"Output": "ada!,bob!,eve!"},
    ran="names for-loop-1[0]/say for-loop-1[1]/say for-loop-1[2]/say join",
    features=["ParallelFor", "Collected", "outputs"],
)
def over_an_output() -> str:
    with dsl.ParallelFor(names().output) as x:
        one = say(text=f"{x}!")
    return join(texts=dsl.Collected(one.output)).output


@case(
    outputs={"Output": [11, 22]},
    features=["ParallelFor", "Collected", "outputs", "items of items"],
)
def over_an_output_of_structs() -> List[int]:
    with dsl.ParallelFor(people().output) as x:
        one = add(a=x.a, b=x.b)
    return dsl.Collected(one.output)


@case(
    values={"items": ['["a"]', '["b", "c"]']},
    ran="for-loop-1[0]/for-loop-2[0]/say for-loop-1[1]/for-loop-2[0]/say"
    " for-loop-1[1]/for-loop-2[1]/say",
    parameters={"for-loop-1[1]/for-loop-2[1]/say": {"Output": "c"}},
    features=["ParallelFor", "nested loops", "JSON text"],
    local=None,
    why="hands on the item of the outer loop",
)
def over_items_that_are_lists_as_text(items: List[List[str]]):
    with dsl.ParallelFor(items) as x, dsl.ParallelFor(x) as y:
        say(text=y)


@case(
    values={"folder": "{tmp}"},
    files={"log": "a\nb\nc\n"},
    features=["ParallelFor", "parallelism"],
)
def one_after_the_other(folder: str):
    with dsl.ParallelFor(["a", "b", "c"], parallelism=1) as x:
        leave(folder=folder, name="log", text=x)


@case(
    outputs={"Output": list(range(1, 9))},
    features=["ParallelFor", "parallelism", "Collected"],
)
def three_at_a_time() -> List[int]:
    with dsl.ParallelFor(list(range(8)), parallelism=3) as x:
        one = add(a=x)
    return dsl.Collected(one.output)


@case(
    ran=" ".join(f"for-loop-2[{i}]/for-loop-4[{j}]/add" for i in range(2) for j in range(3)),
    parameters={
        f"for-loop-2[{i}]/for-loop-4[{j}]/add": {"Output": x + y}
        for i, x in enumerate([1, 2])
        for j, y in enumerate([10, 20, 30])
    },
    features=["ParallelFor", "nested loops"],
)
def nested_two_deep():
    with dsl.ParallelFor([1, 2]) as x, dsl.ParallelFor([10, 20, 30]) as y:
        add(a=x, b=y)


@component
def three(a: str, b: str, c: str) -> str:
    """Joins."""
    return a + b + c


@case(
    parameters={
        f"for-loop-2[{i}]/for-loop-4[{j}]/for-loop-6[{k}]/three": {"Output": f"{x}{y}{z}"}
        for i, x in enumerate("ab")
        for j, y in enumerate("cd")
        for k, z in enumerate("ef")
    },
    features=["ParallelFor", "nested loops"],
)
def nested_three_deep():
    with dsl.ParallelFor(["a", "b"]) as x, dsl.ParallelFor(["c", "d"]) as y:
        with dsl.ParallelFor(["e", "f"]) as z:
            three(a=x, b=y, c=z)


@case(
    parameters={
        f"for-loop-2[{i}]/for-loop-4[{j}]/say": {"Output": f"{x}{y}"}
        for i, x in enumerate("ab")
        for j, y in enumerate("cd")
    },
    features=["ParallelFor", "nested loops", "f-strings"],
    local=None,
    why="does not find the items of the loops around a loop",
)
def an_item_that_kfp_does_not_hand_on():
    """kfp (2.13 to 2.17) does not hand the item of a static loop to a text in a loop within it."""
    with dsl.ParallelFor(["a", "b"]) as x, dsl.ParallelFor(["c", "d"]) as y:
        say(text=f"{x}{y}")


@case(
    parameters={
        "for-loop-1[0]/for-loop-2[0]/say": {"Output": "1"},
        "for-loop-1[1]/for-loop-2[1]/say": {"Output": "3"},
    },
    ran="for-loop-1[0]/for-loop-2[0]/say for-loop-1[1]/for-loop-2[0]/say"
    " for-loop-1[1]/for-loop-2[1]/say",
    values={"items": [["1"], ["2", "3"]]},
    features=["ParallelFor", "nested loops", "items of items"],
    local=None,
    why="hands on the item of the outer loop",
)
def over_the_items_of_an_item(items: List[List[str]]):
    with dsl.ParallelFor(items) as x, dsl.ParallelFor(x) as y:
        say(text=y)


@case(
    outputs={"Output": "[[], [0], [0, 1]]"},
    ran="depth"
    + "".join(f" for-loop-2[{i}]/span" for i in range(3))
    + " for-loop-2[1]/for-loop-3[0]/number"
    + " for-loop-2[2]/for-loop-3[0]/number for-loop-2[2]/for-loop-3[1]/number",
    features=["ParallelFor", "nested loops", "outputs", "zero items", "nested Collected"],
    local=None,
    why="has no output of a loop without iterations",
)
def over_an_output_of_the_iteration() -> str:
    with dsl.ParallelFor([0, 1, 2]) as count:
        with dsl.ParallelFor(span(count=count).output) as x:
            one = number(value=x)
    return depth(values=dsl.Collected(one.output)).output


@case(
    outputs={"Output": "[[11, 21], [12, 22]]"},
    features=["nested Collected", "nested loops", "ParallelFor"],
)
def collected_of_nested_loops_nests() -> str:
    with dsl.ParallelFor([1, 2]) as x, dsl.ParallelFor([10, 20]) as y:
        one = add(a=x, b=y)
    return depth(values=dsl.Collected(one.output)).output


@case(
    outputs={"Output": [[2, 3], [12, 13]]},
    features=["nested Collected", "nested loops", "ParallelFor"],
)
def nested_collected_as_an_output() -> List[List[int]]:
    with dsl.ParallelFor([1, 11]) as x, dsl.ParallelFor([1, 2]) as y:
        one = add(a=x, b=y)
    return dsl.Collected(one.output)


@component
def write_pair(a: str, b: str, made: Output[Dataset]):
    """Writes two texts."""
    with open(made.path, "w") as file:
        file.write(a + b)


@case(
    outputs={"Output": "a1,a2,b1,b2"},
    features=["nested Collected", "nested loops", "artifacts", "lists of artifacts"],
    local=None,
    why="nests the artifacts",
)
def collected_artifacts_of_nested_loops_are_flat() -> str:
    with dsl.ParallelFor(["a", "b"]) as x, dsl.ParallelFor(["1", "2"]) as y:
        one = write_pair(a=x, b=y)
    return read_all(data=dsl.Collected(one.output)).output


@case(
    outputs={"Output": "[3, 5]"},
    ran="depth for-loop-2[0]/total for-loop-2[1]/total"
    + "".join(f" for-loop-2[{i}]/for-loop-4[{j}]/add" for i in range(2) for j in range(2)),
    features=["Collected", "nested loops", "Collected in a loop"],
)
def collected_within_an_iteration() -> str:
    with dsl.ParallelFor([1, 2]) as x:
        with dsl.ParallelFor([0, 1]) as y:
            one = add(a=x, b=y)
        sums = total(values=dsl.Collected(one.output))
    return depth(values=dsl.Collected(sums.output)).output


@case(
    values={"items": []},
    outputs={"Output": "[]"},
    ran="dump",
    features=["ParallelFor", "zero items", "Collected", "values"],
    local=None,
    why="has no output of a loop without iterations",
)
def over_zero_items(items: List[int]) -> str:
    with dsl.ParallelFor(items) as x:
        one = add(a=x)
    return dump(value=dsl.Collected(one.output)).output


@case(
    outputs={"Output": "after"},
    ran="span say",
    features=["ParallelFor", "zero items", "outputs", "after"],
    local="2.17",
)
def after_a_loop_over_zero_items() -> str:
    with dsl.ParallelFor(span(count=0).output) as x:
        number(value=x)
    return say(text="after").output


@case(
    values={"items": []},
    outputs={"Output": 0},
    ran="count-all",
    features=["zero items", "Collected", "lists of artifacts"],
    local=None,
    why="has no output of a loop without iterations",
)
def no_artifacts_collected(items: List[str]) -> int:
    with dsl.ParallelFor(items) as x:
        one = write(text=x)
    return count_all(data=dsl.Collected(one.output)).output


@component
def count_all(data: Input[List[Artifact]]) -> int:
    """Counts artifacts; kfp's executor hands on an empty list as None."""
    return len(data or [])


@case(
    outputs={"Output": "a,b,c", "all": [artifact(text, length=1) for text in "abc"]},
    features=["Collected", "artifacts", "lists of artifacts"],
)
def collected_artifacts() -> NamedTuple("Outputs", [("Output", str), ("all", List[Dataset])]):
    with dsl.ParallelFor(["a", "b", "c"]) as x:
        one = write(text=x)
    texts = read_all(data=dsl.Collected(one.output))
    return NamedTuple("Outputs", [("Output", str), ("all", List[Dataset])])(
        texts.output, dsl.Collected(one.output)
    )


@case(
    outputs={"Output": [artifact("only", length=4)]},
    features=["Collected", "artifacts", "lists of artifacts"],
)
def a_list_of_one_artifact() -> List[Dataset]:
    with dsl.ParallelFor(["only"]) as x:
        one = write(text=x)
    return dsl.Collected(one.output)


@case(
    values={"least": 2},
    ran="for-loop-2[1]/condition-3/say for-loop-2[2]/condition-3/say",
    skipped="for-loop-2[0]/condition-3",
    parameters={"for-loop-2[2]/condition-3/say": {"Output": "3 of 2"}},
    features=["ParallelFor", "If", "condition in a loop", "values"],
)
def a_condition_in_a_loop(least: int):
    with dsl.ParallelFor([1, 2, 3]) as x:
        with dsl.If(x >= least):
            say(text=f"{x} of {least}")


@case(
    outputs={"Output": "[2, 3]"},
    features=["Collected", "If", "skipped branches", "condition in a loop"],
    local=None,
    why="gives null for an iteration that was skipped",
)
def collected_of_skipped_branches() -> str:
    with dsl.ParallelFor([1, 2, 3]) as x:
        with dsl.If(x > 1):
            one = number(value=x)
    return dump(value=dsl.Collected(one.output)).output


@case(
    outputs={"Output": "small,large"},
    features=["Collected", "OneOf", "If", "Else", "condition in a loop"],
)
def collected_oneof() -> str:
    with dsl.ParallelFor([1, 9]) as x:
        with dsl.If(x > 5):
            large = say(text="large")
        with dsl.Else():
            small = say(text="small")
        one = say(text=dsl.OneOf(large.output, small.output))
    return join(texts=dsl.Collected(one.output)).output


@case(
    values={"mode": "loop"},
    ran="condition-1/for-loop-3[0]/say condition-1/for-loop-3[1]/say",
    parameters={"condition-1/for-loop-3[1]/say": {"Output": "b loop"}},
    features=["If", "ParallelFor", "loop in a condition"],
    local=None,
    why="does not find the item",
)
def a_loop_in_a_condition(mode: str):
    with dsl.If(mode == "loop"):
        with dsl.ParallelFor(["a", "b"]) as x:
            say(text=f"{x} {mode}")


@case(
    values={"mode": "none"},
    ran="",
    skipped="condition-1",
    features=["If", "ParallelFor", "loop in a condition", "skipped"],
)
def a_loop_in_a_condition_that_is_skipped(mode: str):
    with dsl.If(mode == "loop"):
        with dsl.ParallelFor(["a", "b"]) as x:
            say(text=x)


@case(
    outputs={"Output": [111, 112]},
    features=["ParallelFor", "outputs", "Collected"],
    local=None,
    why="gives the item in place of the output: 21 and 23",
)
def an_output_of_the_enclosing_dag() -> List[int]:
    hundred = number(value=100)
    with dsl.ParallelFor([10, 11]) as x:
        sums = add(a=hundred.output, b=x)
        one = add(a=sums.output)
    return dsl.Collected(one.output)


@case(
    outputs={"Output": "one a,one b"},
    features=["ParallelFor", "artifacts", "Collected"],
)
def an_artifact_of_the_enclosing_dag() -> str:
    made = write(text="one")
    with dsl.ParallelFor(["a", "b"]) as x:
        one = say(text=f"{read(data=made.output).output} {x}")
    return join(texts=dsl.Collected(one.output)).output


@case(
    outputs={"Output": "[12, 13, 14]"},
    features=["ParallelFor", "Collected", "loop over Collected"],
    local=None,
    why="writes 12.0",
)
def a_loop_over_collected() -> str:
    with dsl.ParallelFor([1, 2, 3]) as x:
        one = add(a=x)
    made = array(value=dsl.Collected(one.output))
    with dsl.ParallelFor(made.output) as y:
        two = add(a=y, b=10)
    return dump(value=dsl.Collected(two.output)).output


@dsl.pipeline
def write_two() -> List[Dataset]:
    """Makes two artifacts."""
    with dsl.ParallelFor(["a", "b"]) as x:
        made = write(text=x)
    return dsl.Collected(made.output)


@case(
    outputs={"Output": "a!,b!"},
    features=["ParallelFor", "artifacts", "loop over artifacts", "Collected"],
    local="2.17",
    needs="2.13",
)
def over_artifacts() -> str:
    made = write_two()
    with dsl.ParallelFor(made.output) as data:
        one = say(text=f"{read(data=data).output}!")
    return join(texts=dsl.Collected(one.output)).output


@case(
    values={"items": ["ü", "世界", "a b", "", "1", "true", '{"a": 1}', "[1]"]},
    outputs={"Output": ["ü", "世界", "a b", "", "1", "true", '{"a": 1}', "[1]"]},
    features=["ParallelFor", "unicode", "strings", "Collected"],
)
def items_that_look_like_something_else(items: List[str]) -> List[str]:
    with dsl.ParallelFor(items) as x:
        one = say(text=x)
    return dsl.Collected(one.output)


@case(
    outputs={"Output": [False, True]},
    features=["ParallelFor", "bools", "Collected"],
)
def over_bools() -> List[bool]:
    with dsl.ParallelFor([True, False]) as x:
        one = flip(value=x)
    return dsl.Collected(one.output)


@case(
    outputs={"a": ["a1"], "b": [2]},
    features=["Collected", "several loops"],
)
def two_loops() -> NamedTuple("Outputs", [("a", List[str]), ("b", List[int])]):
    with dsl.ParallelFor(["1"]) as x:
        first = say(text=f"a{x}")
    with dsl.ParallelFor([1]) as y:
        second = add(a=y)
    return NamedTuple("Outputs", [("a", List[str]), ("b", List[int])])(
        dsl.Collected(first.output), dsl.Collected(second.output)
    )


@case(
    failed="for-loop-2[1]/condition-3/fail",
    ran="for-loop-2[0]/say for-loop-2[1]/say for-loop-2[2]/say",
    errors=["bravo"],
    features=["ParallelFor", "failure"],
)
def an_iteration_fails():
    with dsl.ParallelFor(["alpha", "bravo", "charlie"]) as x:
        one = say(text=x)
        with dsl.If(one.output == "bravo"):
            fail(message=x)


@case(
    failed="for-loop-2[0]/fail",
    skipped="join",
    errors=["no good"],
    features=["ParallelFor", "failure", "Collected"],
)
def what_follows_a_failed_loop_is_skipped() -> str:
    with dsl.ParallelFor(["no good"]) as x:
        one = fail(message=x)
    return join(texts=dsl.Collected(one.output)).output


@case(
    values={"items": "abc"},
    raises=["items", "abc"],
    features=["ParallelFor", "bad input", "values"],
)
def over_a_value_that_is_no_list(items: List[int]):
    with dsl.ParallelFor(items) as x:
        number(value=x)


@case(
    values={"items": ["no list"]},
    state="FAILED",
    ran="",
    errors=["no list", "needs a list"],
    features=["ParallelFor", "bad input", "nested loops"],
    local=None,
    why="goes over the characters of the text",
)
def over_an_item_that_is_no_list(items: List[List[str]]):
    with dsl.ParallelFor(items) as x, dsl.ParallelFor(x) as y:
        say(text=y)


@component
def write_list(content: str, items: dsl.OutputPath(list)):
    """Writes a list as it is told."""
    with open(items, "w") as file:
        file.write(content)


@case(
    failed="write-list",
    ran="",
    errors=["items"],
    features=["ParallelFor", "bad input", "outputs", "OutputPath"],
)
def over_an_output_that_is_no_list():
    with dsl.ParallelFor(write_list(content='{"a": 1}').outputs["items"]) as x:
        say(text=x)


@case(
    outputs={"Output": 5050},
    features=["ParallelFor", "fan-out", "Collected"],
    slow=True,
)
def a_hundred_iterations() -> int:
    with dsl.ParallelFor(list(range(100))) as x:
        one = add(a=x)
    return total(values=dsl.Collected(one.output)).output
