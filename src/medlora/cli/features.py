"""`medlora features`: what a backbone makes of images, as a picture of points."""

from pathlib import Path
from typing import Annotated

import typer

from medlora.cli.options import (
    BatchOption,
    CacheOption,
    CacheSizeOption,
    ChannelsOption,
    ContrastOption,
    DataArgument,
    DeviceOption,
    PrecisionOption,
    PrepareOption,
    SkipOption,
    WeightsOption,
    open_cache,
    split_channels,
    split_steps,
)
from medlora.cli.terminal import show_progress


def map_data(
    data: DataArgument,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The picture: a .png or .svg file.")
    ] = Path("features.png"),
    method: Annotated[str, typer.Option(help="pca, or umap (an extra of the package).")] = "pca",
    backbone: Annotated[str, typer.Option(help="timm's model name.")] = "tf_efficientnet_lite0",
    weights: WeightsOption = None,
    channels: ChannelsOption = "none",
    prepare: PrepareOption = "none",
    contrast: ContrastOption = "none",
    skip_unreadable: SkipOption = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of what is random in UMAP.")] = 0,
    batch_size: BatchOption = 32,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "auto",
    cache_dir: CacheOption = None,
    cache_size: CacheSizeOption = 20.0,
) -> None:
    """Draw a backbone's features in two dimensions, coloured by class and marked by split.

    Nothing is trained. Classes that lie apart can be told apart by a linear head; a test split
    that lies apart from the training images comes from elsewhere.
    """
    from dataclasses import replace

    import numpy as np
    from matplotlib.figure import Figure

    from medlora.backbones.weights import load_backbone
    from medlora.report.feature_map import MAP_INCHES, paint_map
    from medlora.report.figure_file import check_figure_path, render_figure
    from medlora.runs.feature_map import check_method, iterate_features, map_features
    from medlora.runs.preparing import prepare_data
    from medlora.storage import write_atomically

    check_figure_path(output)
    chosen = check_method(method)
    network = load_backbone(backbone, weights, channels=split_channels(channels))
    preprocessing = replace(
        network.preprocessing,
        steps=split_steps(prepare),
        contrast=contrast,  # type: ignore[arg-type]  # checked where it is used
    )
    cache = open_cache(cache_dir, cache_size)
    with show_progress() as progress:
        images = prepare_data(
            data, preprocessing, cache, skip_unreadable=skip_unreadable, progress=progress
        )
        parts = iterate_features(
            network,
            images,
            preprocessing,
            cache=cache,
            device=device,
            precision=precision,  # type: ignore[arg-type]  # checked where it is used
            batch_size=batch_size,
            progress=progress,
        )
        features = np.concatenate(list(parts))
        found = map_features(features, images.table, chosen, seed=seed)
    title = f"{images.table.name}: features of {network.name}"

    def paint(figure: Figure) -> None:
        paint_map(figure, found.points, found.axes, found.groups, found.splits, title)

    write_atomically(output, render_figure(output.suffix.lower(), *MAP_INCHES, paint))
    n_images, n_features = features.shape
    typer.echo(f"{n_images} images with {n_features} features each in {output}")
