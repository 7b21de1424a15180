"""Runs tasks side by side: each as soon as what it needs is there, and the machine has room.

One thread decides; tasks that look something up, run or wait have a thread of their own, and report
to it. A task is first looked up in the cache, and waits for cores and memory only if it must run.

`Engine._open` is the one place where a DAG is opened: a `dsl.ParallelFor` would open its own once
for each item.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from millrace.ir import spec as ir
from millrace.runner.graph import Node, Outcome, Scope
from millrace.runner.inputs import Inputs, TaskContext, resolve
from millrace.runner.resources import ResourcePool
from millrace.runner.result import State, TaskResult
from millrace.runner.task import TaskRunner

Events = queue.SimpleQueue[Callable[[], None]]


class Engine:
    """Runs one pipeline once.

    Args:
        runner: Does what a task is about.
        room: Cores and memory.
        results: How far each task is, by path; kept up to date.
        changed: Called whenever a task's state has changed.
        events: What the deciding thread is to do next. One that raises KeyboardInterrupt stops the
            run; it comes this way, so that it stops nothing half-way.
    """

    def __init__(
        self,
        runner: TaskRunner,
        room: ResourcePool,
        results: Mapping[str, TaskResult],
        changed: Callable[[TaskResult], None],
        events: Events,
    ) -> None:
        self._runner = runner
        self._room = room
        self._results = results
        self._changed = changed
        self._events = events
        self._missed: list[Node] = []  # not in the cache, waiting for room
        self._busy = 0
        self._stopping = False

    def run(self, component: ir.Component, given: Inputs) -> Outcome:
        """Runs the DAG of a component to its end.

        Raises:
            KeyboardInterrupt: The run was interrupted. As with whatever else is raised here, every
                task has been stopped, and recorded if the store still takes it.
        """
        try:
            root = self._open(Scope(component, given))
            self._start_missed()
            while self._busy:
                self._events.get()()
                self._start_missed()
        except BaseException:
            self._cancel()
            raise
        return root.outcome

    def _open(self, scope: Scope) -> Scope:
        """Begins the tasks of a DAG that wait for nothing."""
        for name, task in scope.dag.tasks.items():
            scope.nodes[name] = Node(task, scope, self._results[scope.path + name])
        self._advance(scope)
        return scope

    def _advance(self, scope: Scope) -> None:
        """Begins the tasks whose upstream tasks have ended; ends the DAG when all have."""
        for node in scope.nodes.values():  # in an order in which a task comes after what it needs
            upstream = [scope.nodes[name].result for name in node.task.depends]
            if node.begun or not all(one.state.ended for one in upstream):
                continue
            node.begun = True
            bad = next((one for one in upstream if not one.state.good), None)
            if bad is not None and not node.task.after_failure:
                self._skip(node, _why_skipped(bad))
            else:
                self._begin(node)
        owner = scope.owner
        if scope.ended and owner is not None and not owner.result.state.ended:
            outcome = scope.outcome
            self._runner.finish_dag(scope, outcome)
            self._end(owner, outcome)

    def _begin(self, node: Node) -> None:
        """Finds the inputs of a task and does what they call for."""
        node.result.started = time.monotonic()
        try:
            node.inputs = resolve(node.task, self._around(node))
            condition = node.task.condition
            if condition is not None and not condition.holds(node.inputs.parameters):
                self._skip(node, f"its condition is false: {condition}")
                return
        except Exception as error:
            self._finish(node, self._runner.broken(node, error))
            return
        if node.is_dag:
            self._set(node, State.RUNNING)
            execution = self._runner.start_dag(node)
            self._open(Scope(node.task.component, node.inputs, node, execution))
        else:
            self._spawn(node, self._runner.look_up, self._looked_up)

    def _looked_up(self, node: Node, outcome: Outcome | None) -> None:
        if outcome is None:
            self._missed.append(node)
        else:
            self._end(node, outcome)

    def _start_missed(self) -> None:
        """Runs what there is room for, in the order in which it came."""
        for node in list(self._missed):
            if self._room.take(node.resources):
                self._missed.remove(node)
                node.result.started = time.monotonic()
                self._set(node, State.RUNNING)
                self._spawn(node, self._runner.run, self._ran)

    def _ran(self, node: Node, outcome: Outcome) -> None:
        self._room.give_back(node.resources)
        self._end(node, outcome)

    def _spawn(
        self, node: Node, work: Callable[[Node], Any], then: Callable[[Node, Any], None]
    ) -> None:
        """Does some work of a task in a thread, and goes on with what came of it in this one."""

        def target() -> None:
            try:
                outcome = work(node)
            except BaseException as error:  # nobody else would hear that this thread has ended
                outcome = self._runner.broken(node, error)
            self._events.put(lambda: self._came_back(node, outcome, then))

        self._busy += 1
        threading.Thread(target=target, name=node.result.path, daemon=True).start()

    def _came_back(self, node: Node, outcome: Any, then: Callable[[Node, Any], None]) -> None:
        self._busy -= 1
        if not self._stopping:
            then(node, outcome)

    def _end(self, node: Node, outcome: Outcome) -> None:
        self._finish(node, outcome)
        self._advance(node.scope)

    def _finish(self, node: Node, outcome: Outcome) -> None:
        result = node.result
        result.artifacts, result.parameters = dict(outcome.artifacts), dict(outcome.parameters)
        result.error = outcome.error
        result.seconds = time.monotonic() - result.started
        self._set(node, outcome.state)

    def _skip(self, node: Node, why: str) -> None:
        """Leaves out a task, and the tasks in it."""
        path = node.result.path
        for other in self._results.values():
            if other.path.startswith(f"{path}/"):
                other.error, other.state = why, State.SKIPPED
        node.result.error = why
        self._set(node, State.SKIPPED)

    def _set(self, node: Node, state: State) -> None:
        node.result.state = state
        self._changed(node.result)

    def _around(self, node: Node) -> TaskContext:
        results = {name: one.result for name, one in node.scope.nodes.items()}
        return TaskContext(
            node.scope.given,
            lambda task, output: results[task].parameters.get(output, ir.MISSING),
            lambda task, output: results[task].artifacts.get(output),
            lambda task: self._runner.final_status(results[task]),
            self._runner.facts(node),
            self._runner.folders,
        )

    def _cancel(self) -> None:
        """Stops what is running, and waits until each thread has recorded how its task ended."""
        self._stopping = True
        self._runner.stop.ask()
        while self._busy:
            with contextlib.suppress(KeyboardInterrupt):  # it is being stopped
                self._events.get()()
        for result in self._results.values():
            if not result.state.ended:
                result.state = State.CANCELED
                result.seconds = time.monotonic() - result.started if result.started else 0.0
        self._runner.cancel_dags()


def _why_skipped(upstream: TaskResult) -> str:
    if upstream.state is State.SKIPPED and upstream.error:
        return upstream.error
    return f"{upstream.path} failed"
