"""The command `millrace` and its options. Each command's work is imported when it runs."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from millrace import images
from millrace.errors import MillraceError, ParameterError
from millrace.version import __version__

_HELP = "From a table to a validated, evaluated, quantised model in production, with its lineage."
_EXIT_CODES = (
    "Exit codes: 0 the run is complete, 1 it failed or the command has a mistake, "
    "2 the command line cannot be understood, 130 it was stopped."
)
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class _Commands(TyperGroup):
    """Lists the commands in the order in which people need them."""

    def list_commands(self, ctx: Any) -> list[str]:
        return ["run", "runs", "logs", "lineage", "cache", "gc", "warm", "steps", "new", "compile"]


# Help in rich's boxes takes a quarter of a second more, most of it to import a Markdown reader.
app = typer.Typer(cls=_Commands, no_args_is_help=True, add_completion=False, rich_markup_mode=None)

_ROOT_HELP = "The folder, or URI in an object store, that keeps runs, artifacts and lineage."
Root = Annotated[
    str, typer.Option("--root", envvar="MILLRACE_ROOT", metavar="ROOT", help=_ROOT_HELP)
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or the beginning of one.")]
Store = Annotated[
    str | None,
    typer.Option(
        envvar="MILLRACE_LINEAGE_STORE",
        help="The lineage store, if it is not SQLite within the root: mysql://, postgresql://, grpc://.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_ROOT = ".millrace"


class _RunGroup(TyperGroup):
    """Makes `millrace run PIPELINE` short for `millrace run start PIPELINE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or args[0] not in self.commands:
            args = ["start", *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return "" if name == "start" else name, command, rest  # so that help shows what users type


class _StartContext(typer.Context):
    @property
    def command_path(self) -> str:
        return super().command_path.rstrip()


class _Start(TyperCommand):
    """The subcommand whose name may be omitted."""

    context_class = _StartContext


run_app = typer.Typer(cls=_RunGroup, help="Runs a pipeline, or shows a run.")
cache_app = typer.Typer(help="Explains cache hits and misses.")
warm_app = typer.Typer(help="Ends the servers that outlive runs; see `millrace run --warm`.")
lineage_app = typer.Typer(help="Shows where an artifact came from, and checks what is recorded.")
app.add_typer(run_app, name="run")
app.add_typer(lineage_app, name="lineage")
app.add_typer(cache_app, name="cache")
app.add_typer(warm_app, name="warm")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback(help=_HELP, context_settings=_SETTINGS)
def root_command(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Handles the options before a command."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise ParameterError("The current folder no longer exists: change to another.") from None


@run_app.command(
    "start", cls=_Start, no_args_is_help=True, context_settings=_SETTINGS, epilog=_EXIT_CODES
)
def start(
    pipeline: Annotated[
        str,
        typer.Argument(
            metavar="PIPELINE",
            help="A pipeline's name, its folder, its pipeline.py or a compiled YAML.",
        ),
    ] = "",
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME=VALUE", help="A parameter; may be repeated."),
    ] = None,
    params: Annotated[Path | None, typer.Option(help="A JSON or YAML file of parameters.")] = None,
    root: Root = DEFAULT_ROOT,
    store: Store = None,
    runner: Annotated[
        str, typer.Option(help="Where steps run: process, on this machine; or docker.")
    ] = "process",
    docker_network: Annotated[
        str,
        typer.Option(
            envvar="MILLRACE_DOCKER_NETWORK", help="The network of containers, if not Docker's own."
        ),
    ] = "",
    secrets: Annotated[
        Path | None,
        typer.Option(
            envvar="MILLRACE_SECRETS_FILE",
            help="A YAML file with the Secrets and ConfigMaps that the pipeline asks for.",
        ),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every task anew.")] = False,
    cache_from: Annotated[
        list[Path] | None,
        typer.Option(metavar="ROOT", help="Reuse results of another root too; may be repeated."),
    ] = None,
    resume: Annotated[
        str,
        typer.Option(metavar="RUN", help="Resume a run that failed or was killed, or `latest`."),
    ] = "",
    from_task: Annotated[
        str, typer.Option("--from", metavar="TASK", help="Run this task and all that follow anew.")
    ] = "",
    to_task: Annotated[
        str, typer.Option("--to", metavar="TASK", help="Run nothing that this task does not need.")
    ] = "",
    only_task: Annotated[
        str, typer.Option("--only", metavar="TASK", help="Run this task anew, and none after it.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run and why, and run nothing.")
    ] = False,
    junit: Annotated[
        Path | None, typer.Option(help="Write the result as JUnit XML to this file.")
    ] = None,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Start nothing new after a task has failed.")
    ] = False,
    memory: Annotated[
        bool, typer.Option("--memory", help="Measure the memory of all processes together.")
    ] = False,
    warm: Annotated[
        float,
        typer.Option(
            min=0,
            envvar="MILLRACE_WARM",
            metavar="MINUTES",
            help="Keep libraries imported for this long for the next run.",
        ),
    ] = 0,
    parameters: Annotated[
        bool, typer.Option("--parameters", help="List the pipeline's parameters, and run nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Runs a pipeline on this machine; `millrace run show RUN` shows a past run."""
    from millrace.cli import run

    if bool(pipeline) == bool(resume):
        raise ParameterError("Name a PIPELINE to run, or a run to resume: --resume RUN.")
    if parameters:
        run.list_parameters(pipeline, as_json)
        return
    if resume and (from_task or to_task or only_task or no_cache):
        raise ParameterError("A resumed run keeps its options: give --resume RUN alone.")
    os.environ["MILLRACE_WARM"] = str(warm)
    code = run.start(
        pipeline,
        param or [],
        resume=resume,
        selection={"start": from_task, "end": to_task, "only": only_task},
        fail_fast=fail_fast,
        cache_from=cache_from or [],
        dry=dry_run,
        junit_file=junit,
        params_file=params,
        root=root,
        store=store,
        runner=runner,
        docker_network=docker_network,
        secrets_file=secrets,
        use_cache=not no_cache,
        measure_memory=memory,
        as_json=as_json,
    )
    raise typer.Exit(code)


@run_app.command("show", context_settings=_SETTINGS)
def show_run(
    run: RunId,
    root: Root = DEFAULT_ROOT,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Shows the tasks of a run and their outputs."""
    from millrace.cli import runs

    runs.show_run(run, root, store, as_json)


@run_app.command("report", context_settings=_SETTINGS)
def report_run(
    run: RunId,
    file: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file, if not report.html in the run's folder."),
    ] = None,
    root: Root = DEFAULT_ROOT,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Writes the report of a run: its DAG, its timeline and its tasks."""
    from millrace.cli import report

    report.write(run, file, root, store, as_json)


@run_app.command("pin", context_settings=_SETTINGS)
def pin_run(
    run: RunId,
    root: Root = DEFAULT_ROOT,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Keeps what a run has read and made from `millrace gc`."""
    from millrace.cli import gc

    gc.pin(run, root, store, is_pinned=True, as_json=as_json)


@run_app.command("unpin", context_settings=_SETTINGS)
def unpin_run(
    run: RunId,
    root: Root = DEFAULT_ROOT,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Lets `millrace gc` delete what a run has read and made."""
    from millrace.cli import gc

    gc.pin(run, root, store, is_pinned=False, as_json=as_json)


@app.command("gc", context_settings=_SETTINGS)
def collect_garbage(
    older_than: Annotated[
        str, typer.Option(metavar="AGE", help="Runs that ended so long ago: 12h, 30d or 8w.")
    ] = "",
    state: Annotated[
        list[str] | None,
        typer.Option(metavar="STATE", help="Runs in this state, such as FAILED; may be repeated."),
    ] = None,
    pipeline: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Runs of this pipeline; may be repeated."),
    ] = None,
    keep_last: Annotated[
        int | None,
        typer.Option(metavar="N", help="Not the newest N runs of each pipeline."),
    ] = None,
    delete: Annotated[
        bool,
        typer.Option("--delete/--dry-run", help="Delete, or tell what would be deleted (default)."),
    ] = False,
    root: Root = DEFAULT_ROOT,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Deletes what old runs have made, unless a pushed model, a pinned or another run needs it.

    A run is chosen if every option that is given applies to it.
    """
    from millrace.cli import gc

    wanted = gc.Wanted(older_than, tuple(state or ()), tuple(pipeline or ()), keep_last)
    raise typer.Exit(gc.collect(wanted, delete, root, store, as_json))


@app.command("logs", context_settings=_SETTINGS)
def show_logs(
    run: RunId,
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task's path.")],
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")
    ] = False,
    root: Root = DEFAULT_ROOT,
) -> None:
    """Prints the log of a task."""
    from millrace.cli import logs

    logs.show(run, task, root, follow)


@app.command("runs", context_settings=_SETTINGS)
def list_runs(
    root: Root = DEFAULT_ROOT,
    store: Store = None,
    limit: Annotated[
        int, typer.Option(min=1, help="How many runs to list, the newest first.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """Lists the runs."""
    from millrace.cli import runs

    runs.list_runs(root, store, limit, as_json)


@cache_app.command("explain", context_settings=_SETTINGS)
def explain_cache(
    run: RunId,
    task: Annotated[str, typer.Argument(metavar="TASK", help="A task's path or display name.")],
    root: Root = DEFAULT_ROOT,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Explains why a task ran, or which run its result came from."""
    from millrace.cli import cache

    cache.explain(run, task, root, store, as_json)


@warm_app.command("stop", context_settings=_SETTINGS)
def stop_warm(as_json: Json = False) -> None:
    """Stops your warm servers, and the steps that run in them."""
    from millrace.cli import warm

    warm.stop(as_json)


@lineage_app.command("show", context_settings=_SETTINGS)
def show_lineage(
    artifact: Annotated[
        str,
        typer.Argument(
            metavar="ARTIFACT", help="An artifact: its id, path, digest or RUN/TASK/OUTPUT."
        ),
    ],
    root: Root = DEFAULT_ROOT,
    store: Store = None,
    downstream: Annotated[
        bool, typer.Option("--downstream", help="Show what was made from it instead.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Shows everything an artifact was made from, as a tree."""
    from millrace.cli import lineage

    lineage.show(artifact, root, store, downstream, as_json)


@lineage_app.command("verify", context_settings=_SETTINGS)
def verify_lineage(
    what: Annotated[
        str | None,
        typer.Argument(metavar="WHAT", help="A run or an artifact; by default everything."),
    ] = None,
    root: Root = DEFAULT_ROOT,
    store: Store = None,
    as_json: Json = False,
) -> None:
    """Recomputes digests, and reports what was altered or is missing."""
    from millrace.cli import lineage

    raise typer.Exit(lineage.verify(what, root, store, as_json))


@app.command("compile", context_settings=_SETTINGS)
def compile_pipeline(
    pipeline: Annotated[
        Path, typer.Argument(metavar="PIPELINE", help="A pipeline.py, or the folder that holds it.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Where to write the YAML; needed for images of your own."
        ),
    ] = None,
    image_prefix: Annotated[
        str, typer.Option(help="The prefix of the image names, such as a registry.")
    ] = images.PREFIX,
    image_tag: Annotated[str, typer.Option(help="The tag of the images.")] = __version__,
    as_json: Json = False,
) -> None:
    """Compiles a pipeline to the YAML that KFP and `millrace run` take."""
    from millrace.cli import make

    make.compiled(pipeline, output, image_prefix, image_tag, as_json)


@app.command("steps", context_settings=_SETTINGS)
def list_steps(
    step: Annotated[
        str | None, typer.Argument(metavar="STEP", help="A step, to see its whole interface.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Lists the steps, or shows the inputs, outputs and parameters of one."""
    from millrace.cli import steps

    steps.show(step, as_json)


@app.command("new", context_settings=_SETTINGS)
def new(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The name of the pipeline and of its folder.")
    ],
    step: Annotated[
        bool, typer.Option("--step", help="Make a step with its test instead of a pipeline.")
    ] = False,
    folder: Annotated[
        Path | None,
        typer.Option("--in", help="The folder to create it in; default: this one."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Creates a pipeline from a template; it runs as it is."""
    from millrace.cli import make

    make.new(name, folder or Path(), step, as_json)


def main() -> None:
    """Runs the command line; the exit code is 1 for a user's mistake, 130 for Ctrl-C."""
    try:
        app()
    except MillraceError as error:
        typer.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.stdout = None  # nor can Python flush it at exit
        what = error.filename or "the output"
        typer.secho(f"error: Cannot write {what}: {error.strerror}.", fg="red", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
