"""`medlora check`: whether a folder or manifest can be trained on, before anything is trained."""

import os
from collections import Counter
from typing import TYPE_CHECKING

import typer

from medlora.cli.options import (
    ChannelsOption,
    DataArgument,
    GroupOption,
    OverlapOption,
    split_channels,
)
from medlora.cli.terminal import open_console, show_progress

if TYPE_CHECKING:
    from medlora.data.scan import Scan
    from medlora.data.table import ImageTable


def check_data(
    data: DataArgument,
    group_by: GroupOption = None,
    channels: ChannelsOption = "none",
    allow_patient_overlap: OverlapOption = False,
) -> None:
    """Read every image and say what there is: classes, splits, patients, copies, faults.

    What train would refuse, check refuses: images that cannot be read, splits that cut a patient,
    a class that one lacks.
    """
    from medlora.data.cache import NoCache, PreparedImages
    from medlora.data.scan import scan_images
    from medlora.data.split import split_table
    from medlora.data.table import read_table
    from medlora.errors import UnreadableImagesError
    from medlora.preprocessing import Preprocessing
    from medlora.runs.naming import check_table

    series = split_channels(channels)
    table = read_table(data, group_by=group_by, channels=series)
    check_table(table)
    half = (0.5,) * (len(series) or 3)
    small = Preprocessing(size=(32, 32), mean=half, std=half, channels=series)
    store = PreparedImages(
        table.source, table.locations, small, NoCache(), n_threads=os.cpu_count() or 1
    )
    with show_progress() as progress:
        scan = scan_images(table, store, progress)
    _print_counts(table)
    _print_copies(table, scan)
    if scan.errors:
        raise UnreadableImagesError(scan.errors)
    typer.echo("Every image can be read.")
    # As train divides them by default: what it refuses to train on is refused here.
    split_table(table, scan.sha256, seed=0, allow_patient_overlap=allow_patient_overlap)


def _print_counts(table: "ImageTable") -> None:
    from rich.table import Table

    splits = [split for split in ("train", "val", "test", None) if len(table.rows_in(split))]
    title = f"{table.name}: {table.n_images} images"
    shown = Table(title=title, title_justify="left")
    shown.add_column("class")
    for split in splits:
        shown.add_column(split or "no split", justify="right")
    for number, name in enumerate(table.classes):
        counts = [int(table.targets[table.rows_in(split)][:, number].sum()) for split in splits]
        shown.add_row(name, *map(str, counts))
    shown.add_row("images", *[str(len(table.rows_in(split))) for split in splits])
    open_console().print(shown)
    patients = {patient for patient in table.patients if patient is not None}
    typer.echo(
        f"{len(patients)} patients or groups."
        if patients
        else "No patients are named: images of one patient cannot be kept together."
    )


def _print_copies(table: "ImageTable", scan: "Scan") -> None:
    from medlora.data.source import split_frame

    # Frames of one file have its digest and are no copies of one another.
    places: dict[tuple[str, int | None], list[int]] = {}
    for row, (digest, location) in enumerate(zip(scan.sha256, table.locations, strict=True)):
        if digest:
            places.setdefault((digest, split_frame(location)[1]), []).append(row)
    groups = [rows for rows in places.values() if len(rows) > 1]
    if not groups:
        typer.echo("No two files are identical.")
        return
    across = Counter(len({table.splits[row] for row in rows}) > 1 for rows in groups)[True]
    differing = sum((table.targets[rows] != table.targets[rows[0]]).any() for rows in groups)
    typer.echo(
        f"{len(groups)} groups of identical files, {across} of them across splits, "
        f"{differing} with labels that differ."
    )
