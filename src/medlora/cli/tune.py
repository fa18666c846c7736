"""`medlora tune`: a search for the settings that do best on validation images."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medlora.cli.idle_options import refuse_beside_resume
from medlora.cli.options import (
    AcceleratorOption,
    CacheOption,
    CacheSizeOption,
    GroupOption,
    NameOption,
    NoteOption,
    OptionalDataArgument,
    OverlapOption,
    SkipOption,
    WeightsOption,
    locate_weights,
    name_task,
    open_cache,
)
from medlora.cli.outcome import EXIT_STOPPED, show_run
from medlora.cli.terminal import StopSignal, open_console, quote_command, show_progress, warn
from medlora.cli.train import launch_fabric

if TYPE_CHECKING:
    from medlora.progress import Progress
    from medlora.tune.plan import TuneFolder, TunePlan
    from medlora.tune.results import StudyResult

_N_SHOWN = 10
_N_TRIALS = 20


def tune_task(
    ctx: typer.Context,
    data: OptionalDataArgument = None,
    space: Annotated[
        Path | None, typer.Option(help="YAML file: the settings to vary, and those to hold.")
    ] = None,
    sampler: Annotated[str, typer.Option(help="grid (every combination), random or tpe.")] = "tpe",
    trials: Annotated[
        int | None, typer.Option(min=1, help=f"How many to try; else {_N_TRIALS}, or the grid's.")
    ] = None,
    folds: Annotated[
        int, typer.Option(min=0, help="Score each trial by so many folds; 0: one validation split.")
    ] = 0,
    pruner: Annotated[
        str, typer.Option(help="median ends trials that fall behind the others; or none.")
    ] = "median",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder; else runs/NAME-tuning.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(help="Go on with this folder's search; --trials makes it longer."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="SQLAlchemy URL of the study's database; else a file in the folder."),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="The study's name in the database; else the task's.")
    ] = None,
    name: NameOption = None,
    note: NoteOption = "",
    weights: WeightsOption = None,
    group_by: GroupOption = None,
    allow_patient_overlap: OverlapOption = False,
    skip_unreadable: SkipOption = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is tried.")] = 0,
    accelerator: AcceleratorOption = "auto",
    cache_dir: CacheOption = None,
    cache_size: CacheSizeOption = 20.0,
    cache_features: Annotated[
        str, typer.Option(help="Compute frozen layers once for all trials: on, off or auto.")
    ] = "auto",
) -> None:
    """Search settings on training and validation images; test the best of them once.

    The same command goes on where it stopped, and in several terminals it shares the work.
    """
    from medlora.errors import SettingsError
    from medlora.runs.folder import RunPlan
    from medlora.tune.plan import TuneFolder, TunePlan
    from medlora.tune.space_file import load_space

    import_search()
    if resume is not None:
        if data is not None or space is not None:
            raise SettingsError(
                "--resume FOLDER goes on with what is there: give no DATA, no --space."
            )
        refuse_beside_resume(ctx, ("trials", "accelerator", "cache_dir", "cache_size"))
        folder = TuneFolder(resume)
        plan = folder.read_plan()
        _check_trials(plan.sampler, trials)
        plan = replace(plan, n_trials=trials or plan.n_trials)
    else:
        if data is None or space is None:
            raise SettingsError(
                "Give DATA and --space FILE to start a search, or --resume FOLDER to go on."
            )
        _check_trials(sampler, trials)
        searched = load_space(space)
        source = data.resolve()
        run = RunPlan(
            data=str(source),
            settings=searched.base,
            name=name or name_task(source),
            weights=locate_weights(weights),
            group_by=group_by,
            skip_unreadable=skip_unreadable,
            allow_patient_overlap=allow_patient_overlap,
            note=note,
            command=quote_command(),
            cache_features=cache_features,  # type: ignore[arg-type]
        )
        plan = TunePlan(
            run=run,
            space=searched,
            sampler=sampler,  # type: ignore[arg-type]  # the plan checks every word
            n_trials=trials or _N_TRIALS,
            n_folds=folds,
            pruner=pruner,  # type: ignore[arg-type]
            seed=seed,
            study=study or run.name,
            storage=storage,
        )
        folder = TuneFolder(output or Path("runs") / f"{run.name}-tuning")
    _search(plan, folder, accelerator, cache_dir, cache_size)


def _check_trials(sampler: str, trials: int | None) -> None:
    from medlora.errors import SettingsError

    if sampler == "grid" and trials is not None:
        raise SettingsError("A grid is tried as a whole: leave --trials out.")


def import_search() -> None:
    """See that Optuna is installed, before any work.

    Raises:
        SettingsError: It is not.
    """
    from medlora.errors import SettingsError

    try:
        import optuna
    except ImportError as error:
        raise SettingsError("Tuning needs Optuna: pip install 'medlora[tune]'.") from error
    # A trial that fails stands in the table with its reason.
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)


def _search(
    plan: "TunePlan",
    folder: "TuneFolder",
    accelerator: str,
    cache_dir: Path | None,
    cache_size: float,
) -> None:
    from medlora.tune.search import run_search

    fabric = launch_fabric(accelerator, 1)
    with show_progress() as bars:
        progress = bars if sys.stderr.isatty() else _tell_trials(bars)
        result = run_search(
            plan,
            folder,
            cache=open_cache(cache_dir, cache_size),
            fabric=fabric,
            progress=progress,
            should_stop=StopSignal(),
        )
    print_trials(result.results)
    failed = [row for row in result.results.trials if row.error]
    warn([f"trial {row.index} failed: {row.error}" for row in failed[:3]])
    if result.best is not None:
        show_run(result.best)
    typer.echo(f"trials     {folder.table}")
    for figure in (folder.importance, folder.parallel):
        if figure.is_file():
            typer.echo(f"figure     {figure}")
    if result.ended == "stopped":
        typer.echo(f"stopped; go on with: medlora tune --resume {folder.path}", err=True)
        raise typer.Exit(EXIT_STOPPED)
    if result.ended == "shared":
        typer.echo("other processes are still at work; the last of them tests the best trial.")


def _tell_trials(lines: "Progress") -> "Progress":
    """Lines that tell of every trial, since a search may take a night."""

    def update(stage: str, done: int, total: int, **figures: float) -> None:
        if stage == "trials":
            best = " ".join(f"{name}={value:.4f}" for name, value in figures.items())
            typer.echo(f"trials: {done} of {total} done {best}".rstrip(), err=True)
        else:
            lines(stage, done, total, **figures)

    return update


def print_trials(results: "StudyResult") -> None:
    """The best trials and what mattered, on standard output."""
    from rich.table import Table

    console = open_console()
    states = [row.state for row in results.trials]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    # A search that is asked for fewer than it already has keeps them all.
    n_planned = max(results.n_planned, len(states))
    title = f"{len(states)} of {n_planned} trials ({counts}), best first"
    table = Table(title=title, title_justify="left")
    names = list(dict.fromkeys(name for row in results.trials for name in row.values))
    table.add_column("trial", justify="right")
    table.add_column(f"validation {results.measure}", justify="right")
    for name in names:
        table.add_column(name.replace("augmentation.", ""), overflow="fold")
    for row in results.ranking[:_N_SHOWN]:
        cells = [_spell(row.values.get(name)) for name in names]
        table.add_row(str(row.index), f"{row.score:.4f}", *cells)
    console.print(table)
    if results.importances:
        shares = [f"{name} {share:.2f}" for name, share in results.importances.items()]
        console.print(f"importance: {', '.join(shares)}", highlight=False)


def _spell(value: object) -> str:
    if value is None:
        return "own"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
