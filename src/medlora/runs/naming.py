"""What a task file's card refuses, found before anything is decoded or trained."""

from medlora.data.split_file import check_paths
from medlora.data.table import ImageTable
from medlora.errors import DataError, SettingsError, TaskFileError
from medlora.task.card import read_classes, read_note
from medlora.task.fields import read_title


def check_words(name: str, note: str = "") -> None:
    """Refuse a task's name, or note, that its card would refuse when all is trained.

    Args:
        name: The task's name.
        note: Intended use and limits.

    Raises:
        SettingsError: It would.
    """
    try:
        read_title(name, "name")
    except TaskFileError as error:
        raise SettingsError(
            f"{error} Choose another one with --name, or rename the data where it is theirs."
        ) from error
    try:
        read_note(note)
    except TaskFileError as error:
        raise SettingsError(f"{error} Shorten --note, or keep the text elsewhere.") from error


def check_table(table: ImageTable) -> None:
    """Refuse names of classes and of files that no task file or table of a run can hold.

    Args:
        table: The images, of which none need be decoded.

    Raises:
        DataError: There is such a name.
    """
    try:
        read_classes(table.classes, multi_label=table.multi_label)
    except TaskFileError as error:
        raise DataError(f"{error} Rename the class in {_spell(table.name)}.") from error
    if _spell(table.name) != table.name:
        raise DataError(
            f"The name '{_spell(table.name)}' is not encoded as UTF-8, so that it cannot stand in "
            "the tables of a run. Rename the file or folder."
        )
    check_paths(table)


def _spell(text: str) -> str:
    """A name that can be written, whatever bytes it holds."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
