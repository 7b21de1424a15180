"""Renders lineage as trees: upstream and downstream of an artifact."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.text import Text
from rich.tree import Tree

from millrace.cli import output

if TYPE_CHECKING:
    from millrace.lineage.nodes import ArtifactRecord, Task
    from millrace.lineage.provenance import Graph

_GUIDES = "dim"
_ABOVE = "above"
_DIGEST = "_digest"


def made_of(graph: Graph, artifact_id: int) -> Tree:
    """Returns an artifact with its maker and that one's inputs, up to external data.

    Inputs of several tasks are drawn once, and then only named.
    """
    return _Ancestors(graph).tree(artifact_id)


def made_from(graph: Graph, title: Text, tasks: Iterable[Task]) -> Tree:
    """Returns the readers of artifacts with their outputs, and so on downstream."""
    tree = Tree(title, guide_style=_GUIDES)
    descendants = _Descendants(graph)
    descendants.add(tree, {task.id: descendants.ports(task) for task in tasks})
    return tree


def title(artifact: ArtifactRecord, port: str = "") -> Text:
    """Returns the title line of an artifact."""
    text = Text(overflow="fold")
    text.append(port or artifact.name, "bold")
    text.append(f"  {artifact.schema_title} #{artifact.id}")
    for word in (output.size(artifact), output.rows(artifact) and f"{output.rows(artifact)} rows"):
        text.append(f"  {word}" if word else "")
    if digest := output.digest(artifact):
        text.append(f"  sha256 {digest}", "cyan")
    if gone := output.deleted(artifact):
        text.append(f"  {gone}", "red")
    return text


class _Ancestors:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._artifacts: set[int] = set()
        self._tasks: set[int] = set()

    def tree(self, artifact_id: int) -> Tree:
        """Returns an artifact with everything above it."""
        artifact = self._graph.artifacts[artifact_id]
        tree = Tree(self._label(artifact, "", ""), guide_style=_GUIDES)
        self._add_inputs(tree, artifact_id)
        return tree

    def _add(self, tree: Tree, artifact: ArtifactRecord, port: str, run_id: str) -> None:
        number = artifact.id or 0
        if number in self._artifacts:
            tree.add(Text(f"{port}  {artifact.schema_title} #{number}, {_ABOVE}", "dim"))
            return
        self._add_inputs(tree.add(self._label(artifact, port, run_id)), number)

    def _add_inputs(self, tree: Tree, artifact_id: int) -> None:
        self._artifacts.add(artifact_id)
        task = self._graph.maker(artifact_id)
        if task is None or task.id in self._tasks:
            return
        self._tasks.add(task.id)
        for port, records in sorted(task.inputs.items()):
            for record in records:
                self._add(tree, record, port, task.run_id)

    def _label(self, artifact: ArtifactRecord, port: str, run_id: str) -> Text:
        text = title(artifact, port)
        text.append(f"\n{artifact.uri}", "dim")
        task = self._graph.maker(artifact.id or 0)
        if task is None:
            return text.append("\nexternal data", "yellow")
        text.append("\nmade by ").append(task.name, "bold green")
        if task.id in self._tasks:
            return text.append(f", {_ABOVE}", "dim")
        text.append(_how(task, run_id))
        for line in self._details(task, run_id):
            text.append(f"\n{line}", "dim")
        return text

    def _details(self, task: Task, run_id: str) -> list[str]:
        code = self._graph.runs.get(task.run_id, {}).get("code_version")
        words = [f"image {task.image}"] if task.image else []
        words += [f"millrace {code}"] if code and task.run_id != run_id else []
        words += [
            f"{name.removesuffix(_DIGEST)} {value[: output.DIGITS]}"
            for name, value in task.properties.items()
            if name.endswith(_DIGEST) and isinstance(value, str)
        ]
        lines = ["  ".join(words)] if words else []
        given = output.parameters(task.parameters)
        return [*lines, "  ".join(given)] if given else lines


class _Descendants:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._tasks: set[int] = set()

    def add(self, tree: Tree, tasks: dict[int, str], run_id: str = "") -> None:
        """Adds tasks, with the ports by which they read the artifact above them."""
        for number, ports in sorted(tasks.items()):
            task = self._graph.tasks[number]
            text = Text(overflow="fold")
            text.append(task.name, "bold green")
            if number in self._tasks:
                tree.add(text.append(f", {_ABOVE}", "dim"))
                continue
            self._tasks.add(number)
            text.append(f"  reads {ports}" if ports else "")
            text.append(_how(task, run_id))
            for port, records in task.outputs.items():
                for record in records:
                    text.append("\n→ ").append_text(title(record, port))
            self.add(tree.add(text), self._readers(task), task.run_id)

    def _readers(self, task: Task) -> dict[int, str]:
        """Returns the readers of a task's outputs, with all they read of the graph."""
        made = [record.id or 0 for records in task.outputs.values() for record in records]
        readers = {reader.id: reader for number in made for reader in self._graph.readers(number)}
        return {number: self.ports(reader) for number, reader in readers.items()}

    def ports(self, task: Task) -> str:
        """Returns the names by which a task reads artifacts of the graph."""
        return ", ".join(
            port
            for port, records in task.inputs.items()
            if any(record.id in self._graph.artifacts for record in records)
        )


def _how(task: Task, run_id: str) -> str:
    """Returns how long a task took, and its run unless that is the one already shown."""
    words = [task.state.lower() if task.state != "COMPLETE" else "", output.seconds(task.seconds)]
    words.append(f"in {task.run_id}" if task.run_id != run_id else "")
    return "".join(f"  {word}" for word in words if word)
