"""`medlora bench deployment`: several tasks on one backbone, by every way of serving them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlora.allocator import keep_large_blocks
from medlora.cli.options import (
    BenchBackboneOption,
    DeviceOption,
    FigureOption,
    JsonFileOption,
    PrecisionOption,
    split_names,
)
from medlora.cli.terminal import StopSignal, open_console, quote_command, show_progress, warn

if TYPE_CHECKING:
    from medlora.experiments.deployment_settings import DeploymentSettings

# Above it other work takes a share of the processor.
BUSY_LOAD = 1.0


def bench_deployment(
    backbone: BenchBackboneOption = "vit_tiny_patch16_224",
    weights: Annotated[
        str, typer.Option(help="Checkpoint of the backbone, or 'random': time is the same.")
    ] = "random",
    tasks: Annotated[int, typer.Option(min=1, help="Number of tasks.")] = 4,
    images: Annotated[int, typer.Option(min=1, help="Number of images, of all tasks.")] = 100,
    batch_size: Annotated[
        str, typer.Option(help="Images at a time; several numbers, joined by commas.")
    ] = "1,16",
    order: Annotated[
        str, typer.Option(help="How the images come: task (after task), shuffled, or both.")
    ] = "both",
    rank: Annotated[int, typer.Option(min=1, help="Rank of the adapters.")] = 4,
    rounds: Annotated[
        int, typer.Option(min=1, help="Passes over all images; medians are told.")
    ] = 3,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads to compute with; else PyTorch's choice.")
    ] = None,
    strategies: Annotated[
        str | None,
        typer.Option(
            help="Only these, joined by commas: plain, reloaded, held, switched, mixed, merged."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of pixels and of the shuffle.")] = 0,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    json_file: JsonFileOption = None,
    figure: FigureOption = None,
) -> None:
    """Measure the ways of serving several tasks: time to answer, to switch and to load; memory.

    Every strategy has a process of its own, and all take turns. A model that is loaded when its
    task comes is read from the system's file cache.
    """
    from medlora.experiments.deployment_layout import TITLES
    from medlora.experiments.deployment_settings import DeploymentSettings
    from medlora.experiments.workload import ORDERS, Workload

    settings = DeploymentSettings(
        backbone=backbone,
        weights=weights,
        workload=Workload(tasks, images, seed),
        orders=ORDERS if order == "both" else (order,),  # type: ignore[arg-type]  # checked there
        batch_sizes=_read_numbers(batch_size),
        rank=rank,
        n_rounds=rounds,
        n_threads=threads,
        device=device,
        precision=precision,  # type: ignore[arg-type]  # checked where it is used
        strategies=tuple(TITLES) if strategies is None else split_names(strategies),
    )
    result = _measure(settings, json_file, figure)
    load = result["load"][0]
    if load is not None and load > BUSY_LOAD:
        warn([f"The machine had other work: its load was {load:.1f} before the first turn."])
    _print_result(result)


def _measure(
    settings: "DeploymentSettings", json_file: Path | None, figure: Path | None
) -> dict[str, Any]:
    """Measure and write what is asked for."""
    from medlora.experiments.deployment import measure_deployment
    from medlora.experiments.record import describe_experiment
    from medlora.runs.folder import write_json
    from medlora.storage import write_atomically

    if figure is not None:
        from medlora.report.figure_file import check_figure_path

        check_figure_path(figure)
    # Never asked, it turns both signals into an interrupt, so that temporary files are removed.
    StopSignal()
    with show_progress() as progress:
        result = measure_deployment(settings, progress=progress, prepare=keep_large_blocks)
    if json_file is not None:
        seed = settings.workload.seed
        command = quote_command()
        write_json(json_file, describe_experiment("deployment", result, seed=seed, command=command))
    if figure is not None:
        from medlora.experiments.deployment_figure import draw_deployment

        write_atomically(figure, draw_deployment(result, figure))
    return result


def _read_numbers(text: str) -> tuple[int, ...]:
    from medlora.errors import SettingsError

    try:
        return tuple(dict.fromkeys(int(part) for part in split_names(text)))
    except ValueError as error:
        raise SettingsError(
            f"--batch-size must be whole numbers joined by commas, such as 1,16, not {text!r}."
        ) from error


def _print_result(result: dict[str, Any]) -> None:

    from medlora.experiments.deployment_layout import group_rows

    console = open_console()
    console.print(
        f"{result['backbone']}, {result['precision']} on {result['device']}, "
        f"{result['n_threads']} thread(s): {result['n_images']} images of {result['n_tasks']} "
        f"tasks, rank {result['rank']}, {result['n_rounds']} round(s)",
        highlight=False,
    )
    console.print(_tabulate_strategies(result["strategies"]), highlight=False)
    for title, rows in group_rows(result).items():
        console.print(_tabulate_rows(title, rows), highlight=False)
    console.print(
        "\nIT: answering all images. ST: all switches. A-ST: one switch. TT: IT, ST and\n"
        "loading. ratio: IT to that of one plain model; the aim is "
        f"{result['aim']:.2f}, MeLo's own {result['published']:.2f}.\n"
        "plain and merged answer every image as if it asked the first task: what a hot\n"
        "task's own images cost. differs by: of a probability, between strategies.",
        highlight=False,
        style="dim",
    )


def _tabulate_strategies(strategies: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("strategy")
    for title in ("parameters", "loading", "peak memory", "differs by"):
        table.add_column(title, justify="right", no_wrap=True)
    for item in strategies:
        difference = item["largest_difference"]
        table.add_row(
            f"{item['name']}: {item['title']}",
            f"{item['n_parameters']:,}",
            f"{item['loading_seconds']:.2f} s",
            f"{item['peak_memory_bytes'] / 2**20:,.0f} MiB",
            "" if difference is None else f"{difference:.1g}",
        )
    return table


def _tabulate_rows(title: str, rows: list[dict[str, Any]]) -> Any:
    from rich.table import Table

    what = "image" if rows[0]["batch_size"] == 1 else "batch"
    table = Table(
        title=f"\n{title}", title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False
    )
    table.add_column("strategy")
    for name in ("IT s", "ST s", "A-ST ms", "TT s", "ratio", f"p50 ms/{what}", f"p99 ms/{what}"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        switch = row["switch_seconds"]
        table.add_row(
            row["strategy"],
            f"{row['inference_seconds']:.3f}",
            f"{row['switching_seconds']:.3f}",
            "–" if switch is None else f"{switch * 1000:.2f}",
            f"{row['total_seconds']:.2f}",
            f"{row['ratio']:.3f}",
            f"{row['p50_seconds'] * 1000:.1f}",
            f"{row['p99_seconds'] * 1000:.1f}",
        )
    return table
