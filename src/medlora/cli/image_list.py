"""Which images a command was given: files, folders, standard input, or the cases of a manifest."""

import os
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medlora.data.source import ImageSource

STANDARD_INPUT = "-"


def list_cases(
    paths: list[str], channels: tuple[str, ...]
) -> tuple["ImageSource", Iterator[str], int | None]:
    """The cases of a manifest whose columns name the series of each.

    Args:
        paths: The manifest alone.
        channels: The columns.

    Returns:
        What reads them, where each lies, and how many there are.

    Raises:
        SettingsError: The paths are not one manifest.
    """
    from medlora.data.manifest import open_source
    from medlora.data.rows import read_rows
    from medlora.errors import SettingsError

    manifest = Path(paths[0])
    if len(paths) > 1 or manifest.suffix.lower() not in (".csv", ".parquet"):
        raise SettingsError(
            "The task takes several series of each case: give one .csv or .parquet manifest with "
            f"the columns {', '.join(channels)}, not {', '.join(paths[:3])}."
        )
    rows = read_rows(manifest, channels)
    source = open_source(rows, manifest.parent, channels)
    return source, iter(row.values["path"] for row in rows), len(rows)


def list_images(images: list[str]) -> tuple["ImageSource", Iterator[str], int | None]:
    """The images that were named.

    Args:
        images: Files and folders, or `-` alone for a list of files on standard input.

    Returns:
        What reads them, where each lies, and how many there are; None where that is not known
        beforehand.

    Raises:
        SettingsError: There are paths beside `-`.
    """
    from medlora.data.listing import expand_frames
    from medlora.data.listing import list_images as list_files
    from medlora.data.source import FolderSource
    from medlora.errors import SettingsError

    if STANDARD_INPUT not in images:
        source, locations = list_files([Path(image) for image in images])
        return source, iter(locations), len(locations)
    if len(images) > 1:
        raise SettingsError("- stands for all images: give no paths beside it.")
    source = FolderSource(Path())
    lines = (os.fsdecode(line).rstrip("\r\n") for line in sys.stdin.buffer)
    frames = (expand_frames(line, source) for line in lines if line)
    return source, chain.from_iterable(frames), None
