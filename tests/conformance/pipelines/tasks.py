"""Options of tasks: order, retries, caching, environment, resources, names."""

from typing import List

from kfp import dsl

from cases import case
from steps import add, component, fail, join, leave, number, say, struct, write


@component
def fail_first(folder: str, times: int, name: str = "tries") -> str:
    """Fails the first few times."""
    with open(f"{folder}/{name}", "a") as file:
        file.write("try\n")
    with open(f"{folder}/{name}") as file:
        tries = len(file.readlines())
    if tries <= times:
        raise RuntimeError(f"try {tries}")
    return f"done after {tries}"


@component
def variables(names: List[str]) -> str:
    """Returns environment variables."""
    import os

    return ",".join(os.environ.get(name, "none") for name in names)


@component
def exit_with(code: int):
    """Ends without an exception."""
    import sys

    sys.exit(int(code))


@component
def give_int(text: str) -> int:
    """Returns a value of another type than declared."""
    return text


@case(
    values={"folder": "{tmp}"},
    files={"log": "1\n2\n3\n"},
    features=["after"],
    local="2.13",
)
def one_after_another(folder: str):
    first = leave(folder=folder, name="log", text="1")
    second = leave(folder=folder, name="log", text="2").after(first)
    leave(folder=folder, name="log", text="3").after(second, first)


@case(
    values={"folder": "{tmp}"},
    files={"log": "in\nin\nafter\n"},
    features=["after", "ParallelFor"],
    needs="2.17",
)
def after_a_loop(folder: str):
    with dsl.ParallelFor(["in", "in"]) as text:
        one = leave(folder=folder, name="log", text=text)
    leave(folder=folder, name="log", text="after").after(one)


@case(
    values={"folder": "{tmp}"},
    outputs={"Output": "done after 3"},
    files={"tries": "try\n" * 3},
    ran="fail-first",
    features=["retries"],
)
def retried(folder: str) -> str:
    one = fail_first(folder=folder, times=2)
    one.set_retry(num_retries=2, backoff_duration="0s")
    return one.output


@case(
    values={"folder": "{tmp}"},
    files={"tries": "try\n" * 2},
    failed="fail-first",
    errors=["try 2"],
    features=["retries", "failure"],
)
def retried_too_few_times(folder: str):
    fail_first(folder=folder, times=9).set_retry(num_retries=1, backoff_duration="0s")


@case(
    values={"folder": "{tmp}"},
    outputs={"Output": "done after 2,done after 2"},
    files={"a": "try\n" * 2, "b": "try\n" * 2},
    features=["retries", "ParallelFor", "Collected"],
)
def each_iteration_is_retried(folder: str) -> str:
    with dsl.ParallelFor(["a", "b"]) as name:
        one = fail_first(folder=folder, times=1, name=name)
        one.set_retry(num_retries=1, backoff_duration="0s")
    return join(texts=dsl.Collected(one.output)).output


@case(
    outputs={"Output": "v,w x,none"},
    features=["environment"],
    local="2.17",
)
def environment() -> str:
    one = variables(names=["CONFORMANCE_A", "CONFORMANCE_B", "CONFORMANCE_C"])
    one.set_env_variable("CONFORMANCE_A", "v").set_env_variable("CONFORMANCE_B", "w x")
    return one.output


@case(
    outputs={"Output": "named"},
    ran="say",
    features=["set_display_name", "unicode"],
    local="2.13",
)
def display_name() -> str:
    return say(text="named").set_display_name("Ein schöner Name 世界").output


@case(
    outputs={"Output": 3},
    ran="add",
    features=["resources"],
    local="2.13",
)
def resources() -> int:
    one = add(a=2)
    one.set_cpu_request("100m").set_cpu_limit("1")
    one.set_memory_request("32Mi").set_memory_limit("512Mi")
    return one.output


@case(
    values={"cores": "1", "memory": "512Mi"},
    outputs={"Output": 3},
    ran="add",
    features=["resources", "values"],
    local="2.13",
)
def resources_from_parameters(cores: str, memory: str) -> int:
    return add(a=2).set_cpu_limit(cores).set_memory_limit(memory).output


@case(
    outputs={"Output": "cached again"},
    ran="say say-2 write",
    cached="say say-2 write",
    features=["caching"],
    local="2.13",
)
def cached_the_second_time() -> str:
    write(text="cached")
    return say(text=f"{say(text='cached').output} again").output


@case(
    values={"folder": "{tmp}"},
    files={"log": "here\n"},
    ran="say leave",
    cached="say",
    features=["caching", "set_caching_options"],
    local="2.13",
)
def not_cached_if_switched_off(folder: str):
    say(text="cached all the same")
    leave(folder=folder, name="log").set_caching_options(False)


@case(
    ran="for-loop-2[0]/say for-loop-2[1]/say join",
    cached="for-loop-2[0]/say for-loop-2[1]/say join",
    outputs={"Output": "in a,in b"},
    features=["caching", "ParallelFor", "Collected"],
)
def iterations_are_cached() -> str:
    with dsl.ParallelFor(["in a", "in b"]) as x:
        one = say(text=x)
    return join(texts=dsl.Collected(one.output)).output


@case(
    failed="fail",
    errors=["the reason why"],
    ran="say",
    features=["failure"],
    local="2.13",
)
def an_exception():
    say(text="other")
    fail(message="the reason why")


@case(
    failed="fail",
    ran="number add",
    skipped="say",
    errors=["no good"],
    features=["failure", "skipped"],
)
def independent_tasks_go_on():
    say(text=fail(message="no good").output)
    add(a=number(value=1).output)


@case(failed="exit-with", errors=["3"], features=["failure", "exit code"], local="2.13")
def an_exit_code():
    exit_with(code=3)


@case(
    failed="give-int",
    errors=["int"],
    features=["failure", "types"],
    local="2.13",
)
def an_output_of_the_wrong_type() -> int:
    return give_int(text="five").output


@component
def forget(text: str, out: dsl.OutputPath(str)):
    """Forgets to write its output."""


@case(
    failed="forget",
    skipped="say",
    errors=["out"],
    features=["failure", "OutputPath", "skipped"],
    local=None,
    why="goes on without the output, and fails at the next task",
)
def an_output_that_is_forgotten() -> str:
    return say(text=forget(text="x").outputs["out"]).output


@component
def crash():
    """Ends by a signal."""
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)


@case(failed="crash", errors=["SIGKILL"], features=["failure", "signals"], local="2.13")
def a_task_that_is_killed():
    crash()


@case(
    outputs={"Output": "one,two,three"},
    ran="say say-2 join",
    features=["lists", "outputs"],
    local="2.13",
)
def outputs_within_a_list() -> str:
    return join(texts=[say(text="one").output, say(text="two").output, "three"]).output


@case(
    values={"who": "ada"},
    outputs={"Output": {"a": "one", "b": {"c": ["ada", 2]}}},
    features=["structs", "outputs", "values"],
    local="2.13",
)
def outputs_within_a_struct(who: str) -> dict:
    one = say(text="one")
    return struct(value={"a": one.output, "b": {"c": [who, 2]}}).output


@case(
    ran=" ".join(["add", *(f"add-{n}" for n in range(2, 31))]),
    parameters={"add-30": {"Output": 30}},
    features=["fan-out"],
    local="2.13",
    slow=True,
)
def thirty_side_by_side():
    for n in range(30):
        add(a=n)
