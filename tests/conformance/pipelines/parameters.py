"""Parameters: every type, constants, defaults, optional ones, text made of others."""

from typing import Dict, List, NamedTuple, Optional

from kfp import dsl

from cases import case
from steps import add, array, boolean, component, dump, number, real, say, struct


@component
def show(
    text: str = "none",
    count: int = -1,
    ratio: float = -0.5,
    flag: bool = False,
    items: list = ["default"],
    options: dict = {"default": True},
) -> str:
    """Returns its arguments as JSON."""
    import json

    return json.dumps([text, count, float(ratio), flag, items, options], sort_keys=True)


@component
def show_optional(
    text: Optional[str] = None, count: Optional[int] = None, items: Optional[List[int]] = None
) -> str:
    """Returns its arguments as JSON."""
    import json

    return json.dumps([text, count, items])


@component
def several(base: int) -> NamedTuple(
    "Outputs", text=str, count=int, ratio=float, flag=bool, items=List[int], options=Dict[str, int]
):
    """Returns an output of every type."""
    from collections import namedtuple

    names = ["text", "count", "ratio", "flag", "items", "options"]
    return namedtuple("Outputs", names)("t", base, base / 2, True, [base, base + 1], {"a": base})


@component
def write_files(
    text: dsl.OutputPath(str),
    count: dsl.OutputPath(int),
    ratio: dsl.OutputPath(float),
    flag: dsl.OutputPath(bool),
    items: dsl.OutputPath(list),
    options: dsl.OutputPath(dict),
):
    """Writes an output of every type to its file."""
    for path, content in [
        (text, "a line\n"),
        (count, "7"),
        (ratio, "0.25"),
        (flag, "true"),
        (items, "[1, 2]"),
        (options, '{"a": {"b": []}}'),
    ]:
        with open(path, "w") as file:
            file.write(content)


@component
def write_count(content: str, count: dsl.OutputPath(int)):
    """Writes a whole number as it is told."""
    with open(count, "w") as file:
        file.write(content)


@component
def write_flag(content: str, flag: dsl.OutputPath(bool)):
    """Writes a truth value as it is told."""
    with open(flag, "w") as file:
        file.write(content)


@component
def numbers() -> list:
    """Returns whole numbers as float and int."""
    return [2.0, 3, 2.5, {"a": 4.0}]


@component
def huge() -> float:
    """Returns a number that Python writes with an exponent."""
    return 1e21


@component
def tiny() -> float:
    """Returns a small number that Python writes with an exponent."""
    return 1e-7


@component
def same(a: str, b: str) -> bool:
    """Tells whether two texts are equal, and not empty."""
    return bool(a) and a == b


@case(
    outputs={"Output": '["", 0, 0.0, true, [], {}]'},
    ran="show",
    features=["constants"],
    local="2.13",
)
def constants_that_are_empty() -> str:
    return show(text="", count=0, ratio=0.0, flag=True, items=[], options={}).output


@case(
    outputs={
        "Output": '["x", -5, 1.25, true, [1, "two", 2.5, [false]], {"a": {"b": [1]}, "c": 2}]'
    },
    features=["constants", "lists", "structs"],
    local=None,
    why="writes whole numbers in constants as 1.0",
)
def constants_of_every_type() -> str:
    return show(
        text="x",
        count=-5,
        ratio=1.25,
        flag=True,
        items=[1, "two", 2.5, [False]],
        options={"a": {"b": [1]}, "c": 2},
    ).output


@case(
    outputs={"Output": '["none", -1, -0.5, false, ["default"], {"default": true}]'},
    features=["component defaults"],
    local="2.13",
)
def component_defaults() -> str:
    return show().output


@case(
    outputs={"Output": '["p", 3, 0.5, true, ["x"], {"k": "v"}]'},
    features=["pipeline defaults"],
    local="2.13",
)
def pipeline_defaults(
    text: str = "p",
    count: int = 3,
    ratio: float = 0.5,
    flag: bool = True,
    items: list = ["x"],
    options: dict = {"k": "v"},
) -> str:
    return show(text=text, count=count, ratio=ratio, flag=flag, items=items, options=options).output


@case(
    values={"text": "given", "count": 0, "flag": False, "items": [], "options": {"n": {}}},
    outputs={"Output": '["given", 0, 0.5, false, [], {"n": {}}]'},
    features=["values", "pipeline defaults"],
    local="2.13",
)
def values_win_over_defaults(
    text: str,
    count: int = 3,
    ratio: float = 0.5,
    flag: bool = True,
    items: list = ["x"],
    options: dict = {"k": "v"},
) -> str:
    return show(text=text, count=count, ratio=ratio, flag=flag, items=items, options=options).output


@case(
    outputs={"Output": "[null, null, null]"},
    features=["optional"],
    local=None,
    why="gives an optional parameter that was left out as null, which its executor refuses",
)
def optional_left_out() -> str:
    return show_optional().output


@case(
    outputs={"Output": "[null, null, null]"},
    features=["optional", "pipeline defaults"],
    local=None,
    why="kfp.local hands on no null: the value of an optional parameter is missing",
)
def optional_of_the_pipeline_left_out(
    text: Optional[str] = None, count: Optional[int] = None, items: Optional[List[int]] = None
) -> str:
    return show_optional(text=text, count=count, items=items).output


@case(
    values={"text": "a", "items": [1]},
    outputs={"Output": '["a", null, [1]]'},
    features=["optional", "values"],
    local=None,
    why="as optional_of_the_pipeline_left_out",
)
def optional_given_in_part(
    text: Optional[str] = None, count: Optional[int] = None, items: Optional[List[int]] = None
) -> str:
    return show_optional(text=text, count=count, items=items).output


@case(
    outputs={
        "text": "t",
        "count": 4,
        "ratio": 2.0,
        "flag": True,
        "items": [4, 5],
        "options": {"a": 4},
    },
    features=["several outputs"],
    local="2.13",
)
def several_outputs() -> NamedTuple(
    "Outputs", text=str, count=int, ratio=float, flag=bool, items=List[int], options=Dict[str, int]
):
    made = several(base=4)
    outputs = NamedTuple(
        "Outputs",
        text=str,
        count=int,
        ratio=float,
        flag=bool,
        items=List[int],
        options=Dict[str, int],
    )
    return outputs(*(made.outputs[name] for name in outputs._fields))


@case(
    outputs={"Output": '["t", 4, 2.0, true, [4, 5], {"a": 4}]'},
    features=["several outputs", "lists", "structs"],
    local=None,
    why="writes whole numbers in lists and structs as 4.0",
)
def outputs_as_inputs() -> str:
    made = several(base=4).outputs
    return show(
        text=made["text"],
        count=made["count"],
        ratio=made["ratio"],
        flag=made["flag"],
        items=made["items"],
        options=made["options"],
    ).output


@case(
    outputs={"Output": '["a line\\n", 7, 0.25, true, [1, 2], {"a": {"b": []}}]'},
    features=["OutputPath"],
    local=None,
    why="writes whole numbers in lists as 1.0",
)
def output_files_of_every_type() -> str:
    made = write_files().outputs
    return show(
        text=made["text"],
        count=made["count"],
        ratio=made["ratio"],
        flag=made["flag"],
        items=made["items"],
        options=made["options"],
    ).output


@case(outputs={"Output": 12}, features=["OutputPath"], local="2.13")
def an_int_file_is_trimmed() -> int:
    return number(value=write_count(content=" 12\n").outputs["count"]).output


@case(
    outputs={"Output": True},
    features=["OutputPath"],
    local=None,
    why="reads 'true' and 'false' only",
)
def a_bool_file_as_go_reads_it() -> bool:
    return boolean(value=write_flag(content="T").outputs["flag"]).output


@case(
    failed="write-count",
    errors=["count", "five"],
    features=["OutputPath", "bad input"],
    local="2.13",
)
def an_int_file_that_holds_text() -> int:
    return write_count(content="five").outputs["count"]


@case(
    failed="write-flag",
    errors=["flag", "perhaps"],
    features=["OutputPath", "bad input"],
    local="2.13",
)
def a_bool_file_that_holds_text() -> bool:
    return write_flag(content="perhaps").outputs["flag"]


@case(
    values={"who": "Ada", "count": 3},
    outputs={"Output": "Ada has 3 of 0.5, true"},
    features=["f-strings"],
    local=None,
    why="writes a whole number as 3.0, and true as True",
)
def text_of_parameters(who: str, count: int, ratio: float = 0.5, flag: bool = True) -> str:
    return say(text=f"{who} has {count} of {ratio}, {flag}").output


@case(
    outputs={"Output": "one and two, one again"},
    ran="say say-2 say-3",
    features=["f-strings"],
    local="2.13",
)
def text_of_outputs() -> str:
    one, two = say(text="one"), say(text="two")
    return say(text=f"{one.output} and {two.output}, {one.output} again").output


@case(
    outputs={"Output": "5|1000000000000000000000|0.0000001|-0.25"},
    features=["f-strings", "numbers as text"],
    local=None,
    why="writes numbers as Python does: 5.0, 1e+21",
)
def numbers_as_text() -> str:
    five, quarter = real(value=5.0), real(value=-0.25)
    return say(text=f"{five.output}|{huge().output}|{tiny().output}|{quarter.output}").output


@case(
    outputs={"Output": '[1,2.5,true,[]]|{"a":[],"b":true}'},
    features=["f-strings", "lists", "structs"],
    local=None,
    why="writes JSON as Python does, with blanks and 1.0",
)
def lists_and_structs_as_text() -> str:
    items, options = array(value=[1, 2.5, True, []]), struct(value={"b": True, "a": []})
    return say(text=f"{items.output}|{options.output}").output


@case(
    outputs={"Output": '[2, 3, 2.5, {"a": 4}]'},
    features=["lists", "numbers"],
    local=None,
    why="hands on 2.0 where the backend's JSON says 2",
)
def whole_numbers_in_lists() -> str:
    return dump(value=numbers().output).output


@case(
    values={"text": 'Grüße, 世界 🌍 "quoted" \\ {{$}} \t\n$(HOME) `x` é'},
    outputs={"Output": 'Grüße, 世界 🌍 "quoted" \\ {{$}} \t\n$(HOME) `x` é'},
    features=["unicode"],
    local=None,
    why="fills {{$}} in within values, which makes broken JSON of them",
)
def any_text_is_handed_on(text: str) -> str:
    return say(text=say(text=text).output).output


@case(
    values={"text": 'Grüße, 世界 🌍 "quoted" \\ \t\n é'},
    outputs={"Output": 'Grüße, 世界 🌍 "quoted" \\ \t\n é'},
    features=["unicode"],
    local="2.13",
)
def unicode_is_handed_on(text: str) -> str:
    return say(text=say(text=text).output).output


@case(
    values={"options": {"ключ": ["값", {"": []}], "a.b": {"c-d": 1.5}}},
    outputs={"Output": {"ключ": ["값", {"": []}], "a.b": {"c-d": 1.5}}},
    features=["unicode", "structs"],
    local="2.13",
)
def any_struct_is_handed_on(options: dict) -> dict:
    return struct(value=struct(value=options).output).output


@case(
    values={"options": {"a": None, "b": [None]}},
    outputs={"Output": {"a": None, "b": [None]}},
    features=["structs", "null"],
    local=None,
    why="refuses null within an output",
)
def null_within_a_struct(options: dict) -> dict:
    return struct(value=struct(value=options).output).output


@case(outputs={"Output": 2**52 + 1}, features=["numbers"], local="2.13")
def a_large_whole_number() -> int:
    return add(a=2**52).output


@case(
    outputs={"task": "say", "job": True},
    features=["placeholders of the run"],
    local="2.13",
)
def names_of_the_run() -> NamedTuple("Outputs", task=str, job=bool):
    task = say(text=dsl.PIPELINE_TASK_NAME_PLACEHOLDER)
    first, second = (say(text=dsl.PIPELINE_JOB_ID_PLACEHOLDER) for _ in range(2))
    job = same(a=first.output, b=second.output)
    return NamedTuple("Outputs", task=str, job=bool)(task.output, job.output)


@case(
    values={"count": "three"},
    raises=["count", "three"],
    features=["bad input", "values"],
)
def a_value_of_the_wrong_type(count: int) -> int:
    return number(value=count).output


@case(raises=["count"], features=["bad input", "values"])
def a_value_that_is_missing(count: int) -> int:
    return number(value=count).output


@case(values={"coutn": 1}, raises=["coutn", "count"], features=["bad input", "values"])
def a_value_that_is_unknown(count: int = 1) -> int:
    return number(value=count).output
