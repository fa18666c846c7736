"""One pass over all images before anything is trained: hash them, decode them, find the bad."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from medlora.data.table import ImageTable
from medlora.errors import DataError, UnreadableImageError, UnreadableImagesError
from medlora.progress import Progress, silent


@runtime_checkable
class ImageStore(Protocol):
    """Prepares images one at a time; `medlora.data.cache.PreparedImages` is one."""

    def read_one(self, row: int) -> tuple[str, npt.NDArray[np.uint8]]:
        """SHA-256 of the image's content, and its pixels, (3, height, width)."""


@dataclass(frozen=True, eq=False)
class Scan:
    """What a pass over a table's images found.

    Attributes:
        sha256: SHA-256 of each row's content in hexadecimal, "" where it cannot be read.
        errors: One for each image that cannot be read, in the table's order.
        unreadable_rows: (image,) rows of the scanned table that cannot be read, ascending.
    """

    sha256: tuple[str, ...]
    errors: tuple[UnreadableImageError, ...]
    unreadable_rows: npt.NDArray[np.int64]


def scan_images(
    table: ImageTable,
    store: ImageStore,
    progress: Progress = silent,
    *,
    n_threads: int | None = None,
) -> Scan:
    """Read, hash and decode every image once, so that a cache behind `store` holds them all.

    Args:
        table: The images.
        store: Reads row N of the table as its image N.
        progress: Told after every image.
        n_threads: Images that are decoded at a time; as many as there are processors, but not
            more than 8, where None.
    """

    def read(row: int) -> str | UnreadableImageError:
        try:
            return store.read_one(row)[0]
        except UnreadableImageError as error:
            return error

    sha256: list[str] = []
    errors: list[UnreadableImageError] = []
    unreadable: list[int] = []
    with _open_pool(n_threads or min(os.cpu_count() or 1, 8)) as pool:
        for row, found in enumerate(pool.map(read, range(table.n_images))):
            if isinstance(found, str):
                sha256.append(found)
            else:
                sha256.append("")
                errors.append(found)
                unreadable.append(row)
            progress("decoding", row + 1, table.n_images)
    return Scan(tuple(sha256), tuple(errors), np.array(unreadable, dtype=np.int64))


def leave_out_unreadable(table: ImageTable, scan: Scan, *, skip: bool) -> tuple[ImageTable, Scan]:
    """Stop at unreadable images, or go on without them.

    Args:
        table: The images.
        scan: What `scan_images` found about them.
        skip: Whether to go on.

    Returns:
        The readable images, and what is known of them. The scan keeps the errors of those that
        were left out, to be counted; it has no unreadable rows any more.

    Raises:
        UnreadableImagesError: There are some, and `skip` is False. It lists them all.
        DataError: There are no others.
    """
    if not scan.errors:
        return table, scan
    if not skip:
        raise UnreadableImagesError(scan.errors)
    readable = np.setdiff1d(np.arange(table.n_images, dtype=np.int64), scan.unreadable_rows)
    if not len(readable):
        raise DataError(
            f"None of the {table.n_images} images of {table.name} can be read; the first is "
            f"{scan.errors[0]}."
        )
    kept = replace(
        scan,
        sha256=_pick(scan.sha256, readable),
        unreadable_rows=np.array([], dtype=np.int64),
    )
    return table.select(readable), kept


def _pick(values: Sequence[str], rows: npt.NDArray[np.int64]) -> tuple[str, ...]:
    return tuple(values[row] for row in rows)


@contextmanager
def _open_pool(n_threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that drops what is waiting when its user is interrupted."""
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="medlora-scan")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
