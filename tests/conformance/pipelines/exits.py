"""Exit handlers, final statuses and tasks that ignore the failure of others."""

from typing import List

from kfp import dsl

from cases import case
from steps import add, component, fail, leave, number, say

SUCCEEDED = "kfp.local and the SDK say SUCCEEDED, where the backend says COMPLETE"


@component
def report(folder: str, name: str, status: dsl.PipelineTaskFinalStatus):
    """Writes down how a task ended."""
    with open(f"{folder}/{name}", "a") as file:
        named = bool(status.pipeline_job_resource_name)
        error = status.error_message or ""
        file.write(f"{status.state} {status.pipeline_task_name} {named} {error}")


@component
def tell(text: str, status: dsl.PipelineTaskFinalStatus) -> str:
    """Says how a task ended."""
    return f"{text} {status.state}"


@dsl.pipeline
def clean_up(folder: str, name: str = "log"):
    """Leaves two lines, one after the other."""
    first = leave(folder=folder, name=name, text="first")
    leave(folder=folder, name=name, text="second").after(first)


@case(
    values={"folder": "{tmp}"},
    files={"log": "exit\n"},
    ran="exit-handler-1/say leave",
    features=["ExitHandler"],
)
def after_success(folder: str):
    with dsl.ExitHandler(leave(folder=folder, name="log", text="exit")):
        say(text="body")


@case(
    values={"folder": "{tmp}"},
    files={"log": "exit\n"},
    ran="leave",
    failed="exit-handler-1/fail",
    skipped="exit-handler-1/say",
    errors=["no good"],
    features=["ExitHandler", "failure"],
)
def after_failure(folder: str):
    with dsl.ExitHandler(leave(folder=folder, name="log", text="exit")):
        say(text=fail(message="no good").output)


@case(
    values={"folder": "{tmp}"},
    files={"status": "COMPLETE exit-handler-1 True "},
    ran="exit-handler-1/say report",
    features=["ExitHandler", "final status"],
    local=None,
    why=SUCCEEDED,
)
def status_of_success(folder: str):
    with dsl.ExitHandler(report(folder=folder, name="status")):
        say(text="body")


@case(
    values={"folder": "{tmp}"},
    files={"status": "FAILED exit-handler-1 True "},
    ran="report",
    failed="exit-handler-1/fail",
    features=["ExitHandler", "final status", "failure"],
    local=None,
    why="gives an error message, where the backend leaves it empty",
)
def status_of_failure(folder: str):
    with dsl.ExitHandler(report(folder=folder, name="status")):
        fail(message="no good")


@case(
    ran="exit-handler-1/say tell",
    parameters={"tell": {"Output": "it is COMPLETE"}},
    features=["ExitHandler", "final status", "values"],
    values={"text": "it is"},
    local="2.17",
)
def an_exit_task_with_an_output(text: str):
    with dsl.ExitHandler(tell(text=text)):
        say(text="body")


@case(
    values={"folder": "{tmp}"},
    files={"one": "COMPLETE exit-handler-1 True ", "two": "FAILED exit-handler-2 True "},
    ran="exit-handler-1/say report report-2",
    failed="exit-handler-2/fail",
    features=["ExitHandler", "several", "final status", "failure"],
    local=None,
    why=SUCCEEDED,
)
def several_in_a_row(folder: str):
    with dsl.ExitHandler(report(folder=folder, name="one")):
        say(text="body")
    with dsl.ExitHandler(report(folder=folder, name="two")):
        fail(message="no good")


@case(
    values={"folder": "{tmp}"},
    files={"log": "first\nsecond\n"},
    ran="clean-up/leave clean-up/leave-2",
    failed="exit-handler-1/fail",
    features=["ExitHandler", "nested pipelines", "failure"],
)
def a_pipeline_as_exit_task(folder: str):
    with dsl.ExitHandler(clean_up(folder=folder)):
        fail(message="no good")


@case(
    ran="exit-handler-1/say",
    failed="fail",
    errors=["exit failed"],
    features=["ExitHandler", "failure"],
)
def an_exit_task_fails():
    with dsl.ExitHandler(fail(message="exit failed")):
        say(text="body")


@case(
    values={"folder": "{tmp}", "items": ["a", "b"]},
    files={"status": "COMPLETE exit-handler-1 True "},
    ran="exit-handler-1/for-loop-2[0]/say exit-handler-1/for-loop-2[1]/say report",
    features=["ExitHandler", "ParallelFor", "final status"],
    local=None,
    why=SUCCEEDED,
)
def a_loop_in_the_body(folder: str, items: List[str]):
    with dsl.ExitHandler(report(folder=folder, name="status")):
        with dsl.ParallelFor(items) as x:
            say(text=x)


@case(
    values={"folder": "{tmp}"},
    files={"status": "FAILED exit-handler-1 True "},
    ran="exit-handler-1/for-loop-3[0]/condition-4/say report",
    failed="exit-handler-1/for-loop-3[1]/condition-5/fail",
    errors=["iteration b"],
    features=["ExitHandler", "ParallelFor", "If", "failure", "final status"],
    local=None,
    why="gives an error message, where the backend leaves it empty",
)
def a_failing_iteration_in_the_body(folder: str):
    with dsl.ExitHandler(report(folder=folder, name="status")):
        with dsl.ParallelFor(["a", "b"]) as x:
            with dsl.If(x == "a"):
                say(text=x)
            with dsl.If(x == "b"):
                fail(message=f"iteration {x}")


@case(
    values={"folder": "{tmp}", "mode": "skip"},
    files={"status": "COMPLETE exit-handler-1 True "},
    ran="report",
    skipped="exit-handler-1/condition-2",
    features=["ExitHandler", "If", "skipped", "final status"],
    local=None,
    why=SUCCEEDED,
)
def a_skipped_body(folder: str, mode: str):
    with dsl.ExitHandler(report(folder=folder, name="status")):
        with dsl.If(mode == "run"):
            say(text="body")


@case(
    values={"folder": "{tmp}"},
    files={"log": "exit\n"},
    ran="number exit-handler-1/add leave",
    parameters={"exit-handler-1/add": {"Output": 6}},
    features=["ExitHandler", "outputs"],
)
def a_body_with_inputs_of_the_enclosing_dag(folder: str):
    five = number(value=5)
    with dsl.ExitHandler(leave(folder=folder, name="log", text="exit")):
        add(a=five.output)


@case(
    values={"folder": "{tmp}"},
    files={"log": "after\n"},
    failed="fail",
    ran="leave",
    errors=["no good"],
    features=["ignore_upstream_failure", "after", "failure"],
)
def a_task_that_ignores_failure(folder: str):
    bad = fail(message="no good")
    leave(folder=folder, name="log", text="after").after(bad).ignore_upstream_failure()


@component
def say_or(text: str = "default") -> str:
    """Says what it was given."""
    return text


@case(
    failed="fail",
    ran="say-or say",
    parameters={"say-or": {"Output": "default"}, "say": {"Output": "then default"}},
    errors=["no good"],
    features=["ignore_upstream_failure", "component defaults", "failure"],
    local=None,
    why="has no value of an output that is missing",
)
def the_default_in_place_of_a_failed_output():
    bad = fail(message="no good")
    one = say_or(text=bad.output).ignore_upstream_failure()
    say(text=f"then {one.output}")


@case(
    failed="fail",
    ran="say-or",
    skipped="say",
    features=["ignore_upstream_failure", "failure", "skipped"],
    local=None,
    why="has no value of an output that is missing",
)
def ignoring_is_not_handed_on():
    bad = fail(message="no good")
    say_or(text=bad.output).ignore_upstream_failure()
    say(text=bad.output)


@component
def status_of(folder: str, text: str = "none", status: dsl.PipelineTaskFinalStatus = None):
    """Writes down how the task before it ended."""
    with open(f"{folder}/status", "w") as file:
        file.write(f"{status.state} {status.pipeline_task_name} {text}")


@case(
    values={"folder": "{tmp}"},
    files={"status": "FAILED fail none"},
    failed="fail",
    ran="status-of",
    features=["ignore_upstream_failure", "final status", "failure"],
    local=None,
    why="has no value of an output that is missing",
)
def status_of_an_ignored_failure(folder: str):
    bad = fail(message="no good")
    status_of(folder=folder, text=bad.output).ignore_upstream_failure()
