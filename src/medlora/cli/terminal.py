"""What the subcommands show: progress bars, stop signals, tables of scores, warnings."""

import os
import shlex
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from medlora.progress import Progress

# So that the table of the classes fits into 80 columns.
SHORT_NAMES = {"specificity": "spec.", "precision": "prec.", "average_precision": "AP"}


def open_console() -> "Console":
    """Standard output for rich; names from data are shown as they are, whatever they hold.

    Rich would take `[red]` in a table or sentence for markup, and `:x:` for a picture.
    """
    from rich.console import Console

    return Console(markup=False, emoji=False)


def quote_command() -> str:
    """The command as it was typed, ready to be typed again."""
    return shlex.join(["medlora", *sys.argv[1:]])


@contextmanager
def show_progress(*, quiet: bool = False) -> Iterator["Progress"]:
    """Bars on a terminal, a line for each finished stage elsewhere; all on standard error.

    Args:
        quiet: Show nothing: for all but the first of several processes.
    """
    if quiet:
        from medlora.progress import silent

        yield silent
        return
    if not sys.stderr.isatty():
        yield _print_stage
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    bars = Progress(
        TextColumn("{task.description:<14}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
        console=Console(stderr=True),
    )
    tasks: dict[str, Any] = {}

    def update(stage: str, done: int, total: int, **figures: float) -> None:
        text = " ".join(f"{name}={value:.4g}" for name, value in figures.items())
        if stage in tasks and bars.tasks[bars.task_ids.index(tasks[stage])].finished:
            bars.reset(tasks[stage], total=total)
        if stage not in tasks:
            tasks[stage] = bars.add_task(stage, total=total, figures="")
        bars.update(tasks[stage], completed=done, total=total, figures=text)

    with bars:
        yield update


def _print_stage(stage: str, done: int, total: int, **figures: float) -> None:
    if done == total:
        text = " ".join(f"{name}={value:.4g}" for name, value in figures.items())
        typer.echo(f"{stage}: {total} done {text}".rstrip(), err=True)


class StopSignal:
    """Whether the user, or the system, has asked the run to stop.

    Until training first asks, Ctrl-C and SIGTERM end the program at once; from then on the
    first one asks for a clean stop with a checkpoint, and the second ends it.
    """

    def __init__(self) -> None:
        self._is_asked = False
        self._is_polled = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._receive)

    def __call__(self) -> bool:
        """Whether to stop."""
        self._is_polled = True
        return self._is_asked

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if not self._is_polled or self._is_asked:
            raise KeyboardInterrupt
        self._is_asked = True
        # Not through rich: it may hold its lock in the frame that was interrupted.
        os.write(2, b"\nStopping after this step; once more to stop at once.\n")


def print_scores(evaluation: Mapping[str, Any], title: str) -> None:
    """A table of overall and per-class scores with their intervals, on standard output."""
    from rich.table import Table

    console = open_console()
    overall = Table(title=title, title_justify="left")
    overall.add_column("measure")
    overall.add_column("value", justify="right")
    overall.add_column("95 % interval", justify="right")
    for name, estimate in evaluation["overall"].items():
        overall.add_row(name.replace("_", " "), *_format(estimate))
    console.print(overall)
    names = list(next(iter(evaluation["per_class"].values())))
    per_class = Table()
    per_class.add_column("class", overflow="fold", min_width=12)
    per_class.add_column("images", justify="right", no_wrap=True)
    for name in names:
        per_class.add_column(SHORT_NAMES.get(name, name), justify="right", no_wrap=True)
    for (label, row), count in zip(
        evaluation["per_class"].items(), evaluation["counts"], strict=True
    ):
        per_class.add_row(label, str(count), *[_format(row[name])[0] for name in names])
    console.print(per_class)


def print_operating_point(point: Mapping[str, Any] | None, images: str = "") -> None:
    """What is reached of an operating point, on standard output.

    Args:
        point: As `measure_point` gives it, perhaps with thresholds; None where there is none.
        images: On which images that is.
    """
    if point is None:
        return
    on_which = f" on {images}" if images else ""
    for each in point["reached"]:
        rates = []
        for name in ("threshold", "sensitivity", "specificity"):
            if name not in each:
                continue
            value, interval = _format(each[name])
            rates.append(f"{name} {value} ({interval})" if interval else f"{name} {value}")
        typer.echo(
            f"operating point of {each['positive']}, set for {point['wanted']['measure']} "
            f"{point['wanted']['value']:g}{on_which}: {', '.join(rates)}"
        )


def print_trust(content: Mapping[str, Any]) -> None:
    """Calibration, prediction sets and abstaining on the scored images, on standard output.

    Args:
        content: As `Scores.to_dict` writes it.
    """
    figures = content.get("calibration")
    if figures is not None:
        before, after = figures["before"], figures["after"]
        changes = [
            f"{name.replace('_', ' ')} {before[name]:.3f} to {after[name]:.3f}"
            for name in ("calibration_error", "log_loss")
        ]
        typer.echo(f"calibration here: {', '.join(changes)}")
    conformal = content.get("conformal")
    if conformal is not None:
        coverage, bounds = _format(conformal["coverage"])
        size, _ = _format(conformal["mean_size"])
        between = f" ({bounds})" if bounds else ""
        typer.echo(
            f"prediction sets hold the truth for {coverage}{between}, made for "
            f"{conformal['wanted']:g}; {size} answers in a set"
        )
    answered = content.get("abstaining")
    if answered is not None and answered["n_abstained"]:
        typer.echo(
            f"withheld {answered['n_abstained']} of {answered['n_answers']} answers; error "
            f"{_format(answered['error'])[0]} in place of {_format(answered['error_of_all'])[0]}"
        )


def print_novelty(novelty: Mapping[str, Any] | None, n_images: int) -> None:
    """How many images are unlike the training images, on standard output.

    Args:
        novelty: As `TaskEvaluation.describe_novelty` gives it.
        n_images: Of how many.
    """
    if novelty is None:
        typer.echo("unlike the training images: unknown, the task keeps nothing of them")
        return
    typer.echo(
        f"unlike the training images: {novelty['n_unlike']} of {n_images} "
        f"({novelty['share']:.1%}; of images like those of validation at most "
        f"{novelty['false_alarms']:.1%} on average, {novelty['most_false_alarms']:.1%} with 95 % "
        "confidence)"
    )


def print_folds(evaluations: Sequence[Mapping[str, Any]]) -> None:
    """A table of each fold's accuracy and AUROC with their intervals, on standard output."""
    from rich.table import Table

    table = Table(title="Fold by fold", title_justify="left")
    names = ("accuracy", "auroc")
    for heading in ("fold", "images", *[f"{name} (95 % interval)" for name in names]):
        table.add_column(heading, justify="right")
    for number, evaluation in enumerate(evaluations):
        estimates = [_format(evaluation["overall"][name]) for name in names]
        cells = [f"{value} ({interval})" if interval else value for value, interval in estimates]
        table.add_row(str(number), str(evaluation["n_images"]), *cells)
    open_console().print(table)


def _format(estimate: Mapping[str, Any]) -> tuple[str, str]:
    value, low, high = (estimate[key] for key in ("value", "low", "high"))
    shown = "undef." if isinstance(value, str) else f"{value:.3f}"
    interval = "" if isinstance(low, str) else f"{low:.3f} to {high:.3f}"
    return shown, interval


def warn(sentences: list[str] | tuple[str, ...]) -> None:
    """Warnings on standard error, one line each."""
    for sentence in sentences:
        typer.secho(f"warning: {sentence}", fg="yellow", err=True)
