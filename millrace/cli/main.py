"""The command `millrace` and its options. Each command's work is imported when it runs."""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from millrace import images
from millrace.errors import MillraceError, ParameterError
from millrace.version import __version__

_HELP = "From a table to a validated, evaluated, quantised model in production, with its lineage."
_EXIT_CODES = (
    "Exit codes: 0 the run is complete, 1 it failed or the command has a mistake, "
    "2 the command line cannot be understood, 130 it was stopped."
)
_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}
_PATH = click.Path(path_type=Path)
_ALLOCATIONS = 50_000  # between two garbage collections: imports would make hundreds
DEFAULT_ROOT = ".millrace"


class _Argument(click.Argument):
    """An argument that help describes."""

    def __init__(self, names: Sequence[str], about: str, metavar: str, **options: Any) -> None:
        self.name_shown, self.about = metavar, about
        metavar = metavar if options.get("required", True) else f"[{metavar}]"
        super().__init__(names, metavar=metavar, **options)


class _Command(click.Command):
    """A command whose help describes its arguments too."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the arguments before the options."""
        arguments = [one for one in self.params if isinstance(one, _Argument)]
        if arguments:
            with formatter.section("Arguments"):
                formatter.write_dl([(one.name_shown, one.about) for one in arguments])
        super().format_options(ctx, formatter)


class _Group(click.Group):
    """Lists the commands in the order in which they were defined."""

    command_class = _Command

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of the commands."""
        return list(self.commands)


class _StartContext(click.Context):
    @property
    def command_path(self) -> str:
        return super().command_path.rstrip()


class _Start(_Command):
    """The subcommand whose name may be omitted."""

    context_class = _StartContext


class _RunGroup(_Group):
    """Makes `millrace run PIPELINE` short for `millrace run start PIPELINE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Puts the name of the subcommand in if it is omitted."""
        if not args or args[0] not in self.commands:
            args = ["start", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Hides the name of that subcommand, so that help shows what users type."""
        name, command, rest = super().resolve_command(ctx, args)
        return "" if name == "start" else name, command, rest


_root = click.option(
    "--root",
    envvar="MILLRACE_ROOT",
    default=DEFAULT_ROOT,
    metavar="ROOT",
    show_default=True,
    show_envvar=True,
    help="The folder, or URI in an object store, that keeps runs, artifacts and lineage.",
)
_store = click.option(
    "--store",
    envvar="MILLRACE_LINEAGE_STORE",
    metavar="STORE",
    show_envvar=True,
    help="The lineage store, if it is not SQLite within the root: mysql://, postgresql://, grpc://.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_run = click.argument(
    "run", cls=_Argument, metavar="RUN", about="A run's id, or the beginning of one."
)


@click.group(cls=_Group, help=_HELP, context_settings=_SETTINGS)
@click.version_option(__version__, message="%(version)s")
def app() -> None:
    """Handles the options before a command."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise ParameterError("The current folder no longer exists: change to another.") from None


@app.group("run", cls=_RunGroup, context_settings=_SETTINGS)
def run_app() -> None:
    """Runs a pipeline, or shows a run."""


@run_app.command(
    "start", cls=_Start, no_args_is_help=True, context_settings=_SETTINGS, epilog=_EXIT_CODES
)
@click.argument(
    "pipeline",
    cls=_Argument,
    default="",
    required=False,
    metavar="PIPELINE",
    about="A pipeline's name, its folder, its pipeline.py or a compiled YAML.",
)
@click.option(
    "--param", "-p", multiple=True, metavar="NAME=VALUE", help="A parameter; may be repeated."
)
@click.option(
    "--params",
    "params_file",
    type=_PATH,
    metavar="FILE",
    help="A JSON or YAML file of parameters.",
)
@_root
@_store
@click.option(
    "--runner",
    default="process",
    metavar="NAME",
    show_default=True,
    help="Where steps run: process, on this machine; or docker.",
)
@click.option(
    "--docker-network",
    envvar="MILLRACE_DOCKER_NETWORK",
    default="",
    metavar="NAME",
    show_envvar=True,
    help="The network of containers, if not Docker's own.",
)
@click.option(
    "--secrets",
    "secrets_file",
    type=_PATH,
    envvar="MILLRACE_SECRETS_FILE",
    metavar="FILE",
    show_envvar=True,
    help="A YAML file with the Secrets and ConfigMaps that the pipeline asks for.",
)
@click.option("--no-cache", is_flag=True, help="Run every task anew.")
@click.option(
    "--cache-from",
    type=_PATH,
    multiple=True,
    metavar="ROOT",
    help="Reuse results of another root too; may be repeated.",
)
@click.option(
    "--resume",
    default="",
    metavar="RUN",
    help="Resume a run that failed or was killed, or `latest`.",
)
@click.option(
    "--from",
    "from_task",
    default="",
    metavar="TASK",
    help="Run this task and all that follow anew.",
)
@click.option(
    "--to",
    "to_task",
    default="",
    metavar="TASK",
    help="Run nothing that this task does not need.",
)
@click.option(
    "--only",
    "only_task",
    default="",
    metavar="TASK",
    help="Run this task anew, and none after it.",
)
@click.option("--dry-run", is_flag=True, help="Print what would run and why, and run nothing.")
@click.option(
    "--junit", type=_PATH, metavar="FILE", help="Write the result as JUnit XML to this file."
)
@click.option("--fail-fast", is_flag=True, help="Start nothing new after a task has failed.")
@click.option("--memory", is_flag=True, help="Measure the memory of all processes together.")
@click.option(
    "--warm",
    type=click.FloatRange(min=0),
    envvar="MILLRACE_WARM",
    default=0,
    metavar="MINUTES",
    show_default=True,
    show_envvar=True,
    help="Keep libraries imported for this long for the next run.",
)
@click.option("--parameters", is_flag=True, help="List the pipeline's parameters, and run nothing.")
@_json
def start(
    pipeline: str,
    param: tuple[str, ...],
    params_file: Path | None,
    root: str,
    store: str | None,
    runner: str,
    docker_network: str,
    secrets_file: Path | None,
    no_cache: bool,
    cache_from: tuple[Path, ...],
    resume: str,
    from_task: str,
    to_task: str,
    only_task: str,
    dry_run: bool,
    junit: Path | None,
    fail_fast: bool,
    memory: bool,
    warm: float,
    parameters: bool,
    as_json: bool,
) -> int:
    """Runs a pipeline on this machine; `millrace run show RUN` shows a past run."""
    from millrace.cli import run

    if bool(pipeline) == bool(resume):
        raise ParameterError("Name a PIPELINE to run, or a run to resume: --resume RUN.")
    if parameters:
        run.list_parameters(pipeline, as_json)
        return 0
    if resume and (from_task or to_task or only_task or no_cache):
        raise ParameterError("A resumed run keeps its options: give --resume RUN alone.")
    os.environ["MILLRACE_WARM"] = str(warm)
    return run.start(
        pipeline,
        param,
        resume=resume,
        selection={"start": from_task, "end": to_task, "only": only_task},
        fail_fast=fail_fast,
        cache_from=cache_from,
        dry=dry_run,
        junit_file=junit,
        params_file=params_file,
        root=root,
        store=store,
        runner=runner,
        docker_network=docker_network,
        secrets_file=secrets_file,
        use_cache=not no_cache,
        measure_memory=memory,
        as_json=as_json,
    )


@run_app.command("show", context_settings=_SETTINGS)
@_run
@_root
@_store
@_json
def show_run(run: str, root: str, store: str | None, as_json: bool) -> None:
    """Shows the tasks of a run and their outputs."""
    from millrace.cli import runs

    runs.show_run(run, root, store, as_json)


@run_app.command("report", context_settings=_SETTINGS)
@_run
@click.option(
    "--output",
    "-o",
    "file",
    type=_PATH,
    metavar="FILE",
    help="The file, if not report.html in the run's folder.",
)
@_root
@_store
@_json
def report_run(run: str, file: Path | None, root: str, store: str | None, as_json: bool) -> None:
    """Writes the report of a run: its DAG, its timeline and its tasks."""
    from millrace.cli import report

    report.write(run, file, root, store, as_json)


@run_app.command("pin", context_settings=_SETTINGS)
@_run
@_root
@_store
@_json
def pin_run(run: str, root: str, store: str | None, as_json: bool) -> None:
    """Keeps what a run has read and made from `millrace gc`."""
    from millrace.cli import gc

    gc.pin(run, root, store, is_pinned=True, as_json=as_json)


@run_app.command("unpin", context_settings=_SETTINGS)
@_run
@_root
@_store
@_json
def unpin_run(run: str, root: str, store: str | None, as_json: bool) -> None:
    """Lets `millrace gc` delete what a run has read and made."""
    from millrace.cli import gc

    gc.pin(run, root, store, is_pinned=False, as_json=as_json)


@app.command("runs", context_settings=_SETTINGS)
@_root
@_store
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=20,
    metavar="N",
    show_default=True,
    help="How many runs to list, the newest first.",
)
@_json
def list_runs(root: str, store: str | None, limit: int, as_json: bool) -> None:
    """Lists the runs."""
    from millrace.cli import runs

    runs.list_runs(root, store, limit, as_json)


@app.command("logs", context_settings=_SETTINGS)
@_run
@click.argument("task", cls=_Argument, metavar="TASK", about="A task's path.")
@click.option("--follow", "-f", is_flag=True, help="Go on until the run has ended.")
@_root
def show_logs(run: str, task: str, follow: bool, root: str) -> None:
    """Prints the log of a task."""
    from millrace.cli import logs

    logs.show(run, task, root, follow)


@app.group("lineage", cls=_Group, context_settings=_SETTINGS)
def lineage_app() -> None:
    """Shows where an artifact came from, and checks what is recorded."""


@lineage_app.command("show", context_settings=_SETTINGS)
@click.argument(
    "artifact",
    cls=_Argument,
    metavar="ARTIFACT",
    about="An artifact: its id, path, digest or RUN/TASK/OUTPUT.",
)
@_root
@_store
@click.option("--downstream", is_flag=True, help="Show what was made from it instead.")
@_json
def show_lineage(
    artifact: str, root: str, store: str | None, downstream: bool, as_json: bool
) -> None:
    """Shows everything an artifact was made from, as a tree."""
    from millrace.cli import lineage

    lineage.show(artifact, root, store, downstream, as_json)


@lineage_app.command("verify", context_settings=_SETTINGS)
@click.argument(
    "what",
    cls=_Argument,
    required=False,
    metavar="WHAT",
    about="A run or an artifact; by default everything.",
)
@_root
@_store
@_json
def verify_lineage(what: str | None, root: str, store: str | None, as_json: bool) -> int:
    """Recomputes digests, and reports what was altered or is missing."""
    from millrace.cli import lineage

    return lineage.verify(what, root, store, as_json)


@app.group("cache", cls=_Group, context_settings=_SETTINGS)
def cache_app() -> None:
    """Explains cache hits and misses."""


@cache_app.command("explain", context_settings=_SETTINGS)
@_run
@click.argument("task", cls=_Argument, metavar="TASK", about="A task's path or display name.")
@_root
@_store
@_json
def explain_cache(run: str, task: str, root: str, store: str | None, as_json: bool) -> None:
    """Explains why a task ran, or which run its result came from."""
    from millrace.cli import cache

    cache.explain(run, task, root, store, as_json)


@app.command("gc", context_settings=_SETTINGS)
@click.option(
    "--older-than",
    default="",
    metavar="AGE",
    help="Runs that ended so long ago: 12h, 30d or 8w.",
)
@click.option(
    "--state",
    multiple=True,
    metavar="STATE",
    help="Runs in this state, such as FAILED; may be repeated.",
)
@click.option(
    "--pipeline", multiple=True, metavar="NAME", help="Runs of this pipeline; may be repeated."
)
@click.option("--keep-last", type=int, metavar="N", help="Not the newest N runs of each pipeline.")
@click.option(
    "--delete/--dry-run",
    default=False,
    help="Delete, or tell what would be deleted (default).",
)
@_root
@_store
@_json
def collect_garbage(
    older_than: str,
    state: tuple[str, ...],
    pipeline: tuple[str, ...],
    keep_last: int | None,
    delete: bool,
    root: str,
    store: str | None,
    as_json: bool,
) -> int:
    """Deletes what old runs have made, unless a pushed model, a pinned or another run needs it.

    A run is chosen if every option that is given applies to it.
    """
    from millrace.cli import gc

    wanted = gc.Wanted(older_than, state, pipeline, keep_last)
    return gc.collect(wanted, delete, root, store, as_json)


@app.group("warm", cls=_Group, context_settings=_SETTINGS)
def warm_app() -> None:
    """Ends the servers that outlive runs; see `millrace run --warm`."""


@warm_app.command("stop", context_settings=_SETTINGS)
@_json
def stop_warm(as_json: bool) -> None:
    """Stops your warm servers, and the steps that run in them."""
    from millrace.cli import warm

    warm.stop(as_json)


@app.command("steps", context_settings=_SETTINGS)
@click.argument(
    "step",
    cls=_Argument,
    required=False,
    metavar="STEP",
    about="A step, to see its whole interface.",
)
@_json
def list_steps(step: str | None, as_json: bool) -> None:
    """Lists the steps, or shows the inputs, outputs and parameters of one."""
    from millrace.cli import steps

    steps.show(step, as_json)


@app.command("new", context_settings=_SETTINGS)
@click.argument(
    "name", cls=_Argument, metavar="NAME", about="The name of the pipeline and of its folder."
)
@click.option("--step", is_flag=True, help="Make a step with its test instead of a pipeline.")
@click.option(
    "--in",
    "folder",
    type=_PATH,
    metavar="FOLDER",
    help="The folder to create it in; default: this one.",
)
@_json
def new(name: str, step: bool, folder: Path | None, as_json: bool) -> None:
    """Creates a pipeline from a template; it runs as it is."""
    from millrace.cli import make

    make.new(name, folder or Path(), step, as_json)


@app.command("compile", context_settings=_SETTINGS)
@click.argument(
    "pipeline",
    cls=_Argument,
    type=_PATH,
    metavar="PIPELINE",
    about="A pipeline.py, or the folder that holds it.",
)
@click.option(
    "--output",
    "-o",
    type=_PATH,
    metavar="FILE",
    help="Where to write the YAML; needed for images of your own.",
)
@click.option(
    "--image-prefix",
    default=images.PREFIX,
    metavar="PREFIX",
    show_default=True,
    help="The prefix of the image names, such as a registry.",
)
@click.option(
    "--image-tag",
    default=__version__,
    metavar="TAG",
    show_default=True,
    help="The tag of the images.",
)
@_json
def compile_pipeline(
    pipeline: Path, output: Path | None, image_prefix: str, image_tag: str, as_json: bool
) -> None:
    """Compiles a pipeline to the YAML that KFP and `millrace run` take."""
    from millrace.cli import make

    make.compiled(pipeline, output, image_prefix, image_tag, as_json)


def main() -> None:
    """Runs the command line; the exit code is 1 for a user's mistake, 130 for Ctrl-C."""
    gc.set_threshold(_ALLOCATIONS)
    try:
        sys.exit(app(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except MillraceError as error:
        click.secho(f"error: {error}", fg="red", err=True)
        sys.exit(1)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(130)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        sys.stdout = None  # nor can Python flush it at exit
        what = error.filename or "the output"
        click.secho(f"error: Cannot write {what}: {error.strerror}.", fg="red", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
