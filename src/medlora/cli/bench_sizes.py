"""`medlora bench sizes`: what an adapter trains on backbones of every size."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medlora.cli.options import FigureOption, JsonFileOption, split_names
from medlora.cli.terminal import open_console, quote_command, show_progress

if TYPE_CHECKING:
    from medlora.experiments.size_scores import RunScore
    from medlora.experiments.sizes import BackboneSize


def bench_sizes(
    backbones: Annotated[
        str | None,
        typer.Option(
            help="timm's names, joined by commas; else vision transformers from tiny to gigantic."
        ),
    ] = None,
    rank: Annotated[int, typer.Option(min=1, help="Rank of the adapter.")] = 4,
    classes: Annotated[int, typer.Option(min=1, help="Classes of the head.")] = 2,
    scores: Annotated[
        list[Path] | None,
        typer.Option(help="A finished run's folder, or its evaluation.json; may be repeated."),
    ] = None,
    measure: Annotated[str, typer.Option(help="Which score of the runs.")] = "auroc",
    json_file: JsonFileOption = None,
    figure: FigureOption = None,
) -> None:
    """Count what an adapter trains, by backbone, beside the scores of finished runs.

    Counting needs no weights: networks are built without their values.
    """
    from medlora.experiments.record import describe_experiment
    from medlora.experiments.size_scores import read_scores
    from medlora.experiments.sizes import DEFAULT_BACKBONES, count_sizes
    from medlora.runs.folder import write_json

    if figure is not None:
        from medlora.report.figure_file import check_figure_path

        check_figure_path(figure)
    found = read_scores(scores or [], measure)
    asked = split_names(backbones or "")
    names = list(dict.fromkeys(asked if backbones is not None else DEFAULT_BACKBONES))
    scored = [score.backbone for score in found if score.backbone not in names]
    with show_progress() as progress:
        sizes = count_sizes(
            [*names, *dict.fromkeys(scored)], rank=rank, n_classes=classes, progress=progress
        )
    if json_file is not None:
        result = {
            "rank": rank,
            "n_classes": classes,
            "rows": [size.to_dict() for size in sizes],
            "scores": [score.to_dict() for score in found],
        }
        write_json(
            json_file, describe_experiment("sizes", result, seed=None, command=quote_command())
        )
    if figure is not None:
        _draw(sizes, found, figure)
    _print_sizes(sizes)
    if found:
        _print_scores(found)


def _draw(sizes: list["BackboneSize"], scores: list["RunScore"], figure: Path) -> None:
    from medlora.experiments.sizes_figure import draw_sizes
    from medlora.storage import write_atomically

    write_atomically(figure, draw_sizes(sizes, scores, figure))


def _print_sizes(sizes: list["BackboneSize"]) -> None:

    table = _make_table("backbone", "parameters", "adapter", "head", "trained", "share")
    for size in sizes:
        table.add_row(
            size.backbone,
            f"{size.n_parameters:,}",
            f"{size.n_adapter:,}",
            f"{size.n_head:,}",
            f"{size.n_trainable:,}",
            f"{size.share:.3%}",
        )
    open_console().print(table, highlight=False)


def _print_scores(scores: list["RunScore"]) -> None:

    table = _make_table("run", "trained", "images", scores[0].measure, "95 % interval")
    for score in scores:
        interval = "" if score.low is None else f"{score.low:.3f} to {score.high:.3f}"
        table.add_row(
            f"{score.data}, {score.split}\n{score.backbone}\n{score.method}, {score.run}",
            f"{score.n_trainable:,}",
            f"{score.n_images:,}",
            f"{score.value:.3f}",
            interval,
        )
    open_console().print(table, highlight=False)


def _make_table(first: str, *others: str) -> Any:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column(first, overflow="fold")
    for title in others:
        table.add_column(title, justify="right", no_wrap=True)
    return table
