"""Container components: placeholders in their commands, and outputs as files."""

import os
from typing import List, NamedTuple, Optional

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from cases import artifact, case
from steps import read, say, write

IMAGE = os.environ.get("CONFORMANCE_IMAGE", "python:3.11")  # any that has a shell
WRITE = 'mkdir -p "$(dirname "$1")" && printf %s "$2" > "$1"'


@dsl.container_component
def echo(text: str, said: dsl.OutputPath(str)):
    """Writes its argument."""
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", WRITE, "sh"], args=[said, text])


@dsl.container_component
def echo_all(
    text: str, count: int, ratio: float, flag: bool, items: list, said: dsl.OutputPath(str)
):
    """Writes its arguments, one a line."""
    script = 'mkdir -p "$(dirname "$1")" && out=$1 && shift && printf "%s\\n" "$@" > "$out"'
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["sh", "-c", script, "sh"],
        args=[said, text, count, ratio, flag, items],
    )


@dsl.container_component
def concat(text: str, said: dsl.OutputPath(str)):
    """Writes a text within another."""
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["sh", "-c", WRITE, "sh"],
        args=[said, dsl.ConcatPlaceholder(["<", text, ">"])],
    )


@dsl.container_component
def if_present(said: dsl.OutputPath(str), text: Optional[str] = None):
    """Says whether it was given anything."""
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["sh", "-c", WRITE, "sh"],
        args=[said, dsl.IfPresentPlaceholder(input_name="text", then=[text], else_=["nothing"])],
    )


@dsl.container_component
def nested_if_present(said: dsl.OutputPath(str), text: Optional[str] = None):
    """Makes one argument of several parts."""
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["sh", "-c", WRITE, "sh"],
        args=[
            said,
            dsl.ConcatPlaceholder(
                [
                    "[",
                    dsl.IfPresentPlaceholder(input_name="text", then="given", else_="left out"),
                    "]",
                ]
            ),
        ],
    )


@dsl.container_component
def copy(data: Input[Dataset], made: Output[Dataset]):
    """Copies an artifact."""
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["sh", "-c", 'mkdir -p "$(dirname "$1")" && cp "$0" "$1"'],
        args=[data.path, made.path],
    )


@dsl.container_component
def compare(data: Input[Dataset], said: dsl.OutputPath(str)):
    """Tells whether URI and path end alike, and what the metadata say."""
    script = '[ "$(basename "$1")" = "$(basename "$2")" ] && same=same || same=differ;'
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["sh", "-c", f'{script} mkdir -p "$(dirname "$0")"; printf %s "$same $3" > "$0"'],
        args=[said, data.uri, data.path, data.metadata["length"]],
    )


@dsl.container_component
def count(items: List[int], number: dsl.OutputPath(int)):
    """Writes a whole number with a line break."""
    return dsl.ContainerSpec(
        image=IMAGE,
        command=["sh", "-c", 'mkdir -p "$(dirname "$0")" && echo 3 > "$0"'],
        args=[number, items],
    )


@dsl.container_component
def break_off():
    """Fails."""
    return dsl.ContainerSpec(image=IMAGE, command=["sh", "-c", "echo broken >&2; exit 7"])


@case(
    values={"text": "ü $(HOME) \"q\" 'q' `x`"},
    outputs={"Output": "ü $(HOME) \"q\" 'q' `x`"},
    ran="echo",
    docker=True,
    features=["container components", "unicode"],
)
def a_text(text: str) -> str:
    return echo(text=text).output


@case(
    outputs={"Output": 't\n3\n0.5\ntrue\n[1,"a"]\n'},
    docker=True,
    features=["container components", "numbers as text"],
)
def arguments_of_every_type() -> str:
    return echo_all(text="t", count=3, ratio=0.5, flag=True, items=[1, "a"]).output


@case(
    outputs={"Output": "<a b>"},
    docker=True,
    features=["container components", "Concat"],
)
def concatenated() -> str:
    return concat(text="a b").output


@case(
    outputs={"given": "x", "left_out": "nothing"},
    docker=True,
    features=["container components", "IfPresent", "optional"],
)
def present_and_absent() -> NamedTuple("Outputs", given=str, left_out=str):
    given, left_out = if_present(text="x"), if_present()
    return NamedTuple("Outputs", given=str, left_out=str)(given.output, left_out.output)


@case(
    outputs={"given": "[given]", "left_out": "[left out]"},
    docker=True,
    features=["container components", "IfPresent", "Concat"],
)
def if_present_within_concat() -> NamedTuple("Outputs", given=str, left_out=str):
    given, left_out = nested_if_present(text="x"), nested_if_present()
    return NamedTuple("Outputs", given=str, left_out=str)(given.output, left_out.output)


@case(
    outputs={"Output": artifact("copied")},
    ran="write copy",
    docker=True,
    features=["container components", "artifacts"],
)
def artifacts_in_and_out() -> Dataset:
    return copy(data=write(text="copied").output).output


@case(
    outputs={"Output": "same 5"},
    docker=True,
    features=["container components", "artifacts", "metadata", "uri"],
)
def uri_path_and_metadata() -> str:
    return compare(data=write(text="hello").output).output


@case(
    outputs={"Output": 3},
    docker=True,
    features=["container components", "OutputPath"],
)
def a_number() -> int:
    return count(items=[1]).output


@case(
    outputs={"Output": "said in a box"},
    docker=True,
    features=["container components", "lightweight components", "f-strings"],
)
def between_lightweight_components() -> str:
    boxed = echo(text=say(text="in a box").output)
    return say(text=f"said {boxed.output}").output


@case(
    parameters={"for-loop-2[1]/echo": {"said": "item b"}},
    docker=True,
    features=["container components", "ParallelFor"],
)
def in_a_loop():
    with dsl.ParallelFor(["a", "b"]) as x:
        echo(text=f"item {x}")


@case(
    failed="break-off",
    errors=["7"],
    docker=True,
    features=["container components", "failure"],
)
def an_exit_code():
    break_off()


@case(
    outputs={"Output": "made in Python"},
    docker=True,
    features=["container components", "lightweight components", "artifacts"],
)
def read_what_a_container_copied() -> str:
    return read(data=copy(data=write(text="made in Python").output).output).output
