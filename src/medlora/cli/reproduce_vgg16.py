"""`medlora reproduce vgg16-lora`: low-rank layers in VGG16, as published and done right."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from medlora.cli.experiment import complete_experiment
from medlora.cli.options import (
    CacheOption,
    CacheSizeOption,
    PrecisionOption,
    RunsOption,
    SeedsOption,
    split_names,
)
from medlora.cli.terminal import open_console
from medlora.cli.tune import import_search

MEASURES = {"accuracy": "accuracy", "recall": "recall", "precision": "precision", "auroc": "AUROC"}


def reproduce_vgg16(
    data: Annotated[Path, typer.Option(help="Brain-tumour MRI: folders Training and Testing.")],
    output: RunsOption = Path("runs/vgg16-lora"),
    parts: Annotated[
        str,
        typer.Option(
            help="Of published, grid, rank, conditioning, method, backbone, balance, "
            "preparation, by commas; else all."
        ),
    ] = "",
    only: Annotated[
        str, typer.Option(help="Run no trials but those whose name contains this.")
    ] = "",
    seeds: SeedsOption = 1,
    precision: PrecisionOption = "auto",
    cache_dir: CacheOption = None,
    cache_size: CacheSizeOption = 20.0,
) -> None:
    """VGG16-LoRA's experiment on brain tumours: as published, and done right.

    The settings are chosen on validation images that come out of Training; the test images are
    looked at by finished runs alone. Stop it at any time; the same command goes on.
    """
    import_search()
    from medlora.experiments.vgg16_lora import read_vgg16, run_vgg16
    from medlora.experiments.vgg16_plan import Vgg16Plan

    plan = Vgg16Plan(
        data=data,
        parts=split_names(parts),
        seeds=tuple(range(seeds)),
        precision=precision,
        only=only,
    )
    result = complete_experiment(
        partial(run_vgg16, plan, output),
        partial(read_vgg16, plan, output),
        output / "vgg16-lora.json",
        cache_dir=cache_dir,
        cache_size=cache_size,
    )
    _print_parts(result)
    typer.echo(f"all figures {output / 'vgg16-lora.json'}")


def _print_parts(result: dict[str, Any]) -> None:
    from rich.table import Table

    from medlora.experiments.melo_layout import average_estimates

    console = open_console()
    for part in result["parts"]:
        if not part["rows"]:
            continue
        table = Table(title=part["title"])
        for column in ("trial", "test images", "published", *MEASURES.values()):
            table.add_column(column, overflow="fold")
        groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
        for row in part["rows"]:
            groups.setdefault((row["name"], row["n_images"]), []).append(row)
        for (name, n_images), rows in groups.items():
            means = [average_estimates([row["metrics"][key] for row in rows]) for key in MEASURES]
            cells = [f"{mean[0]:.3f}" if mean else "undef." for mean in means]
            table.add_row(name, str(n_images), rows[0]["published"], *cells)
        console.print(table, highlight=False)
        for constant in dict.fromkeys(row["constant"] for row in part["rows"] if row["constant"]):
            console.print(constant, highlight=False)
