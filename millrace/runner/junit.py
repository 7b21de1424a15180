"""Renders a run as JUnit XML for continuous integration servers: one test case per task.

The format is the one that Jenkins and GitLab read:
https://github.com/testmoapp/junitxml.
"""

from __future__ import annotations

from xml.etree import ElementTree

from millrace.ir.text import printable
from millrace.runner.result import RunResult, State


def document(result: RunResult) -> bytes:
    """Returns the document of a run."""
    tasks = [task for task in result.tasks.values() if not task.is_dag]
    states = [task.state for task in tasks]
    skipped = sum(state not in (State.COMPLETE, State.CACHED, State.FAILED) for state in states)
    suite = ElementTree.Element(
        "testsuite",
        name=result.pipeline,
        id=result.run_id,
        tests=str(len(tasks)),
        failures=str(states.count(State.FAILED)),
        skipped=str(skipped),
        time=f"{result.seconds:.3f}",
    )
    for task in tasks:
        case = ElementTree.SubElement(
            suite, "testcase", classname=result.pipeline, name=task.path, time=f"{task.seconds:.3f}"
        )
        message = printable(task.error)
        if task.state is State.FAILED:
            ElementTree.SubElement(case, "failure", message=message).text = (
                f"{message}\nIts log: {task.log}" if task.log else message
            )
        elif task.state not in (State.COMPLETE, State.CACHED):
            ElementTree.SubElement(case, "skipped", message=message or task.state.value.lower())
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True))
