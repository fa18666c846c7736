"""`medlora compare`: which of several methods is better, as far as the images can tell."""

import re
from pathlib import Path
from typing import Annotated

import typer

from medlora.cli.compare_methods import complete_methods, plan_methods
from medlora.cli.comparison_table import print_comparison
from medlora.cli.idle_options import refuse_idle_methods, refuse_options
from medlora.cli.options import (
    BatchOption,
    CacheOption,
    CacheSizeOption,
    ChannelsOption,
    ContrastOption,
    GroupOption,
    JsonFileOption,
    PrecisionOption,
    PrepareOption,
    SkipOption,
    TestFractionOption,
    ValFractionOption,
    WeightsOption,
)

_SHARE = re.compile(r"(\d+)/(\d+)")
# What says nothing of runs that are finished.
_OF_TRAINING = (
    *("output", "backbone", "weights", "seeds", "tries", "epochs", "batch_size", "rank", "alpha"),
    *("augment", "val_fraction", "test_fraction", "channels", "prepare", "contrast", "group_by"),
    *("skip_unreadable", "subgroups", "precision"),
)
# What says nothing of numbers of right answers.
_OF_RUNS = ("margin", "unseen", "n_resamples", "seed")


def compare_runs(
    ctx: typer.Context,
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of finished runs; runs that differ in the seed are one method. With "
            "--methods: labelled images."
        ),
    ] = None,
    methods: Annotated[
        str,
        typer.Option(
            help="Train these on the images first: of linear, lora, full, factorised, "
            "pca-logistic, comma-separated."
        ),
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="With --methods: folder of the runs; what is finished there is not done again.",
        ),
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="With --methods: timm's model name.")
    ] = "tf_efficientnet_lite0",
    weights: WeightsOption = None,
    seeds: Annotated[int, typer.Option(min=1, help="With --methods: number of seeds.")] = 3,
    tries: Annotated[
        int,
        typer.Option(
            min=1,
            help="With --methods: learning rates that are tried for each, with a whole run each, "
            "and chosen on validation images.",
        ),
    ] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="With --methods: of every run.")] = 10,
    batch_size: BatchOption = 32,
    rank: Annotated[int | None, typer.Option(help="With --methods: rank of the adapter.")] = None,
    alpha: Annotated[float | None, typer.Option(help="With --methods: its strength.")] = None,
    augment: Annotated[
        str,
        typer.Option(
            help="With --methods: none; mild (turned, shifted, brighter, darker); or mirrored, "
            "which is mild and left for right. pca-logistic has none."
        ),
    ] = "none",
    val_fraction: ValFractionOption = 0.15,
    test_fraction: TestFractionOption = 0.15,
    channels: ChannelsOption = "none",
    prepare: PrepareOption = "none",
    contrast: ContrastOption = "none",
    group_by: GroupOption = None,
    skip_unreadable: SkipOption = False,
    subgroups: Annotated[
        str,
        typer.Option(help="With --methods: columns whose groups are scored, as for evaluate."),
    ] = "",
    precision: PrecisionOption = "auto",
    cache_dir: CacheOption = None,
    cache_size: CacheSizeOption = 20.0,
    counts: Annotated[
        list[str] | None,
        typer.Option(help="In place of runs: right answers of all, such as 66/71; give two."),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(help="Loss of AUROC that counts as not worse; choose it beforehand."),
    ] = None,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="Without test images that are also in training.")
    ] = False,
    n_resamples: Annotated[
        int, typer.Option("--resamples", min=0, help="Bootstrap resamples.")
    ] = 1000,
    seed: Annotated[
        int, typer.Option(min=0, help="Of the bootstrap; with --methods, of the splits.")
    ] = 0,
    json_file: JsonFileOption = None,
    reports: Annotated[
        list[Path] | None,
        typer.Option(
            "--report", help="Write a page with tables and figures: FILE.html or FILE.md."
        ),
    ] = None,
) -> None:
    """Compare methods on the same test images, and say what the figures support.

    The methods are finished runs, or are trained on one data set: with the same splits, as many
    tries of the learning rate for each, and several seeds. Stop it at any time; the same command
    goes on.

    AUROCs are compared by DeLong's method, other measures by a paired bootstrap over patients,
    accuracy by McNemar's test as well; several comparisons are corrected by Holm's method.
    """
    from dataclasses import asdict

    from medlora.cli.terminal import quote_command
    from medlora.compare.counts import compare_counts
    from medlora.errors import SettingsError
    from medlora.runs.comparing import compare_paired, pair_runs
    from medlora.runs.comparison_report import check_report_paths, write_comparison
    from medlora.runs.folder import write_json

    if bool(runs) == bool(counts):
        raise SettingsError("Give either run folders, or two of --counts such as 66/71.")
    if counts and reports:
        raise SettingsError("A report is of runs; numbers of right answers have none to show.")
    if not methods:
        reason = "goes with --methods, which trains runs. Leave it out."
        refuse_options(ctx, _OF_TRAINING, reason)
    if counts:
        refuse_options(ctx, _OF_RUNS, "has no effect on --counts. Leave it out.")
    if methods:
        plan = plan_methods(
            [*(runs or [])],
            methods=methods,
            backbone=backbone,
            weights=weights,
            seeds=seeds,
            tries=tries,
            epochs=epochs,
            batch_size=batch_size,
            rank=rank,
            alpha=alpha,
            augment=augment,
            fractions=(val_fraction, test_fraction),
            channels=channels,
            prepare=prepare,
            contrast=contrast,
            group_by=group_by,
            skip_unreadable=skip_unreadable,
            subgroups=subgroups,
            precision=precision,
            margin=margin,
            unseen=unseen,
            n_resamples=n_resamples,
            seed=seed,
        )
        refuse_idle_methods(ctx, plan.methods, f"--methods {methods}")
        folder = output or Path("runs") / f"{plan.data.stem}-methods"
        found = complete_methods(
            plan, folder, reports=reports or [], cache_dir=cache_dir, cache_size=cache_size
        )
        if json_file is not None:
            write_json(json_file, found)
        return
    if counts:
        shares = [_SHARE.fullmatch(word.strip()) for word in counts]
        if len(shares) != 2 or not all(shares):
            raise SettingsError(f"--counts takes two such as 66/71, not {' '.join(counts)!r}.")
        pairs = [(int(share[1]), int(share[2])) for share in shares if share]
        told = compare_counts(*pairs)
        typer.echo(told.verdict)
        if json_file is not None:
            write_json(json_file, asdict(told) | {"verdict": told.verdict})
        return
    check_report_paths(reports or [])
    paired = pair_runs(runs or [], unseen=unseen)
    comparison = compare_paired(paired, margin=margin, n_resamples=n_resamples, seed=seed)
    print_comparison(comparison.to_dict())
    if json_file is not None:
        write_json(json_file, comparison.to_dict())
    if reports:
        write_comparison(reports, paired, comparison, quote_command())
