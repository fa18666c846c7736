"""`medlora calibrate`: a task's probabilities and thresholds made right for one's own images."""

from pathlib import Path
from typing import Annotated

import typer

from medlora.cli.options import (
    BatchOption,
    CacheOption,
    CacheSizeOption,
    CalibrationOption,
    CoverageByClassOption,
    CoverageOption,
    DataArgument,
    DeviceOption,
    GroupOption,
    PrecisionOption,
    SkipOption,
    SplitOption,
    WeightsOption,
    check_split,
    open_cache,
)
from medlora.cli.terminal import print_operating_point, print_scores, show_progress, warn


def calibrate_task(
    task: Annotated[Path, typer.Argument(help="Task file.")],
    data: DataArgument,
    output: Annotated[Path, typer.Option("--output", "-o", help="The new task file.")],
    split: SplitOption = "val",
    calibration: CalibrationOption = "auto",
    coverage: CoverageOption = None,
    coverage_by_class: CoverageByClassOption = False,
    thresholds: Annotated[
        str | None, typer.Option(help="fixed, f1 or youden; else as the task was trained.")
    ] = None,
    operating_point: Annotated[
        str | None,
        typer.Option(help="CLASS:sensitivity=0.95 and the like; else as the task was trained."),
    ] = None,
    weights: WeightsOption = None,
    group_by: GroupOption = None,
    skip_unreadable: SkipOption = False,
    batch_size: BatchOption = 32,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    cache_dir: CacheOption = None,
    cache_size: CacheSizeOption = 20.0,
) -> None:
    """Calibrate a task anew on labelled images that it was not trained on; nothing is trained.

    The scaling that the task has is undone. Thresholds, and prediction sets where the task has
    them or --coverage asks for them, are chosen anew on the same images.
    """
    from medlora.errors import SettingsError
    from medlora.runs.recalibration import (
        RecalibrationChoices,
        recalibrate_task,
        save_recalibrated,
    )

    check_split(split)
    if output.exists():
        raise SettingsError(f"{output} is there already. Choose another name with --output.")
    choices = RecalibrationChoices(
        calibration=calibration,  # type: ignore[arg-type]  # the record checks every word
        coverage=coverage,
        coverage_by_class=coverage_by_class,
        thresholds=thresholds,  # type: ignore[arg-type]
        operating_point=operating_point,
    )
    with show_progress() as progress:
        found = recalibrate_task(
            task,
            data,
            choices,
            split=split,
            cache=open_cache(cache_dir, cache_size),
            weights=weights,
            device=device,
            precision=precision,  # type: ignore[arg-type]  # checked where it is used
            group_by=group_by,
            skip_unreadable=skip_unreadable,
            batch_size=batch_size,
            progress=progress,
        )
    save_recalibrated(output, found)
    warn(found.warnings)
    card = found.task.card
    print_scores(found.scores.overall.to_dict(), f"{card.name}: the images it was calibrated on")
    print_operating_point(found.chosen_point, "these images")
    typer.echo(f"calibrated {found.trust.told}")
    if card.conformal is not None:
        limits = ", ".join(
            f"{name} {limit:.3f}"
            for name, limit in zip(card.classes, card.conformal.least, strict=True)
        )
        typer.echo(f"sets       a class from a probability of: {limits}")
    typer.echo(f"task file  {output} ({output.stat().st_size / 1e6:.2f} MB)")
