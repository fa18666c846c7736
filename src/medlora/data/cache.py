"""Prepared images on disk, so that each is decoded once."""

import contextlib
import hashlib
import json
import os
import secrets
import threading
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import platformdirs
from filelock import FileLock

from medlora.data.entry import pack_entry, unpack_entry
from medlora.data.image import border_colour, decode_image, prepare_image
from medlora.data.source import ImageSource, split_frame
from medlora.errors import DataError, SettingsError
from medlora.preprocessing import Preprocessing

if TYPE_CHECKING:
    import torch

# Raised whenever decoding or preparing gives other pixels than before.
DECODER_VERSION: Final = 2
DEFAULT_MAX_BYTES: Final = 20 * 10**9
# Fields of the preprocessing that act after the cache.
_UNUSED: Final = ("mean", "std")
_KEPT_SHARE: Final = 0.9
_POLL_SECONDS: Final = 0.002  # The lock is held for about a millisecond.
_ABANDONED_AFTER_SECONDS: Final = 3600.0


class NoCache:
    """A cache that keeps nothing."""

    def has(self, key: str) -> bool:
        """Never."""
        return False

    def get(self, key: str) -> npt.NDArray[np.uint8] | None:
        """Nothing, whatever is asked for."""

    def put(self, key: str, array: npt.NDArray[np.uint8]) -> None:
        """Keep nothing."""


class ImageCache:
    """Arrays on disk, bounded in size, least recently used first to go.

    Any number of threads and processes may use one folder at once. An entry is a file of its
    own with a checksum, and appears under its name only when it is whole; one that is damaged
    counts as missing. The sum of all entries is kept under `max_bytes` at every moment. Where
    the folder cannot be written to, a warning says so once and nothing more is kept.

    Args:
        folder: Where the entries lie; made when the first one is written.
        max_bytes: Bound on the sum of the entries' sizes.

    Attributes:
        folder: As given.
        max_bytes: As given.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self._total = folder / "total"
        self._counted = False
        self._writable = True
        # Threads of one process wait for each other here, those of others at the file lock.
        self._threads = threading.Lock()
        self._processes = FileLock(folder / "lock")

    def has(self, key: str) -> bool:
        """Whether something is kept under `key`; `get` looks whether it is whole."""
        return self._path(key).is_file()

    def get(self, key: str) -> npt.NDArray[np.uint8] | None:
        """The array kept under `key`, None where there is none or its file is damaged.

        Args:
            key: A name of hexadecimal digits, as `cache_key` gives it.
        """
        path = self._path(key)
        try:
            content = bytearray(path.read_bytes())
        except OSError:
            return None
        # Reading counts as use: entries are dropped in the order of this time. It fails where
        # the entry has just been dropped or the folder is read-only; the content is good.
        with contextlib.suppress(OSError):
            os.utime(path)
        return unpack_entry(content)

    def put(self, key: str, array: npt.NDArray[np.uint8]) -> None:
        """Keep an array; one larger than the bound is not kept.

        Args:
            key: A name of hexadecimal digits, as `cache_key` gives it.
            array: Any shape of up to 255 axes.
        """
        content = pack_entry(array)
        if not self._writable or len(content) > self.max_bytes:
            return
        path = self._path(key)
        part = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Not flushed to disk: after a power failure the checksum tells that it is damaged.
            part.write_bytes(content)
            with self._threads, self._processes.acquire(poll_interval=_POLL_SECONDS):
                self._admit(path, part, len(content))
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            self._writable = False
            warnings.warn(
                f"The cache {self.folder} cannot be written to ({error.strerror or error}); what "
                "it would keep is computed again every time. Set MEDLORA_CACHE to a folder with "
                "free space.",
                RuntimeWarning,
                stacklevel=2,
            )

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def _admit(self, path: Path, part: Path, n_bytes: int) -> None:
        """Make room for a written entry and give it its name; both locks are held."""
        path.unlink(missing_ok=True)
        total = self._read_total() + n_bytes
        if total > self.max_bytes:
            # A little more room than needed, or every further entry would search the folder.
            room = min(self.max_bytes - n_bytes, int(self.max_bytes * _KEPT_SHARE))
            total = self._evict(room) + n_bytes
        # Noted first: should this process be killed in between, the sum is too high, not too low.
        self._total.write_text(str(total), encoding="ascii")
        part.replace(path)

    def _read_total(self) -> int:
        """Bytes in the cache: counted once by each process, then as the last writer noted it."""
        if self._counted:
            try:
                return int(self._total.read_text(encoding="ascii"))
            except (OSError, ValueError):
                # A writer was killed while noting it, so it is counted again.
                self._counted = False
        total = sum(n_bytes for _, n_bytes, _ in self._list_entries())
        self._counted = True
        return total

    def _evict(self, max_bytes: int) -> int:
        """Drop the entries used longest ago until the rest fits; gives the size of the rest."""
        entries = sorted(self._list_entries())
        total = sum(n_bytes for _, n_bytes, _ in entries)
        for _, n_bytes, path in entries:
            if total <= max_bytes:
                break
            os.unlink(path)
            total -= n_bytes
        return total

    def _list_entries(self) -> list[tuple[int, int, str]]:
        """Time of last use, size and path of every entry; what killed writers left is removed."""
        entries = []
        now = time.time()
        for branch in self.folder.glob("[0-9a-f][0-9a-f]"):
            for file in os.scandir(branch):
                try:
                    status = file.stat()
                    if not file.name.endswith(".part"):
                        entries.append((status.st_mtime_ns, status.st_size, file.path))
                    elif now - status.st_mtime > _ABANDONED_AFTER_SECONDS:
                        os.unlink(file.path)
                except FileNotFoundError:
                    # Another writer has just given a part its name.
                    continue
        return entries


class PreparedImages:
    """The images of a table as the backbone will see them, up to normalisation.

    Args:
        table_source: Where the encoded images are.
        locations: One for each row of the table.
        preprocessing: Steps, contrast and geometry.
        cache: Where prepared images are kept.
        sha256: SHA-256 of each row's file in hexadecimal digits, where it is known from
            earlier; "" for a row where it is not. A row whose digest is known and whose image
            is in the cache is read without touching its file.
        n_threads: Images that `read` decodes at the same time.
    """

    def __init__(
        self,
        table_source: ImageSource,
        locations: Sequence[str],
        preprocessing: Preprocessing,
        cache: ImageCache | NoCache,
        sha256: Sequence[str] | None = None,
        n_threads: int = 2,
    ) -> None:
        self._source = table_source
        self._locations = tuple(locations)
        self._preprocessing = preprocessing
        self._shape = (preprocessing.n_channels, *preprocessing.size)
        self._cache = cache
        self._sha256 = list(sha256) if sha256 is not None else [""] * len(self._locations)
        if len(self._sha256) != len(self._locations):
            raise DataError(
                f"There must be one digest for each of the {len(self._locations)} images, "
                f"not {len(self._sha256)}."
            )
        if n_threads < 1:
            raise SettingsError(f"n_threads must be at least 1, not {n_threads}.")
        self._pool = ThreadPoolExecutor(n_threads, thread_name_prefix="medlora-images")

    def read(self, rows: Sequence[int]) -> "torch.Tensor":
        """The prepared images of some rows.

        Args:
            rows: Rows of the table, in any order.

        Returns:
            uint8 values, shape (row, channel, height, width), in the order of `rows`.

        Raises:
            UnreadableImageError: One of them cannot be read.
        """
        import torch

        images = torch.empty((len(rows), *self._shape), dtype=torch.uint8)
        pixels = images.numpy()
        for place, (_, image) in enumerate(self._pool.map(self.read_one, rows)):
            pixels[place] = image
        return images

    def select(self, rows: npt.NDArray[np.int64]) -> "PreparedImages":
        """The images of these rows of the table, as a table of those rows has them."""
        chosen = copy(self)
        chosen._locations = tuple(self._locations[row] for row in rows)
        chosen._sha256 = [self._sha256[row] for row in rows]
        return chosen

    def read_one(self, row: int) -> tuple[str, npt.NDArray[np.uint8]]:
        """One prepared image and the digest of its file.

        Args:
            row: The row of the table.

        Returns:
            SHA-256 of the encoded file in hexadecimal digits, and uint8 values of shape
            (3, height, width).

        Raises:
            UnreadableImageError: The image is missing, truncated or damaged.
        """
        sha256, location = self._sha256[row], self._locations[row]
        frame = split_frame(location)[1] or 0
        if sha256:
            image = self._find(cache_key(sha256, frame, self._preprocessing))
            if image is not None:
                return sha256, image
        content = self._source.read_bytes(location)
        sha256 = self._sha256[row] = hashlib.sha256(content).hexdigest()
        key = cache_key(sha256, frame, self._preprocessing)
        image = self._find(key)
        if image is None:
            image = prepare_image(decode_image(content, location), self._preprocessing)
            self._cache.put(key, image)
        return sha256, image

    def _find(self, key: str) -> npt.NDArray[np.uint8] | None:
        image = self._cache.get(key)
        # The folder may hold anything; an array of another shape cannot be this image.
        return image if image is not None and image.shape == self._shape else None


def cache_key(sha256: str, frame: int, preprocessing: Preprocessing) -> str:
    """Name of a prepared image: the same for the same pixels, whatever the file's name.

    Mean and standard deviation do not count, since kept images are not normalised; only where
    `crop_mode` is `border` does the mean, which is then the colour of the border.

    Args:
        sha256: Digest of the encoded file, hexadecimal.
        frame: The frame in it, counted from 0.
        preprocessing: How the image is prepared.

    Returns:
        64 hexadecimal digits.
    """
    record = {key: value for key, value in preprocessing.to_dict().items() if key not in _UNUSED}
    record |= {"image": sha256, "frame": frame, "decoder": DECODER_VERSION}
    record["border"] = border_colour(preprocessing)
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def default_cache(folder: Path | None = None, max_bytes: int = DEFAULT_MAX_BYTES) -> ImageCache:
    """The cache to use where nothing else is asked for.

    Args:
        folder: Its folder; without one, that in the environment variable `MEDLORA_CACHE`, or
            else the system's usual place for caches.
        max_bytes: Bound on its size.
    """
    if folder is None:
        stated = os.environ.get("MEDLORA_CACHE")
        folder = Path(stated).expanduser() if stated else platformdirs.user_cache_path("medlora")
    return ImageCache(folder, max_bytes)
