"""`medlora audit`: what is wrong with labelled images, before a score on them is believed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medlora.cli.options import (
    CacheOption,
    CacheSizeOption,
    ChannelsOption,
    DataArgument,
    DeviceOption,
    GroupOption,
    PrecisionOption,
    WeightsOption,
    open_cache,
    split_channels,
)
from medlora.cli.terminal import open_console, quote_command, show_progress

if TYPE_CHECKING:
    from medlora.runs.auditing import Audit

EXIT_BLOCKED = 1


def audit_images(
    data: DataArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the page, the JSON and the tables.")
    ] = Path("audit"),
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 where something has to be mended.")
    ] = False,
    fix: Annotated[
        Path | None,
        typer.Option(
            help="Write a manifest here without leaking test images, with copies grouped: train "
            "on it with --group-by group. No image is touched."
        ),
    ] = None,
    backbone: Annotated[
        str, typer.Option(help="timm's model name; none: without what needs a backbone.")
    ] = "tf_efficientnet_lite0",
    weights: WeightsOption = None,
    group_by: GroupOption = None,
    channels: ChannelsOption = "none",
    seed: Annotated[int, typer.Option(min=0, help="Of folds and shuffles.")] = 0,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    cache_dir: CacheOption = None,
    cache_size: CacheSizeOption = 20.0,
) -> None:
    """Look for copies, leaks, shortcuts and wrong labels in labelled images.

    Finds identical and nearly identical images (also recompressed, resized, cropped, turned or
    mirrored) within and across splits, patients in several splits, labels that can be told from
    file size or border alone, labels that look wrong, splits that come from different sources,
    and says what the test split can show. Writes audit.html, audit.json, duplicates.csv and
    label_errors.csv.
    """
    from medlora.backbones.weights import load_backbone
    from medlora.runs.audit_fix import check_fixed_path, write_fixed
    from medlora.runs.audit_output import write_audit
    from medlora.runs.auditing import audit_data

    if fix is not None:
        check_fixed_path(data, fix)
    series = split_channels(channels)
    network = None
    if backbone != "none":
        network = load_backbone(backbone, weights, channels=series)
    with show_progress() as progress:
        audit = audit_data(
            data,
            cache=open_cache(cache_dir, cache_size),
            backbone=network,
            group_by=group_by,
            channels=series,
            device=device,
            precision=precision,  # type: ignore[arg-type]  # checked where it is used
            seed=seed,
            progress=progress,
        )
    files = write_audit(audit, output, quote_command())
    _print_findings(audit)
    typer.echo(f"Page: {files.page}. Tables: {files.duplicates}, {files.label_errors}.")
    if fix is not None:
        fixed = write_fixed(audit, data, fix, series)
        left_out = ", ".join(f"{n:,} of {split}" for split, n in fixed.n_left_out.items())
        typer.echo(
            f"{fixed.path}: {fixed.n_images:,} images in {fixed.n_groups:,} groups; left out: "
            f"{left_out or 'none'}. Train on it with --group-by group."
        )
    if strict and audit.is_blocked:
        n_blocking = sum(finding.level == "blocks" for finding in audit.findings)
        typer.secho(f"--strict: {n_blocking} finding(s) have to be mended.", fg="red", err=True)
        raise typer.Exit(EXIT_BLOCKED)


def _print_findings(audit: "Audit") -> None:
    from rich.text import Text

    console = open_console()
    console.print(f"{audit.table.name}: {audit.table.n_images:,} images")
    words = {"blocks": ("to mend", "red"), "warns": ("to know", "yellow"), "notes": ("note", "dim")}
    for finding in audit.findings:
        word, colour = words[finding.level]
        line = Text.assemble((word, colour), f": {finding.sentence}")
        console.print(line, highlight=False)
