"""Which tasks each image is to be asked: a table file of images and tasks."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medlora.data.manifest import expand_rows, open_source
from medlora.data.rows import Row, read_rows
from medlora.data.source import FolderSource, ImageSource, split_frame
from medlora.errors import DataError

_N_SHOWN = 3


@dataclass(frozen=True)
class Routes:
    """Images, and the tasks that each is asked.

    Attributes:
        source: Reads the locations.
        locations: The images.
        tasks: For each image the names of its tasks, one at least.
    """

    source: ImageSource
    locations: tuple[str, ...]
    tasks: tuple[tuple[str, ...], ...]

    def choose(self, locations: Sequence[str]) -> "Routes":
        """The routes of some images, in their order.

        Args:
            locations: The images, as paths from the working folder or absolute ones, with a
                frame at their end where a file holds several.

        Raises:
            DataError: An image has no route, or the routes are not about files.
        """
        if not isinstance(self.source, FolderSource):
            raise DataError(
                "Routes to the images of an array file stand for themselves: give no images "
                "beside them."
            )
        known = {
            _identify(os.path.join(self.source.root, location)): names
            for location, names in zip(self.locations, self.tasks, strict=True)
        }
        missing = [location for location in locations if _identify(location) not in known]
        if missing:
            shown = ", ".join(missing[:_N_SHOWN]) + (" ..." if len(missing) > _N_SHOWN else "")
            raise DataError(
                f"{len(missing)} of {len(locations)} images have no route: {shown}. Add a line "
                "for each, or leave these images out."
            )
        chosen = tuple(known[_identify(location)] for location in locations)
        return Routes(FolderSource(Path()), tuple(locations), chosen)


def read_routes(path: Path) -> Routes:
    """Read a table of images and tasks.

    Its columns are `path`, relative to the table's folder or absolute, and either `task` or
    `tasks`, which are joined by a vertical bar. Others are left alone. A path to a multi-frame
    DICOM file stands for all its frames.

    Args:
        path: A CSV file in UTF-8 (separated by commas, semicolons or tabs) or a Parquet file.

    Raises:
        DataError: The file cannot be read, lacks a column, names an image twice, or names no
            task for one.
    """
    rows = read_rows(path)
    columns = [name for name in ("task", "tasks") if name in rows[0].values]
    if len(columns) != 1:
        raise DataError(
            f"{path} must have a column 'task' or a column 'tasks', and not both; its columns "
            f"are {', '.join(rows[0].values)}."
        )
    source = open_source(rows, path.parent)
    locations: list[str] = []
    tasks: list[tuple[str, ...]] = []
    for row, frames in expand_rows(rows, source, path):
        locations += frames
        tasks += [_read_names(row, columns[0], path)] * len(frames)
    return Routes(source, tuple(locations), tuple(tasks))


def _read_names(row: Row, column: str, path: Path) -> tuple[str, ...]:
    cell = row.values[column]
    parts = cell.split("|") if column == "tasks" else [cell]
    names = tuple(dict.fromkeys(name for part in parts if (name := part.strip())))
    if not names:
        raise DataError(f"{path}, {row.place}, names no task. Name one, or remove the line.")
    return names


def _identify(location: str) -> tuple[str, int | None]:
    path, frame = split_frame(location)
    return os.path.realpath(path), frame
