"""`millrace gc`, and `millrace run pin` and `unpin`, which say what it must keep."""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from millrace.cli import liveness, output
from millrace.errors import ParameterError, nearest
from millrace.report import numbers

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from millrace.lineage.nodes import ArtifactRecord, Run
    from millrace.lineage.retention import Candidate, Filter
    from millrace.lineage.store import Store
    from millrace.runner.garbage import Result

_AGE = re.compile(r"(\d{1,6})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_STATES = ("COMPLETE", "FAILED", "CANCELED", liveness.INTERRUPTED)
_WIDE = 120  # columns; below, artifacts are counted
_LISTED = 5  # of a kind; --json has all


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Which runs a person asks for, as it is written in the command."""

    older_than: str = ""
    states: Sequence[str] = ()
    pipelines: Sequence[str] = ()
    keep_last: int | None = None

    def __str__(self) -> str:
        """Returns the options again."""
        options = [
            *([("--older-than", self.older_than)] if self.older_than else []),
            *(("--state", state) for state in self.states),
            *(("--pipeline", name) for name in self.pipelines),
            *([("--keep-last", str(self.keep_last))] if self.keep_last else []),
        ]
        return shlex.join(word for option in options for word in option)


def collect(
    wanted: Wanted, delete: bool, root: str | Path, store: str | None, as_json: bool
) -> int:
    """Deletes what nothing needs of the runs that are asked for, or tells what it would delete.

    Returns:
        The exit code: 1 if something could not be deleted.

    Raises:
        ParameterError: No runs are asked for, or none that can be.
        PipelineError: Another process is deleting in this root.
        StoreError: There is no lineage store, or it cannot be read or written.
    """
    from millrace.runner import garbage, run, session

    found = _filter(wanted, run.remote_of(root) or str(output.home_of(root)))
    with output.store_of(root, store) as opened:
        _check_pipelines(opened, wanted.pipelines)
        collector = garbage.Collector(opened, output.home_of(root), found, liveness.run)
        if delete:
            result = collector.delete(session.user(), f"millrace gc {wanted}")
        else:
            result = collector.plan()
    if as_json:
        output.as_json(_document(result, delete))
    else:
        console = output.console()
        for part in _parts(result, delete, console.width >= _WIDE):
            console.print(part)
        if (result.plan.deletable or result.leftovers) and not delete:
            console.print(
                "\nNothing was deleted: that takes --delete. Other roots that reuse these results "
                "with --cache-from are not known here: pin the runs that they need.",
                style="yellow",
            )
    return 1 if result.failed else 0


def pin(text: str, root: str | Path, store: str | None, is_pinned: bool, as_json: bool) -> None:
    """Keeps everything that a run has read and made from `collect`, or no longer does.

    Raises:
        PipelineError: Another process is deleting in this root.
        StoreError: There is no such run, or the lineage store cannot be read or written.
    """
    from millrace.lineage import deletion, query
    from millrace.runner import garbage

    with output.store_of(root, store) as opened, garbage.exclusive(output.home_of(root)):
        run = deletion.pin(opened, text, is_pinned)
        tasks = query.tasks(opened, run) if is_pinned else []
    gone = {
        one.id for task in tasks for one in _artifacts(task.inputs, task.outputs) if one.deleted
    }
    if as_json:
        output.as_json(
            {"run_id": run.run_id, "pinned": is_pinned, "deleted": sorted(filter(None, gone))}
        )
        return
    console = output.console()
    does = "keeps" if is_pinned else "may delete"
    console.print(f"`millrace gc` {does} what {run.run_id} has read and made.")
    if gone:
        were = "was" if len(gone) == 1 else "were"
        console.print(
            f"{output.counted(len(gone), 'artifact')} of it {were} deleted before.", style="yellow"
        )


def _artifacts(*sides: dict[str, list[ArtifactRecord]]) -> Iterator[ArtifactRecord]:
    for ports in sides:
        for records in ports.values():
            yield from records


def _filter(wanted: Wanted, root: str) -> Filter:
    from millrace.lineage.retention import Filter

    if wanted == Wanted():
        raise ParameterError(
            "Say which runs: --older-than 30d, --state FAILED, --pipeline NAME or --keep-last N."
        )
    if wanted.keep_last is not None and wanted.keep_last < 1:
        raise ParameterError(f"--keep-last {wanted.keep_last}: it must be 1 or more.")
    states = [state.upper() for state in wanted.states]
    for state in states:
        if state == "RUNNING":
            raise ParameterError("--state RUNNING: what a run that is going on makes stays.")
        if state not in _STATES:
            raise ParameterError(
                f'There is no state "{state}": take {", ".join(_STATES)}.{nearest(state, _STATES)}'
            )
    return Filter(
        _before(wanted.older_than) if wanted.older_than else None,
        states,
        wanted.pipelines,
        wanted.keep_last or 0,
        root,
    )


def _before(age: str) -> datetime:
    match = _AGE.fullmatch(age)
    try:
        if match:
            old = timedelta(**{_UNITS[match[2]]: int(match[1])})
            return datetime.now(timezone.utc) - old
    except OverflowError:
        pass
    raise ParameterError(f'--older-than "{age}" is no age: write 12h, 30d or 8w.')


def _check_pipelines(store: Store, names: Iterable[str]) -> None:
    from millrace.lineage import query

    known = query.pipelines(store)
    for name in names:
        if name not in known:
            raise ParameterError(
                f'The lineage store has no pipeline "{name}".{nearest(name, known)} '
                f"It has {', '.join(known[:_LISTED]) or 'none'}."
            )


def _parts(result: Result, is_done: bool, is_wide: bool) -> Iterator[RenderableType]:
    """Yields what was or would be deleted, what stays, and what was left alone."""
    from rich.text import Text

    plan, left = result.plan, result.leftovers
    by_run: dict[str, list[Candidate]] = defaultdict(list)
    for one in plan.deletable:
        by_run[one.run_id].append(one)
    count = len(by_run.keys() | left.keys())
    if count:
        yield output.table(_runs_table(result.choice.runs, by_run, left, is_wide))
        yield ""
        total = numbers.size(_bytes(plan.deletable) + sum(left.values()))
        said = (
            f"{output.counted(len(plan.deletable), 'artifact')} of {output.counted(count, 'run')}"
        )
        yield Text(f"{'deleted' if is_done else 'to delete'}: {said}, {total}", "bold")
        if left:
            yield f"{numbers.size(sum(left.values()))} of it are files of tasks that failed"
    else:
        chosen = output.counted(len(result.choice.runs), "run")
        yield Text(f"There is nothing to delete in {chosen}.", "bold")
    if plan.needed:
        yield ""
        yield f"must stay: {output.counted(len(plan.needed), 'artifact')}, {_size(plan.needed)}"
        yield _grouped((one.run_id, one.why) for one in plan.needed)
    if result.choice.left:
        yield ""
        yield "left alone:"
        yield _grouped(result.choice.left.items())
    for why in result.failed.values():
        yield Text(f"not deleted: {why}", "red")


def _runs_table(
    runs: Iterable[Run], by_run: dict[str, list[Candidate]], left: dict[str, int], is_wide: bool
) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("run", "state", "ended"):
        table.add_column(name, no_wrap=True, overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("artifacts", overflow="fold")
    for run in runs:
        found, more = by_run.get(run.run_id, []), left.get(run.run_id, 0)
        if not found and not more:
            continue
        names = [one.artifact.uri.removeprefix(f"{run.root.rstrip('/')}/") for one in found]
        said = _some(names) if is_wide else f"{len(names) or ''}"
        table.add_row(
            run.run_id,
            output.state(run.state),
            output.when(run.finished or run.started, short=True),
            numbers.size(_bytes(found) + more),
            ", ".join(filter(None, [said, "what failed tasks left" if more else ""])),
        )
    return table


def _grouped(lines: Iterable[tuple[str, str]]) -> Text:
    """Returns a line for each reason, with the runs that there are for it."""
    from rich.table import Table

    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for run_id, why in lines:
        reasons[why][run_id] += 1
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold", style="dim")
    for why, runs in sorted(reasons.items(), key=lambda item: (-item[1].total(), item[0])):
        table.add_row(f"  {why}", f"{runs.total():,}", _some(list(runs)))
    return output.table(table)


def _some(names: Sequence[str]) -> str:
    more = [f"{len(names) - _LISTED:,} more"] if len(names) > _LISTED else []
    return ", ".join([*names[:_LISTED], *more])


def _bytes(candidates: Iterable[Candidate]) -> int:
    sizes = (one.artifact.metadata.get("bytes") for one in candidates if _has_size(one.artifact))
    return sum(int(size) for size in sizes if isinstance(size, (int, float)))


def _has_size(artifact: ArtifactRecord) -> bool:
    """Tells whether `bytes` is what the runner has measured, and not a metric of that name."""
    return bool(artifact.metadata.get("digest"))


def _size(candidates: Iterable[Candidate]) -> str:
    return numbers.size(_bytes(candidates))


def _document(result: Result, is_done: bool) -> dict[str, Any]:
    plan = result.plan
    of_runs = {one.run_id for one in plan.deletable} | result.leftovers.keys()
    return {
        "deleted": is_done,
        "runs": [
            {
                "run_id": run.run_id,
                "pipeline": run.pipeline,
                "state": run.state,
                "finished": run.finished.isoformat() if run.finished else None,
            }
            for run in result.choice.runs
            if run.run_id in of_runs
        ],
        "artifacts": [_one(one) for one in plan.deletable],
        "leftovers": result.leftovers,
        "bytes": _bytes(plan.deletable) + sum(result.leftovers.values()),
        "must_stay": [_one(one) | {"why": one.why} for one in plan.needed],
        "left_alone": result.choice.left,
        "failed": result.failed,
    }


def _one(candidate: Candidate) -> dict[str, Any]:
    artifact = candidate.artifact
    return {
        "id": artifact.id,
        "run_id": candidate.run_id,
        "type": artifact.schema_title,
        "uri": artifact.uri,
        "bytes": artifact.metadata.get("bytes") if _has_size(artifact) else None,
    }
