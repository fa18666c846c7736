"""`medlora preview`: images before and after each step of preparation, on one sheet."""

from pathlib import Path
from typing import Annotated

import typer

from medlora.cli.options import (
    ChannelsOption,
    ContrastOption,
    DataArgument,
    PrepareOption,
    split_channels,
    split_steps,
)
from medlora.cli.terminal import show_progress


def preview_data(
    data: DataArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The sheet: a .png or .svg file.")
    ] = Path("preview.png"),
    channels: ChannelsOption = "none",
    prepare: PrepareOption = "none",
    contrast: ContrastOption = "none",
    backbone: Annotated[
        str, typer.Option(help="timm's model name: the last column is what it would get.")
    ] = "tf_efficientnet_lite0",
    n_images: Annotated[int, typer.Option("--images", min=1, max=64, help="How many.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Which images are drawn.")] = 0,
) -> None:
    """Draw images of every class and split before and after each step of preparation.

    Channels, steps, contrast and backbone are named as for `medlora train`; each series of a case
    has a row. The sheet names no file and no patient; text that is burnt into an image is shown as
    it is in the original.
    """
    from dataclasses import replace

    from matplotlib.figure import Figure

    from medlora.backbones.spec import read_named_preprocessing
    from medlora.data.table import read_table
    from medlora.report.contact_sheet import measure_sheet, paint_sheet
    from medlora.report.figure_file import check_figure_path, render_figure
    from medlora.runs.preview import pick_rows, preview_rows
    from medlora.storage import write_atomically

    check_figure_path(output)
    series = split_channels(channels)
    preprocessing = replace(
        read_named_preprocessing(backbone, series),
        steps=split_steps(prepare),
        contrast=contrast,  # type: ignore[arg-type]  # checked where it is used
    )
    table = read_table(data, channels=series)
    picked = pick_rows(table, n_images, seed)
    with show_progress() as progress:
        rows = preview_rows(table, picked, preprocessing, progress)
    height, width = preprocessing.size
    titles = [*rows[0].titles[:-1], f"input, {height} × {width}"]

    def paint(figure: Figure) -> None:
        paint_sheet(figure, titles, [row.label for row in rows], [row.pictures for row in rows])

    size = measure_sheet(len(rows), len(titles))
    write_atomically(output, render_figure(output.suffix.lower(), *size, paint))
    typer.echo(f"{len(picked)} of {table.n_images} images in {output}")
