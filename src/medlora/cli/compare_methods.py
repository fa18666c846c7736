"""`medlora compare DATA --methods`: ways of training, each given the same chances."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from medlora.cli.comparison_table import print_comparison
from medlora.cli.experiment import complete_experiment
from medlora.cli.options import locate_weights, split_channels, split_steps
from medlora.cli.subgroups import print_subgroups
from medlora.cli.terminal import quote_command, warn

if TYPE_CHECKING:
    from medlora.experiments.methods import MethodsPlan


def plan_methods(
    paths: list[Path],
    *,
    methods: str,
    backbone: str,
    weights: str | None,
    seeds: int,
    tries: int,
    epochs: int,
    batch_size: int,
    rank: int | None,
    alpha: float | None,
    augment: str,
    fractions: tuple[float, float],
    channels: str,
    prepare: str,
    contrast: str,
    group_by: str | None,
    skip_unreadable: bool,
    subgroups: str,
    precision: str,
    margin: float | None,
    unseen: bool,
    n_resamples: int,
    seed: int,
) -> "MethodsPlan":
    """What the options ask for; the arguments are those of the command.

    Raises:
        SettingsError: An option is out of range, or there is not one data set.
    """
    from medlora.data.augment import Augmentation
    from medlora.errors import SettingsError
    from medlora.evaluate.grouping import parse_columns
    from medlora.experiments.augmentations import vary_mildly
    from medlora.experiments.methods import MethodsPlan
    from medlora.train.settings import TrainSettings

    if len(paths) != 1:
        raise SettingsError(
            f"--methods trains on one set of labelled images, and {len(paths)} paths are given. "
            "Leave --methods out to compare finished runs."
        )
    variations = {
        "none": Augmentation(),
        "mild": vary_mildly(flips=False),
        "mirrored": vary_mildly(flips=True),
    }
    if augment not in variations:
        raise SettingsError(f"--augment must be none, mild or mirrored, not {augment!r}.")
    settings = TrainSettings(
        backbone=backbone,
        rank=rank,
        alpha=alpha,
        epochs=epochs,
        batch_size=batch_size,
        augmentation=variations[augment],
        channels=split_channels(channels),
        prepare=split_steps(prepare),
        contrast=contrast,  # type: ignore[arg-type]  # the settings check every word
        precision=precision,  # type: ignore[arg-type]
        val_fraction=fractions[0],
        test_fraction=fractions[1],
        seed=seed,
    )
    return MethodsPlan(
        data=paths[0].resolve(),
        methods=tuple(word.strip() for word in methods.split(",")),  # type: ignore[misc]
        settings=settings,
        seeds=tuple(range(seeds)),
        n_tries=tries,
        weights=locate_weights(weights),
        group_by=group_by,
        skip_unreadable=skip_unreadable,
        margin=margin,
        unseen=unseen,
        subgroups=parse_columns(subgroups),
        n_resamples=n_resamples,
        command=quote_command(),
    )


def complete_methods(
    plan: "MethodsPlan",
    folder: Path,
    *,
    reports: list[Path],
    cache_dir: Path | None,
    cache_size: float,
) -> dict[str, Any]:
    """Run what is missing, show the comparison, and keep it as `comparison.json` and a page.

    Args:
        plan: What to compare.
        folder: Where the runs lie.
        reports: More pages to write, .html or .md.
        cache_dir: Folder of decoded images.
        cache_size: Its bound in GB.

    Raises:
        Exit: It was stopped.
    """
    from medlora.experiments.methods import FinishedMethods, run_methods
    from medlora.runs.comparison_report import check_report_paths

    check_report_paths(reports)
    path = folder / "comparison.json"
    finished = FinishedMethods(plan, folder)
    found = complete_experiment(
        partial(run_methods, plan, folder),
        finished.read,
        path,
        cache_dir=cache_dir,
        cache_size=cache_size,
    )
    print_comparison(found["comparison"])
    warn(found["notes"])
    for method, columns in found.get("subgroups", {}).items():
        for record in columns:
            print_subgroups(record, f"{method}, by {record['column']}")
    page = folder / "comparison.html"
    finished.report(found, [page, *reports])
    typer.echo(f"page {page}")
    typer.echo(f"all figures {path}")
    return found
