"""Writing files so that a reader never meets half of one."""

import csv
import io
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from medlora.errors import StorageError


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` under a temporary name beside `path`, flush it to disk, then rename it.

    Whatever lay at `path` before stays whole until the new content has taken its place. A
    device or pipe, such as /dev/stdout, is written to as it is.

    Raises:
        StorageError: The disk is full, or the folder cannot be written to.
    """
    check_output(path)
    part = _name_part(path)
    try:
        if _is_special(path):
            path.write_bytes(content)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        _remove(part)
        raise _refuse_write(path, error) from error


@contextmanager
def open_atomically(path: Path) -> Iterator[TextIO]:
    """A text stream that appears under `path` only when its block has ended without an error.

    For answers that come one by one and are too many to hold; see `write_atomically`.

    Raises:
        StorageError: The disk is full, or the folder cannot be written to.
    """
    check_output(path)
    part = _name_part(path)
    try:
        if _is_special(path):
            with path.open("w", encoding="utf-8", newline="") as stream:
                yield stream
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8", newline="") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        raise _refuse_write(path, error) from error
    finally:
        _remove(part)


def check_output(path: Path) -> None:
    """Refuse a path that no file can be written to, before long work whose answer goes there.

    Raises:
        StorageError: It is a folder, something above it is a file, or its name is too long.
    """
    try:
        if not path.name or path.is_dir():
            raise StorageError(f"{path} is a folder. Name a file to write.")
        # The nearest that is there; a folder that is not yet is made.
        above = next((each for each in path.parents if each.exists()), path.parent)
        if above.exists() and not above.is_dir():
            raise StorageError(
                f"{path} could not be written, since {above} is a file. Choose another folder."
            )
        _name_part(path).exists()  # It is written under a longer name first.
    except OSError as error:
        raise _refuse_write(path, error) from error


def _refuse_write(path: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{path} could not be written ({error.strerror or error}). "
        "Free some space or choose another folder; nothing that was there has changed."
    )


def _remove(part: Path) -> None:
    """Remove what was half written; what cannot even be looked for is not there."""
    with suppress(OSError):
        part.unlink(missing_ok=True)


def _name_part(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")


def _is_special(path: Path) -> bool:
    """Whether a path is a device or a pipe, which must not be replaced by a file."""
    return path.exists() and not path.is_file() and not path.is_dir()


def format_csv(rows: Iterable[Sequence[Any]]) -> str:
    r"""Rows as CSV whose lines end in a line feed alone.

    Example:
        >>> format_csv([["path", "label"], ["a,b.png", "x"]])
        'path,label\n"a,b.png",x\n'
    """
    lines = []
    for row in rows:
        line = io.StringIO(newline="")
        # The line ending decides what is quoted: of these two a cell may hold either.
        csv.writer(line, lineterminator="\r\n").writerow(row)
        lines.append(line.getvalue().removesuffix("\r\n") + "\n")
    return "".join(lines)


def replace_folder(new: Path, place: Path) -> None:
    """Have a finished folder stand where another one stands, which is removed.

    The older one steps aside for the moment in between, and comes back if the new one cannot
    follow. Where a process is killed in that moment, both are there under other names, and the
    same call ends what it began.

    Args:
        new: The finished folder, on the same disk.
        place: Where it is to stand; nothing, or another folder.

    Raises:
        StorageError: It cannot be moved, or the older one cannot be removed.
    """
    aside = place.with_name(f".{place.name}.replaced")
    try:
        if place.exists():
            if aside.exists():
                # A process was killed before it had removed it.
                shutil.rmtree(aside)
            place.rename(aside)
        try:
            new.rename(place)
        except OSError:
            if aside.exists():
                aside.rename(place)
            raise
        if aside.exists():
            shutil.rmtree(aside)
    except OSError as error:
        raise StorageError(
            f"{new} could not take the place of {place} ({error.strerror or error}). Check that "
            "the folder around them can be written to, and do the same again."
        ) from error


def read_file(path: Path, what: str) -> bytes:
    """The bytes of a file.

    Args:
        path: The file.
        what: What it is meant to be, for the error: "task file", "manifest".

    Raises:
        StorageError: It is missing, a folder, or cannot be read.
    """
    try:
        return path.read_bytes()
    except IsADirectoryError as error:
        raise StorageError(
            f"The {what} {path} cannot be read: it is a folder. Name the file in it."
        ) from error
    except OSError as error:
        raise StorageError(
            f"The {what} {path} cannot be read ({error.strerror or error}). Check the path."
        ) from error
