"""The task files of a folder, by what their headings say; no tensors are read."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from medlora.errors import MedLoRAError, StorageError
from medlora.task.heading import TaskHeading, read_heading

SUFFIX = ".safetensors"


@dataclass(frozen=True)
class Catalogue:
    """What the task files of a folder say of themselves.

    Files are named by their path below the folder, with `/` between its parts.

    Attributes:
        folder: The folder.
        headings: The heading of each file that has a sound one, in the order of the names.
        refused: Why each other file is no task file, in one line that names it.
    """

    folder: Path
    headings: dict[str, TaskHeading]
    refused: dict[str, str]

    def find_namesakes(self) -> dict[str, list[str]]:
        """The names that more than one file's task has, with those files."""
        files: dict[str, list[str]] = {}
        for file, heading in self.headings.items():
            files.setdefault(heading.card.name, []).append(file)
        return {name: found for name, found in files.items() if len(found) > 1}


def read_catalogue(folder: Path) -> Catalogue:
    """Read the headings of all task files in a folder, and in the folders below it.

    A digest is not checked: see `medlora.task.heading.read_heading`.

    Args:
        folder: The folder; see `find_task_files` for what is looked at.

    Raises:
        StorageError: It is no folder, or cannot be listed.
    """
    headings: dict[str, TaskHeading] = {}
    refused: dict[str, str] = {}
    for file, path in find_task_files(folder).items():
        try:
            headings[file] = read_heading(path, file)
        except MedLoRAError as error:
            refused[file] = str(error)
    return Catalogue(folder, headings, refused)


def find_task_files(folder: Path) -> dict[str, Path]:
    """The files of a folder that may be task files.

    These are the files that end in `.safetensors`, in the folder and at any depth below it: a
    training run keeps its task file as `task.safetensors` in a folder of its own. Hidden files
    and folders are left out, and links to folders are not followed.

    Returns:
        The path of each by its name below the folder, in the order of these names. A character
        that cannot be printed is spelt with a backslash.

    Raises:
        StorageError: It is no folder, or it or a folder below it cannot be listed.
    """
    try:
        if folder.is_dir():
            return dict(sorted(_walk_files(folder)))
        what = "is a file" if folder.exists() else "does not exist"
    except OSError as error:
        raise StorageError(
            f"{error.filename} cannot be looked into ({error.strerror or error}). Check its "
            "permissions."
        ) from error
    raise StorageError(f"{folder} {what}; a folder of task files is needed. Check the path.")


def _walk_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for parent, folders, files in os.walk(folder, onerror=_raise_error):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(parent, name)
            # A pipe under that name would be waited for.
            if name.endswith(SUFFIX) and not name.startswith(".") and path.is_file():
                yield spell_path(path.relative_to(folder).as_posix()), path


def _raise_error(error: OSError) -> NoReturn:
    raise error


def spell_path(path: str) -> str:
    r"""A path that can be shown anywhere: what cannot be printed is spelt with a backslash.

    Example:
        >>> print(spell_path("scan" + chr(27) + chr(10) + ".safetensors"))
        scan\x1b\n.safetensors
    """
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii")
        for letter in path
    )
