"""Follows artifacts upstream and downstream."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from millrace.lineage import query, read
from millrace.lineage.layout import ROOT_NAME
from millrace.lineage.mlmd import pb
from millrace.lineage.nodes import ArtifactRecord, Event, Task
from millrace.lineage.store import Store


@dataclass
class Graph:
    """A part of the lineage graph.

    Attributes:
        artifacts: Its artifacts by id.
        tasks: Its tasks by execution id, with everything that they read and made.
        runs: The code version, libraries and user of the tasks' runs, by run id.
        events: The events between its tasks and artifacts.
    """

    artifacts: dict[int, ArtifactRecord] = field(default_factory=dict)
    tasks: dict[int, Task] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)

    def maker(self, artifact_id: int) -> Task | None:
        """Returns the task that made an artifact, not one that took it from the cache."""
        made = [
            self.tasks[event.execution_id]
            for event in self._events_of.get(artifact_id, ())
            if event.is_output
        ]
        return min(made, key=lambda task: (task.state == "CACHED", task.id), default=None)

    def readers(self, artifact_id: int) -> list[Task]:
        """Returns the tasks that read an artifact.

        A task that took its result from the cache is left out if the one that made that result read
        the artifact too.
        """
        read_by = {
            event.execution_id
            for event in self._events_of.get(artifact_id, ())
            if not event.is_output
        }
        return [
            self.tasks[number]
            for number in sorted(read_by)
            if self.tasks[number].cached_from not in read_by
        ]

    @cached_property
    def _events_of(self) -> Mapping[int, list[Event]]:
        """The events of each artifact, once the graph is complete."""
        found: dict[int, list[Event]] = defaultdict(list)
        for event in self.events:
            found[event.artifact_id].append(event)
        return found

    def to_json(self) -> dict[str, Any]:
        """Returns the graph as `--json` prints it."""
        return {
            "artifacts": [record.to_json() for _, record in sorted(self.artifacts.items())],
            "tasks": [_without_artifacts(task) for _, task in sorted(self.tasks.items())],
            "runs": self.runs,
            "events": [
                {
                    "task": event.execution_id,
                    "artifact": event.artifact_id,
                    "type": "output" if event.is_output else "input",
                    "ports": list(event.ports),
                }
                for event in self.events
            ],
        }


def upstream(store: Store, artifact_ids: Iterable[int]) -> Graph:
    """Returns everything that artifacts were made from, as far as the store has it.

    Raises:
        StoreError: The store cannot be read.
    """
    graph, known = Graph(), _Executions(store)
    waiting = set(artifact_ids)
    while waiting:
        graph.artifacts |= read.artifacts(store, waiting)
        made = [event for event in read.events_of_artifacts(store, waiting) if event.is_output]
        makers = known.makers(made)
        new = set(makers.values()) - graph.tasks.keys()
        graph.tasks |= {number: known.task(number) for number in new}
        inputs = [event for event in read.events_of_executions(store, new) if not event.is_output]
        graph.events += inputs
        graph.events += [event for event in made if makers[event.artifact_id] == event.execution_id]
        waiting = {event.artifact_id for event in inputs} - graph.artifacts.keys()
    return _finished(store, graph, known)


def downstream(store: Store, artifact_ids: Iterable[int], task_ids: Iterable[int] = ()) -> Graph:
    """Returns everything that was made from artifacts, and by tasks.

    Raises:
        StoreError: The store cannot be read.
    """
    graph, known = Graph(), _Executions(store)
    waiting, tasks = set(artifact_ids), set(task_ids)
    while waiting or tasks:
        graph.artifacts |= read.artifacts(store, waiting)
        read_by = [
            event for event in read.events_of_artifacts(store, waiting) if not event.is_output
        ]
        known.load({event.execution_id for event in read_by} | tasks)
        tasks |= {event.execution_id for event in read_by}
        tasks = {number for number in tasks if not known.is_dag(number)} - graph.tasks.keys()
        graph.events += [event for event in read_by if not known.is_dag(event.execution_id)]
        graph.tasks |= {number: known.task(number) for number in tasks}
        made = [event for event in read.events_of_executions(store, tasks) if event.is_output]
        graph.events += made
        waiting = {event.artifact_id for event in made} - graph.artifacts.keys()
        tasks = set()
    return _finished(store, graph, known)


def _finished(store: Store, graph: Graph, known: _Executions) -> Graph:
    query.attach(store, graph.tasks.values())
    graph.events = sorted(
        {
            event
            for event in graph.events
            if event.artifact_id in graph.artifacts and event.execution_id in graph.tasks
        },
        key=lambda event: (event.execution_id, event.artifact_id, event.is_output),
    )
    graph.runs = known.runs({task.run_id for task in graph.tasks.values()})
    return graph


class _Executions:
    """The executions that were visited, with their enclosing DAGs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._messages: dict[int, pb.Execution] = {}

    def load(self, ids: Iterable[int]) -> None:
        """Reads executions and their enclosing DAGs up to the run's root."""
        missing = set(ids) - self._messages.keys()
        while missing:
            found = read.many(self._store, "get_executions_by_id", missing)
            self._messages |= {int(message.id): message for message in found}
            outer = {number for message in found if (number := read.parent(message))}
            missing = outer - self._messages.keys()

    def is_dag(self, number: int) -> bool:
        """Returns whether an execution is that of a DAG, or unknown."""
        return number not in self._messages or read.is_dag(self._messages[number])

    def makers(self, made: Iterable[Event]) -> dict[int, int]:
        """Returns the maker of each artifact: the first execution but DAGs and cache hits."""
        candidates: dict[int, list[int]] = defaultdict(list)
        for event in made:
            candidates[event.artifact_id].append(event.execution_id)
        self.load(number for numbers in candidates.values() for number in numbers)
        return {artifact: min(numbers, key=self._rank) for artifact, numbers in candidates.items()}

    def task(self, number: int) -> Task:
        """Returns an execution as a task."""
        message = self._messages[number]
        name = read.path(message, self._messages)
        return read.task(message, self._run_id(message), name)

    def runs(self, run_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Returns the properties of the runs whose roots were visited."""
        roots = {str(message.name): message for message in self._messages.values() if message.name}
        return {
            run_id: read.span(roots[ROOT_NAME + run_id])["properties"]
            for run_id in sorted(run_ids)
            if ROOT_NAME + run_id in roots
        }

    def _rank(self, number: int) -> tuple[bool, bool, int]:
        message = self._messages.get(number)
        if message is None:
            return True, True, number
        return read.is_dag(message), message.last_known_state == pb.Execution.CACHED, number

    def _run_id(self, message: pb.Execution) -> str:
        seen: set[int] = set()
        while (outer := read.parent(message)) in self._messages and outer not in seen:
            seen.add(outer or 0)
            message = self._messages[outer or 0]
        name = str(message.name)
        return name.removeprefix(ROOT_NAME) if name.startswith(ROOT_NAME) else ""


def _without_artifacts(task: Task) -> Mapping[str, Any]:
    """Returns a task as JSON, with the ids of its artifacts only."""
    return task.to_json() | {
        side: {port: [record.id for record in records] for port, records in ports.items()}
        for side, ports in (("inputs", task.inputs), ("outputs", task.outputs))
    }
