"""If, Elif and Else over values of every type, nested, and OneOf."""

from typing import NamedTuple

from kfp import dsl
from kfp.dsl import Dataset

from cases import artifact, case
from steps import add, boolean, component, leave, number, read, real, say, write


@component
def flip(heads: bool) -> str:
    """Says how a coin fell."""
    return "heads" if heads else "tails"


@case(
    values={"folder": "{tmp}"},
    files={"log": "yes\n"},
    ran="flip condition-1/leave",
    skipped="condition-2",
    features=["If"],
)
def if_on_an_output(folder: str):
    coin = flip(heads=True)
    with dsl.If(coin.output == "heads"):
        leave(folder=folder, name="log", text="yes")
    with dsl.If(coin.output == "tails"):
        leave(folder=folder, name="log", text="no")


@case(
    values={"mode": "fast"},
    ran="condition-1/say",
    skipped="condition-2",
    parameters={"condition-1/say": {"Output": "is fast"}},
    features=["If", "values"],
)
def if_on_a_parameter(mode: str = "slow"):
    with dsl.If(mode == "fast"):
        say(text=f"is {mode}")
    with dsl.If(mode != "fast"):
        say(text="is slow")


@case(
    values={"x": 2},
    outputs={"Output": "two"},
    ran="condition-branches-1/condition-3/say-2",
    skipped="condition-branches-1/condition-2 condition-branches-1/condition-4",
    features=["If", "Elif", "Else", "OneOf", "ints"],
)
def elif_on_ints(x: int) -> str:
    with dsl.If(x == 1):
        one = say(text="one")
    with dsl.Elif(x == 2):
        two = say(text="two")
    with dsl.Else():
        other = say(text="other")
    return dsl.OneOf(one.output, two.output, other.output)


@case(
    values={"x": 7},
    outputs={"Output": "other"},
    ran="condition-branches-1/condition-4/say-3",
    features=["Elif", "Else", "OneOf", "ints"],
)
def else_after_elif(x: int) -> str:
    with dsl.If(x == 1):
        one = say(text="one")
    with dsl.Elif(x > 7):
        two = say(text="two")
    with dsl.Else():
        other = say(text="other")
    return dsl.OneOf(one.output, two.output, other.output)


@case(
    outputs={"Output": "first"},
    ran="number condition-branches-1/condition-2/say",
    features=["Elif", "OneOf", "ints"],
)
def the_first_that_holds_wins() -> str:
    x = number(value=5)
    with dsl.If(x.output > 1):
        one = say(text="first")
    with dsl.Elif(x.output > 2):
        two = say(text="second")
    with dsl.Else():
        other = say(text="other")
    return dsl.OneOf(one.output, two.output, other.output)


@component
def bars(a: str, b: str, c: str) -> str:
    """Joins."""
    return f"{a}|{b}|{c}"


@case(
    outputs={"Output": "<=|>=|!="},
    features=["If", "Else", "OneOf", "ints"],
)
def comparisons_of_ints() -> str:
    x = number(value=10)
    with dsl.If(x.output <= 10):
        a = say(text="<=")
    with dsl.Else():
        b = say(text=">")
    with dsl.If(x.output >= 10):
        c = say(text=">=")
    with dsl.Else():
        d = say(text="<")
    with dsl.If(x.output != 9):
        e = say(text="!=")
    with dsl.Else():
        f = say(text="==")
    one, two = dsl.OneOf(a.output, b.output), dsl.OneOf(c.output, d.output)
    three = dsl.OneOf(e.output, f.output)
    return bars(a=one, b=two, c=three).output


@case(
    outputs={"Output": "above"},
    ran="real condition-branches-1/condition-2/say",
    features=["If", "OneOf", "doubles"],
)
def if_on_a_double() -> str:
    x = real(value=0.75)
    with dsl.If(x.output > 0.5):
        above = say(text="above")
    with dsl.Else():
        below = say(text="below")
    return dsl.OneOf(above.output, below.output)


@case(
    values={"x": 2.0},
    outputs={"Output": "two"},
    features=["If", "OneOf", "doubles", "ints"],
    local=None,
    why="knows no double() in a condition",
)
def a_double_equals_an_int(x: float) -> str:
    with dsl.If(x == 2):
        two = say(text="two")
    with dsl.Else():
        other = say(text="other")
    return dsl.OneOf(two.output, other.output)


@case(
    values={"flag": True},
    outputs={"Output": "no"},
    ran="boolean condition-branches-1/condition-2/say condition-branches-4/condition-6/say-4",
    features=["If", "OneOf", "bools"],
)
def if_on_a_bool(flag: bool) -> str:
    other = boolean(value=False)
    with dsl.If(flag == True):  # noqa: E712  KFP records the comparison
        say(text="set")
    with dsl.Else():
        say(text="not set")
    with dsl.If(other.output == True):  # noqa: E712
        yes = say(text="yes")
    with dsl.Else():
        no = say(text="no")
    return dsl.OneOf(yes.output, no.output)


@case(
    values={"a": "same", "b": "same"},
    outputs={"Output": "equal"},
    features=["If", "OneOf", "two channels"],
)
def two_channels(a: str, b: str) -> str:
    with dsl.If(say(text=a).output == b):
        equal = say(text="equal")
    with dsl.Else():
        other = say(text="other")
    return dsl.OneOf(equal.output, other.output)


@case(
    values={"x": "1"},
    outputs={"Output": "text"},
    features=["If", "OneOf", "strings"],
)
def text_that_looks_like_a_number(x: str) -> str:
    with dsl.If(x == "1"):
        text = say(text="text")
    with dsl.Else():
        other = say(text="other")
    return dsl.OneOf(text.output, other.output)


@case(
    values={"x": 'it\'s ü "so"'},
    outputs={"Output": "same"},
    features=["If", "OneOf", "unicode"],
    local=None,
    why="writes the value into a Python expression without quoting",
)
def text_with_quotes(x: str, y: str = 'it\'s ü "so"') -> str:
    with dsl.If(x == y):
        same = say(text="same")
    with dsl.Else():
        other = say(text="other")
    return dsl.OneOf(same.output, other.output)


@case(
    values={"x": 5, "folder": "{tmp}"},
    files={"log": "both\n"},
    ran="condition-1/condition-2/leave",
    skipped="condition-1/condition-3",
    features=["If", "nested conditions"],
)
def nested(x: int, folder: str):
    with dsl.If(x > 1):
        with dsl.If(x < 10):
            leave(folder=folder, name="log", text="both")
        with dsl.If(x > 10):
            leave(folder=folder, name="log", text="large")


@case(
    values={"x": 0},
    ran="number",
    skipped="condition-1",
    features=["If", "nested conditions", "skipped"],
)
def a_skipped_condition_skips_all_in_it(x: int):
    y = number(value=x)
    with dsl.If(y.output > 1):
        say(text="one")
        with dsl.If(y.output > 2):
            say(text="two")


@case(
    values={"x": 5},
    outputs={"Output": "in"},
    features=["nested conditions", "OneOf", "Else"],
)
def nested_branches(x: int) -> str:
    with dsl.If(x > 1):
        with dsl.If(x < 10):
            inner = say(text="in")
        with dsl.Else():
            outer = say(text="out")
        first = say(text=dsl.OneOf(inner.output, outer.output))
    with dsl.Else():
        second = say(text="none")
    return dsl.OneOf(first.output, second.output)


@case(
    values={"flag": False},
    outputs={"Output": "second", "made": artifact("second", length=6)},
    ran="condition-branches-1/condition-3/write-2 read",
    features=["OneOf", "artifacts"],
    local=None,
    why="expects one artifact selector, and OneOf has several",
)
def oneof_artifacts(flag: bool) -> NamedTuple("Outputs", Output=str, made=Dataset):
    with dsl.If(flag == True):  # noqa: E712
        one = write(text="first")
    with dsl.Else():
        two = write(text="second")
    made = dsl.OneOf(one.output, two.output)
    text = read(data=made)
    return NamedTuple("Outputs", Output=str, made=Dataset)(text.output, made)


@case(
    values={"x": 3},
    outputs={"Output": 113},
    features=["OneOf", "ints"],
)
def oneof_as_an_input(x: int) -> int:
    with dsl.If(x > 2):
        large = add(a=x, b=10)
    with dsl.Else():
        small = add(a=x, b=20)
    return add(a=dsl.OneOf(large.output, small.output), b=100).output


@case(
    outputs={"Output": "cd"},
    ran="flip condition-1/add condition-1/say say-2",
    parameters={"condition-1/add": {"Output": 3}, "condition-1/say": {"Output": "3 of heads"}},
    features=["If", "chains"],
)
def a_chain_in_a_condition() -> str:
    coin = flip(heads=True)
    with dsl.If(coin.output == "heads"):
        three = add(a=1, b=2)
        say(text=f"{three.output} of {coin.output}")
    return say(text="cd").output


@case(
    failed="condition-1/fail",
    ran="say",
    errors=["no good"],
    features=["If", "failure"],
)
def a_failure_in_a_condition():
    from steps import fail

    with dsl.If(say(text="a").output == "a"):
        fail(message="no good")


@component
def unwritten(result: dsl.OutputPath(str), written: bool = False):
    """Forgets its output."""
    if written:
        with open(result, "w") as file:
            file.write("w")


@case(
    failed="unwritten",
    ran="",
    errors=["result"],
    features=["If", "bad input", "OutputPath"],
    local=None,
    why="takes a condition on a missing output for false",
)
def a_condition_on_a_missing_output():
    made = unwritten()
    with dsl.If(made.outputs["result"] == "w"):
        say(text="never")
