"""`millrace lineage`: the provenance of artifacts, and their verification."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace.cli import output
from millrace.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from millrace.lineage.find import Found
    from millrace.lineage.nodes import ArtifactRecord
    from millrace.lineage.provenance import Graph
    from millrace.lineage.store import Store
    from millrace.lineage.verify import Finding

_NOTHING_CHECKED = 2  # an exit code
_MODELS = ("system.Model", "system.PushedModel")


def show(
    artifact: str, root: str | Path, store: str | None, downstream: bool, as_json: bool
) -> None:
    """Prints everything an artifact was made from, or everything made from it, as a tree.

    Raises:
        StoreError: There is no such artifact, or the lineage store cannot be read.
    """
    from millrace.lineage import find, provenance

    with output.store_of(root, store) as opened:
        found = find.find(opened, artifact)
        graph = provenance.upstream(opened, _ids(found)[:1])
        if downstream := downstream or not graph.tasks:  # nothing is upstream of external data
            graph = provenance.downstream(opened, _ids(found), found.readers)
    if as_json:
        output.as_json(_document(found, graph, downstream))
        return
    console = output.console()
    if downstream:
        _print_descendants(console, found, graph)
    elif found.artifact is not None:
        from millrace.cli import trees

        console.print(trees.made_of(graph, found.artifact.id or 0))
    if found.others:
        ids = ", ".join(f"#{other.id}" for other in found.others)
        console.print(f"also of that content or at that place: {ids}", style="dim")


def verify(what: str | None, root: str | Path, store: str | None, as_json: bool) -> int:
    """Recomputes digests, prints differences from the record, and returns the exit code.

    It is 1 if anything was altered, is missing or cannot be read, and 2 if nothing could be
    checked.

    Raises:
        StoreError: There is no such run or artifact, or the lineage store cannot be read.
    """
    from millrace.lineage import verify as auditor

    with output.store_of(root, store) as opened:
        artifacts = _chosen(opened, what)
        sources = auditor.external(opened, artifacts)
    with _progress(artifacts, not as_json) as on_finding:
        findings = auditor.verify(artifacts, sources, on_finding, output.home_of(root))
    if as_json:
        output.as_json(
            {
                "ok": all(finding.verdict.good for finding in findings),
                "checked": sum(finding.verdict != "not checked" for finding in findings),
                "counts": dict(Counter(finding.verdict.value for finding in findings)),
                "findings": [finding.to_json() for finding in findings],
            }
        )
    else:
        _report(findings)
    if not all(finding.verdict.good for finding in findings):
        return 1
    is_checked = any(finding.verdict is not auditor.Verdict.UNCHECKED for finding in findings)
    return 0 if is_checked or not findings else _NOTHING_CHECKED


def _ids(found: Found) -> list[int]:
    """Returns the ids of an artifact and of those with the same content or place."""
    artifacts = (found.artifact, *found.others) if found.artifact else ()
    return [artifact.id or 0 for artifact in artifacts]


def _document(found: Found, graph: Graph, downstream: bool) -> dict[str, Any]:
    return {
        "artifact": found.artifact.to_json() if found.artifact else None,
        "uri": found.artifact.uri if found.artifact else found.uri,
        "direction": "downstream" if downstream else "upstream",
        "others": [other.id for other in found.others],
        "patterns": list(found.patterns),
        **graph.to_json(),
    }


def _print_descendants(console: Console, found: Found, graph: Graph) -> None:
    from rich.text import Text

    from millrace.cli import trees

    if found.artifact is not None:
        readers = [task for number in _ids(found) for task in graph.readers(number)]
        tasks = list({task.id: task for task in readers}.values())
        title = trees.title(found.artifact)
        title.append(f"\n{found.artifact.uri}", "dim")
        if found.patterns:
            title.append("\nmatches the pattern: whether it was there is not recorded", "yellow")
    else:
        tasks = [graph.tasks[number] for number in found.readers if number in graph.tasks]
        given = " or ".join(["it", *found.patterns])
        given += ", which it matches" if found.patterns else ""
        title = Text(found.uri, "bold").append(f"\nexternal data: tasks got {given}", "dim")
    if not tasks:
        console.print(title)
        console.print("No task has read it.", style="yellow")
        return
    console.print(trees.made_from(graph, title, tasks))
    models = [record for record in graph.artifacts.values() if record.schema_title in _MODELS]
    console.print()
    console.print(f"{output.counted(len(models), 'model')} made from it", style="dim")
    for model in sorted(models, key=lambda record: record.id or 0):
        console.print(trees.title(model).append(f"\n  {model.uri}", "dim"))


def _chosen(store: Store, what: str | None) -> list[ArtifactRecord]:
    """Returns the artifacts of a run, one artifact, or all live ones."""
    from millrace.lineage import find, query
    from millrace.lineage import verify as auditor

    if what is None:
        return auditor.live_artifacts(store)
    if what == query.LATEST or query.run_ids(store, what):
        tasks = query.tasks(store, query.find_run(store, what))
        sides = [side for task in tasks for side in (task.inputs, task.outputs)]
        records = [record for side in sides for ports in side.values() for record in ports]
        return auditor.live_artifacts(store, {record.id or 0 for record in records})
    found = find.find(store, what)
    if found.artifact is None:
        raise StoreError(
            f"{found.uri} is external data whose digest is not recorded: tasks got "
            "it as a parameter."
        )
    if found.artifact.deleted:
        raise StoreError(f"Artifact #{found.artifact.id} {output.deleted(found.artifact)}.")
    return [found.artifact]


@contextmanager
def _progress(
    artifacts: Iterable[ArtifactRecord], is_shown: bool
) -> Iterator[Callable[[Finding], None]]:
    """Shows the progress of the audit on a terminal, in bytes."""
    if not is_shown or not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

    total = sum(_bytes(artifact) for artifact in artifacts)
    columns = ("verifying", BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=total)
        yield lambda finding: progress.advance(bar, _bytes(finding.artifact))


def _bytes(artifact: ArtifactRecord) -> int:
    size = artifact.metadata.get("bytes") if artifact.metadata.get("digest") else 0
    return int(size) if isinstance(size, (int, float)) else 0


def _report(findings: list[Finding]) -> None:
    from rich.text import Text

    console = output.console()
    for finding in findings:
        if finding.verdict in ("ok", "not checked"):
            continue
        artifact = finding.artifact
        text = Text(overflow="fold")
        text.append(finding.verdict.value, "yellow" if finding.verdict.good else "bold red")
        text.append(f"  {artifact.name}  {artifact.schema_title} #{artifact.id}\n  {artifact.uri}")
        for line in (finding.reason, *finding.files):
            text.append(f"\n  {line}")
        console.print(text)
    counts = Counter(finding.verdict.value for finding in findings)
    reasons = Counter(finding.reason for finding in findings if finding.verdict == "not checked")
    parts = [f"{count} {verdict}" for verdict, count in counts.most_common()]
    console.print(
        f"{output.counted(len(findings), 'artifact')}: {', '.join(parts) or 'none recorded'}"
    )
    for reason, count in reasons.items():
        console.print(f"  {count} not checked: {reason}", style="dim")
