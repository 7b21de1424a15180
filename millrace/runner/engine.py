"""Runs tasks in parallel: each as soon as its inputs exist and the machine has resources.

One thread makes all decisions. Work that blocks, such as lookups and processes, runs in a pool of
threads and reports to it. A task is first looked up in the cache, and waits for cores and memory
only if it must run. DAGs open and loops start their iterations when they are reached, so a run
holds only what is open.
"""

from __future__ import annotations

import contextlib
import itertools
import queue
import time
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from millrace.ir import placeholders
from millrace.ir import spec as ir
from millrace.ir.executors import filled
from millrace.runner.graph import DagInstance, Iterations, Outcome, TaskInstance
from millrace.runner.inputs import Inputs, TaskContext, items, iteration, reference, resolve
from millrace.runner.resources import ResourcePool
from millrace.runner.result import State, TaskResult
from millrace.runner.selection import Selection
from millrace.runner.task import TaskRunner

Events = queue.SimpleQueue[Callable[[], None]]

_LOOKUPS, _RUNS = 4, 256  # threads
_KEPT = 10_000  # iterations of a loop whose results are kept until the run ends
_OPEN = 64  # open iterations of a loop: more than there are cores, and memory stays flat


class Engine:
    """Runs one pipeline once.

    Args:
        runner: Looks tasks up, runs and records them.
        pool: Cores and memory.
        results: The result of each task so far, by path; updated, and extended as DAGs open.
        changed: Called whenever a task's state has changed.
        events: What the deciding thread does next. An event that raises KeyboardInterrupt stops
            the run, and never in the middle of a decision.
        selection: The tasks that the user asked for.
        fail_fast: Whether nothing new is started after a failure, as on a cluster with Argo.
    """

    def __init__(
        self,
        runner: TaskRunner,
        pool: ResourcePool,
        results: MutableMapping[str, TaskResult],
        changed: Callable[[TaskResult], None],
        events: Events,
        selection: Selection,
        fail_fast: bool = False,
    ) -> None:
        self._selection = selection
        self._runner = runner
        self._pool = pool
        self._results = results
        self._changed = changed
        self._events = events
        self._fail_fast = fail_fast
        self._failed = ""  # the first task that failed
        self._ready: deque[TaskInstance] = deque()
        self._waiting = _Queue()
        self._holding: set[TaskInstance] = set()  # the tasks that have taken their resources
        self._busy = 0
        self._stopping = False
        self._lookups = ThreadPoolExecutor(_LOOKUPS, "look-up")
        self._runs = ThreadPoolExecutor(_RUNS, "task")

    def run(self, component: ir.Component, given: Inputs) -> Outcome:
        """Runs the DAG of a component to its end.

        Raises:
            KeyboardInterrupt: The run was interrupted. As with whatever else is raised here, every
                task has been stopped, and recorded if the store still takes it.
        """
        root = DagInstance(component, given)
        try:
            self._open(root)
            self._proceed()
            while self._busy:
                self._events.get()()
                self._proceed()
        except BaseException:
            self._cancel()
            raise
        finally:
            self._lookups.shutdown(wait=False)
            self._runs.shutdown(wait=False)
        return root.outcome

    def _proceed(self) -> None:
        """Decides about every task that is ready, and runs as many as resources allow."""
        while self._ready:
            self._decide(self._ready.popleft())
        for one in self._waiting.fitting(self._pool):
            self._holding.add(one)
            one.result.started = time.monotonic()
            self._set(one, State.RUNNING)
            self._spawn(self._runs, one, self._run, self._ran)

    def _open(self, dag: DagInstance) -> None:
        """Creates the task instances of a DAG; those without upstream tasks are ready."""
        dag.unfinished = len(dag.body.tasks)
        for name, task in dag.body.tasks.items():
            result = self._result(task, dag.path + name)
            dag.tasks[name] = TaskInstance(task, dag, result)
            dag.waiting[name] = len(task.depends)
            if not task.depends:
                self._ready.append(dag.tasks[name])

    def _result(self, task: ir.Task, path: str) -> TaskResult:
        if path not in self._results:
            self._results[path] = TaskResult(
                path, task.display_name, is_dag=isinstance(task.component.body, ir.Dag)
            )
        return self._results[path]

    def _decide(self, one: TaskInstance) -> None:
        """Begins or skips an iteration, or a task whose upstream tasks have ended."""
        upstream = () if one.loop else (one.dag.tasks[name].result for name in one.task.depends)
        bad = next((result for result in upstream if not result.state.good), None)
        if one.result.path in self._selection.skipped:
            self._skip(one, f"not asked for: {self._selection.why}")
        elif one.task.after_failure:
            self._begin(one)
        elif bad is not None and bad.state is State.PLANNED:
            self._plan(one, f"it needs the outputs of {bad.path}")
        elif bad is not None:
            self._skip(one, _why_skipped(bad))
        elif self._fail_fast and self._failed:
            self._skip(one, f"{self._failed} failed")
        else:
            self._begin(one)

    def _begin(self, one: TaskInstance) -> None:
        """Resolves the inputs of a task, and acts on them."""
        one.result.started = time.monotonic()
        try:
            context = self._context(one)
            if one.inputs is None:
                one.inputs = resolve(one.task, context)
            condition = None if one.loop else one.task.condition
            if condition is not None and not condition.holds(one.inputs.parameters):
                self._skip(one, f"its condition is false: {condition}")
                return
            if one.is_loop:
                one.iterations = Iterations(items(one.task, one.inputs))
            elif isinstance(one.task.component.body, ir.Container):
                one.container = filled(
                    one.task.component.body,
                    self._filler(one),
                    lambda source: reference(source, context),
                )
        except Exception as error:
            self._end(one, self._runner.broken(one, error))
            return
        if one.is_loop:
            self._start_loop(one)
        elif one.is_dag:
            self._set(one, State.RUNNING)
            self._runner.start_dag(one)
            one.opened = True
            inner = DagInstance(one.task.component, one.inputs, one, loop_items=_loop_items(one))
            self._open(inner)
        else:
            self._spawn(self._lookups, one, self._runner.look_up, self._looked_up)

    def _start_loop(self, loop: TaskInstance) -> None:
        assert loop.iterations is not None
        loop.result.iterations = len(loop.iterations.items)
        self._set(loop, State.RUNNING)
        self._runner.start_dag(loop)
        loop.opened = True
        self._start_iterations(loop)

    def _start_iterations(self, loop: TaskInstance) -> None:
        """Starts as many iterations as may run at once, and ends the loop after the last."""
        iterations, task = loop.iterations, loop.task
        assert iterations is not None
        assert task.loop is not None
        assert loop.inputs is not None
        limit = min(task.loop.parallelism or _OPEN, _OPEN)
        stopped = self._fail_fast and bool(self._failed)
        while iterations.running < limit and iterations.started < len(iterations.items):
            if stopped:
                break
            index = iterations.started
            iterations.started += 1
            iterations.running += 1
            result = self._result(task, f"{loop.result.path}[{index}]")
            one = TaskInstance(task, loop.dag, result, loop, index)
            one.inputs = iteration(task, loop.inputs, iterations.items[index])
            self._ready.append(one)
        if not iterations.running:
            outcome = iterations.outcome(task.component)
            self._runner.finish_dag(loop, outcome)
            self._end(loop, outcome)

    def _looked_up(self, one: TaskInstance, outcome: Outcome | None) -> None:
        if outcome is None:
            self._waiting.put(one)
        else:
            self._end(one, outcome)

    def _run(self, one: TaskInstance) -> Outcome:
        return self._runner.run(one, lambda: self._events.put(lambda: self._release(one)))

    def _release(self, one: TaskInstance) -> None:
        """Lets others have the resources of a task, while what it came to is recorded."""
        if one in self._holding:
            self._holding.remove(one)
            self._pool.give_back(one.resources)

    def _ran(self, one: TaskInstance, outcome: Outcome) -> None:
        self._release(one)
        self._end(one, outcome)

    def _spawn(
        self,
        threads: ThreadPoolExecutor,
        one: TaskInstance,
        work: Callable[[TaskInstance], Any],
        then: Callable[[TaskInstance, Any], None],
    ) -> None:
        """Does some work of a task in another thread, and passes the outcome to this one."""

        def target() -> None:
            try:
                outcome = work(one)
            except BaseException as error:  # or nobody would learn that this thread ended
                outcome = self._runner.broken(one, error)
            self._events.put(lambda: self._came_back(one, outcome, then))

        self._busy += 1
        threads.submit(target)

    def _came_back(self, one: TaskInstance, outcome: Any, then: Callable[..., None]) -> None:
        self._busy -= 1
        if not self._stopping:
            then(one, outcome)

    def _end(self, one: TaskInstance, outcome: Outcome) -> None:
        """Notes how a task ended, and goes on with what waited for it."""
        result = one.result
        result.artifacts, result.parameters = dict(outcome.artifacts), dict(outcome.parameters)
        result.error = outcome.error
        result.seconds = time.monotonic() - result.started if result.started else 0.0
        if outcome.state is State.FAILED and not self._failed:
            self._failed = result.path
        self._set(one, outcome.state)
        if one.loop is not None:
            self._iteration_ended(one, outcome)
        else:
            self._task_ended(one)

    def _iteration_ended(self, one: TaskInstance, outcome: Outcome) -> None:
        loop = one.loop
        assert loop is not None
        assert loop.iterations is not None
        assert one.index is not None
        makes_lists = loop.task.component.output_parameters or loop.task.component.output_artifacts
        kept = outcome if makes_lists else Outcome(outcome.state, error=outcome.error)
        loop.iterations.outcomes[one.index] = kept
        if len(loop.iterations.items) > _KEPT and outcome.state.good:
            self._forget(one)
        loop.iterations.running -= 1
        loop.result.iterations_ended += 1
        self._start_iterations(loop)

    def _forget(self, one: TaskInstance) -> None:
        """Drops the results of an iteration that succeeded: lineage has them."""
        for path, _ in list(self._inner(one)):
            del self._results[path]
        del self._results[one.result.path]

    def _task_ended(self, one: TaskInstance) -> None:
        dag = one.dag
        dag.unfinished -= 1
        for name in dag.body.dependents[one.task.name]:
            dag.waiting[name] -= 1
            if not dag.waiting[name]:
                self._ready.append(dag.tasks[name])
        if not dag.unfinished and dag.owner is not None:
            outcome = dag.outcome
            self._runner.finish_dag(dag.owner, outcome)
            self._end(dag.owner, outcome)

    def _skip(self, one: TaskInstance, why: str) -> None:
        """Skips a task and the tasks in it."""
        for path, _ in self._inner(one):
            self._results[path].error = why
            self._results[path].state = State.SKIPPED
        self._end(one, Outcome(State.SKIPPED, error=why))

    def _plan(self, one: TaskInstance, why: str) -> None:
        """Marks a task and the tasks in it as ones that would run, for a dry run."""
        for path, _ in self._inner(one):
            self._results[path].state = State.PLANNED
        self._end(one, Outcome(State.PLANNED, error=why))

    def _inner(self, one: TaskInstance) -> Iterator[tuple[str, ir.Task]]:
        """Yields the tasks in a DAG that are known before it opens."""
        body = one.task.component.body
        if isinstance(body, ir.Dag):
            for path, task in ir.walk(body, f"{one.result.path}/", loops=False):
                if path in self._results:
                    yield path, task

    def _set(self, one: TaskInstance, state: State) -> None:
        one.result.state = state
        self._changed(one.result)

    def _context(self, one: TaskInstance) -> TaskContext:
        tasks = one.dag.tasks
        return TaskContext(
            one.dag.given,
            one.dag.loop_items,
            lambda task, output: tasks[task].result.parameters.get(output, ir.MISSING),
            lambda task, output: tasks[task].result.artifacts.get(output),
            lambda task: self._runner.final_status(tasks[task]),
            self._runner.placeholders(one),
            self._runner.folders,
        )

    def _filler(self, one: TaskInstance) -> Callable[[Any], Any]:
        assert one.inputs is not None
        message = {"inputs": {"parameterValues": dict(one.inputs.parameters)}, "outputs": {}}
        context = self._runner.placeholders(one)
        return lambda value: placeholders.fill_value(value, message, context)

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


class _Queue:
    """Tasks that wait for cores and memory, first come, first served among those that fit."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._lines: dict[ir.Resources, deque[tuple[int, TaskInstance]]] = {}

    def put(self, one: TaskInstance) -> None:
        """Adds a task."""
        line = self._lines.setdefault(one.resources, deque())
        line.append((next(self._numbers), one))

    def fitting(self, pool: ResourcePool) -> Iterator[TaskInstance]:
        """Yields the tasks that fit into the pool, and takes their resources from it."""
        for resources in sorted(self._lines, key=lambda key: self._lines[key][0][0]):
            line = self._lines[resources]
            while line and pool.take(resources):
                yield line.popleft()[1]
            if not line:
                del self._lines[resources]


def _loop_items(one: TaskInstance) -> dict[str, Any]:
    """Returns the items of the loops that the tasks of a DAG are in."""
    found = dict(one.dag.loop_items)
    if one.loop is not None and one.task.loop is not None and one.inputs is not None:
        name = one.task.loop.item
        if name in one.inputs.parameters:
            found[name] = one.inputs.parameters[name]
    return found


def _why_skipped(upstream: TaskResult) -> str:
    if upstream.state is State.SKIPPED and upstream.error:
        return upstream.error
    return f"{upstream.path} failed"
