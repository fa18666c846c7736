"""What a training run, or a cross-validation, came to, on the terminal."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from medlora.cli.terminal import (
    print_folds,
    print_novelty,
    print_operating_point,
    print_scores,
    print_trust,
    warn,
)

if TYPE_CHECKING:
    from medlora.runs.folds import FoldsResult
    from medlora.runs.results import RunResult

EXIT_STOPPED = 130


def show_result(result: "RunResult | FoldsResult", folder: Path) -> None:
    """Scores and files, and how to go on with what was stopped."""
    from medlora.runs.folds import FoldsResult

    if isinstance(result, FoldsResult):
        show_folds(result)
    else:
        show_run(result)
    if result.ended == "stopped":
        typer.echo(f"stopped; go on with: medlora train --resume {folder}", err=True)
        raise typer.Exit(EXIT_STOPPED)


def show_run(result: "RunResult") -> None:
    """A run's warnings, scores and files."""
    warn(result.warnings)
    if result.caching:
        typer.echo(f"features   {result.caching}")
    if result.calibration:
        typer.echo(f"calibrated {result.calibration}")
    print_operating_point(result.chosen_point, "validation images")
    if result.scores is not None:
        print_scores(result.scores.overall.to_dict(), f"All {result.split} images")
        print_operating_point(result.scores.operating_point)
        print_trust(result.scores.to_dict())
        _show_novelty(result)
        if result.scores.unseen is not None:
            print_scores(
                result.scores.unseen.to_dict(), f"{result.split} images not seen in training"
            )
    if result.task is not None:
        typer.echo(f"task file  {result.task} ({result.task.stat().st_size / 1e6:.2f} MB)")
    if result.report is not None:
        typer.echo(f"report     {result.report}")


def _show_novelty(result: "RunResult") -> None:
    if result.novelty is None or "scored" not in result.novelty:
        return
    scored, promised = result.novelty["scored"], result.novelty["promised"]
    counts = {"n_unlike": scored["n_unlike"], "share": scored["share"]["value"]}
    rates = {"false_alarms": promised["false_alarms"], "most_false_alarms": promised["most"]}
    print_novelty(counts | rates, scored["n_images"])


def show_folds(result: "FoldsResult") -> None:
    """A cross-validation's warnings, scores and files."""
    if result.scores is not None:
        warn(result.scores.warnings)
        print_scores(result.scores.out_of_fold.overall.to_dict(), "All out-of-fold answers")
        print_operating_point(result.scores.out_of_fold.operating_point)
        print_folds([run.evaluation.to_dict() for run in result.scores.runs])
    if result.refit is not None:
        show_run(result.refit)
    if result.ensemble is not None:
        typer.echo(f"ensemble   {result.ensemble}")
        typer.echo(f"folds      {result.report}")
