"""`medlora reproduce`: published experiments, done again."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from medlora.cli.experiment import complete_experiment
from medlora.cli.options import (
    BenchBackboneOption,
    CacheOption,
    CacheSizeOption,
    PrecisionOption,
    RunsOption,
    SeedsOption,
    WeightsOption,
    locate_weights,
    split_names,
)
from medlora.cli.reproduce_vgg16 import reproduce_vgg16
from medlora.cli.terminal import open_console

app = typer.Typer(help="Published experiments, done again.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Published experiments, done again."""


app.command("vgg16-lora")(reproduce_vgg16)


@app.command("melo")
def reproduce_melo(
    data: Annotated[Path, typer.Option(help="Folder of the four data sets; see docs/melo.md.")],
    output: RunsOption = Path("runs/melo"),
    backbone: BenchBackboneOption = "vit_tiny_patch16_224",
    weights: WeightsOption = None,
    only: Annotated[str, typer.Option(help="Names of tasks, joined by commas.")] = "",
    methods: Annotated[str, typer.Option(help="Of linear, lora, full.")] = "linear,lora,full",
    seeds: SeedsOption = 3,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Epochs of a final run; else the task's own.")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Some hundred images, one epoch: to see it work.")
    ] = False,
    precision: PrecisionOption = "auto",
    cache_dir: CacheOption = None,
    cache_size: CacheSizeOption = 20.0,
) -> None:
    """MeLo's experiment 1: four tasks, linear probe against adapter against full fine-tuning.

    For each method the learning rate is chosen on validation images from as many tries. Stop it at
    any time; the same command goes on.
    """
    from medlora.experiments.melo import MeloPlan, read_melo, run_melo

    plan = MeloPlan(
        data=data,
        backbone=backbone,
        weights=locate_weights(weights),
        tasks=split_names(only),
        methods=tuple(name.strip() for name in methods.split(",")),  # type: ignore[misc]
        seeds=tuple(range(seeds)),
        epochs=epochs,
        quick=quick,
        precision=precision,
    )
    folder = output / ("quick" if quick else "whole") / backbone
    result = complete_experiment(
        partial(run_melo, plan, folder),
        partial(read_melo, plan, folder),
        folder / "melo.json",
        cache_dir=cache_dir,
        cache_size=cache_size,
    )
    _print_tables(result)
    typer.echo(f"all figures {folder / 'melo.json'}")


def _print_tables(result: dict[str, Any]) -> None:
    from rich.table import Table

    from medlora.experiments.melo_layout import COLUMNS, read_column

    console = open_console()
    total = result["backbone"]["parameters"]
    for task in result["tasks"]:
        table = Table(title=f"{task['name']} (the paper's: {task['stands_for']})")
        for column in ("method", "trained", *COLUMNS):
            table.add_column(column, justify="left" if column == "method" else "right")
        for method in dict.fromkeys(row["method"] for row in task["rows"]):
            rows = [row for row in task["rows"] if row["method"] == method]
            share = rows[0]["trainable_parameters"] / total
            cells = [
                _format([read_column(row["metrics"], name) for row in rows]) for name in COLUMNS
            ]
            table.add_row(method, f"{100 * share:.2f} %", *cells)
            if method in task["published"]:
                figures = [f"{value:.3f}" for value in task["published"][method]]
                table.add_row(f"  published {method}", "", *figures, style="dim")
        console.print(table)
        console.print(task["verdict"], highlight=False)
        console.print(f"Limits: {task['limits']}\n", highlight=False, style="dim")
    if result["quick"]:
        console.print("A quick try on some hundred images: no figure here means anything.")


def _format(estimates: list[dict[str, Any]]) -> str:
    """The mean over the seeds with the mean bounds of its interval."""
    from medlora.experiments.melo_layout import average_estimates

    mean = average_estimates(estimates)
    return f"{mean[0]:.3f} ({mean[1]:.2f}-{mean[2]:.2f})" if mean else "undef."
