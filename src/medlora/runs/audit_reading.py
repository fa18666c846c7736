"""One pass over all images of a table for an audit: hash, decode, take the fingerprint."""

import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from medlora.audit.facts import FACT_NAMES
from medlora.audit.fingerprint import (
    FINGERPRINT_VERSION,
    SIDE,
    Fingerprint,
    pack_fingerprint,
    take_fingerprint,
    unpack_fingerprint,
)
from medlora.backbones.weights import Backbone
from medlora.data.cache import DECODER_VERSION, ImageCache, NoCache, PreparedImages, cache_key
from medlora.data.image import decode_image, prepare_image
from medlora.data.source import split_frame
from medlora.data.table import ImageTable
from medlora.errors import DataError, UnreadableImageError
from medlora.preprocessing import Preprocessing
from medlora.progress import Progress, silent
from medlora.runs.ahead import prepare_ahead
from medlora.runs.feature_map import iterate_features
from medlora.runs.preparing import PreparedData
from medlora.task.precision import Precision

# Inside the folder of decoded images, where its own entries are never looked for.
FOLDER: Final = "audit"
_BATCH: Final = 64


@dataclass(frozen=True, eq=False)
class ReadImages:
    """What was read of a table's images.

    Attributes:
        table: Those that can be read.
        sha256: (image,) digest of each file.
        names: (image,) digest of each file, and the frame in it.
        digests: (image,) digest of the decoded pixels.
        small: (image, 64, 64), brightness; kept in a temporary file, not in memory.
        facts: (image, fact), as `medlora.audit.facts.FACT_NAMES` names them.
        errors: One for each image that cannot be read.
    """

    table: ImageTable
    sha256: tuple[str, ...]
    names: tuple[str, ...]
    digests: tuple[bytes, ...]
    small: npt.NDArray[np.uint8]
    facts: npt.NDArray[np.float64]
    errors: tuple[UnreadableImageError, ...]


def read_images(
    table: ImageTable,
    cache: ImageCache | NoCache,
    *,
    preprocessing: Preprocessing | None = None,
    n_threads: int = 2,
    progress: Progress = silent,
) -> ReadImages:
    """Read every image once.

    Fingerprints are kept in the cache, so that a pass that was stopped goes on where it was.

    Args:
        table: The images.
        cache: Where decoded images are kept; fingerprints are kept beside them.
        preprocessing: Where it is given, images that are decoded are also prepared, so that no
            backbone has to decode them again.
        n_threads: Images that are read at the same time.
        progress: Told after every batch.

    Raises:
        DataError: None of the images can be read.
    """
    reader = _FingerprintReader(table, cache, preprocessing)
    small = _map_file((table.n_images, SIDE, SIDE), np.uint8)
    facts = np.empty((table.n_images, len(FACT_NAMES)))
    sha256: list[str] = []
    digests: list[bytes] = []
    rows: list[int] = []
    errors: list[UnreadableImageError] = []
    batches = prepare_ahead(
        range(table.n_images), reader.read, batch_size=_BATCH, n_threads=n_threads
    )
    done = 0
    for batch in batches:
        for row, found in batch:
            if isinstance(found, UnreadableImageError):
                errors.append(found)
                continue
            own, fingerprint = found
            small[len(rows)] = fingerprint.small
            facts[len(rows)] = fingerprint.facts
            sha256.append(own)
            digests.append(fingerprint.digest)
            rows.append(row)
        done += len(batch)
        progress("reading", done, table.n_images)
    if not rows:
        raise DataError(
            f"None of the {table.n_images} images of {table.name} can be read; the first is "
            f"{errors[0]}."
        )
    n_read = len(rows)
    readable = table if n_read == table.n_images else table.select(np.array(rows, dtype=np.int64))
    frames = [split_frame(location)[1] or 0 for location in readable.locations]
    names = tuple(f"{own}#{frame}" for own, frame in zip(sha256, frames, strict=True))
    return ReadImages(
        readable,
        tuple(sha256),
        names,
        tuple(digests),
        small[:n_read],
        facts[:n_read],
        tuple(errors),
    )


def extract_features(
    backbone: Backbone,
    found: ReadImages,
    cache: ImageCache | NoCache,
    *,
    device: str = "auto",
    precision: Precision = "auto",
    progress: Progress = silent,
) -> npt.NDArray[np.float32]:
    """The backbone's features of all images, (image, feature), in a temporary file.

    Args:
        backbone: The pretrained network.
        found: The images.
        cache: Where decoded images are kept; features are kept beside them.
        device: Where to compute.
        precision: `auto`, `bf16` or `fp32`.
        progress: Told as it goes on.
    """
    table, preprocessing = found.table, backbone.preprocessing
    images = PreparedImages(
        table.source, table.locations, preprocessing, cache, sha256=found.sha256
    )
    data = PreparedData(table, images, found.sha256, 0, ())
    features: npt.NDArray[np.float32] | None = None
    start = 0
    for part in iterate_features(
        backbone,
        data,
        preprocessing,
        cache=cache,
        device=device,
        precision=precision,
        progress=progress,
    ):
        if features is None:
            features = _map_file((table.n_images, part.shape[1]), np.float32)
        features[start : start + len(part)] = part
        start += len(part)
    return np.empty((0, 0), dtype=np.float32) if features is None else features


class _FingerprintReader:
    """Reads one image of a table after the other, from any number of threads."""

    def __init__(
        self, table: ImageTable, cache: ImageCache | NoCache, preprocessing: Preprocessing | None
    ) -> None:
        self._table = table
        self._images = cache
        self._preprocessing = preprocessing
        self._fingerprints: ImageCache | NoCache = cache
        if isinstance(cache, ImageCache):
            self._fingerprints = ImageCache(cache.folder / FOLDER, cache.max_bytes)

    def read(self, row: int) -> tuple[str, Fingerprint]:
        """Digest of a row's file, and its fingerprint.

        Raises:
            UnreadableImageError: The image cannot be read.
        """
        location = self._table.locations[row]
        content = self._table.source.read_bytes(location)
        sha256 = hashlib.sha256(content).hexdigest()
        frame = split_frame(location)[1] or 0
        words = f"{FINGERPRINT_VERSION} {DECODER_VERSION} {sha256} {frame}"
        key = hashlib.sha256(words.encode()).hexdigest()
        packed = self._fingerprints.get(key)
        known = None if packed is None else unpack_fingerprint(packed)
        if known is not None:
            return sha256, known
        pixels = decode_image(content, location)
        fingerprint = take_fingerprint(content, pixels)
        self._fingerprints.put(key, pack_fingerprint(fingerprint))
        self._prepare(sha256, frame, pixels)
        return sha256, fingerprint

    def _prepare(self, sha256: str, frame: int, pixels: npt.NDArray[np.uint8]) -> None:
        if self._preprocessing is None or isinstance(self._images, NoCache):
            return
        key = cache_key(sha256, frame, self._preprocessing)
        if not self._images.has(key):
            self._images.put(key, prepare_image(pixels, self._preprocessing))


def _map_file(shape: Sequence[int], dtype: Any) -> npt.NDArray[Any]:
    """An array in a temporary file that goes when nobody uses it any more."""
    if not all(shape):
        return np.empty(tuple(shape), dtype=dtype)
    # The mapping keeps the file alive after its name and this handle are gone.
    with tempfile.TemporaryFile(prefix="medlora-audit-") as stream:
        return np.memmap(stream, dtype=dtype, mode="w+", shape=tuple(shape))
